"""Networks whose layers differ in activation, block and distribution, in every way through them."""

import pickle
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from problems import draw_batch, draw_layers, gaussian, gradient_flow, refusals

import jaxnn
from jaxnn.theory import meanfield

DENSE, RMS, POST = jaxnn.blocks.Dense(), jaxnn.blocks.RMSNorm(), jaxnn.blocks.PostNorm()
HALF = jaxnn.blocks.Residual(scale=0.5)
# A run of three layers, each of another kind, of which one saves what others do not.
ACTIVATIONS = ("tanh", "relu", "tanh", "sigmoid")
BLOCKS = (HALF, POST, RMS)
DEPTH = len(ACTIVATIONS)
SIZES = (3, *[4] * DEPTH, 2)
BATCH = 5


@pytest.fixture
def net():
    return jaxnn.Network(SIZES, ACTIVATIONS, "binary", hidden=BLOCKS)


@pytest.fixture
def problem(net, rng):
    return draw_layers(rng, SIZES, gaussian(1.3), 0.2), *draw_batch(rng, net, BATCH)


# What a network is


def test_a_list_of_equal_entries_is_the_network_given_once():
    for activation, hidden in (("tanh", HALF), (jaxnn.network.ACTIVATIONS["relu"], DENSE)):
        once = jaxnn.Network(SIZES, activation, "binary", hidden=hidden)
        each = jaxnn.Network(SIZES, [activation] * DEPTH, "binary", hidden=(hidden,) * 3)
        assert each == once
        assert hash(each) == hash(once)
        assert repr(each) == repr(once)
        assert each.activation == once.activations[-1]


def test_each_layer_has_its_own(net):
    assert [sigma.name for sigma in net.activations] == list(ACTIVATIONS)
    assert net.blocks == (DENSE, *BLOCKS, DENSE)
    assert not net.homogeneous
    assert jaxnn.Network((3, 4, 4, 1), ["relu", "identity"], "binary").homogeneous
    assert pickle.loads(pickle.dumps(net)) == net
    assert net != jaxnn.Network(SIZES, ACTIVATIONS, "binary", hidden=BLOCKS[::-1])
    assert net != jaxnn.Network(SIZES, ACTIVATIONS[::-1], "binary", hidden=BLOCKS)


def test_its_repr_is_short_and_builds_it_again():
    sigmas = ["relu", *["tanh"] * 40]
    blocks = [HALF] * 39 + [DENSE]
    net = jaxnn.Network((3, *[4] * 41, 1), sigmas, "binary", hidden=blocks)
    assert "activation=['relu', *['tanh'] * 40]" in repr(net)
    names = {name: getattr(jaxnn.blocks, name) for name in ("Dense", "Residual")}
    names["Network"] = jaxnn.Network
    assert eval(repr(net), names) == net
    many = [jaxnn.blocks.Residual(scale=1 / (i + 1)) for i in range(40)]
    text = repr(jaxnn.Network(net.sizes, "relu", "binary", hidden=many)).split("hidden=")[1]
    assert "…" in text
    assert len(text) < 400


def test_without_hidden_layers_a_list_is_empty():
    assert jaxnn.Network((3, 1), [], "binary", hidden=[]).activation.name == "identity"
    assert jaxnn.Network((3, 4, 1), ["relu"], "binary", hidden=[]).hidden == DENSE


def test_a_block_stands_where_the_widths_agree():
    net = jaxnn.Network((3, 4, 4, 5, 1), "tanh", "binary", hidden=[RMS, DENSE])
    assert net.blocks == (DENSE, RMS, DENSE, DENSE)


# Passes, against a plain forward pass


def assert_close(ours, theirs):
    for leaf, other in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
        np.testing.assert_allclose(leaf, other, rtol=0, atol=1e-13)


def test_the_gradient_is_that_of_a_plain_pass(net, problem):
    """Of a run, whose layers are chosen on the device."""
    params, xs, ys = problem
    truth, (layers, _, _) = reference.gradients_of_rows(net, *problem)
    value, gradient = jaxnn.backprop(net, jaxnn.network.stack(params), xs, ys)
    np.testing.assert_allclose(value, truth, rtol=1e-13)
    assert_close(jaxnn.network.unstack(gradient), layers)


def test_two_activations_in_turn_at_every_depth(rng):
    """The output takes in σ of the last layer that is used; a depth may be data."""
    net = jaxnn.Network(SIZES, ["tanh", "relu"] * 2, "regression")
    params, x = draw_layers(rng, SIZES, gaussian(1.3), 0.2), rng.normal(size=3)
    run = jaxnn.network.stack(params)
    traced = jax.jit(lambda depth: jaxnn.trace(net, run, x, depth=depth))
    traces = jaxnn.trace(net, run, x), jaxnn.trace(net, run, x, depth=2), *map(traced, (3, 4))
    for depth, trace in zip((DEPTH, 2, 3, 4), traces, strict=True):
        states = [x]
        for i, (theta, b) in enumerate(params[:depth]):
            z = states[-1] @ theta + b
            states.append(np.maximum(z, 0) if i % 2 else np.tanh(z))
        output = states[-1] @ params[-1].theta + params[-1].b
        np.testing.assert_allclose(trace.a[-1], output, rtol=1e-13)
        np.testing.assert_allclose(trace.a[2][: depth - 1], states[2:], rtol=1e-13)
        assert not trace.a[2][depth - 1 :].any()


@pytest.mark.slow
def test_a_depth_takes_the_start_of_the_lists(net, problem):
    """Loss and gradient are those of the shorter network."""
    params, xs, ys = problem
    run = jaxnn.network.stack(params)
    backprop = jax.jit(partial(jaxnn.backprop, net))
    for depth in (2, 4):
        truth, (layers, _, _) = reference.gradients_of_rows(net, *problem, depth)
        value, gradient = backprop(run, xs, ys, depth=jnp.array(depth))
        np.testing.assert_allclose(value, truth, rtol=1e-13)
        assert_close(jaxnn.network.unstack(gradient), layers)


@pytest.mark.slow
def test_one_example_and_its_derivative_by_jax(problem):
    """Forward, trace, loss, deltas of one example, and JAX's derivative through a run."""
    params, xs, ys = problem
    net = jaxnn.Network(SIZES, ACTIVATIONS, "binary", hidden=BLOCKS)
    run = jaxnn.network.stack(params)

    @jax.jit
    def of_one(run):
        loss = partial(jaxnn.passes.loss, net)
        return (
            jaxnn.forward(net, run, xs[0]),
            jax.value_and_grad(loss)(run, xs[0], ys[0]),
            jaxnn.deltas(net, run, xs[0], ys[0]),
            jaxnn.trace(net, run, xs[0]),
        )

    output, (value, by_derivative), deltas, trace = of_one(run)
    truth, (layers, delta_x, delta_z) = reference.gradients_of_rows(net, params, xs[:1], ys[:1])
    plain = reference.of_rows(net, params, xs[:1])
    np.testing.assert_allclose(output, jax.nn.sigmoid(plain)[0])
    np.testing.assert_allclose(value, truth, rtol=1e-13)
    assert_close(jaxnn.network.unstack(by_derivative), layers)
    assert_close(deltas.a[0], delta_x[0])
    assert_close(deltas.z[1], jnp.concatenate(delta_z[1:-1]))
    z2, z3, z4 = trace.z[1]
    a = [np.maximum(z2, 0), np.tanh(z3 / np.sqrt(np.mean(z3**2))), jax.nn.sigmoid(z4)]
    np.testing.assert_allclose(trace.a[2], a, rtol=1e-12)
    np.testing.assert_allclose(trace.a[1], np.tanh(trace.z[0]), rtol=1e-12)


@pytest.mark.slow
def test_units_are_judged_by_their_own_activation(rng):
    """At z = ±6 a sigmoid is saturated and relu is not, where it is above 0."""
    net = jaxnn.Network((2, 2, 2, 2, 1), ["relu", "sigmoid", "relu"], "binary")
    one = jaxnn.network.Layer(np.eye(2), np.array([6.0, 6.0]))
    off = jaxnn.network.Layer(np.zeros((2, 2)), np.array([6.0, -6.0]))
    params = (off, one, off, jaxnn.network.Layer(np.ones((2, 1)), np.zeros(1)))
    flow = gradient_flow(net, jaxnn.network.stack(params), np.ones((3, 2)), np.ones(3))
    np.testing.assert_array_equal(flow.units.saturated, [0.5, 1, 0.5, 0])
    np.testing.assert_array_equal(flow.units.dead, [0.5, 0, 0.5, 0])


# Parameters


def test_each_layer_is_drawn_from_its_own_distribution(key):
    net = jaxnn.Network((4, 6, 6, 6, 6, 2), "relu", "binary")
    weights, biases = ["ones", "ones", "zeros", "ones", "zeros"], ["zeros"] * 3 + ["ones"] * 2
    first, run, last = jaxnn.init(net, key, weights, biases, stacked=True)
    sums = [float(jnp.sum(theta)) for theta in (first.theta, *run.theta, last.theta)]
    assert sums == [24, 36, 0, 36, 0]
    assert [float(jnp.sum(b)) for b in (first.b, *run.b, last.b)] == [0, 0, 0, 6, 2]


# Theory

SIGMA_W, SIGMA_B = [1.0, 1.5, 0.7, 1.2], [0.3, 0.0, 0.2, 0.1]


def test_theory_follows_the_layers_one_by_one():
    """Against the maps of a single layer: σ of the z that goes in, σ_w and σ_b of its weights."""
    blocks = (HALF, RMS, DENSE)
    of = (ACTIVATIONS, SIGMA_W, SIGMA_B, 2.0, DEPTH)
    q, steps = [1.0**2 * 2.0 + 0.3**2], []
    each = zip(ACTIVATIONS[:-1], SIGMA_W[1:], SIGMA_B[1:], blocks, strict=True)
    for name, sigma_w, sigma_b, hidden in each:
        steps.append(meanfield.chi(name, sigma_w, q[-1], sigma_b=sigma_b, hidden=hidden))
        q.append(meanfield.length_map(name, sigma_w, sigma_b, q[-1], hidden=hidden))
    np.testing.assert_allclose(meanfield.lengths(*of, hidden=blocks), q, rtol=1e-12)
    expected = [sum(0.5 * np.log(steps[i:])) for i in range(DEPTH)]
    np.testing.assert_allclose(
        meanfield.log_delta(*of, hidden=blocks), expected, rtol=1e-12, atol=1e-15
    )


@pytest.mark.slow
def test_the_band_of_layers_that_differ():
    """Of relu and linear units the sum of c/4n of each; equal entries are one for all."""
    sigmas, widths = ["relu", "identity", "relu", "relu"], [50, 60, 70, 80]
    assert len(sigmas) == DEPTH
    band = meanfield.log_delta_band(sigmas, SIGMA_W, 0.0, 1.0, widths, DEPTH)
    expected = 5 / 200 + 2 / 240 + 5 / 280
    np.testing.assert_allclose(band.bias[0], -expected, rtol=1e-12)
    np.testing.assert_allclose(band.sd[0] ** 2, expected, rtol=1e-12)
    once = ("tanh", 1.2, 0.1, 1.0, 50, DEPTH)
    listed = (["tanh"] * DEPTH, [1.2] * DEPTH, np.full(DEPTH, 0.1), 1.0, 50, DEPTH)
    chex.assert_trees_all_equal(
        meanfield.log_delta_band(*listed, hidden=[HALF] * 3),
        meanfield.log_delta_band(*once, hidden=HALF),
    )


# Lists that do not fit

PAIR, FOUR = (3, 4, 4, 1), (3, 4, 4, 5, 1)
MET = jaxnn.Network((3, 4, 4, 4, 1), "tanh", "binary", hidden=[RMS, jaxnn.blocks.BatchNorm()])
REFUSED = """
jaxnn.Network(PAIR, ["tanh"], "binary", hidden=DENSE)
jaxnn.Network(PAIR, ["tanh", "tan"], "binary", hidden=DENSE)
jaxnn.Network(PAIR, ["tanh", 3], "binary", hidden=DENSE)
jaxnn.Network(PAIR, "tanh", "binary", hidden=[RMS, RMS])
jaxnn.Network(PAIR, "tanh", "binary", hidden=[jaxnn.blocks.RMSNorm])
jaxnn.Network(FOUR, "tanh", "binary", hidden=[RMS, HALF])
jaxnn.forward(MET, jaxnn.init(MET, jax.random.key(0)), np.ones(3))
jaxnn.init(jaxnn.Network(PAIR, "tanh", "binary"), jax.random.key(0), ["zeros"] * 2)
jaxnn.init(jaxnn.Network(PAIR, "tanh", "binary"), jax.random.key(0), ["zeros", "zeros", "zero"])
jaxnn.init(jaxnn.Network(PAIR, "tanh", "binary"), jax.random.key(0), ["zeros", 1.0, "zeros"])
jaxnn.init(jaxnn.Network(PAIR, "tanh", "binary"), jax.random.key(0), "zeros", [0.0, -1.0, 0.0])
meanfield.critical_sigma_w(["tanh", "relu"], 0.1)
meanfield.fixed_point("tanh", [1.0, 2.0], 0.1)
meanfield.critical_sigma_w("tanh", [0.1])
meanfield.stationary_chi("tanh", 1.0, hidden=[RMS, DENSE])
meanfield.lengths("tanh", [1.0, 2.0], 0.1, 1.0, 3)
meanfield.lengths("tanh", [1.0, -2.0], 0.1, 1.0, 2)
meanfield.log_delta("tanh", 1.0, 0.1, 1.0, 3, hidden=[RMS])
meanfield.log_delta("tanh", 1.0, 0.1, 1.0, 3, hidden=[DENSE, jaxnn.blocks.BatchNorm()])
meanfield.log_delta_band("tanh", 1.0, 0.1, 1.0, 9, 3, hidden=[HALF, DENSE])
meanfield.log_delta_band("tanh", 1, 0.1, 1, [9, 9, 8], 3, hidden=HALF)
meanfield.log_delta_band("tanh", 1.0, 0.1, 1.0, [9, 8], 3)
"""


def test_lists_that_do_not_fit_are_named(unhooked, snapshot):
    assert refusals(REFUSED, globals()) == snapshot


# Verdicts


def diagnosed(activation, hidden, sigma_w=0.3, count=16):
    net = jaxnn.Network((8, *[16] * count, 2), activation, "regression", hidden=hidden)
    rng = np.random.default_rng(0)
    params = draw_layers(rng, net.sizes, gaussian(sigma_w), 0.0, stacked=True)
    xs, ys = rng.normal(size=(4, 8)), rng.normal(size=(4, 2))
    return jaxnn.verdict(gradient_flow(net, params, xs, ys))


@pytest.mark.slow
def test_a_verdict_says_of_lists_what_it_can():
    """No σ_w makes χ = 1 in layers that differ; other blocks are predicted with their σ."""
    names = ["tanh", "relu"] * 8
    verdict = diagnosed(names, DENSE)
    assert verdict.word == "vanishing"
    assert verdict.network.critical_sigma_w is verdict.network.unbiased_sigma_w is None
    assert verdict.network.sigma_w == pytest.approx(0.3, rel=0.2)
    assert verdict.advice.startswith("With tanh in 8 layers, relu in 8 the gradient has this rate;")
    rates = {remedy.change: remedy.decades for remedy in verdict.remedies}
    block = jaxnn.blocks.Residual(scale=16**-0.5)
    log_delta = meanfield.log_delta(names, verdict.network.sigma_w, 0.0, 1.0, 16, hidden=block)
    assert rates["hidden=jaxnn.blocks.Residual(scale=16**-0.5)"] == pytest.approx(
        float(log_delta[0]) / np.log(10) / 15
    )
    assert not any("σ_w =" in change for change in rates if "tailored" not in change)

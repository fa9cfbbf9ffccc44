"""Norms of gradients; two flows next to each other; states that are recorded together."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from problems import (
    as_dtype,
    draw_layers,
    gaussian,
    gradient_flow,
    mostly_slow,
    of_theta,
    refusals,
)

import jaxnn
from jaxnn.arrays.rows import log_norm
from jaxnn.flow.measure import chain_record
from jaxnn.flow.record import state_record
from jaxnn.flow.record.flow import FlowOptions
from jaxnn.flow.record.state_record import Small


def network(rng, activation, depth, sigma_w=1.0, dtype=jnp.float64, stacked=False):
    """A network 6 - 16 … 16 - 1, its parameters and a batch."""
    net = jaxnn.Network((6, *[16] * depth, 1), activation, "binary")
    params = draw_layers(rng, net.sizes, gaussian(sigma_w), 0.1, dtype, stacked)
    return net, params, jnp.asarray(rng.normal(size=(9, 6)), dtype), jnp.arange(9) % 2


@mostly_slow("activation", ["relu", "sigmoid", "silu"], "relu")
def test_it_measures_the_gradient_of_the_mean_loss(rng, activation):
    """Every number of the flow against JAX's derivatives."""
    net, params, xs, ys = network(rng, activation, 3)
    _, (layers, _, delta_z) = reference.gradients_of_rows(
        net, params, xs, ys[:, None].astype(float)
    )
    trace = jax.jit(jax.vmap(jaxnn.trace, in_axes=(None, None, 0)))(net, params, xs)
    flow = gradient_flow(net, as_run(params), xs, ys)
    for measured, gradients in (
        (flow.log_delta, delta_z),
        (of_theta(flow)[0], [theta for theta, _ in layers]),
        (of_theta(flow)[1], [b for _, b in layers]),
    ):
        norms = [np.linalg.norm(np.ravel(gradient)) for gradient in gradients]
        np.testing.assert_allclose(measured, np.log(norms), rtol=1e-12)
    rows = np.stack([np.linalg.norm(gradient, axis=1) for gradient in delta_z])
    np.testing.assert_allclose(flow.log_delta_example, np.log(rows), rtol=1e-12)
    np.testing.assert_allclose(
        flow.log_gain[:-1], flow.log_delta[:-1] - flow.log_delta[1:], rtol=1e-12
    )
    for measured, value in (
        (flow.units.mean_square_z, [np.mean(np.square(z)) for z in trace.z]),
        (flow.units.mean_a, [np.mean(a) for a in trace.a[1:]]),
        (flow.units.var_a, [np.var(a) for a in trace.a[1:]]),
        (flow.units.mean_square_b, [np.mean(np.square(b)) for _, b in params]),
    ):
        # Of numbers of order 1: a variance of 1e-9 has no more digits than they.
        np.testing.assert_allclose(measured, value, rtol=1e-12, atol=1e-15)
    assert not flow.lost.any()


def as_run(params):
    """Stack the layers between the first and the last: one program for all of them."""
    first, *run, last = params
    return first, jaxnn.network.Layer(*map(np.stack, zip(*run, strict=True))), last


def in_both_floats(net, params, xs, ys, depth=None):
    """The flow in float32, and that of the same numbers in float64."""
    both = ((params, xs), as_dtype((params, xs), jnp.float64))
    return [gradient_flow(net, *arrays, ys, depth=depth) for arrays in both]


def assert_same_logs(flow, exact):
    np.testing.assert_allclose(flow.log_delta, exact.log_delta, rtol=1e-5)
    np.testing.assert_allclose(of_theta(flow)[0], of_theta(exact)[0], rtol=1e-5)
    assert not exact.lost.any()


@pytest.mark.slow
def test_underflow_is_lost_to_plain_backprop_and_not_to_the_flow(rng):
    """Sigmoid, 80 layers: 1e-50 is zero in float32; the flow has it, and says where it was lost."""
    problem = network(rng, "sigmoid", 80, dtype=jnp.float32, stacked=True)
    depth = jnp.array(80)
    flow, exact = in_both_floats(*problem, depth)
    assert_same_logs(flow, exact)
    first, run, last = jaxnn.backprop(*problem, depth=depth)[1]
    plain_is_zero = np.array([not b.any() for b in (first.b, *np.asarray(run.b), last.b)])
    assert plain_is_zero[0]
    assert not plain_is_zero[-1]
    # Plain backprop flushes entry by entry, the flow looks at the largest: they differ by a layer.
    np.testing.assert_array_equal(flow.lost, np.arange(81) < flow.lost.sum())
    assert abs(int(flow.lost.sum()) - plain_is_zero.sum()) <= 2


RELU = jaxnn.network.find_activation("relu")
FALLING = jaxnn.network.Activation("falling", lambda z: -RELU.sigma(z), lambda z: -RELU.prime(z))


@pytest.mark.parametrize(
    "activation",
    ["relu", *(pytest.param(a, marks=pytest.mark.slow) for a in ("sigmoid", "hard_tanh", FALLING))],
    ids=lambda a: getattr(a, "name", a),
)
def test_saturated_and_dead_units_are_counted(rng, activation):
    net, params, xs, ys = network(rng, activation, 3, sigma_w=8.0)
    flow = gradient_flow(net, as_run(params), xs, ys)
    trace = jax.jit(jax.vmap(jaxnn.trace, in_axes=(None, None, 0)))(net, params, xs)
    largest = 0.25 if activation == "sigmoid" else 1
    for z, saturated, dead in zip(
        trace.z[:-1], flow.units.saturated, flow.units.dead, strict=False
    ):
        slope = np.abs(net.activation.prime(z))
        assert saturated == pytest.approx(np.mean(slope < 0.01 * largest))
        assert dead == pytest.approx(np.mean(np.all(slope == 0, axis=0)))
    assert flow.units.saturated[:-1].max() > 0.1
    assert flow.units.saturated[-1] == flow.units.dead[-1] == 0


@pytest.mark.slow
def test_a_cotangent_takes_the_place_of_the_loss(rng):
    net, params, xs, ys = network(rng, "sigmoid", 5)
    y_hat = jax.jit(jax.vmap(jaxnn.forward, in_axes=(None, None, 0)))(net, params, xs)
    cotangent = (np.asarray(y_hat) - np.asarray(ys)[:, None]) / 9
    flow = gradient_flow(net, as_run(params), xs, cotangent=cotangent)
    of_loss = gradient_flow(net, as_run(params), xs, ys)
    assert (flow.given.names, of_loss.given.names) == (("xs", "cotangent"), ("xs",))
    flow, of_loss = (dataclasses.replace(each, given=None) for each in (flow, of_loss))
    chex.assert_trees_all_close(flow, of_loss, rtol=1e-9)
    zero = gradient_flow(net, as_run(params), xs, cotangent=np.zeros_like(cotangent))
    assert np.isneginf(zero.log_delta).all()
    assert np.isneginf(zero.log_theta).all()
    assert not zero.lost.any()


def flow_at(**options):
    """Measure a small network with labels or cotangents that do not go with it."""
    net, params, xs, _ = network(np.random.default_rng(0), "tanh", 1, dtype=jnp.float32)
    return jaxnn.gradient_flow((net, params), xs, **options)


REFUSED = """
flow_at()
flow_at(ys=np.arange(9) % 2, cotangent=np.ones((9, 1), np.float32))
flow_at(cotangent=np.ones((9, 2), np.float32))
"""


def test_what_does_not_go_together_is_named(unhooked, snapshot):
    assert refusals(REFUSED, globals()) == snapshot


@pytest.mark.slow
def test_overflow_is_lost(rng):
    """A factor of 100 a layer backwards, while the signal itself stays small: it starts at zero."""
    net, params, xs, ys = network(rng, "identity", 40, 100.0, jnp.float32, stacked=True)
    unbiased = tuple(layer._replace(b=jnp.zeros_like(layer.b)) for layer in params)
    flow, exact = in_both_floats(net, unbiased, jnp.zeros_like(xs), ys)
    np.testing.assert_allclose(flow.log_delta, exact.log_delta, rtol=1e-5)
    assert flow.lost[0]
    assert not flow.lost[-1]
    assert flow.log_delta[0] > 100


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e-20, 1.0, 1e20, 1e38])
def test_log_norm_over_the_whole_range_of_float32(rng, scale):
    v = rng.normal(size=(30, 4)) * scale
    expected = np.log(np.linalg.norm(np.ravel(v)))
    if scale < np.finfo(np.float32).tiny:  # digits are gone below the normal numbers, or all of it
        assert float(log_norm(jnp.asarray(v, jnp.float32))) <= expected + 1e-3
    else:
        np.testing.assert_allclose(
            log_norm(jnp.asarray(v, jnp.float32)), expected, rtol=1e-6, atol=1e-6
        )


def test_log_norm_at_the_edges():
    assert log_norm(jnp.zeros(3)) == -np.inf
    assert log_norm(jnp.array([1.0, -np.inf])) == np.inf
    assert np.isnan(log_norm(jnp.array([1.0, np.nan, np.inf])))
    assert log_norm(jnp.full(60_000, 2.0, jnp.float16)) == pytest.approx(np.log(2 * 60_000**0.5))


@pytest.mark.slow
def test_lost_on_the_way_is_lost_in_every_layer_below(rng):
    """Five decades a layer down to 10^-50, and up again: in range at the bottom, but gone."""
    net, params, xs, ys = network(rng, "identity", 40, dtype=jnp.float32, stacked=True)
    first, run, last = (layer._replace(b=jnp.zeros_like(layer.b)) for layer in params)
    scales = np.float32([1] * 20 + [1e5] * 10 + [1e-5] * 9)[:, None, None]
    params = (first, run._replace(theta=scales * run.theta), last._replace(theta=1e-5 * last.theta))
    flow = gradient_flow(net, params, jnp.zeros_like(xs), ys)
    assert abs(float(flow.log_largest[0])) < np.log(1e10)
    np.testing.assert_array_equal(flow.lost, np.arange(41) < flow.lost.sum())
    assert 30 < flow.lost.sum() < 35
    assert not jaxnn.backprop(net, params, jnp.zeros_like(xs), ys)[1][0].b.any()


# States of unequal layers, recorded together, have the numbers of each by itself


B, T = 3, 4


def states(p, x):
    """The main arrays of a network with positions, half as many inside, and a skip around those."""
    skip = x @ p[0]
    z = jnp.tanh(skip).reshape(B, T // 2, 2, -1).mean(axis=2)
    inside = []
    for theta in p[1:5]:
        z = jnp.tanh(z) @ theta
        inside.append(z)
    inside[-1] = jnp.concatenate([jnp.repeat(z, 2, axis=1), skip], axis=2)
    joined = inside[-1] @ p[5]
    return [skip, *inside, joined, jnp.tanh(joined).mean(axis=1) @ p[6]]


@pytest.fixture(scope="module")
def flows():
    """The parameters, the examples, and the flow of the same network in both ways."""
    rng = np.random.default_rng(0)
    shapes = [(3, 6), (6, 7), (7, 3), (3, 4), (4, 2), (8, 4), (4, 2)]
    p = [rng.normal(size=shape) for shape in shapes]
    xs = rng.normal(size=(B, T, 3)) + 1
    counts, measured = [], []

    def counted(small, dtype, examples):
        counts.append(len(small))
        return state_record.records_of_small(small, dtype, examples)

    for several in (state_record.SEVERAL, 99):
        with pytest.MonkeyPatch.context() as patch, jax.enable_x64(True):
            jax.clear_caches()  # programs are equal, however they are measured
            patch.setattr(chain_record, "records_of_small", counted)
            patch.setattr(state_record, "SEVERAL", several)
            net, own = jaxnn.as_network((lambda p, x: states(p, x)[-1], p), xs)
            measured.append(jaxnn.gradient_flow((net, own), xs, cotangent=np.ones((B, 2))))
    assert counts == [7, 0]
    return p, xs, *measured


def test_small_states_together_have_the_records_of_each(rng):
    """States of two and three axes, several of one shape."""
    shapes = [(B, 5), (B, T, 2), (B, 2, 3), (B, T, 2)]
    options = FlowOptions(examples=True, memory="all")
    small = [Small(rng.normal(size=shape) + 1) for shape in shapes]

    @jax.jit
    def both(small):
        together = state_record.records_of_small(small, jnp.float64, True)
        return together, [state_record.record_of(*v, jnp.float64, options) for v in small]

    for ours, theirs in zip(*jax.device_get(both(small)), strict=True):
        square = (v.square * 4.0**v.exponent for v in (ours, theirs))
        chex.assert_trees_all_close(*square, rtol=1e-12)
        chex.assert_trees_all_close(ours.spread, theirs.spread, rtol=1e-10)


@pytest.mark.slow
def test_states_together_are_each_by_itself(flows):
    _, _, together, each = flows
    assert together.streams.layers == (1, 2, 2, 3, 3, 4, 4, 5, 6, 7)
    pairs = zip(jax.tree.leaves_with_path(together), jax.tree.leaves_with_path(each), strict=True)
    for (path, v), (other, w) in pairs:
        assert path == other
        np.testing.assert_allclose(v, w, rtol=1e-10, atol=1e-12, err_msg=str(path))


@pytest.mark.slow
def test_states_together_have_the_numbers_of_numpy(flows):
    p, xs, flow, _ = flows

    def log_size(v):
        return 0.5 * np.log(np.mean(v**2))

    for i, state in enumerate(map(np.asarray, states(p, xs))):
        rows = state.reshape(B, -1)
        deviation = rows - rows.mean(axis=0)
        assert flow.log_spread[i] == pytest.approx(log_size(deviation) - log_size(rows), rel=1e-9)
        units = rows / np.linalg.norm(rows, axis=1)[:, None]
        cosine = (np.sum(units @ units.T) - B) / (B * (B - 1))
        assert flow.cosine[i] == pytest.approx(cosine, rel=1e-9)
        values = np.linalg.eigvalsh(deviation @ deviation.T)
        assert flow.rank[i] == pytest.approx(values.sum() ** 2 / np.sum(values**2), rel=1e-9)
        if state.ndim < 3:
            assert np.isnan(flow.log_spread_within[i])
            continue
        within = state - state.mean(axis=1, keepdims=True)
        expected = log_size(within) - log_size(state)
        assert flow.log_spread_within[i] == pytest.approx(expected, rel=1e-9)

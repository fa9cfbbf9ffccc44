"""Kinds of blocks: reverse rules against JAX's own, identities, and `examples/own_block.py`."""

import ast
import contextlib
import io
import re
import runpy
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from problems import (
    as_users_have_jax,
    draw_batch,
    draw_layers,
    gaussian,
    gradient_flow,
    log_norm,
    of_theta,
    optimised,
    refusals,
)

import jaxnn
from jaxnn.arrays.rows import ScaledRows, rounded, with_exponents
from jaxnn.passes.walk import down, up

WIDTH, LAYERS, BATCH = 6, 5, 7

CASES = [  # a kind, an activation and a task
    (jaxnn.blocks.Residual(scale=0.5), "tanh", "binary"),
    (jaxnn.blocks.RMSNorm(eps=0.3), "relu", "multiclass"),
    (jaxnn.blocks.BatchNorm(eps=0.3), "tanh", "regression"),
    (
        jaxnn.blocks.PostNorm(jaxnn.blocks.Residual(jaxnn.blocks.RMSNorm()), norm="layer"),
        "sigmoid",
        "binary",
    ),
]
MORE_CASES = [
    (jaxnn.blocks.Residual(jaxnn.blocks.LayerNorm(eps=0.3), scale=0.1), "gelu", "multiclass"),
    (jaxnn.blocks.Residual(jaxnn.blocks.BatchNorm(eps=0.3)), "relu", "binary"),
    (
        jaxnn.blocks.BatchNorm(
            jaxnn.blocks.RMSNorm(jaxnn.blocks.Residual(jaxnn.blocks.PostNorm()))
        ),
        "sigmoid",
        "regression",
    ),
]


def problem(rng, hidden, activation, task, layers=LAYERS, dtype=jnp.float64, sigma_w=1.3):
    net = jaxnn.Network((4, *[WIDTH] * layers, 2), activation, task, hidden=hidden)
    params = draw_layers(rng, net.sizes, gaussian(sigma_w), 0.2, dtype)
    return net, params, *draw_batch(rng, net, BATCH, dtype)


@jax.jit
def by_hand(net, params, xs, ys):
    """The loss and Δ(θ, b), and the flow in less memory; of a run, which compiles quickly."""
    run = jaxnn.network.stack(params)
    value, gradient = jaxnn.backprop(net, run, xs, ys)
    return value, jaxnn.network.unstack(gradient), gradient_flow(net, run, xs, ys, memory="sqrt")


@jax.jit
def in_other_ways(net, params, xs, ys):
    """Δ(θ, b) of a run with a depth, of one in less memory, and by rule, with Δx."""
    run = jaxnn.network.stack(params)
    _, with_depth = jaxnn.backprop(net, run, xs, ys, depth=jnp.array(LAYERS))
    _, in_less_memory = jaxnn.backprop(net, run, xs, ys, memory="sqrt")
    by_rule, delta_x = jax.grad(jaxnn.passes.mean_loss, argnums=(1, 2))(net, params, xs, ys)
    return [
        jaxnn.network.unstack(with_depth),
        jaxnn.network.unstack(in_less_memory),
        by_rule,
    ], delta_x


def assert_close(ours, theirs):
    """Within 1e-12 of the largest entry of the whole tree: a norm makes some entries zero."""
    ours, theirs = map(jax.tree.leaves, (ours, theirs))
    largest = max(np.max(np.abs(leaf)) for leaf in theirs)
    for leaf, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(leaf, other, rtol=0, atol=1e-12 * largest)


# A layer of each kind in one network, whose program has all of their rules.
SIMPLE = tuple(hidden for hidden, *_ in CASES[:-1]), ("tanh", "tanh", "relu", "tanh"), "binary"


@pytest.mark.parametrize(
    "case",
    [SIMPLE, *(pytest.param(case, marks=pytest.mark.slow) for case in (*CASES, *MORE_CASES))],
    ids=[
        "simple",
        "residual",
        "norm",
        "batch-norm",
        "post-norm",
        *(f"more-{i}" for i in range(len(MORE_CASES))),
    ],
)
def test_the_reverse_rule_is_right(rng, case):
    """The gradient and every Δz of the flow equal JAX's, of a second forward pass."""
    layers = len(case[0]) + 1 if case is SIMPLE else LAYERS
    given = problem(rng, *case, layers=layers)
    truth, (layers, _, delta_z) = reference.gradients_of_rows(*given)
    value, gradient, flow = by_hand(*given)
    np.testing.assert_allclose(value, truth, rtol=1e-13)
    assert_close(gradient, layers)
    log_delta, log_theta = [*map(log_norm, delta_z)], [log_norm(theta) for theta, _ in layers]
    np.testing.assert_allclose(flow.log_delta, log_delta, rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(of_theta(flow)[0], log_theta, rtol=1e-12, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize(("hidden", "activation", "task"), CASES[-1:])
def test_every_way_through_the_walk_has_the_same_gradient(rng, hidden, activation, task):
    """With a depth, in less memory, by the rule of mean_loss, whose Δx is JAX's too."""
    net, params, xs, ys = problem(rng, hidden, activation, task)
    _, (layers, delta_x, _) = reference.gradients_of_rows(net, params, xs, ys)
    gradients, by_rule = in_other_ways(net, params, xs, ys)
    for gradient in gradients:
        assert_close(gradient, layers)
    assert_close(by_rule, delta_x)


def of_every_layer(net, params, xs, delta, wide, exponents):
    """Δz of every layer going down from delta, plain or with exponents, of z too if wide."""
    x, top = ScaledRows(xs), ScaledRows(delta)
    if exponents:
        x, top = with_exponents(x) if wide else x, with_exponents(top)
    _, below = up(net, params, x)
    delta_x, deltas = down(net, params, below, top, lambda step: step.delta)
    return [*deltas, delta_x]


def contracts_across_a_barrier():
    """Tell whether XLA rounds a × b + c once in spite of `numbers.rounded`, as on JAX 0.10."""
    a, b, c = np.random.default_rng(0).normal(size=(3, 99)).astype(np.float32)
    sums = optimised(lambda a, b, c: rounded(a * b) + c)(a, b, c)
    return bool(np.any(np.asarray(sums) != a * b + c))


@pytest.mark.slow
@pytest.mark.parametrize("jitted", [True, False])
@pytest.mark.parametrize("case", CASES[1:])
def test_plain_and_block_floating_point_agree_to_the_last_bit(rng, case, jitted):
    """Within range every Δz is the same number, whether rows have exponents or not."""
    net, params, xs, _ = problem(rng, *case, dtype=jnp.float32)
    delta = jnp.asarray(rng.normal(size=(BATCH, 2)), jnp.float32)
    of = (optimised if jitted else lambda f, **_: f)(of_every_layer, static_argnums=(4, 5))
    wide = net.activation.homogeneous
    if jitted and contracts_across_a_barrier():
        pytest.skip("this XLA contracts a product and a sum across a barrier")
    plain = of(net, params, xs, delta, wide, False)
    blocks = of(net, params, xs, delta, wide, True)
    for p, v in zip(plain, blocks, strict=True):
        value = np.asarray(v.m, np.float64) * 2.0 ** np.asarray(v.e)[:, None]
        np.testing.assert_array_equal(value.astype(np.float32), p.m)


@pytest.mark.parametrize(
    ("hidden", "axis"),
    [(jaxnn.blocks.LayerNorm(eps=0.1), -1), (jaxnn.blocks.BatchNorm(eps=0.1), 0)],
)
def test_deltas_behind_a_norm_sum_to_zero(rng, hidden, axis):
    """Over the units for a layer norm, over the rows for a batch norm, so that Δb is 0 there."""
    net, params, xs, ys = problem(rng, hidden, "tanh", "binary")
    deltas = jax.jit(of_every_layer, static_argnums=(4, 5))(net, params, xs, ys, False, False)
    for delta in (np.asarray(rows.m) for rows in deltas[: LAYERS - 1]):
        assert np.max(np.abs(delta)) > 1e-3
        np.testing.assert_allclose(delta.sum(axis=axis), 0, atol=1e-14)


# Beyond the range of a float


@pytest.mark.slow
def test_a_signal_that_shrinks_past_a_skip_is_measured(rng):
    """z′ = ½ z - ½ f(z): exponents have to follow. Against NumPy's float64, which holds it."""
    halving = jaxnn.blocks.Residual(jaxnn.blocks.Residual(), scale=-0.5)
    net = jaxnn.Network((4, *[8] * 300, 1), "relu", "regression", hidden=halving)
    params = draw_layers(rng, net.sizes, gaussian(1.0), 0.0, jnp.float32, stacked=True)
    xs, top = rng.normal(size=(2, 4)).astype(np.float32), np.ones((2, 1), np.float32)
    flow = gradient_flow(net, params, xs, cotangent=top)
    (theta, _), (run, _), (theta_l, _) = jax.tree.map(lambda v: np.asarray(v, float), params)
    z, deltas = [xs @ theta], [top.astype(float)]
    for weights in run:
        z.append(z[-1] / 2 - np.maximum(z[-1], 0) @ weights / 2)
    deltas.append((top @ theta_l.T) * (z[-1] > 0))
    for weights, below in zip(run[::-1], z[-2::-1], strict=True):
        deltas.append(deltas[-1] / 2 - (deltas[-1] @ weights.T / 2) * (below > 0))
    signal = [2 * np.log(np.linalg.norm(v)) - np.log(v.size) for v in z]
    log_delta = [np.log(np.linalg.norm(delta)) for delta in deltas[::-1]]
    assert min(*signal, *log_delta) < -110, "float32 ends at 10^-45, e^-104"
    np.testing.assert_allclose(flow.log_mean_square[:-1], signal, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(flow.log_delta, log_delta, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "hidden", [jaxnn.blocks.RMSNorm(), jaxnn.blocks.LayerNorm(), jaxnn.blocks.BatchNorm()]
)
def test_a_norm_knows_no_size(rng, hidden):
    """N(cz) = N(z), and Δz is smaller by c, also where squares leave the range of the float."""
    net, params, xs, ys = problem(rng, hidden, "tanh", "regression", dtype=jnp.float32)
    first, *others = params
    plain = gradient_flow(net, params, xs, ys)
    for size in np.float32([2.0**-100, 2.0**100]):
        scaled = jaxnn.network.Layer(first.theta * size, first.b * size)
        other = gradient_flow(net, (scaled, *others), xs, ys)
        np.testing.assert_allclose(other.log_delta[1:], plain.log_delta[1:], rtol=1e-6)
        np.testing.assert_allclose(other.log_delta[0], plain.log_delta[0] - np.log(size), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "hidden", [jaxnn.blocks.RMSNorm(), jaxnn.blocks.LayerNorm(), jaxnn.blocks.BatchNorm()]
)
def test_what_is_constant_becomes_zero_and_lets_nothing_through(rng, hidden):
    """Zero weights: N(0) = 0, Δz = 0, and no nan."""
    net, params, xs, ys = problem(rng, hidden, "tanh", "regression", dtype=jnp.float32)
    first, *others = params
    params = (jaxnn.network.Layer(jnp.zeros_like(first.theta), jnp.zeros_like(first.b)), *others)
    flow = gradient_flow(net, params, xs, ys)
    assert np.isneginf(flow.log_delta[0])
    gradient = jax.tree.leaves(jaxnn.backprop(net, params, xs, ys)[1])
    assert all(np.isfinite(leaf).all() for leaf in gradient)


# Refusals


NORMED = jaxnn.Network((4, 6, 6, 2), "tanh", "binary", hidden=jaxnn.blocks.BatchNorm())
PARAMS = [(np.ones((n, m)), np.zeros(m)) for n, m in pairwise(NORMED.sizes)]
X, Y = np.ones(4), np.ones(2)
REFUSED = """
jaxnn.forward(NORMED, PARAMS, X)
jaxnn.trace(NORMED, PARAMS, X)
jaxnn.passes.loss(NORMED, PARAMS, X, Y)
jaxnn.deltas(NORMED, PARAMS, X, Y)
jaxnn.Network((3, 4, 5, 1), "tanh", "binary", hidden=jaxnn.blocks.Residual())
jaxnn.blocks.Residual(scale=np.nan)
jaxnn.blocks.RMSNorm(eps=-1.0)
jaxnn.blocks.PostNorm(norm="batch")
jaxnn.Network((3, 4, 1), "tanh", "binary", hidden="residual")
jaxnn.Network((3, 4, 1), "tanh", "binary", hidden=jaxnn.blocks.Residual)
"""


def test_what_cannot_stand_somewhere_says_so(unhooked, snapshot):
    assert refusals(REFUSED, globals()) == snapshot


# The block of examples/own_block.py, of what is public


FILE = Path(__file__).parent.parent / "examples" / "own_block.py"
GATE = 0.7
OF_OWN = (4, 6, 6, 6, 2)


@pytest.fixture(scope="module")
def script():
    with as_users_have_jax():
        return SimpleNamespace(**runpy.run_path(str(FILE)))


def test_only_public_names_are_used():
    public = {"jaxnn": jaxnn.__all__, "jaxnn.blocks": jaxnn.blocks.__all__}
    tree = ast.parse(FILE.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("jaxnn"):
            assert {alias.name for alias in node.names} <= {*public[node.module]}
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "jaxnn":
            assert node.attr in jaxnn.__all__


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_gradient_and_the_flow_are_those_of_jax(script, rng, activation):
    """In float64; the plain network has no line of the block, and JAX differentiates it."""
    net = jaxnn.Network(OF_OWN, activation, "regression", hidden=script.ConstantGate(GATE))
    shapes = list(pairwise(OF_OWN))
    params = [(rng.normal(size=shape), rng.normal(size=shape[1])) for shape in shapes]
    xs, ys = rng.normal(size=(5, 4)), rng.normal(size=(5, 2))
    with jax.numpy_rank_promotion("allow"):
        by_jax = jax.jit(jax.value_and_grad(script.plain_loss), static_argnums=3)
        value, gradient = by_jax(params, xs, ys, getattr(jax.nn, activation), GATE)
    ours = jaxnn.backprop(net, params, xs, ys)
    np.testing.assert_allclose(ours[0], value, rtol=1e-13)
    for one, other in zip(*map(jax.tree.leaves, (ours[1], gradient)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)
    flow = jaxnn.gradient_flow((net, params), xs, ys)
    sizes = [np.log(np.linalg.norm(v)) for v in jax.tree.leaves(gradient)]
    np.testing.assert_allclose(flow.parameters.log_delta, sizes, rtol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_its_theory_is_that_of_a_residual_block_of_another_scale(script, activation):
    """z′ = g z + (1 - g) f(z) is g (z + c f(z)) with c = (1 - g) / g."""
    gate, residual = script.ConstantGate(GATE), jaxnn.blocks.Residual(scale=(1 - GATE) / GATE)
    of = jaxnn.theory.Ensemble(jaxnn.network.find_activation(activation), 1.3, 0.4)
    q, c = 0.8, 0.3
    for name in ("length", "covariance", "factor", "tangent"):
        arguments = (of, q) if name == "length" else (of, q, c)
        value, other = (getattr(block, name)(*arguments) for block in (gate, residual))
        np.testing.assert_allclose(value, GATE**2 * other, rtol=1e-12)
    assert gate.skip_gain(of, q) == pytest.approx(GATE * residual.skip_gain(of, q))


@pytest.mark.slow
def test_what_it_prints(script):
    printed = io.StringIO()
    with as_users_have_jax(), contextlib.redirect_stdout(printed):
        runpy.run_path(str(FILE), run_name="__main__")
    first, *lines = printed.getvalue().splitlines()
    assert float(re.search(r"jax.grad: (\S+)", first)[1]) < 1e-6
    for line in lines:
        measured, predicted = map(float, re.findall(r"-\d+\.\d+", line))
        assert measured == pytest.approx(predicted, rel=0.02)

"""Kinds of blocks: each reverse rule against JAX's own, finite differences and identities."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from problems import draw_batch, draw_layers, gaussian, gradient_flow, of_theta, optimised

import jaxnn
from jaxnn.arrays.rows import (
    ScaledRows,
    matmul,
    outer,
    rounded,
    scaled,
    shifted,
    sum_rows,
    with_exponents,
)
from jaxnn.network.activations import apply_activation
from jaxnn.network.blocks import Gradient
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


@jax.jit
def by_both(problems):
    """One program for all networks of a table: it compiles faster than one each."""
    return [(reference.gradients_of_rows(*v), by_hand(*v)) for v in problems]


# The last of the CASES goes every way through the walk below.
@pytest.mark.parametrize(
    "cases",
    [CASES[:-1], *(pytest.param([c], marks=pytest.mark.slow) for c in (CASES[-1], *MORE_CASES))],
    ids=["simple", "post-norm", *(f"more-{i}" for i in range(len(MORE_CASES)))],
)
def test_the_reverse_rule_is_right(rng, cases):
    """The gradient and every Δz of the flow equal JAX's, of a second forward pass."""
    for (truth, (layers, _, delta_z)), ours in by_both([problem(rng, *case) for case in cases]):
        value, gradient, flow = ours
        np.testing.assert_allclose(value, truth, rtol=1e-13)
        assert_close(gradient, layers)
        with np.errstate(divide="ignore"):
            log_delta = [np.log(np.linalg.norm(delta)) for delta in delta_z]
            log_theta = [np.log(np.linalg.norm(theta)) for theta, _ in layers]
        np.testing.assert_allclose(flow.log_delta, log_delta, rtol=1e-12, atol=1e-11)
        np.testing.assert_allclose(of_theta(flow)[0], log_theta, rtol=1e-12, atol=1e-11)


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


@pytest.mark.parametrize("jitted", [pytest.param(True, marks=pytest.mark.slow), False])
@pytest.mark.parametrize(("hidden", "activation", "task"), CASES[1:])
def test_plain_and_block_floating_point_agree_to_the_last_bit(
    rng, hidden, activation, task, jitted
):
    """Within range every Δz is the same number, whether rows have exponents or not."""
    net, params, xs, _ = problem(rng, hidden, activation, task, dtype=jnp.float32)
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


def deep(rng, hidden, activation):
    """600 hidden layers in float32, as a run."""
    net = jaxnn.Network((4, *[WIDTH] * 600, 2), activation, "regression", hidden=hidden)
    params = draw_layers(rng, net.sizes, gaussian(2**0.5), 0.2, jnp.float32, stacked=True)
    return net, params, *draw_batch(rng, net, BATCH, jnp.float32)


@pytest.mark.slow
def test_a_residual_network_explodes_in_signal_and_gradient(rng):
    """Beyond float32; against the same in NumPy's float64, which holds it."""
    net, params, xs, ys = deep(rng, jaxnn.blocks.Residual(), "identity")
    flow = jaxnn.gradient_flow((net, params), xs, ys)
    wide = jax.tree.map(lambda v: np.asarray(v, np.float64), (params, xs, ys))
    ((theta, b), run, (theta_l, b_l)), xs, ys = wide
    between, z = list(zip(*run, strict=True)), [xs @ theta + b]
    for theta, b in between:
        z.append(z[-1] + z[-1] @ theta + b)
    deltas = [(z[-1] @ theta_l + b_l - ys) / BATCH]
    deltas.append(deltas[-1] @ theta_l.T)
    for theta, _ in reversed(between):
        deltas.append(deltas[-1] + deltas[-1] @ theta.T)
    sizes = [np.max(np.abs(delta)) for delta in deltas]  # whose squares leave float64
    log_delta = [
        np.log(size) + np.log(np.linalg.norm(delta / size))
        for size, delta in zip(sizes[::-1], deltas[::-1], strict=True)
    ]
    out_of_range = np.log(float(np.finfo(np.float32).max))
    assert np.ptp(log_delta) > out_of_range
    assert np.log(np.max(np.abs(z[-1]))) > out_of_range
    np.testing.assert_allclose(flow.log_delta, log_delta, rtol=1e-4, atol=1e-3)


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
def test_float32_measures_what_only_float64_can_hold():
    net, run, xs, ys = deep(np.random.default_rng(2), jaxnn.blocks.RMSNorm(), "sigmoid")
    wide = jax.tree.map(lambda v: v.astype(jnp.float64), (run, xs, ys))
    exact, flow = gradient_flow(net, *wide), gradient_flow(net, run, xs, ys)
    assert np.ptp(exact.log_delta) > np.log(float(np.finfo(np.float32).max))
    np.testing.assert_allclose(flow.log_delta, exact.log_delta, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "hidden",
    [
        pytest.param(jaxnn.blocks.RMSNorm(), marks=pytest.mark.slow),
        jaxnn.blocks.LayerNorm(),
        pytest.param(jaxnn.blocks.BatchNorm(), marks=pytest.mark.slow),
    ],
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
    "hidden",
    [
        pytest.param(jaxnn.blocks.RMSNorm(), marks=pytest.mark.slow),
        jaxnn.blocks.LayerNorm(),
        jaxnn.blocks.BatchNorm(),
    ],
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


@pytest.mark.slow
def test_the_spectrum_is_that_of_jax_s_jacobian(rng):
    """The singular values of ∂z[L]/∂z[1] of a network with a norm in each branch."""
    hidden = jaxnn.blocks.Residual(jaxnn.blocks.LayerNorm(), scale=0.5)
    net, params, xs, _ = problem(rng, hidden, "tanh", "regression")

    def z(z1, params):
        *between, (theta, b) = params[1:]
        for layer in between:
            z1 = reference.apply(hidden, jnp.tanh, *layer, z1)
        return jnp.tanh(z1) @ theta + b[None]

    theta, b = params[0]
    jacobians = jax.jit(jax.vmap(jax.jacobian(lambda z1: z(z1[None], params)[0])))
    by_jax = jacobians(xs @ theta + b[None])
    expected = np.linalg.svd(by_jax, compute_uv=False)
    measured = jaxnn.spectrum((net, jaxnn.network.stack(params)), xs)
    np.testing.assert_allclose(np.exp(measured.log_singular_values), expected, rtol=1e-11)


# Blocks of a user's own, and refusals


@dataclass(frozen=True)
class Halved:
    """z′ = ½ (σ(z) θ + b), as somebody else would write it; a and σ′ are saved for the way down."""

    def forward(self, sigma, layer, z):
        """½ of the article's layer, and a, with exponents if z has them, and σ′, without."""
        a = apply_activation(sigma, z)
        saved = a, ScaledRows(sigma.prime(z.m))
        return scaled(shifted(matmul(a, layer.theta), layer.b), 0.5), saved

    def backward(self, sigma, layer, z, saved, delta):
        """The article's rule, from ½ Δz′."""
        (a, slope), half = saved, scaled(delta, 0.5)
        delta_a = matmul(half, layer.theta.T)
        return Gradient(outer(a, half), sum_rows(half), delta_a), scaled(delta_a, slope.m)

    def preactivation(self, z):
        """σ is taken of z."""
        return z


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_block_of_the_user_s_own(rng, activation):
    """½ in the block is ½ in the weights."""
    net, params, xs, ys = problem(rng, Halved(), activation, "binary")
    params = jaxnn.network.stack(params)
    first, run, last = params
    halved = (first, jaxnn.network.Layer(run.theta / 2, run.b / 2), last)
    dense = jaxnn.Network(net.sizes, activation, "binary")
    flows = gradient_flow(net, params, xs, ys), gradient_flow(dense, halved, xs, ys)
    np.testing.assert_allclose(flows[0].log_delta, flows[1].log_delta, rtol=1e-12)
    of_half = of_theta(flows[1])[0].at[1:-1].add(-np.log(2))  # ∂loss/∂(θ/2) is 2 ∂loss/∂θ
    np.testing.assert_allclose(of_theta(flows[0])[0], of_half, rtol=1e-12)
    np.testing.assert_allclose(flows[0].units.saturated, flows[1].units.saturated)


def test_one_example_has_no_batch(rng, unhooked):
    net, params, xs, ys = problem(
        rng, jaxnn.blocks.Residual(jaxnn.blocks.BatchNorm()), "tanh", "binary"
    )
    for call in (
        lambda: jaxnn.forward(net, params, xs[0]),
        lambda: jaxnn.trace(net, params, xs[0]),
        lambda: jaxnn.passes.loss(net, params, xs[0], ys[0]),
        lambda: jaxnn.deltas(net, params, xs[0], ys[0]),
    ):
        with pytest.raises(
            ValueError, match=r"^hidden: Residual\(.*\) takes its statistics from a"
        ):
            call()


REFUSED = {
    ValueError: {
        (
            r"^hidden: Residual\(.*\) stands between hidden layers of one width, got the widths 4"
        ): lambda: jaxnn.Network((3, 4, 5, 1), "tanh", "binary", hidden=jaxnn.blocks.Residual()),
        "^scale: expected a finite number": lambda: jaxnn.blocks.Residual(scale=np.nan),
        "^eps: expected a finite number >= 0": lambda: jaxnn.blocks.RMSNorm(eps=-1.0),
        "^norm: expected 'rms' or 'layer'": lambda: jaxnn.blocks.PostNorm(norm="batch"),
    },
    TypeError: {
        r"^hidden: expected a block such as jaxnn.blocks.Residual\(\), got 'residual'": lambda: (
            jaxnn.Network((3, 4, 1), "tanh", "binary", hidden="residual")
        ),
        "^hidden: expected a block such as": lambda: jaxnn.Network(
            (3, 4, 1), "tanh", "binary", hidden=jaxnn.blocks.Residual
        ),
    },
}


@pytest.mark.parametrize(("error", "sentence"), [(e, m) for e in REFUSED for m in REFUSED[e]])
def test_what_cannot_stand_somewhere_says_so(error, sentence, unhooked):
    with pytest.raises(error, match=sentence):
        REFUSED[error][sentence]()

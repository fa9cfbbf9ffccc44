"""The forward pass in block floating point, beyond a float's range, and in a memory of √L."""

from functools import partial

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import reference
from jax import lax
from problems import (
    as_dtype,
    draw_batch,
    draw_layers,
    gaussian,
    gradient_flow,
    log_norm,
    mostly_slow,
    of_theta,
    optimised,
    refusals,
)

import jaxnn
from jaxnn.arrays.rows import ScaledRows, with_exponents
from jaxnn.flow.measure.flow_of_net import flow_of_net
from jaxnn.flow.measure.network_flow import output_of
from jaxnn.network.activations import apply_activation
from jaxnn.passes.walk import up

LAYERS, WIDTH, BATCH = 16, 8, 5
SIGMA_W = 1e5  # a layer: float32 ends after seven of them, float64 holds them all
LARGEST = float(np.log(np.finfo(np.float32).max))

# Log-norms of float32 against float64: 16 layers, each with a few roundings of 6e-8, and a
# logarithm of some hundreds that is a float32 itself.
SINGLE = {"rtol": 1e-6, "atol": 2e-5}


def problem(rng, activation="relu", task="regression", sigma_w=SIGMA_W, sigma_b=0.0):
    """A network 6 - 8 - 8 … 8 - 3 with a run, its parameters in float32, and a batch."""
    net = jaxnn.Network((6, *[WIDTH] * LAYERS, 3), activation, task)
    params = draw_layers(rng, net.sizes, gaussian(sigma_w), sigma_b, jnp.float32, stacked=True)
    return net, params, *draw_batch(rng, net, BATCH, jnp.float32)


def wide(tree):
    return as_dtype(tree, jnp.float64)


def log_mean_square(v):
    return 2 * log_norm(v) - np.log(v.size)


@jax.jit
def _by_autodiff(net, params, xs, ys):
    """The gradients by params and by a shift of each z, and z itself; of a run (k, …) each."""

    def mean_loss(params, shifts):
        one = partial(reference.loss, net.activation.name, net.task.name, params)
        return jnp.mean(jax.vmap(lambda x, y, shift: one(x, y, shift_z=shift))(xs, ys, shifts))

    def layer(a, values):
        z = a @ values[0] + values[1][None]
        return reference.SIGMA[net.activation.name](z), z

    shifts = tuple(jnp.zeros((BATCH, *b.shape)) for _, b in params)
    layers, delta_z = jax.grad(mean_loss, argnums=(0, 1))(params, shifts)
    a, zs = xs, []
    for values in params:
        a, z = layer(a, values) if values[0].ndim == 2 else lax.scan(layer, a, tuple(values))
        zs.append(z)
    return layers, [jnp.moveaxis(v, 0, -2) for v in delta_z], zs


def by_autodiff(net, params, xs, ys):
    """Δ(θ, b), Δz and z of every layer, all by JAX in float64."""
    layers, *rows = jax.device_get(_by_autodiff(net, *wide((params, xs, ys))))
    return [*unstacked(layers)], *map(apart, rows)


def unstacked(params):
    """θ and b of every layer, without compiling."""
    for theta, b in params:
        yield from zip(theta, b, strict=True) if theta.ndim == 3 else [(theta, b)]


def assert_agree(flow, layers, delta_z, z, **tolerance):
    log_delta = np.array([log_norm(delta) for delta in delta_z])
    np.testing.assert_allclose(flow.log_delta, log_delta, **tolerance)
    log_theta = [log_norm(theta) for theta, _ in layers]
    np.testing.assert_allclose(of_theta(flow)[0], log_theta, **tolerance)
    # A sum over examples has no more digits than its terms, however small it comes out.
    log_b = np.array([log_norm(b) for _, b in layers])
    some = np.isfinite(log_b)
    np.testing.assert_array_equal(of_theta(flow)[1][~some], log_b[~some])
    off = np.abs(np.asarray(of_theta(flow)[1], np.float64)[some] - log_b[some])
    off /= np.exp(log_delta[some] - log_b[some])
    np.testing.assert_array_less(off, tolerance["atol"] + tolerance["rtol"] * abs(log_b[some]))
    rows = [[log_norm(row) for row in delta] for delta in delta_z]
    np.testing.assert_allclose(flow.log_delta_example, rows, **tolerance)
    with np.errstate(divide="ignore"):
        largest = [np.log(np.max(np.abs(delta))) for delta in delta_z]
    np.testing.assert_allclose(flow.log_largest, largest, **tolerance)
    squares = [log_mean_square(v) for v in z]
    np.testing.assert_allclose(flow.log_mean_square, squares, **tolerance)


# Beyond float32, within float64


@pytest.mark.slow
def test_float32_measures_what_only_float64_can_hold(rng):
    """Signals that explode, vanish, or meet biases of any size, against JAX in float64."""
    for sigma_w, sigma_b in ((1e5, 1.0), (1e5, 1e30), (1e-5, 0.0), (1e-5, 1e-25), (1e-5, 0.5)):
        net, params, xs, ys = problem(rng, "leaky_relu", "multiclass", sigma_w, sigma_b)
        exact = by_autodiff(net, params, xs, ys)
        flow = gradient_flow(net, params, xs, ys)
        assert_agree(flow, *exact, **SINGLE)
        assert np.isfinite(flow.log_delta).all()
        out = flow.log_mean_square > LARGEST
        np.testing.assert_array_equal(np.isposinf(flow.units.mean_square_z), out)
        assert out.any() == (sigma_w > 1)
        if sigma_w > 1:
            assert np.max(np.abs(exact[2][-1])) > 1e60
        if sigma_b == 0:
            assert np.max(np.abs(exact[2][-1])) < 1e-60
            assert not flow.units.mean_square_z[-1]


@pytest.mark.slow
@pytest.mark.parametrize("sigma_w", [1e5, 1e-5])
def test_moments_are_floats_as_far_as_there_are_any(rng, sigma_w):
    """Those of float64, rounded to float32: inf above its range, 0 below its normal numbers."""
    net, params, xs, ys = problem(rng, sigma_w=sigma_w)
    flow = gradient_flow(net, params, xs, ys)
    *_, z = by_autodiff(net, params, xs, ys)
    a = [*map(reference.SIGMA["relu"], z[:-1]), z[-1]]
    tiny = float(np.finfo(np.float32).tiny)
    for measured, exact in (
        (flow.units.mean_square_z, [np.mean(np.square(v)) for v in z]),
        (flow.units.mean_a, [np.mean(v) for v in a]),
        (flow.units.var_a, [np.var(v) for v in a]),
    ):
        with np.errstate(over="ignore", under="ignore"):
            rounded = np.asarray(exact).astype(np.float32)
        # A mean may cancel: 1e-4 leaves room for that.
        np.testing.assert_allclose(measured, rounded, rtol=1e-4, atol=tiny)
        assert np.isinf(rounded[-1]) == (sigma_w > 1)
    dead = [np.mean(np.all(v < 0, axis=0)) for v in z[:-1]]
    np.testing.assert_allclose(flow.units.dead[:-1], dead, rtol=1e-6)


# Beyond float64


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "sigma_b"), [(20.0, 1.0), (0.05, 0.0)])
def test_two_thousand_layers_against_200_bits(rng, scale, sigma_b):
    """Log-norms of every Δz and Δθ and of z, where the last z is beyond 10^±1000."""
    net = jaxnn.Network((4, *[4] * 2000, 1), "relu", "regression")
    # Weights that leave some unit of a small layer on: relu would soon be off for good.
    weights = lambda rng, n, m: scale * rng.uniform(-0.25, 1.0, (n, m))  # noqa: E731
    params = draw_layers(rng, net.sizes, weights, sigma_b, jnp.float32, stacked=True)
    x = jnp.asarray(rng.uniform(1, 2, 4), jnp.float32)
    flow = gradient_flow(net, params, x[None], jnp.ones(1, jnp.float32))
    layers, relu = [*unstacked(params)], lambda z: max(z, mpmath.mpf(0))
    exact = reference.exact_flow(layers, x, relu, lambda z: int(z > 0), lambda z: z - 1)
    log_delta, log_theta, log_square = exact
    assert abs(log_square[-1]) > 2 * np.log(10) * 1000
    assert abs(log_delta[0]) > np.log(10) * 1000
    assert abs(log_delta[-1]) > np.log(10) * 1000 or scale < 1  # Δz[L] = z[L] - 1
    close = {"rtol": 1e-6, "atol": 1e-4}  # 2,000 layers of roundings
    np.testing.assert_allclose(flow.log_mean_square, log_square, **close)
    np.testing.assert_allclose(flow.log_delta, log_delta, **close)
    np.testing.assert_allclose(of_theta(flow)[0], log_theta, **close)


# Within the range


@pytest.mark.parametrize(
    ("activation", "dtype"),
    [("relu", jnp.float32), pytest.param("leaky_relu", jnp.float64, marks=pytest.mark.slow)],
)
def test_within_range_the_signal_is_the_plain_one_to_the_last_bit(rng, activation, dtype):
    """Rows of very different sizes, biases that dominate some of them."""
    net = jaxnn.Network((6, *[16] * 4, 2), activation, "regression")
    params = draw_layers(rng, net.sizes, gaussian(2**0.5), 0.1, dtype)
    sizes = jnp.array([1e-6, 1e-3, 1.0, 1e3, 1e6], dtype)[:, None]
    xs = draw_batch(rng, net, 5, dtype)[0] * sizes

    @optimised
    def blocked(params, xs):
        top, saved = up(net, params, with_exponents(ScaledRows(xs)))
        hidden = [layer.z for layer in saved[1:]]
        return (
            [*hidden, top],
            [output_of(net, top).m],
            [apply_activation(net.activation, v) for v in hidden],
        )

    trace = optimised(jax.vmap(jaxnn.trace, in_axes=(None, None, 0)))(net, params, xs)
    z, y_hat, a = blocked(params, xs)

    def values(v):
        return (np.asarray(v.m, np.float64) * 2.0 ** np.asarray(v.e)[:, None]).astype(dtype)

    for v, expected in zip(z, trace.z, strict=True):
        np.testing.assert_array_equal(values(v), expected)
        np.testing.assert_array_equal(net.activation.prime(v.m), net.activation.prime(expected))
    for v, expected in zip(a, trace.a[1:-1], strict=True):
        np.testing.assert_array_equal(values(v), expected)
    np.testing.assert_array_equal(values(z[-1]._replace(m=y_hat[0])), trace.a[-1])
    assert len({int(e) for e in z[0].e}) > 2


@pytest.mark.slow
def test_a_signal_in_range_and_one_scaled_out_of_it_flow_alike(rng):
    """Without biases, x times a power of two is z times it: no digit of any number may change.

    In range (2^±42) a run is computed without exponents, out of it with them.
    """
    net, params, xs, cotangent = problem(rng, "relu", sigma_w=1.5)
    xs = xs.at[3].set(0)  # an example whose units are all off
    flow_of = optimised(flow_of_net)
    plain = flow_of(net, params, xs, cotangent=cotangent)
    for power in (-100, -30, 30, 100):
        scaled = flow_of(net, params, xs * np.float32(2.0**power), cotangent=cotangent)
        shift = power * np.log(2)
        np.testing.assert_array_equal(scaled.log_largest, plain.log_largest)
        np.testing.assert_array_equal(scaled.log_delta, plain.log_delta)
        thetas = np.asarray(of_theta(plain)[0], np.float64) + shift
        np.testing.assert_allclose(of_theta(scaled)[0], thetas, rtol=1e-6)
        squares = np.asarray(scaled.log_mean_square, np.float64) - 2 * shift
        np.testing.assert_allclose(squares, plain.log_mean_square, rtol=1e-6, atol=1e-5)
        mean_a = np.asarray(scaled.units.mean_a, np.float64) / 2.0**power
        np.testing.assert_allclose(mean_a, plain.units.mean_a, rtol=1e-5, atol=1e-6)


def apart(tree):
    """Rows of every layer in float64, those of a run one after the other."""
    entries = (np.asarray(rows, np.float64) for rows in tree)
    return [rows for entry in entries for rows in (entry if entry.ndim == 3 else [entry])]


# Memory


def run_of(rng, k, activation):
    """A network with a run of k layers, its parameters in float32, and a batch."""
    net = jaxnn.Network((5, *[8] * (k + 1), 2), activation, "binary")
    params = draw_layers(rng, net.sizes, gaussian(1.5), 0.2, jnp.float32, stacked=True)
    return net, params, *draw_batch(rng, net, 3, jnp.float32)


# What is compared to the last bit is compiled as a user's program is.
optimised_flow = optimised(flow_of_net, static_argnames="memory")


def assert_same(ours, theirs):
    """The largest entries and the counts to the last bit.

    The sums of the other fields a compiler may take in another order for another program, and on
    some processors it does. A gain has the last digits of the two logarithms that it is between.
    """
    between = 1e-6 * np.nanmax(np.abs(theirs.log_delta))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)  # with all that is static
    for (path, one), other in zip(
        jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True
    ):
        name = path[-1].name
        if name in ("log_largest", "saturated", "dead", "lost", "mixes", "linear"):
            np.testing.assert_array_equal(one, other, err_msg=name)
        else:
            atol = between if name == "log_gain" else 1e-6
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=atol, err_msg=name)


@pytest.mark.slow
def test_less_memory_changes_nothing(rng):
    """With a traced depth: none, one, part of a segment, whole segments, all."""
    problem = run_of(rng, 10, "tanh")
    for depth in (1, 2, 6, 5, 10, 11):
        every, few = (
            optimised_flow(*problem, depth=jnp.array(depth), memory=memory)
            for memory in ("all", "sqrt")
        )
        assert_same(few, every)
        assert np.isfinite(every.log_delta).sum() == depth + 1
        assert np.isfinite(every.log_mean_square).sum() == depth + 1


def held(layers, memory, lazy=False):
    """Bytes that the compiled program asks for beyond its arguments and results.

    They are assigned before the optimisation that the suite does without.
    """
    net = jaxnn.Network((HELD_WIDTH, *[HELD_WIDTH] * layers, 1), "sigmoid", "binary")
    init = partial(jaxnn.init, net, dtype=jnp.float32, stacked=True, lazy=lazy)
    params = (partial(jax.eval_shape, init) if not lazy else init)(jax.random.key(0))
    xs, ys = jnp.ones((HELD_BATCH, HELD_WIDTH), jnp.float32), jnp.ones(HELD_BATCH, int)
    program = gradient_flow.lower(net, params, xs, ys, memory=memory).compile()
    return program.memory_analysis().temp_size_in_bytes


HELD_BATCH, HELD_WIDTH = 32, 128


@pytest.mark.slow
@pytest.mark.usefixtures("unhooked")
def test_less_memory_is_less():
    every, few = (held(4096, memory) for memory in ("all", "sqrt"))
    of_z = 4 * HELD_BATCH * HELD_WIDTH  # bytes a layer
    assert every > 4096 * of_z
    # √4096 = 64, less the records; the weights of a segment have a room of their own.
    segment = 64 * 4 * HELD_WIDTH * HELD_WIDTH
    assert few - segment < every / 20


@pytest.mark.slow
@pytest.mark.usefixtures("unhooked")
def test_less_memory_grows_with_the_root_of_the_depth():
    """A factor 2 for each 4, and room for the records, whose few numbers a layer grow by 4.

    Also where a segment's weights are drawn.
    """
    few = [held(layers, "sqrt", lazy=True) for layers in (256, 4096)]
    assert few[1] / few[0] < 2.6**2


# Out of range


@pytest.mark.slow
def test_any_other_activation_may_leave_the_range(rng):
    """10⁶ a layer: the mean square of z is no float32 from layer 4 on, z itself from layer 7.

    So z[L] itself is none; under jit no sentence is said.
    """
    net = jaxnn.Network((4, *[8] * 8, 1), "selu", "regression")
    params = draw_layers(rng, net.sizes, gaussian(1e6), 0.1, jnp.float32, stacked=True)
    xs, ys = draw_batch(rng, net, 3, jnp.float32)
    a, expected = np.asarray(xs, np.float64), []
    for theta, b in unstacked(jax.device_get(wide(params))):
        z = a @ theta + b
        expected.append(log_mean_square(z))
        a = np.asarray(reference.SIGMA["selu"](z))
    expected = np.array(expected)
    first = int(np.argmax(expected > LARGEST))
    assert 2 <= first <= 4
    flow = gradient_flow(net, params, xs, ys)
    np.testing.assert_allclose(flow.log_mean_square[:first], expected[:first], **SINGLE)
    assert np.isposinf(flow.log_mean_square[first:]).all()
    assert np.isnan(flow.log_delta).all()


SMALL = jaxnn.Network((4, 8, 8, 2), "relu", "binary")


def of_small(layer=0, name="theta", value=1.0, cotangent=None, **options):
    """Measure a small network with another number in one of its arrays."""
    rng = np.random.default_rng(0)
    params = list(draw_layers(rng, SMALL.sizes, gaussian(1.0), dtype=jnp.float32))
    leaf = getattr(params[layer], name)
    leaf = leaf.at[(0, 1)[-leaf.ndim :]].set(value)
    params[layer] = params[layer]._replace(**{name: leaf})
    xs, ys = draw_batch(rng, SMALL, 3, jnp.float32)
    top = {"ys": ys} if cotangent is None else {"cotangent": jnp.full((3, 2), cotangent)}
    return jaxnn.gradient_flow((SMALL, params), xs, **top, **options)


REFUSED = """
of_small(0, "theta", np.nan)
of_small(1, "theta", -np.inf)
of_small(2, "b", np.nan)
of_small(cotangent=np.float32(np.nan))
of_small(cotangent=np.float32(np.inf))
of_small(memory="some")
of_small(memory=None)
"""


def test_what_is_no_number_and_no_memory_is_named(unhooked, snapshot):
    assert refusals(REFUSED, globals()) == snapshot


@pytest.mark.slow
def test_layers_that_depth_leaves_out_do_not_count(rng, unhooked):
    """Layer 6 of the run, z[8] of the network, is nan; 7 hidden layers use 0 … 5."""
    net, params, xs, ys = run_of(rng, 10, "tanh")
    first, run, last = params
    bad = (first, run._replace(theta=run.theta.at[6, 0, 0].set(np.nan)), last)
    for memory in ("all", "sqrt"):
        flows = (
            optimised_flow(net, p, xs, ys, depth=jnp.array(7), memory=memory) for p in (bad, params)
        )
        assert_same(*flows)
    flow = jaxnn.flow.at_depths((net, bad), xs, ys, depth=7, memory="sqrt")
    assert np.isfinite(flow.log_delta).sum() == 8
    used = optimised_flow(net, bad, xs, ys, depth=jnp.array(8), memory="sqrt")
    assert np.argmax(np.isposinf(used.log_mean_square)) == 7


# Zeros


def with_theta(params, j, theta):
    """Another θ in layer j of the run."""
    first, run, last = params
    return first, run._replace(theta=run.theta.at[j].set(jnp.asarray(theta, jnp.float32))), last


@mostly_slow("sigma_b", [1.0, 0.0], 1.0)
def test_an_example_whose_layer_is_off_goes_on_from_the_biases(rng, sigma_b):
    """Relu, beyond 10³⁸: layer 8 of the run is off for example 0 alone; its b is all that is left.

    θ = (â of example 1 - â of example 0) times a row of positive numbers makes it so. For the two
    to be far apart up there, x is -x of the other and the layers below are multiples of 1.
    """
    net, (first, run, last), xs, ys = problem(rng, sigma_b=sigma_b)
    xs = xs.at[0].set(-xs[1])
    theta = run.theta.at[:8].set(SIGMA_W * jnp.eye(WIDTH, dtype=jnp.float32))
    params = (first, run._replace(theta=theta), last)
    *_, z = by_autodiff(net, params, xs, ys)
    a = np.maximum(np.asarray(z[8]), 0)
    assert a[:2].max(axis=1).min() > 1e38
    a = a / np.linalg.norm(a, axis=1, keepdims=True)
    assert a[0] @ a[1] < 0.1
    params = with_theta(params, 8, np.outer(a[1] - a[0], np.full(WIDTH, SIGMA_W)))
    exact = by_autodiff(net, params, xs, ys)
    flow = gradient_flow(net, params, xs, ys)
    assert_agree(flow, *exact, **SINGLE)
    assert np.isneginf(flow.log_delta_example[:10, 0]).all()
    assert np.isfinite(flow.log_delta_example[:, 1]).all()
    assert np.isfinite(flow.log_delta_example[10:, 0]).all() == (sigma_b > 0)


def test_dead_units_beside_others(rng):
    """Three of eight in every layer of the run: the article's zero slopes, at any size."""
    net, (first, run, last), xs, ys = problem(rng)
    theta = run.theta.at[:, :, :3].set(-jnp.abs(run.theta[:, :, :3]))
    params = (first, run._replace(theta=theta), last)
    flow = gradient_flow(net, params, xs, ys)
    assert_agree(flow, *by_autodiff(net, params, xs, ys), **SINGLE)
    assert np.all(flow.units.dead[1:-1] >= 3 / 8)
    assert np.all(flow.units.dead[1:-1] < 1)


@pytest.mark.parametrize("sigma_b", [1.0, 0.0])
@pytest.mark.parametrize("theta", ["zero", "negative"])
def test_a_path_that_is_cut_gives_minus_infinity(rng, theta, sigma_b):
    """A layer of zero weights, or of units that are off for all: no gradient below, no nan."""
    net, params, xs, ys = problem(rng, sigma_b=sigma_b)
    cut = {"zero": jnp.zeros_like, "negative": lambda v: -jnp.abs(v)}[theta](params[1].theta[8])
    params = with_theta(params, 8, cut)
    exact = by_autodiff(net, params, xs, ys)
    flow = gradient_flow(net, params, xs, ys)
    below = np.arange(LAYERS + 1) < (9 if theta == "zero" else 10)
    if sigma_b == 0:  # nothing goes up either: units at 0 are off
        below = np.arange(LAYERS + 1) < LAYERS
        above = np.arange(LAYERS + 1) >= (9 if theta == "zero" else 10)
        np.testing.assert_array_equal(np.isneginf(flow.log_mean_square), above)
        assert np.isneginf(of_theta(flow)[0]).all()
    theta, b = of_theta(flow)
    for logs in (flow.log_delta, flow.log_largest, b):
        np.testing.assert_array_equal(np.isneginf(logs), below)
    assert not np.isnan(np.concatenate([theta, flow.log_delta, b])).any()
    assert not flow.lost[below].any()
    assert_agree(flow, *exact, **SINGLE)


# Examples of different size


def test_an_example_does_not_know_the_others(rng):
    """Relu without biases, x from 1e-30 to 1e+30: each gradient is that of the example alone."""
    net, params, xs, cotangent = problem(rng, sigma_w=1.5)
    sizes = np.float32([1e-30, 1e30, 1, 1e-15, 1e10])[:, None]
    together = gradient_flow(net, params, xs * sizes, cotangent=cotangent)
    alone = [  # in company of itself, which takes no other program
        gradient_flow(net, params, np.tile(x, (BATCH, 1)), cotangent=np.tile(row, (BATCH, 1)))
        for x, row in zip(np.asarray(xs * sizes), np.asarray(cotangent), strict=True)
    ]
    each = np.stack([flow.log_delta for flow in alone], 1) - np.log(BATCH) / 2
    np.testing.assert_allclose(together.log_delta_example, each, **SINGLE)
    squares = np.stack([np.asarray(flow.log_mean_square, np.float64) for flow in alone])
    assert squares[0].max() < -100
    assert squares[1].min() > 100
    mean = np.log(np.mean(np.exp(squares), axis=0))
    np.testing.assert_allclose(together.log_mean_square, mean, **SINGLE)


def test_small_examples_count_where_their_gradients_are_large(rng):
    """Relu without biases: 2^e x and 2^-e Δz give the same Δθ, whatever e an example has."""
    net, params, xs, cotangent = problem(rng, sigma_w=1.5)
    power = np.float32(2.0) ** np.float32([-80, 80, 0, 40, -40])[:, None]
    plain = gradient_flow(net, params, xs, cotangent=cotangent)
    scaled = gradient_flow(net, params, xs * power, cotangent=cotangent / power)
    assert np.ptp(scaled.log_delta_example[-1]) > 100
    np.testing.assert_allclose(of_theta(scaled)[0], of_theta(plain)[0], **SINGLE)

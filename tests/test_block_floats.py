"""Mantissa × 2^exponent: exact where a float reaches, right where none does."""

import chex
import jax
import jax.export
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import reference
from problems import draw_batch, draw_layers, gaussian, of_theta, optimised

import jaxnn
from jaxnn.arrays import loops
from jaxnn.arrays.rows import (
    FEW,
    STRIP,
    ZERO_EXPONENT,
    ScaledRows,
    alignment,
    exponent_of,
    log_of,
    log_sizes,
    log_sizes_of,
    power_of_two,
    renormalised,
    with_exponents,
)
from jaxnn.flow.measure.flow_of_net import flow_of_net

DTYPES = (jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


@each_dtype
def test_exponents_are_those_of_frexp(key, dtype):
    info = jnp.finfo(dtype)
    x = jnp.array([1, 1.5, 2, 3.99, 0.5, 0.3, float(info.max), float(info.tiny), 0], dtype)
    expected = np.frexp(np.asarray(x, np.float64))[1] - 1
    expected[-1] = 0  # zero stays where it is
    expected = np.clip(expected, -int(info.maxexp) + 2, int(info.maxexp) - 2)
    np.testing.assert_array_equal(exponent_of(x), expected)


@each_dtype
def test_powers_of_two_are_exact(dtype):
    info = jnp.finfo(dtype)
    k = jnp.arange(int(info.minexp), int(info.maxexp))
    powers = jax.jit(power_of_two)(k, jnp.ones((), dtype))
    assert powers.dtype == dtype
    np.testing.assert_array_equal(np.asarray(powers, np.float64), 2.0 ** np.asarray(k))
    assert not power_of_two(jnp.array([info.minexp - 1, -(10**6)]), powers).any()


@pytest.mark.parametrize("columns", [5, 10], ids=["small", "large"])
def test_the_sum_over_rows_is_that_of_numpy(rng, columns, monkeypatch):
    monkeypatch.setattr(loops, "SMALL_PRODUCT", 4 * 3 * 5)
    a, delta = rng.normal(size=(4, 3)), rng.normal(size=(4, columns))
    expected = np.einsum("bi,bj->ij", a, delta)
    for sum_of in (loops.transposed_matmul, jax.jit(lambda *rows: loops.transposed_matmul(*rows))):
        np.testing.assert_allclose(sum_of(jnp.array(a), jnp.array(delta)), expected, rtol=1e-12)
    many = jax.vmap(loops.transposed_matmul)(jnp.stack([a, -a]), jnp.stack([delta, delta]))
    np.testing.assert_allclose(many, [expected, -expected], rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("function", [jaxnn.backprop, flow_of_net])
def test_a_program_can_be_exported(rng, function):
    net = jaxnn.Network((3, 4, 4, 4, 2), "tanh", "multiclass")
    params = jaxnn.init(net, jax.random.key(0), stacked=True)
    batch = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32), jnp.array([0, 1, 0, 1, 1])
    program = jax.jit(lambda *of: jax.tree.leaves(function(net, *of)))
    again = jax.export.export(program)(params, *batch).call(params, *batch)
    chex.assert_trees_all_close(again, program(params, *batch), rtol=1e-6)


def renormalised_twice(rows):
    once = renormalised(with_exponents(ScaledRows(rows)))
    return once, renormalised(once)


@each_dtype
def test_renormalising_changes_the_form_and_not_the_number(key, dtype):
    sizes = jnp.array([1e-4, 1e-2, 1.0, 100.0])[:, None]
    rows = (jax.random.normal(key, (4, 7)) * sizes).astype(dtype)
    v, again = jax.jit(renormalised_twice)(rows)
    largest = np.abs(np.asarray(v.m, np.float64)).max(axis=1)
    assert np.all((largest >= 1) & (largest < 2))
    value = np.asarray(v.m, np.float64) * 2.0 ** np.asarray(v.e)[:, None]
    np.testing.assert_array_equal(value, np.asarray(rows, np.float64))
    np.testing.assert_array_equal(again.e, v.e)
    np.testing.assert_array_equal(again.m, v.m)


def test_arrays_of_several_widths_share_an_exponent(users_jax):
    """By no more than the narrowest of them has a power of two for, and in all their axes."""
    wide = np.array([[[2.0**60, 0.0]], [[3.0, 1.0]], [[0.0, 0.0]]], np.float32)
    narrow = np.array([1.0, -8.0, 0.0], np.float16)
    v = renormalised(ScaledRows([*map(jnp.asarray, (wide, narrow))], jnp.array([0, 7, 7])))
    np.testing.assert_array_equal(v.e, [14, 10, ZERO_EXPONENT])
    np.testing.assert_array_equal(v.m[0], wide * 2.0 ** -np.array([14, 3, 0])[:, None, None])
    np.testing.assert_array_equal(v.m[1], [2.0**-14, -1, 0])


def test_arrays_whose_norms_are_taken_together(rng):
    """Each is beyond the range of squares in its own way; those of nan, inf and zeros know it."""
    sizes = [1, STRIP - 1, STRIP, 0, STRIP + 1, 3 * STRIP, 2, FEW + 1, 5, 4]
    powers = [90, -115, 0, 0, 100, -110, 7, -115, 0, 0]  # of two
    arrays = [rng.normal(size=n) * 2.0**k for n, k in zip(sizes, powers, strict=True)]
    arrays[6][0], arrays[8][1], arrays[9][:] = np.nan, np.inf, 0
    rows = [
        ScaledRows(v.astype(np.float32).reshape(1, -1), np.int32(1000 - 300 * i))
        for i, v in enumerate(arrays)
    ]
    with np.errstate(divide="ignore"):
        expected = [
            np.log(np.linalg.norm(m.astype(np.float64))) + e * np.log(2) if m.any() else -np.inf
            for m, e in rows
        ]
    np.testing.assert_allclose(jax.jit(log_sizes)(rows), expected, rtol=1e-6)


def test_sizes_of_large_arrays_beyond_their_squares(rng):
    """Their squares leave float32 at either end, or are zeros, or what comes of an infinite sum."""
    m = rng.normal(size=(5, FEW // 4)) * np.array([1e-30, 1e-25, 0.0, 1e30, 1.0])[:, None]
    exponents = np.array([3, 0, 0, 0, -40], np.int32)
    with np.errstate(divide="ignore"):
        expected = np.log(np.linalg.norm(m, axis=1)) + exponents * np.log(2)
    of = jax.jit(lambda *rows: log_sizes_of(rows)[0])
    m = np.float32(m)
    # All rows of an array together, then those whose squares are in range with what is not.
    np.testing.assert_allclose(of(ScaledRows(m, exponents)), expected, rtol=1e-6)
    for i, j in ((4, 4), (0, 4), (4, 3)):
        pair = np.concatenate([m[[i]]] * 3 + [m[[j]]] * 2)
        both = ScaledRows(pair, exponents[[i, i, i, j, j]])
        np.testing.assert_allclose(of(both), expected[[i, i, i, j, j]], rtol=1e-6)
    # Large, usual and small numbers in one row, of which each is most in its turn.
    row = np.full((1, FEW + 1), 2.0**-126, np.float32)
    one = np.array([7], np.int32)
    norms = {0: 2.0**-126 * FEW**0.5, 1: 1e-15, 2: 1.0, 3: 3e38}
    for place, norm in norms.items():
        row[0, place] = norm if place else row[0, 1]
        np.testing.assert_allclose(of(ScaledRows(row, one)), np.log(norm) + 7 * np.log(2), 1e-6)
    for number in (np.inf, np.nan):
        row[0, 4] = number
        np.testing.assert_equal(np.asarray(of(ScaledRows(row, one))), [number])
    # An array in range beside one that is not.
    ones = ScaledRows(np.ones_like(m), exponents)
    in_range, beyond = jax.jit(log_sizes_of)([ones, ScaledRows(m, exponents)])
    np.testing.assert_allclose(in_range, np.log(m.shape[1]) / 2 + exponents * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(beyond, expected, rtol=1e-6)


def test_zero_inf_and_nan_stay_what_they_are():
    rows = jnp.array([[0.0, 0.0], [jnp.inf, 1.0], [jnp.nan, 1.0]])
    v, _ = jax.device_get(jax.jit(renormalised_twice)(rows))
    np.testing.assert_array_equal(v.m[0], [0, 0])
    assert np.isposinf(v.m[1, 0])
    assert np.isnan(v.m[2, 0])
    assert np.isneginf(log_of(jnp.zeros(()), jnp.array(5)))


def test_aligned_rows_are_exact_within_the_range_of_the_dtype(key):
    mantissa = jax.random.normal(key, (4, 3), jnp.float32)
    exponent = jnp.array([-20_000, -20_003, -20_500, -30_000])
    scale, common = alignment(exponent, mantissa)
    rows = mantissa * scale[:, None]
    assert common == -20_000
    np.testing.assert_array_equal(rows[:2], mantissa[:2] * np.float32([[1], [0.125]]))
    assert not rows[2:].any()  # 2^-500 and less of the largest: nothing of them is in the sum
    zero_first = exponent.at[0].set(ZERO_EXPONENT)
    assert alignment(zero_first, mantissa)[1] == -20_003  # a row of zeros does not count


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "dtype"), [("sigmoid", jnp.float32), ("relu", jnp.float64)])
def test_within_range_the_flow_is_the_plain_recursion_to_the_last_bit(rng, activation, dtype):
    """The largest entry of Δz[1], a number of the flow that sums nothing up, at every depth.

    θ[0] = 1 makes Δx of the mean loss Δz[1], and by the labels it is -Δz[L]. The cotangent is
    scaled by the power of two that brings the entry into [1, 2), where its logarithm has as many
    digits as itself.
    """
    net = jaxnn.Network((*[16] * 14, 2), activation, "regression")
    first, run, last = draw_layers(rng, net.sizes, gaussian(1.0), 0.1, dtype, stacked=True)
    params = (first._replace(theta=jnp.eye(16, dtype=dtype)), run, last)
    xs, ys = draw_batch(rng, net, 5, dtype)
    plain = optimised(jax.grad(jaxnn.passes.mean_loss, argnums=(2, 3)))
    flow_of, scales = optimised(flow_of_net), set()
    for depth in map(jnp.array, range(2, 14)):
        delta_z1, minus_delta_zl = plain(net, params, xs, ys, depth=depth)
        largest = np.abs(delta_z1).max()
        scale = dtype(2.0 ** -np.floor(np.log2(largest)))
        flow = flow_of(net, params, xs, cotangent=-scale * minus_delta_zl, depth=depth)
        np.testing.assert_array_equal(flow.log_largest[0], jnp.log(largest * scale))
        scales.add(float(scale))
    assert len(scales) > 2


def test_two_thousand_layers_against_200_bits(rng):
    """Log-norms of every layer's Δz and Δθ, where the last is 10^-1300, to 1e-6 in float32."""
    layers, n = 2000, 3
    net = jaxnn.Network((n, *[n] * layers, 1), "sigmoid", "binary")
    params = draw_layers(rng, net.sizes, gaussian(1.5), 0.3, jnp.float32, stacked=True)
    xs, _ = draw_batch(rng, net, 1, jnp.float32)
    flow = jaxnn.gradient_flow((net, params), xs, jnp.array([1]))
    first, run, last = params
    layers = [first, *zip(*map(np.asarray, run), strict=True), last]
    exact_delta, exact_theta, _ = reference.exact_flow(
        layers,
        xs[0],
        lambda z: 1 / (1 + mpmath.exp(-z)),
        lambda z: 1 / (2 + mpmath.exp(z) + mpmath.exp(-z)),
        lambda z: -1 / (1 + mpmath.exp(z)),
    )
    assert exact_delta[0] < -2000
    np.testing.assert_allclose(flow.log_delta, exact_delta, rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(of_theta(flow)[0], exact_theta, rtol=1e-6, atol=1e-4)

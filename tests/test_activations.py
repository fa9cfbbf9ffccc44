"""σ and σ′ against JAX's, against their definitions in 900 digits, and at the edges."""

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import reference

import jaxnn
from jaxnn.network import activations

ACTIVATIONS = tuple(jaxnn.network.ACTIVATIONS.values())
DTYPES = (jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64)
INF, NAN = np.inf, np.nan
each_activation = pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)

# Every activation is seen at all of these places, in one program a dtype.
_rng = np.random.default_rng(0)
PLACES = {
    "exact": [-25, -12.3, -7.7, -3.1, -1.4, -0.3, 1e-3, 0.4, 1.7, 3.6, 5.9, 11.2, 25],
    "drawn": 4 * _rng.normal(size=1000),
    "kinks": sorted({0.0, *(k for activation in ACTIVATIONS for k in activation.kinks)}),
    "minus zero": [-0.0],
    "below": np.linspace(-8, 8, 17) - 1e-9,
    "above": np.linspace(-8, 8, 17) + 1e-9,
    "line": np.linspace(-1000, 1000, 20_001),
    "far": [-1e4, 1e4, -300, 300, -30, 30, 0],
    "ends": [-INF, INF, NAN],
}
SLICES = dict(
    zip(PLACES, itertools.pairwise([0, *np.cumsum([*map(len, PLACES.values())])]), strict=True)
)
Z = np.concatenate([np.asarray(places, np.float64) for places in PLACES.values()])


def at(what, values):
    """The values at one kind of places."""
    return np.asarray(values)[slice(*SLICES[what])]


@jax.jit
def compute_all(z):
    return {a.name: (a.sigma(z), a.prime(z)) for a in ACTIVATIONS}


@jax.jit
def differentiate_all(z):
    def slope(f):
        return jax.grad(lambda z: jnp.sum(f(z)))(z)

    return {
        a.name: (reference.SIGMA[a.name](z), slope(reference.SIGMA[a.name]), slope(a.sigma))
        for a in ACTIVATIONS
    }


@cache
def ours(dtype):
    """σ and σ′ of each activation, in this dtype."""
    return jax.device_get(compute_all(jnp.asarray(Z, dtype)))


@cache
def exactly(dtype):
    """σ and σ′ in float64, at Z as this dtype rounds it."""
    return jax.device_get(compute_all(jnp.asarray(Z, dtype).astype(jnp.float64)))


@cache
def by_jax():
    """JAX's σ, its derivative, and that of our σ, in float64."""
    return jax.device_get(differentiate_all(jnp.asarray(Z)))


def rounding(dtype):
    return float(jnp.finfo(dtype).eps)


@each_activation
def test_values_and_derivatives_have_all_their_digits(activation):
    """Relative to their own size, also in a tail: at z = ±25 a sigmoid's slope is 1e-11."""
    # 400 digits hold differences of e^-625, and 900 those of 1 + tanh u, where it is 1e-480.
    with mpmath.workdps(900 if activation.name == "gelu_tanh" else 400):
        exact, places = (
            reference.ACTIVATIONS[activation.name].exact,
            [mpmath.mpf(z) for z in PLACES["exact"]],
        )
        values = [float(exact(z)) for z in places]
        slopes = [float(mpmath.diff(exact, z, h=mpmath.mpf("1e-20"))) for z in places]
    sigma, prime = (at("exact", v) for v in ours(jnp.float64)[activation.name])
    # An error of ε in the argument of e^-z²/2 is one of z² ε in its value: 1e-12 at z = 25.
    np.testing.assert_allclose(sigma, values, rtol=1e-12)
    np.testing.assert_allclose(prime, slopes, rtol=1e-12)


@each_activation
def test_prime_is_jax_s_derivative_also_at_a_kink(activation):
    _, prime = ours(jnp.float64)[activation.name]
    _, of_jax, of_sigma = by_jax()[activation.name]
    for places in ("drawn", "kinks", "minus zero"):
        slopes, *theirs = (at(places, v) for v in (prime, of_jax, of_sigma))
        # JAX's derivatives lose their tails to cancellation (1 - tanh²), of order ε z.
        np.testing.assert_allclose(slopes, theirs[0], rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(slopes, theirs[1], rtol=1e-9, atol=1e-14)


@each_activation
def test_kinks_are_where_the_slope_jumps(activation):
    _, prime = ours(jnp.float64)[activation.name]
    jumps = np.abs(at("above", prime) - at("below", prime)) > 1e-3
    assert tuple(np.linspace(-8, 8, 17)[jumps].tolist()) == activation.kinks


@each_activation
def test_increasing_is_what_never_falls(activation):
    _, prime = ours(jnp.float64)[activation.name]
    assert activation.increasing == bool(np.all(at("line", prime) >= 0))


@each_dtype
@each_activation
def test_edges_in_every_dtype(activation, dtype):
    low, high, low_slope, high_slope = reference.ACTIVATIONS[activation.name].limits
    limits = (low, high, NAN), (low_slope, high_slope, NAN)
    values, truths = ours(dtype)[activation.name], exactly(dtype)[activation.name]
    for value, truth, limit in zip(values, truths, limits, strict=True):
        assert value.dtype == dtype
        ends, far = (at(places, value).astype(np.float64) for places in ("ends", "far"))
        np.testing.assert_allclose(ends, limit, rtol=rounding(dtype))
        exact = at("far", truth)
        # sin of 1e4 is as uncertain as its argument, which float64 has too: no rounding here.
        allowed = 8 * rounding(dtype) * np.maximum(1, np.abs(exact))
        assert np.all(np.abs(far - exact) <= allowed)


@each_dtype
@each_activation
def test_it_is_accurate_in_every_dtype(activation, dtype):
    values, truths = ours(dtype)[activation.name], exactly(dtype)[activation.name]
    for value, truth in zip(values, truths, strict=True):
        exact = at("drawn", truth)
        error = np.abs(at("drawn", value).astype(np.float64) - exact)
        assert np.max(error / np.maximum(1, np.abs(exact))) <= 16 * rounding(dtype)


def test_one_s_own_activation_is_a_value():
    def square(z):
        return z * z

    def twice(z):
        return 2 * z

    one, other = (jaxnn.network.Activation("square", square, twice) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    net = jaxnn.Network((2, 3, 1), one, "regression")
    params = jaxnn.init(net, jax.random.key(0))
    x, y = jnp.ones(2), jnp.ones(1)
    expected = jax.grad(jaxnn.passes.loss, argnums=1)(net, params, x, y)
    reference.assert_close(jaxnn.backprop(net, params, x[None], y[None])[1], expected, 1e-12)


def test_a_slope_that_is_left_out_is_derived():
    made = jaxnn.network.Activation("tanh of mine", jnp.tanh)
    z = jnp.linspace(-3, 3, 7, dtype=jnp.float32)
    np.testing.assert_allclose(made.prime(z), 1 - np.tanh(np.float64(z)) ** 2, rtol=1e-5)
    assert made == jaxnn.network.Activation("tanh of mine", jnp.tanh)
    assert jaxnn.Network((2, 3, 1), made, "regression").activation == made


def test_a_wrong_slope_is_refused_unless_it_is_a_surrogate():
    def cube(z):
        return z**3

    def wrong(z):
        return 2 * z

    said = r"prime: expected σ′ of 'cube', 4.366 at z = -1.21, got -2.413"
    with pytest.raises(ValueError, match=said):
        jaxnn.Network((2, 3, 1), jaxnn.network.Activation("cube", cube, wrong), "regression")
    with pytest.raises(ValueError, match="prime: expected σ′ of 'cube'"):  # and not remembered
        jaxnn.Network((2, 3, 1), jaxnn.network.Activation("cube", cube, wrong), "regression")
    meant = jaxnn.network.Activation("cube", cube, wrong, surrogate=True)
    assert jaxnn.Network((2, 3, 1), meant, "regression").activation.prime is wrong


def test_slopes_of_the_table_are_not_computed_when_a_network_is_made(monkeypatch):
    monkeypatch.setattr(activations, "_check_slope", None)
    for name in jaxnn.network.ACTIVATIONS:
        jaxnn.Network((2, 3, 1), name, "regression")


def test_an_unknown_activation_is_answered_with_the_list(unhooked):
    with pytest.raises(ValueError, match=r"no 'sigmiod'; choose one of identity, sigmoid, tanh"):
        jaxnn.network.find_activation("sigmiod")
    with pytest.raises(TypeError, match=r"expected a name or a jaxnn.network.Activation, got 3"):
        jaxnn.Network((2, 1), 3, "binary")

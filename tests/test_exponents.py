"""Exponents of the collapsed state: closed forms of plain layers, and what is no input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn.flow.theory.exponents import Exponents, _slope_while_near
from jaxnn.theory import exponents, meanfield

pytestmark = pytest.mark.usefixtures("users_jax")

N = 32


def _plain(sigma, count=16):
    keys = jax.random.split(jax.random.key(0), count)
    signs = [jax.random.rademacher(k, (N, N), jnp.float32) for k in keys]
    return [(lambda w, z: jnp.tanh(z) @ w, sigma * N**-0.5 * v) for v in signs]


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [1.5, 2.0])
def test_plain_layers_have_the_chi_of_their_fixed_point(sigma):
    """Angle and gradient grow by √χ a layer, and so among positions, which do not meet."""
    xs = np.random.default_rng(0).normal(size=(4, N)).astype(np.float32)
    xs *= float(meanfield.fixed_point("tanh", sigma, 0.0)) ** 0.5
    closed = float(np.log(meanfield.stationary_chi("tanh", sigma))) / 2
    for inputs, among in ((xs, "examples"), (xs[None], "positions")):
        found = exponents(_plain(sigma), inputs)
        assert found.among == among
        assert found.angle_error < 0.02
        assert abs(found.angle - closed) < 3 * found.angle_error + 0.005
        assert abs(found.gradient - closed) < 3 * found.gradient_error + 0.005


def test_a_slope_is_taken_where_a_spread_is_small():
    layers = np.arange(12.0)
    assert _slope_while_near(-9 + 0.3 * layers, 1e-6, 1) == pytest.approx(0.3)
    parted = np.minimum(-5 + 0.7 * layers, -1)  # at the size of the state from layer 5 on
    assert _slope_while_near(parted, 1e-6, 1) == pytest.approx(0.7)
    rounded = np.maximum(-7 - 1.5 * layers, -13)  # by rounding
    assert _slope_while_near(rounded, 1e-5, 1) == pytest.approx(-1.5)
    assert np.isnan(_slope_while_near(np.full(12, -0.5), 1e-6, 1))
    by_two = -9 + np.cumsum(np.tile([0.5, -0.2], 6))
    assert _slope_while_near(by_two, 1e-6, 2) == pytest.approx(0.15)


def test_exponents_in_words():
    found = Exponents(-0.0213, 0.003, 0.11, 0.008, "positions")
    assert str(found) == (
        "Exponents, in nats a layer: the angle of positions -0.0213 ± 0.003, the gradient +0.11 ± "
        "0.008."
    )
    apart = Exponents(np.nan, np.nan, 0.11, 0.008, "positions")
    assert "positions are told apart by the network itself" in str(apart)


def test_inputs_that_cannot_be_brought_together():
    layers = _plain(1.0, count=6)
    with pytest.raises(ValueError, match=r"expected one array of floats, .* above the embedding"):
        exponents([(lambda w, x: w[x], jnp.eye(N)), *layers], jnp.zeros((2, 3), jnp.int32))
    with pytest.raises(ValueError, match="expected at least 6 layers, got 5"):
        exponents(layers[:5], jnp.ones((2, N)))
    with pytest.raises(TypeError):
        exponents(jaxnn.Network((2, 2), "tanh", "binary"), jnp.ones((2, 2)))

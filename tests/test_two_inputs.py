"""Two inputs at infinite width, dropout, arrays and derivatives of the theory.

Against closed forms of erf and relu (Williams 1997), recursions and integrals by scipy, and finite
differences.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import refusals
from scipy import optimize

import jaxnn
from jaxnn.theory import meanfield

W, B = 1.3, 0.4  # σ_w and σ_b


# erf: E σσ̃ and E σ′σ̃′ of a Dense layer, for E z² = E z̃² = q and E z z̃ = s


def product(q, s):
    return W**2 * 2 / math.pi * math.asin(2 * s / (1 + 2 * q)) + B**2


def slopes(q, s):
    return W**2 * 4 / math.pi / math.sqrt((1 + 2 * q) ** 2 - 4 * s * s)


def dense(q, s):
    return product(q, s), slopes(q, s)


def residual(q, s):
    return s + product(q, s) / 4, 1 + slopes(q, s) / 4


def rms(q, s):
    inner, slope = dense(q / (q + 0.3), s / (q + 0.3))
    return inner, slope / (q + 0.3)


def post(q, s):
    size = q + product(q, q)
    return (s + product(q, s)) / size, (1 + slopes(q, s)) / size


def of_a_normed_residual(q, s):
    """Z + ẑ + f(ẑ)."""
    gain = (1 + q**-0.5) ** 2
    inner, slope = dense(1, s / q)
    return s * gain + inner, gain + slope / q


BLOCKS = [  # the post norm last, behind which the length is 1
    (jaxnn.blocks.Residual(jaxnn.blocks.RMSNorm(jaxnn.blocks.Residual())), of_a_normed_residual),
    (jaxnn.blocks.Residual(scale=0.5), residual),
    (jaxnn.blocks.RMSNorm(eps=0.3), rms),
    (jaxnn.blocks.PostNorm(), post),
]


def agree(measured, blocks, q0, c0, keep=1.0):
    """Correlations of inputs and of gradients are those of closed forms of erf.

    Of dropout, in Dense alone, what stands over `keep` is a product with itself.
    """
    q, s, along, factors = W**2 * q0 + B**2, W**2 * q0 * c0 + B**2, [], []
    for f in blocks:
        along.append(s / q)
        (q_next, own), (s, shared) = f(q, q), f(q, s)
        factors.append(shared * keep / own)
        q = (q_next - B**2) / keep + B**2 if keep < 1 else q_next
    gradient = [math.prod(factors[i:]) for i in range(len(along) + 1)]
    np.testing.assert_allclose(measured.c, [*along, s / q], rtol=1e-11)
    np.testing.assert_allclose(measured.gradient, gradient, rtol=1e-11)


def test_two_inputs_and_two_masks():
    """Also c < 0, at which z and z̃ are of opposite sign; and one input that dropout parts."""
    for q0, c0, keep in ((2.5, -0.9, 1.0), (0.7, 1.0, 0.8)):
        measured = meanfield.paths("erf", W, B, q0, c0, 5, keep=keep)
        agree(measured, [dense] * 4, q0, c0, keep)
    assert measured.c[0] == 1 > measured.c[1]


@pytest.mark.slow
def test_two_inputs_in_every_block():
    blocks, formulas = zip(*BLOCKS, strict=True)
    measured = meanfield.paths("erf", W, B, 0.7, 0.3, 1 + len(blocks), hidden=list(blocks))
    agree(measured, formulas, 0.7, 0.3)


@pytest.mark.slow
def test_dropout_has_a_fixed_point_of_its_own():
    """c* < 1 in order too: q* and c* by scipy's roots of the closed forms, at σ_w = 0.7."""
    keep, square = 0.9, 0.49

    def kernel(q, c):
        return square * 2 / math.pi * math.asin(2 * q * c / (1 + 2 * q))

    q = optimize.brentq(lambda q: kernel(q, 1) / keep + B**2 - q, 0.01, 20)
    c = optimize.brentq(lambda c: (kernel(q, c) + B**2) / q - c, 0, 1)
    np.testing.assert_allclose(meanfield.fixed_point("erf", 0.7, B, keep=keep), q, rtol=1e-10)
    measured = meanfield.correlation_fixed_point("erf", 0.7, B, keep=keep)
    np.testing.assert_allclose(measured, c, rtol=1e-10)
    assert meanfield.stationary_chi("erf", 0.7, B, keep=keep) < 1


@pytest.mark.slow
def test_dropout_as_published():
    """Schoenholz et al. 2017: c* .356 and q* .694 at a rate of .9, critical without dropout."""
    sigma_b = math.sqrt(0.05)
    sigma_w = meanfield.critical_sigma_w("tanh", sigma_b)
    q = meanfield.fixed_point("tanh", sigma_w, sigma_b, keep=0.9)
    c = meanfield.correlation_fixed_point("tanh", sigma_w, sigma_b, keep=0.9)
    assert (round(float(q), 3), round(float(c), 3)) == (0.694, 0.356)
    xi = meanfield.xi_c("tanh", sigma_w, sigma_b, keep=0.9)
    above, below = (
        float(meanfield.correlation_map("tanh", sigma_w, sigma_b, q, c + h, keep=0.9))
        for h in (1e-5, -1e-5)
    )
    assert xi == pytest.approx(-1 / math.log((above - below) / 2e-5), rel=1e-6)


# Arrays


def test_arrays_are_broadcast():
    sigma_w, q = np.array([0.5, 2.0]), jnp.array([[0.3], [4.0], [60.0]])
    measured = meanfield.length_map("erf", sigma_w, 0.1, q)
    exact = sigma_w**2 * 2 / math.pi * np.arcsin(2 * q / (1 + 2 * q)) + 0.01
    np.testing.assert_allclose(measured, exact, rtol=1e-12)
    assert measured.shape == (3, 2)


# Derivatives


def difference(f, x, h=1e-5):
    return (float(f(x + h)) - float(f(x - h))) / (2 * h)


def fixed_q(sigma_w):
    return meanfield.fixed_point("erf", sigma_w, B)


def test_a_fixed_point_is_differentiated_as_an_implicit_function():
    derivative, second = jax.grad(fixed_q)(W), jax.jvp(fixed_q, (W,), (1.0,))[1]
    assert derivative == pytest.approx(difference(fixed_q, W), rel=1e-7)
    assert second == pytest.approx(float(derivative))


def test_the_derivative_by_a_correlation_is_price_s_theorem():
    """The slope for erf is d/dc of σ_w² 2/π arcsin(2qc/(1+2q)), over the length."""
    q, c = 0.8, 0.6
    derivative = jax.grad(lambda c: meanfield.correlation_map("erf", W, B, q, c))(c)
    assert derivative == pytest.approx(q * slopes(q, q * c) / product(q, q), rel=1e-10)


@pytest.mark.slow
def test_the_derivative_of_a_correlation_at_its_end():
    """At c = 1, where nodes of the quadrature stand still: E[σ′²] over E[σ²]."""

    def after(c):
        return meanfield.correlation_map("erf", W, B, 2.0, c)

    for c in (1.0, 0.3):
        exact = 2.0 * slopes(2.0, 2.0 * c) / product(2.0, 2.0)
        assert jax.grad(after)(c) == pytest.approx(exact, rel=1e-10)


CHAOS = 2.0
DERIVED = {
    "c*": (lambda s: meanfield.correlation_fixed_point("tanh", s, 0.3), CHAOS),
    "keep": (lambda k: meanfield.log_delta("tanh", 1.5, 0.3, 1.0, 6, keep=k)[0], 0.8),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DERIVED)
def test_theory_is_differentiated(name):
    f, x = DERIVED[name]
    assert jax.grad(f)(x) == pytest.approx(difference(f, x), rel=1e-5, abs=1e-9)


# Messages


NORMED = {"hidden": jaxnn.blocks.BatchNorm()}
REFUSED = """
meanfield.length_map("erf", np.ones(2), 0.0, np.ones(3))
meanfield.chi("erf", np.array([1.0, -2.0]), 1.0)
meanfield.chi("erf", 1.0, 1.0, keep=0.0)
meanfield.chi("erf", 1.0, 1.0, keep=0.5, **NORMED)
meanfield.chi("erf", [1.0, 2.0], 1.0)
meanfield.lengths("erf", 1.0, 0.0, np.ones(3), 2)
jax.grad(lambda eta: meanfield.tailored_slope(20, eta))(0.9)
"""


def test_what_is_wrong_is_said_in_a_sentence(unhooked, snapshot):
    assert refusals(REFUSED, globals()) == snapshot

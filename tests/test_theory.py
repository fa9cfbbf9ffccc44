"""Infinite width of residual, normalised and tailored networks: blocks, and what is built on them.

Against closed forms of erf and relu (Williams 1997; Cho & Saul 2009), recursions written out a
second time, scipy's integrals and sampled networks.
"""

import dataclasses
import itertools
import math
from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import mostly_slow, refusals
from scipy.integrate import quad
from scipy.special import roots_jacobi

import jaxnn
from jaxnn.network.blocks import theory_of
from jaxnn.theory import finite_width, meanfield
from jaxnn.theory.ensemble import Ensemble
from jaxnn.theory.sphere import moments

W, B = 1.3, 0.4  # σ_w and σ_b


# erf: E σσ̃, E σ′² and E σ′σ̃′, as a Dense layer has them


def square(q, c=1.0):
    return W**2 * 2 / math.pi * math.asin(2 * q * c / (1 + 2 * q)) + B**2


def slopes(q, c=1.0):
    return W**2 * 4 / math.pi / math.sqrt((1 + 2 * q) ** 2 - (2 * q * c) ** 2)


def ridged(q):
    return q / (q + 0.3)


# Of each block: length of q, covariance of q and c, and factor at a correlation c of the signals
BLOCKS = {
    "dense": (jaxnn.blocks.Dense(), square, square, slopes),
    "residual": (
        jaxnn.blocks.Residual(scale=0.5),
        lambda q: q + square(q) / 4,
        lambda q, c: q * c + square(q, c) / 4,
        lambda q, c: 1 + slopes(q, c) / 4,
    ),
    "rms": (
        jaxnn.blocks.RMSNorm(eps=0.3),
        lambda q: square(ridged(q)),
        lambda q, c: square(ridged(q), c),
        lambda q, c: slopes(ridged(q), c) / (q + 0.3),
    ),
    "layer": (
        jaxnn.blocks.LayerNorm(),
        lambda q: square(1),
        lambda q, c: square(1, c),
        lambda q, c: slopes(1, c) / q,
    ),
    "post": (
        jaxnn.blocks.PostNorm(),
        lambda q: 1,
        lambda q, c: (q * c + square(q, c)) / (q + square(q)),
        lambda q, c: (1 + slopes(q, c)) / (q + square(q)),
    ),
    # z + ½ (z - ½ (z + 2 f(z))): an inner skip connection adds to the outer one
    "residual of residuals": (
        jaxnn.blocks.Residual(
            jaxnn.blocks.Residual(jaxnn.blocks.Residual(scale=2.0), scale=-0.5), scale=0.5
        ),
        lambda q: 1.5625 * q + square(q) / 4,
        lambda q, c: 1.5625 * q * c + square(q, c) / 4,
        lambda q, c: 1.5625 + slopes(q, c) / 4,
    ),
    # z + ẑ + f(ẑ), ẑ = z / √q
    "residual of a normed residual": (
        jaxnn.blocks.Residual(jaxnn.blocks.RMSNorm(jaxnn.blocks.Residual())),
        lambda q: q * (1 + q**-0.5) ** 2 + square(1),
        lambda q, c: q * c * (1 + q**-0.5) ** 2 + square(1, c),
        lambda q, c: (1 + q**-0.5) ** 2 + slopes(1, c) / q,
    ),
    # z + (z + f(z)) / r, r² the length of z + f(z)
    "residual of a post norm": (
        jaxnn.blocks.Residual(jaxnn.blocks.PostNorm()),
        lambda q: q * (1 + 2 * (q + square(q)) ** -0.5) + 1,
        lambda q, c: (
            q * c * (1 + 2 * (q + square(q)) ** -0.5) + (q * c + square(q, c)) / (q + square(q))
        ),
        lambda q, c: 1 + 2 * (q + square(q)) ** -0.5 + (1 + slopes(q, c)) / (q + square(q)),
    ),
}


POINTS = (0.6, 0.3), (7.0, -0.8)  # q and c


def of_block(block, q, c):
    """Length, correlation, factor, and tangent of q and c."""
    return (
        meanfield.length_map("erf", W, B, q, hidden=block),
        meanfield.correlation_map("erf", W, B, q, c, hidden=block),
        meanfield.chi("erf", W, q, sigma_b=B, hidden=block),
        theory_of(block).tangent(Ensemble(jaxnn.network.find_activation("erf"), W, B), q, c),
    )


@cache
def of_all_blocks():
    """The numbers of all blocks at all points, in one program."""

    def of_all(points):
        return {name: [of_block(v[0], *of) for of in points] for name, v in BLOCKS.items()}

    return jax.jit(of_all)(POINTS)


@pytest.mark.parametrize("name", BLOCKS)
def test_each_block_has_its_formulas(name):
    _, length, covariance, factor = BLOCKS[name]
    for (q, c), measured in zip(POINTS, of_all_blocks()[name], strict=True):
        exact = (length(q), covariance(q, c) / length(q), factor(q, 1.0), factor(q, c))
        np.testing.assert_allclose(measured, exact, rtol=1e-11)


@pytest.mark.parametrize("name", ["residual", "layer"])
def test_layers_follow_one_another(name):
    """Q of every layer and ½ ln of the factors between; the first layer is Dense."""
    block, length, _, factor = BLOCKS[name]
    q = [W**2 * 0.7 + B**2]
    for _ in range(5):
        q.append(length(q[-1]))
    log_factors = [0.5 * math.log(factor(v, 1.0)) for v in q[:-1]]
    sums = [sum(log_factors[m:]) for m in range(6)]
    lengths = meanfield.lengths("erf", W, B, 0.7, 6, hidden=block)
    np.testing.assert_allclose(lengths, q, rtol=1e-12)
    measured = meanfield.log_delta("erf", W, B, 0.7, 6, hidden=block)
    np.testing.assert_allclose(measured, sums, rtol=1e-10)


# A batch norm


def kernel(c):
    """2 E σ(z) σ(z̃) of relu, at q = 1."""
    return (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / math.pi


def relu_of(rows):
    """C* and λ_B of relu: Yang et al. 2019, Theorems 5 and 8."""
    x = -1 / (rows - 1)
    slope = 1 - math.acos(x) / math.pi
    rate = (slope + rows - 1) / ((rows - 3) * (1 - kernel(x))) - 1 / (rows - 3)
    return kernel(x), rate


def by_jacobi(rows, f, slope):
    """The moments by Gauss-Jacobi in z₁ and z₂, for functions without a kink."""
    x, w = roots_jacobi(70, (rows - 4) / 2, (rows - 4) / 2)
    y, v = roots_jacobi(70, (rows - 5) / 2, (rows - 5) / 2)
    z = math.sqrt(rows - 1) * x[:, None]
    spread = math.sqrt((rows - 2) / (rows - 1)) * np.sqrt(rows - z**2 * rows / (rows - 1))
    other = -z / (rows - 1) + spread * y
    weights = np.outer(w / w.sum(), v / v.sum())
    kappa = (rows - 1 - z**2) * slope(z) ** 2 + (1 + z * other) * slope(z) * slope(other)
    parts = f(z) ** 2 + 0 * other, f(z) * f(other), kappa / (rows - 3)
    return [np.sum(weights * part) for part in parts]


def by_quad(rows, f, slope, kinks):
    """The moments by scipy's quad over both angles, cut where a kink is and where z₂ reaches it."""
    own = math.sqrt(rows - 1)

    def angle(x):
        return math.acos(min(max(x, -1), 1))

    def over(g, weight, cuts):
        cuts = sorted({0.0, math.pi, *cuts})
        return sum(
            quad(lambda t: g(math.cos(t)) * math.sin(t) ** weight, a, b, epsabs=1e-12)[0]
            for a, b in itertools.pairwise(cuts)
        )

    def inner(x, part):
        z, middle = own * x, -x / own
        spread = math.sqrt((rows - 2) / own**2 * max(rows - z**2 * rows / own**2, 1e-30))
        cuts = [angle((k - middle) / spread) for k in kinks]
        norm = over(lambda y: 1.0, rows - 4, [])
        return over(lambda y: part(z, middle + spread * y), rows - 4, cuts) / norm

    ends = [
        (-k + sign * math.sqrt((rows - 2) * max(rows * (own**2 - k * k), 0))) / own**2
        for k in kinks
        for sign in (-1, 1)
    ]
    cuts = [angle(p / own) for p in (*kinks, *ends)]
    parts = (
        lambda z, y: f(z) ** 2,
        lambda z, y: f(z) * f(y),
        lambda z, y: (
            ((rows - 1 - z * z) * slope(z) ** 2 + (1 + z * y) * slope(z) * slope(y)) / (rows - 3)
        ),
    )
    norm = over(lambda x: 1.0, rows - 3, [])
    return [over(lambda x, p=p: inner(x, p), rows - 3, cuts) / norm for p in parts]


def test_moments_over_a_normalised_batch():
    tanh = by_jacobi(16, np.tanh, lambda z: 1 / np.cosh(z) ** 2)
    np.testing.assert_allclose(moments(jaxnn.network.find_activation("tanh"), 16), tanh, rtol=1e-11)
    clipped = by_quad(5, lambda z: min(max(z, -1), 1), lambda z: float(abs(z) <= 1), (-1.0, 1.0))
    measured = moments(jaxnn.network.find_activation("hard_tanh"), 5)
    np.testing.assert_allclose(measured, clipped, rtol=1e-9)
    for rows in (4, 128):
        c, rate = relu_of(rows)
        both, of_both, kappa = moments(jaxnn.network.find_activation("relu"), rows)
        np.testing.assert_allclose((both, of_both), (0.5, c / 2), rtol=1e-12)
        np.testing.assert_allclose(kappa / (both - of_both), rate, rtol=1e-12)


def test_a_batch_norm_at_its_own_correlation():
    """χ, c* and λ_B do not know σ_w, nor λ_B σ_b; between layers of another q and c the factor."""
    batch = {"hidden": jaxnn.blocks.BatchNorm(), "batch": 16}
    c, rate = relu_of(16)
    assert (round(c, 5), round(rate, 5)) == (0.28568, 1.58995)
    np.testing.assert_allclose(meanfield.stationary_chi("relu", W, B, **batch), rate, rtol=1e-12)
    shared = (W**2 * c / 2 + B**2) / (W**2 / 2 + B**2)
    for of in (
        meanfield.correlation_map("relu", W, B, 2.0, 0.9, **batch),
        meanfield.correlation_fixed_point("relu", W, B, **batch),
    ):
        np.testing.assert_allclose(of, shared, rtol=1e-11)
    factor = rate * (1 - c) / 2 * W**2 / (2.0 * (1 - 0.9))
    np.testing.assert_allclose(meanfield.chi("relu", W, 2.0, c=0.9, **batch), factor, rtol=1e-11)
    assert meanfield.xi_c("relu", W, B, **batch) == 0


def test_a_batch_norm_in_a_skip_connection():
    """With u = q (1 - c) of rows, u grows by σ_w² (Eσ² - Eσσ̃), and χ = 1 + λ_B of that over u."""
    c, rate = relu_of(16)
    step = W**2 / 2 * (1 - c)
    u = W**2 * 0.7 * (1 - 0.2)  # σ_b is common to rows
    log_factors = [0.5 * math.log(1 + rate * step / (u + i * step)) for i in range(7)]
    measured = meanfield.log_delta(
        "relu",
        W,
        B,
        0.7,
        8,
        hidden=jaxnn.blocks.Residual(jaxnn.blocks.BatchNorm()),
        batch=16,
        c0=0.2,
    )
    sums = [sum(log_factors[m:]) for m in range(8)]
    np.testing.assert_allclose(measured, sums, rtol=1e-10)


# Far from the ends


def expected(f):
    """E f(g), by Gauss-Legendre."""
    x, w = np.polynomial.legendre.leggauss(200)
    g = 10 * x
    return 10 * np.sum(w * f(g) * np.exp(-g * g / 2)) / math.sqrt(2 * math.pi)


TANH = (  # E σ² and E σ′²
    expected(lambda g: np.tanh(g) ** 2),
    expected(lambda g: np.cosh(g) ** -4.0),
)
STATIONARY = [  # σ, σ_w, σ_b, block, rows, and the factor
    ("tanh", W, 0.0, jaxnn.blocks.RMSNorm(), None, TANH[1] / TANH[0]),
    ("tanh", W, B, jaxnn.blocks.LayerNorm(), None, W**2 * TANH[1] / (W**2 * TANH[0] + B**2)),
    ("tanh", W, B, jaxnn.blocks.BatchNorm(), None, TANH[1] / TANH[0]),
    ("tanh", 1.0, 0.0, jaxnn.blocks.PostNorm(), None, (1 + TANH[1]) / (1 + TANH[0])),
    ("relu", W, B, jaxnn.blocks.BatchNorm(), None, math.pi / (math.pi - 1)),
    ("relu", W, 0.0, jaxnn.blocks.PostNorm(norm="layer"), None, 1.0),
    ("identity", W, 0.0, jaxnn.blocks.BatchNorm(), 16, 14 / 13),
    ("relu", 1.0, 1.0, jaxnn.blocks.Dense(), None, 0.5),
    ("relu", W, 0.0, jaxnn.blocks.Residual(scale=0.0), None, 1.0),
]


@mostly_slow("name, sigma_w, sigma_b, block, batch, factor", STATIONARY, *STATIONARY[1::3])
def test_the_factor_far_from_the_ends(name, sigma_w, sigma_b, block, batch, factor):
    measured = meanfield.stationary_chi(name, sigma_w, sigma_b, hidden=block, batch=batch)
    np.testing.assert_allclose(measured, factor, rtol=1e-10)


def test_correlations_behind_a_norm():
    """For erf c[l+1] = asin(2c/3) / asin(2/3): c = 0 attracts, c = 1 repels."""
    norm = {"hidden": jaxnn.blocks.RMSNorm()}
    np.testing.assert_allclose(meanfield.fixed_point("erf", W, B, **norm), square(1), rtol=1e-12)
    slope = 2 / 3 / math.asin(2 / 3)
    xi = meanfield.xi_c("erf", W, 0.0, **norm)
    np.testing.assert_allclose(xi, -1 / math.log(slope), rtol=1e-10)


# Finite width

G = np.linspace(-8, 8, 321)  # for smooth functions the sum is exact
OF_G = np.exp(-(G**2) / 2) / np.sum(np.exp(-(G**2) / 2))
SPREADS = {  # s, q[1], and E[σ′(z)² σ′(z̃)²] for q and q̃ >= q, z̃ = z + √(q̃ - q) g
    "relu": (1.5, 2.0, lambda q, above: 0.25 + math.asin(math.sqrt(q / above)) / (2 * math.pi)),
    "tanh": (
        0.5,
        1.0,
        lambda q, above: (
            (OF_G * np.cosh(math.sqrt(q) * G) ** -4.0)
            @ np.cosh(math.sqrt(q) * G[:, None] + math.sqrt(above - q) * G) ** -4.0
            @ OF_G
        ),
    ),
}


@mostly_slow("name", SPREADS, "relu")
def test_the_band_of_residual_blocks_layer_by_layer(name):
    """Written out as double sums, from every layer on, over nine blocks; s is not 1/μ₁."""
    s, q1, together = SPREADS[name]
    blocks, width = 9, 50
    scale, sigma_w = math.sqrt(s / 2), math.sqrt(2)
    block = jaxnn.blocks.Residual(scale=scale)
    q0 = q1 / sigma_w**2
    q = np.asarray(meanfield.lengths(name, sigma_w, 0.0, q0, blocks + 1, hidden=block))
    mu = [0.5 if name == "relu" else OF_G @ np.cosh(math.sqrt(v) * G) ** -4.0 for v in q]
    w = [s * m for m in mu]
    grown = [math.prod(1 + v for v in w[m:blocks]) for m in range(blocks + 1)]
    lag, variance = np.zeros(blocks + 1), np.zeros(blocks + 1)
    for start in range(blocks):
        for i in range(start, blocks):
            share = together(q[i], q[blocks]) / mu[blocks]
            for m in range(i + 1, blocks):
                share += s * together(q[i], q[m]) * grown[m + 1]
            share /= grown[i + 1]
            alone = (4 * s * share + 2 * s**2 * together(q[i], q[i])) / (1 + w[i]) ** 2
            lag[start] += alone
            variance[start] += alone
            for m in range(start, blocks):
                low, high = sorted((i, m))
                both = together(q[low], q[high]) - mu[i] * mu[m]
                each = s**2 * both / (1 + w[i]) / (1 + w[m])
                variance[start] += each
                lag[start] += each if i == m else 0
    band = meanfield.log_delta_band(name, sigma_w, 0.0, q0, width, blocks + 1, hidden=block)
    np.testing.assert_allclose(band.bias, -lag / (4 * width), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(band.sd, np.sqrt(variance / (4 * width)), rtol=1e-9, atol=1e-15)


def test_slopes_of_two_layers_by_quadrature():
    """E[σ′(z)² σ′(z̃)²] of tanh, of lengths that a skip connection lets grow."""
    q, together = np.array([0.5, 1.0, 2.5]), SPREADS["tanh"][2]
    mu = np.array([OF_G @ np.cosh(math.sqrt(v) * G) ** -4.0 for v in q])
    tanh = jaxnn.network.find_activation("tanh")
    above = finite_width._together(tanh, *map(jnp.asarray, (mu, np.log(q), np.sqrt(q))))
    expected = [together(q[0], v) for v in q[1:]]
    np.testing.assert_allclose(above(jnp.asarray(0))[1:], expected, rtol=1e-9)


def test_the_length_of_a_sum_varies_as_that_of_its_units():
    """The logarithm of a mean of (z + √v g)² over n units that have z: (4v + 2v²)/(n (1 + v)²)."""
    v, n, rng = 0.7, 200, np.random.default_rng(0)
    z = np.repeat([1.0, -1.0], n // 2)
    logs = np.log(np.mean((z + math.sqrt(v) * rng.normal(size=(10_000, n))) ** 2, axis=1))
    of_layer = finite_width.norm_variance(jnp.asarray([1 + v, 1 + v]))
    assert of_layer[0] == pytest.approx(n * np.var(logs), rel=0.05)
    assert of_layer[1] == 0


@pytest.mark.slow
def test_the_band_behind_a_norm_has_its_variance_on_top():
    """The slopes of relu do not depend on lengths, so the norm changes nothing else of the band."""
    of, width, blocks = ("relu", 1.0, 0.0, 1.0), 50, 9
    skip = jaxnn.blocks.Residual(scale=0.5)
    alone, behind = (
        meanfield.log_delta_band(*of, width, blocks + 1, hidden=block)
        for block in (skip, jaxnn.blocks.PostNorm(skip))
    )
    np.testing.assert_allclose(behind.bias, alone.bias, rtol=1e-6, atol=1e-12)
    v = 0.25 / 2
    on_top = (4 * v + 2 * v**2) / (1 + v) ** 2 / (4 * width) * np.arange(blocks, -1, -1)
    np.testing.assert_allclose(behind.sd**2, alone.sd**2 + on_top, rtol=1e-6, atol=1e-12)


@pytest.mark.slow
def test_slopes_by_quadrature_are_those_of_the_closed_form():
    """Relu's own formula against the quadrature of another activation with the same σ.

    Over 100 layers, most distances interpolated; a jump of σ′ costs digits.
    """
    relu = jaxnn.network.ACTIVATIONS["relu"]
    other = dataclasses.replace(relu, name="another", homogeneous=False)
    block = jaxnn.blocks.Residual(scale=0.3)
    closed, summed = (
        meanfield.log_delta_band(sigma, 1.0, 0.0, 1.0, 50, 100, hidden=block)
        for sigma in (relu, other)
    )
    np.testing.assert_allclose(summed.sd, closed.sd, rtol=0.01)
    np.testing.assert_allclose(summed.bias, closed.bias, rtol=0.01)


@pytest.mark.slow
def test_the_band_of_residual_blocks_beyond_the_range():
    """Relu with w = 50 a block: q leaves float64 at layer 180, and each adds as much as before."""
    of = ("relu", 10.0, 0.0, 1.0, 50_000, 300)
    band = meanfield.log_delta_band(*of, hidden=jaxnn.blocks.Residual())
    steps = -np.diff(np.asarray(band.bias))
    np.testing.assert_allclose(steps[:290], steps[100], rtol=1e-9)
    assert 0 < float(band.sd[0]) < np.inf


# Tailored units


def test_a_tailored_slope_takes_c_from_0_to_eta():
    assert round(meanfield.tailored_slope(100, 0.9), 5) == 0.57044
    sigma = jaxnn.theory.tailored_relu(20, 0.8)
    assert sigma == jaxnn.theory.tailored_relu(20, 0.8) != jaxnn.theory.tailored_relu(21, 0.8)
    assert hash(sigma) == hash(jaxnn.theory.tailored_relu(20, 0.8))

    @jax.jit
    def of_depth(c):
        c = jax.lax.fori_loop(
            0, 20, lambda _, c: meanfield.correlation_map(sigma, 1.0, 0.0, 1.0, c), c
        )
        return c, meanfield.length_map(sigma, 1.0, 0.0, 3.0), meanfield.chi(sigma, 1.0, 3.0)

    np.testing.assert_allclose(of_depth(0.0), (0.8, 3.0, 1.0), rtol=1e-10)
    z = jnp.asarray([-np.inf, -2.0, 0.0, 3.0, np.inf, np.nan], jnp.float32)
    slope = meanfield.tailored_slope(20, 0.8)
    gain = math.sqrt(2 / (1 + slope**2))
    low = gain * slope
    np.testing.assert_allclose(
        sigma.sigma(z), [-np.inf, -2 * low, 0, 3 * gain, np.inf, np.nan], rtol=1e-6
    )
    np.testing.assert_allclose(sigma.prime(z), [low, low, gain, gain, gain, np.nan], rtol=1e-6)
    assert sigma.sigma(z).dtype == sigma.prime(z).dtype == jnp.float32


# Refusals


@dataclass(frozen=True)
class Own:
    """A block without a theory, but for its length."""

    forward = backward = preactivation = jaxnn.blocks.Dense.forward

    def length(self, field, q):
        """Return q."""
        return q


BATCH, RESIDUAL = jaxnn.blocks.BatchNorm, jaxnn.blocks.Residual
REFUSED = """
meanfield.chi("tanh", 1.0, 1.0, hidden=Own())
meanfield.chi("tanh", 1.0, 1.0, hidden=RESIDUAL(Own()))
meanfield.critical_sigma_w("tanh", 0.0, hidden=jaxnn.blocks.LayerNorm())
meanfield.log_delta_band("tanh", 1.0, 0.0, 1.0, 8, 3, hidden=jaxnn.blocks.RMSNorm())
meanfield.log_delta_band("tanh", 1, 0, 1, 8, 3, hidden=RESIDUAL(Own()))
meanfield.length_map("tanh", 1.0, 0.0, 1.0, hidden=BATCH(), batch=3)
meanfield.chi("tanh", 1.0, 1.0, hidden=BATCH(eps=0.1))
meanfield.chi("tanh", 1.0, 1.0, hidden=BATCH(RESIDUAL()))
meanfield.chi("tanh", 1.0, 1.0, hidden=BATCH(), batch=0)
meanfield.chi("tanh", 1.0, 1.0, c=2.0)
meanfield.chi("tanh", 1.0, 1.0, hidden=RESIDUAL)
meanfield.fixed_point("tanh", 1.0, 0.0, hidden=RESIDUAL())
meanfield.stationary_chi("tanh", 1.0, 0.0, hidden=RESIDUAL())
meanfield.xi_c("tanh", 1.0, 0.0, hidden=RESIDUAL())
jaxnn.theory.tailored_relu(10)
jaxnn.theory.tailored_relu(10, 1.0)
jaxnn.theory.tailored_relu(0)
"""


def test_what_does_not_exist_is_said_in_a_sentence(unhooked, snapshot):
    assert refusals(REFUSED, globals()) == snapshot

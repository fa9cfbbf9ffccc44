"""Infinite width against scipy's integrals, closed forms, plain iteration and sampled networks."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import FEW_ACTIVATIONS, mostly_slow, refusals
from scipy.integrate import quad

import jaxnn
from jaxnn.theory import meanfield

BENT = jaxnn.network.Activation(  # of a user's own: odd kinks, a slope on either side
    "bent",
    sigma=lambda z: jnp.where(z < -0.7, -0.35, jnp.where(z > 1.3, jnp.tanh(z - 1.3) + 0.65, z / 2)),
    prime=lambda z: jnp.where(
        z < -0.7, 0.0, jnp.where(z > 1.3, 1 - jnp.tanh(z - 1.3) ** 2, 0.5 * jnp.ones_like(z))
    ),
    kinks=(-0.7, 1.3),
)
# σ and σ′ enter the integrals as they are. The default run sees every kind of kink, tail and slope.
FEW = (*FEW_ACTIVATIONS, "hard_tanh", "bent")
each_activation = pytest.mark.parametrize(
    "activation",
    [
        pytest.param(a, id=a.name, marks=[] if a.name in FEW else pytest.mark.slow)
        for a in (*jaxnn.network.ACTIVATIONS.values(), BENT)
    ],
)
CORRELATIONS = (0.0, 0.3, -0.3, 0.9, -0.9, 0.9999, -0.9999, 1 - 1e-9, 1.0, -1.0)
FEW_BENT = ("tanh", "bent")  # smooth; and with two kinks, a straight piece and a tail
# σ in plain Python, for the integrals over a plane.
PLAIN = {
    "tanh": math.tanh,
    "selu": lambda z: 1.0507009873554805 * (z if z > 0 else 1.6732632423543773 * math.expm1(z)),
    "hard_tanh": lambda z: min(max(z, -1.0), 1.0),
    "relu6": lambda z: min(max(z, 0.0), 6.0),
    "bent": lambda z: -0.35 if z < -0.7 else (math.tanh(z - 1.3) + 0.65 if z > 1.3 else z / 2),
}


def expected(f, places, scale=1.0, end=9.5):
    """E[f(g)] by scipy, piece by piece; `scale` is the finest length on which f varies at 0."""
    inside = {float(p) for p in places if abs(p) < end}
    cuts = sorted({-end, end, 0.0, -scale, scale, *inside})
    return sum(
        quad(lambda g: f(g) * math.exp(-g * g / 2), a, b, epsabs=1e-13, epsrel=1e-11, limit=400)[0]
        for a, b in itertools.pairwise(cuts)
    ) / math.sqrt(2 * math.pi)


@each_activation
@mostly_slow("q", [0.05, 1.7, 60.0], 60.0)
def test_length_map_and_chi_are_scipy_s_integrals(activation, q):
    root = math.sqrt(q)
    sigma, prime = (jax.jit(f) for f in (activation.sigma, activation.prime))
    places = [k / root for k in activation.kinks]
    square, slope = (
        expected(lambda g, f=f: float(f(root * g)) ** 2, places, min(1, 1 / root))
        for f in (sigma, prime)
    )
    length = meanfield.length_map(activation, 1.3, 0.4, q)
    np.testing.assert_allclose(length, 1.69 * square + 0.16, rtol=1e-9)
    np.testing.assert_allclose(meanfield.chi(activation, 1.3, q), 1.69 * slope, rtol=1e-9)


@mostly_slow("name", PLAIN, *FEW_BENT)
@mostly_slow("q, c", [(0.8, 0.6), (9.0, -0.95), (2.0, 0.9999)], (9.0, -0.95))
def test_correlation_map_is_scipy_s_integral_over_the_plane(name, q, c):
    f, root, own = PLAIN[name], math.sqrt(q), math.sqrt(1 - c * c)
    activation = BENT if name == "bent" else jaxnn.network.find_activation(name)
    kinks = [k / root for k in activation.kinks]

    def inner(g):
        return expected(lambda h: f(root * (c * g + own * h)), [(k - c * g) / own for k in kinks])

    # Where z is at a kink, and where z̃ crosses one there, the outer integrand has a corner.
    covariance = expected(lambda g: f(root * g) * inner(g), [*kinks, *(k / c for k in kinks)])
    square = expected(lambda g: f(root * g) ** 2, kinks)
    measured = meanfield.correlation_map(activation, 1.3, 0.4, q, c)
    exact = (1.69 * covariance + 0.16) / (1.69 * square + 0.16)
    np.testing.assert_allclose(measured, exact, rtol=0, atol=1e-9)


def absolute(c):
    """E|z z̃| / q: the arc-cosine kernel of order 1 (Cho & Saul 2009), made even."""
    return 2 / math.pi * (math.sqrt(max(0, 1 - c * c)) + c * math.asin(c))


# E[σ(z) σ(z̃)]: Cho & Saul 2009 for the rectifiers, Williams 1997 for erf.
KERNELS = {
    "relu": lambda q, c: q * (c + absolute(c)) / 4,
    "leaky_relu": lambda q, c: q * (0.505**2 * c + 0.495**2 * absolute(c)),
    "erf": lambda q, c: 2 / math.pi * math.asin(2 * q * c / (1 + 2 * q)),
    "identity": lambda q, c: q * c,
    "sin": lambda q, c: math.exp(-q) * math.sinh(q * c),
}
SLOPES = {
    "relu": lambda q: 0.5,
    "leaky_relu": lambda q: (1 + 0.01**2) / 2,
    "erf": lambda q: 4 / math.pi / math.sqrt(1 + 4 * q),
    "identity": lambda q: 1.0,
    "sin": lambda q: (1 + math.exp(-2 * q)) / 2,
}


@mostly_slow("name", KERNELS, "relu", "erf")
@mostly_slow("q", [1e-6, 0.3, 2.0, 50.0], 1e-6, 50.0)
def test_closed_forms(name, q):
    square = KERNELS[name](q, 1.0)
    np.testing.assert_allclose(meanfield.length_map(name, 1.0, 0.0, q), square, rtol=1e-12)
    np.testing.assert_allclose(meanfield.chi(name, 1.0, q), SLOPES[name](q), rtol=1e-12)
    exact = [(2.25 * KERNELS[name](q, c) + 0.01) / (2.25 * square + 0.01) for c in CORRELATIONS]
    measured = meanfield.correlation_map(name, 1.5, 0.1, q, np.array(CORRELATIONS))
    np.testing.assert_allclose(measured, exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("q", [1e4, 1e6])
def test_units_deep_in_saturation(q):
    np.testing.assert_allclose(meanfield.chi("erf", 1.0, q), SLOPES["erf"](q), rtol=1e-12)
    step = math.sqrt(2 / math.pi / q)  # the density of z at 0, over an interval of 2
    np.testing.assert_allclose(meanfield.chi("hard_tanh", 1.0, q), step, rtol=1 / q)
    exact = [KERNELS["erf"](q, c) / KERNELS["erf"](q, 1.0) for c in CORRELATIONS]
    measured = meanfield.correlation_map("erf", 1.0, 0.0, q, np.array(CORRELATIONS))
    np.testing.assert_allclose(measured, exact, rtol=0, atol=1e-12)


def test_at_zero_length_the_limits_are_taken():
    assert meanfield.length_map("relu", 1.0, 0.5, 0.0) == 0.25
    assert meanfield.length_map("tanh", 1.0, 0.0, 0) == 0
    np.testing.assert_allclose(meanfield.chi("relu", 1.0, 0.0), 0.5, rtol=1e-14)
    np.testing.assert_allclose(meanfield.chi("tanh", 2.0, 0.0), 4.0, rtol=1e-14)
    kernel = KERNELS["relu"](1, 0.3) / 0.5
    measured = meanfield.correlation_map("relu", 1.0, 0.0, 0.0, 0.3)
    np.testing.assert_allclose(measured, kernel, rtol=1e-12)
    assert meanfield.correlation_map("relu", 1.0, 0.5, 0.0, 0.3) == 1


FIXED_POINTS = [
    ("relu", 1.0, 1.0, 2.0),
    ("relu", 1.5, 1.0, np.inf),
    ("relu", 1.5, 0.0, np.inf),
    ("relu", 1.0, 0.0, 0.0),
    ("relu", 2**0.5, 0.0, 1.0),  # every q is one
    ("relu", 2**0.5, 1.0, np.inf),  # grows by 1 a layer
    ("relu", 1.99999**0.5, 1.0, 1 / (1 - 1.99999 / 2)),
    ("tanh", 1.0, 0.0, 0.0),  # like 1/(2l)
    ("tanh", 0.9, 0.0, 0.0),
    ("tanh", 0.5, 1e-20, 1e-40 / 0.75),
    ("tanh", 0.0, 0.3, 0.09),
    ("tanh", 0.0, 0.0, 0.0),
]


@pytest.mark.parametrize(("name", "sigma_w", "sigma_b", "q"), FIXED_POINTS)
def test_fixed_points_known_in_advance(name, sigma_w, sigma_b, q):
    np.testing.assert_allclose(meanfield.fixed_point(name, sigma_w, sigma_b), q, rtol=1e-9)


@pytest.mark.slow
def test_iteration_arrives_at_the_fixed_points_at_the_predicted_pace():
    name, sigma_w, sigma_b = "sigmoid", 30.0, 1.0  # chaos; a small ξ_c, so few steps are enough
    q = meanfield.fixed_point(name, sigma_w, sigma_b)
    c = meanfield.correlation_fixed_point(name, sigma_w, sigma_b)
    iterated_q, iterated_c = 1.0, 0.5
    for _ in range(20):
        iterated_q = meanfield.length_map(name, sigma_w, sigma_b, iterated_q)
    for _ in range(46):
        iterated_c = meanfield.correlation_map(name, sigma_w, sigma_b, q, iterated_c)
    np.testing.assert_allclose(iterated_q, q, rtol=1e-12)
    np.testing.assert_allclose(iterated_c, c, rtol=0, atol=1e-9)
    assert c < 0.9
    h = 1e-4
    ends = [meanfield.correlation_map(name, sigma_w, sigma_b, q, v) for v in (c - h, c + h)]
    slope = (ends[1] - ends[0]) / (2 * h)
    np.testing.assert_allclose(
        meanfield.xi_c(name, sigma_w, sigma_b), -1 / np.log(slope), rtol=1e-6
    )


@pytest.mark.slow
def test_order_chaos_and_what_diverges():
    assert meanfield.correlation_fixed_point("tanh", 1.0, 0.3) == 1
    assert 0 < meanfield.correlation_fixed_point("tanh", 2.5, 0.3) < 0.2
    assert meanfield.correlation_fixed_point("tanh", 2.5, 0.0) == 0
    q = meanfield.fixed_point("tanh", 1.0, 0.3)
    log_chi = np.log(meanfield.chi("tanh", 1.0, q))
    np.testing.assert_allclose(meanfield.xi_c("tanh", 1.0, 0.3), -1 / log_chi, rtol=1e-12)
    assert meanfield.xi_c("tanh", 1.0, 0.0) == np.inf
    for function in (meanfield.xi_c, meanfield.correlation_fixed_point):
        assert np.isnan(function("relu", 1.5, 1.0))


CRITICAL = [  # σ_w² where it is known in advance, and how well
    ("tanh", 0.0, 1.0, 1e-12),
    ("tanh", 0.05**0.5, 1.76, 1e-3),
    ("relu", 0.0, 2.0, 1e-12),
    pytest.param("sigmoid", 0.0, 103.0, 1e-3, marks=pytest.mark.slow),
    ("erf", 0.0, math.pi / 4, 1e-12),
    pytest.param(
        *("selu", 0.0, 2 / (1.0507009873554805**2 * (1 + 1.6732632423543773**2)), 1e-12),
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("name", "sigma_b", "square", "rtol"), CRITICAL)
def test_critical_sigma_w(name, sigma_b, square, rtol):
    sigma_w = meanfield.critical_sigma_w(name, sigma_b)
    q = meanfield.fixed_point(name, sigma_w, sigma_b)
    np.testing.assert_allclose(meanfield.chi(name, sigma_w, q), 1, rtol=1e-9)
    np.testing.assert_allclose(sigma_w**2, square, rtol=rtol)


def test_critical_erf_against_its_closed_form():
    """At χ = 1, σ_w² = π/4 √(1 + 4q), and q = σ_w² 2/π asin(2q/(1 + 2q)) + σ_b²."""
    sigma_w = float(meanfield.critical_sigma_w("erf", 0.4))
    q = ((4 / math.pi * sigma_w**2) ** 2 - 1) / 4
    assert q == pytest.approx(sigma_w**2 * KERNELS["erf"](q, 1.0) + 0.16, rel=1e-12)


def test_critical_sigma_w_behind_a_norm():
    """In closed form by Gauss-Hermite without ε; with it, χ = 1, which sampling holds elsewhere."""
    z, weights = np.polynomial.hermite_e.hermegauss(200)
    slope = 1 - np.tanh(z) ** 2
    apart = (weights @ slope**2 - weights @ np.tanh(z) ** 2) / weights.sum()
    for hidden in (jaxnn.blocks.RMSNorm(), jaxnn.blocks.LayerNorm()):
        sigma_w = meanfield.critical_sigma_w("tanh", 0.3, hidden=hidden)
        np.testing.assert_allclose(sigma_w, 0.3 / apart**0.5, rtol=1e-9)
    soft = jaxnn.blocks.RMSNorm(eps=0.5)
    sigma_w = meanfield.critical_sigma_w("tanh", 0.3, hidden=soft)
    np.testing.assert_allclose(meanfield.stationary_chi("tanh", sigma_w, 0.3, hidden=soft), 1)
    assert float(sigma_w) > 1.5  # more than without ε: the norm divides by more


@pytest.mark.parametrize(
    ("name", "sigma_b", "repels"),
    [
        ("relu", 0.1, "; choose"),  # q grows by σ_b² a layer
        ("gelu", 0.0, "; choose"),  # σ_w = 2 balances it at q = 0, from where q runs away
        # Here at a q that others run away from.
        pytest.param("gelu", 0.3, "; sigma_w = 1.4505 .* q = 1.425,", marks=pytest.mark.slow),
    ],
)
def test_there_may_be_no_critical_sigma_w(name, sigma_b, repels):
    message = (
        rf"for {name} and sigma_b = {sigma_b:g} there is no sigma_w with chi = 1 at a finite q\* "
        rf"that q tends to{repels}"
    )
    with pytest.raises(ValueError, match=message):
        meanfield.critical_sigma_w(name, sigma_b)
    if name == "relu":
        assert np.isnan(jax.jit(meanfield.critical_sigma_w, static_argnums=0)(name, sigma_b))


def test_log_delta_sums_the_factors_along_the_way():
    q, factors = 4.0 * 0.7 + 0.09, []
    for _ in range(7):
        factors.append(float(meanfield.chi("tanh", 2.0, q)))
        q = float(meanfield.length_map("tanh", 2.0, 0.3, q))
    sums = [0.5 * sum(np.log(factors[m:])) for m in range(8)]
    measured = meanfield.log_delta("tanh", 2.0, 0.3, 0.7, 8)
    np.testing.assert_allclose(measured, sums, rtol=1e-12)
    assert measured.shape == (8,)
    np.testing.assert_array_equal(meanfield.log_delta("tanh", 2.0, 0.3, 0.7, 1), [0.0])


def test_a_layer_has_the_weights_above_it():
    measured = meanfield.log_delta("relu", [9.0, 2.0, 0.5], 0.0, 1.0, 3)
    np.testing.assert_allclose(measured, [np.log(2 / 8) / 2, np.log(1 / 8) / 2, 0], rtol=1e-12)


def test_log_delta_outlives_the_range_of_q():
    """q[l] = (σ_w²/2)^(l-1) leaves float64 at layer 182, while χ stays what it is."""
    for sigma_w in (10.0, 0.1):
        measured = meanfield.log_delta("relu", sigma_w, 0.0, 0.01, 500)
        expected = 0.5 * np.log(sigma_w**2 / 2) * np.arange(499, -1, -1)
        np.testing.assert_allclose(measured, expected, rtol=1e-12)


@mostly_slow("name, c", [("identity", 2.0), ("relu", 5.0)], ("relu", 5.0))
def test_the_band_of_finite_width(name, c):
    band = meanfield.slope_band(name, 1.0, 0.0, 3.0, 50, 20)
    np.testing.assert_allclose(band.bias, -c / 200, rtol=1e-12)
    # Of a line fitted to a random walk; in the limit of many layers 1.2 c/(n layers) / 4.
    exact = 1.2 * c / 1000 * (20**2 + 1) / (20**2 - 1)
    np.testing.assert_allclose(band.sd, 0.5 * math.sqrt(exact), rtol=1e-12)
    # ‖Δz‖² is multiplied by 2χ²_k/n (relu, k active units of n) or χ²_n/n (linear) a layer.
    rng = np.random.default_rng(7)
    active = rng.binomial(50, 0.5, (20_000, 20)) if name == "relu" else np.full((20_000, 20), 50)
    walks = np.cumsum(0.5 * np.log(rng.chisquare(active) / (25 if name == "relu" else 50)), axis=1)
    slopes = np.polyfit(np.arange(20), walks.T, 1)[0]
    np.testing.assert_allclose(np.mean(slopes), band.bias, rtol=0.1)
    np.testing.assert_allclose(np.std(slopes), band.sd, rtol=0.1)


def test_near_criticality_float32_says_what_float64_does():
    of = "tanh", 1.3272, 0.05**0.5  # χ - 1 = 2e-4
    wide = float(meanfield.xi_c(*of))
    assert 1e3 < wide < 1e5
    with jax.enable_x64(False):
        assert meanfield.xi_c(*of) == pytest.approx(wide, rel=1e-6)
        assert 1e-6 < 1 - meanfield.correlation_fixed_point(*of) < 1e-3


@pytest.mark.parametrize(
    ("name", "sigma_w", "n", "depth"),
    [("relu", 2**0.5, 64, 32), ("tanh", 0.9, 32, 32), ("tanh", 2**0.5, 16, 12)],
    ids=["relu", "order", "chaos"],
)
def test_the_signal_of_finite_width_is_that_of_drawn_networks(name, sigma_w, n, depth):
    """To first order in 1/n. The next one is, of relu, 1.3/n of the bias and 2/n of the deviation.

    So n is 64, not 16, where noise of each layer adds up to most of both; they are drawn to 2 %.
    """
    networks = 4000
    band = meanfield.lengths_band(name, sigma_w, 0.0, 1.0, n, depth)
    wide = np.log(meanfield.lengths(name, sigma_w, 0.0, 1.0, depth)[-1])
    rng, sigma = np.random.default_rng(0), {"relu": lambda z: np.maximum(z, 0), "tanh": np.tanh}
    z = sigma_w * rng.standard_normal((networks, n))
    for _ in range(depth - 1):  # given a, z of the layer above is Gaussian
        size = sigma_w * np.sqrt(np.mean(sigma[name](z) ** 2, axis=1, keepdims=True))
        z = size * rng.standard_normal((networks, n))
    logs = np.log(np.mean(z**2, axis=1)) - wide
    np.testing.assert_allclose(logs.mean(), band.bias[-1], rtol=0.1)
    np.testing.assert_allclose(logs.std(), band.sd[-1], rtol=0.15)


def test_the_signal_of_finite_width_is_silent_where_it_varies_too_much():
    silent = np.isnan(meanfield.lengths_band("tanh", 1.0, 0.0, 1.0, 16, 64))
    assert not silent[:, :7].any()
    assert silent[:, 16:].all()


@pytest.mark.slow
def test_in_float32():
    wide = [f("tanh", 2.5, 0.3) for f in (meanfield.fixed_point, meanfield.correlation_fixed_point)]
    critical = meanfield.critical_sigma_w("tanh", 0.3)
    assert {v.dtype for v in wide} == {jnp.dtype("float64")}
    assert meanfield.chi("tanh", jnp.float32(1), np.float32(2)).dtype == jnp.float64
    with jax.enable_x64(False):
        narrow = [
            f("tanh", 2.5, 0.3) for f in (meanfield.fixed_point, meanfield.correlation_fixed_point)
        ]
        assert {v.dtype for v in narrow} == {jnp.dtype("float32")}
        np.testing.assert_allclose(narrow, [float(v) for v in wide], rtol=1e-7)
        again = meanfield.critical_sigma_w("tanh", 0.3)
        np.testing.assert_allclose(again, float(critical), rtol=1e-7)
        assert meanfield.fixed_point("tanh", 1.0, 0.0) == 0


REFUSED = """
meanfield.chi("tanhh", 1.0, 1.0)
meanfield.chi("tanh", -1.0, 1.0)
meanfield.chi("tanh", 1.0, math.inf)
meanfield.fixed_point("tanh", 1.0, math.nan)
meanfield.critical_sigma_w("tanh", -0.1)
meanfield.correlation_map("tanh", 1.0, 0.0, 1.0, 1.1)
meanfield.log_delta("tanh", 1.0, 0.0, 1.0, 0)
meanfield.log_delta("tanh", 1.0, 0.0, 1.0, True)
meanfield.slope_band("tanh", 1.0, 0.0, 1.0, 1.5, 3)
meanfield.chi(3, 1.0, 1.0)
meanfield.log_delta("tanh", jnp.eye(2), 0, 1, 2)
meanfield.chi("tanh", "big", 1.0)
meanfield.chi("tanh", 1j, 1.0)
meanfield.chi("tanh", True, 1.0)
meanfield.critical_sigma_w("tanh", 0.0, hidden=jaxnn.blocks.RMSNorm())
meanfield.critical_sigma_w("relu", 0.3, hidden=jaxnn.blocks.RMSNorm())
meanfield.critical_sigma_w("tanh", 0.3, hidden=jaxnn.blocks.BatchNorm())
meanfield.critical_sigma_w("tanh", 0.3, hidden=jaxnn.blocks.Residual())
"""


def test_bad_arguments_and_what_has_no_critical_sigma_w_are_named(unhooked, snapshot):
    assert refusals(REFUSED, globals()) == snapshot

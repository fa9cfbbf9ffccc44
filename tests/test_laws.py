"""The laws: predictions against closed forms, measurements, verdicts, files, messages."""

import dataclasses
import functools
import json
import math

import browser
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from problems import as_users_have_jax, draw_layers, orthogonal
from rich.console import Console
from scipy import integrate, optimize, special, stats

import jaxnn
from experiments.__main__ import main
from experiments.laws import (
    batch_norm,
    columns,
    draws,
    finite,
    forgetting,
    gradient_exponent,
    he_xavier,
    jacobian_spectrum,
    layer_jacobian,
    length_correlation,
    narrow,
    norm_place,
    norm_with_skip,
    orthogonal_learning,
    passes,
    report,
    residual,
    self_normalising,
    shattered_gradients,
    step_size,
    tailored,
    ten_thousand_layers,
    trainability,
    training,
    width_alone,
    width_over_depth,
)
from experiments.laws import experiment as laws
from experiments.laws.law import (
    Measured,
    Measurement,
    Predicted,
    Prediction,
    compare,
    curve,
    examine,
    points,
)
from experiments.pages import charts, names
from experiments.runs import schema, store

pytestmark = pytest.mark.usefixtures("users_jax")

CHEAP = ("layer-jacobian", "self-normalising")
SMALL = ["laws", "--quick", "--quiet", "--no-cache", "--law", *CHEAP]
SMALLER = {
    "layer-jacobian": layer_jacobian.SquareNetworks(width=100, layers=2, seeds=6),
    "self-normalising": self_normalising.SquareNetworks(width=100, layers=20, seeds=10),
}


# Large enough to hold; --quick draws more of the same.
SHALLOW = {
    batch_norm.LAW: batch_norm.Setup(
        layers=16, seeds=5, relu=((8, 80),), identity=(), tanh=(), gelu=()
    ),
    norm_with_skip.LAW: norm_with_skip.Setup(
        width=80, layers=16, seeds=8, rms="tanh", relu=(8,), tanh=()
    ),
    residual.LAW: residual.Setup(
        width=80, seeds=8, relu=(14,), tanh=(), root=(14,), inverse=(), erf=(14,)
    ),
    shattered_gradients.LAW: shattered_gradients.Setup(
        width=80, seeds=8, plain=(4,), full=(4,), root=(8,)
    ),
    norm_place.LAW: norm_place.Setup(width=80, seeds=8, blocks=(4, 14)),
    forgetting.LAW: forgetting.Setup(width=100, seeds=6, bfloat16=70, float32=0),
}
# Of laws that take long; too small to hold.
TINY = {
    jacobian_spectrum.LAW: jacobian_spectrum.Setup(width=20, factors=(2,), seeds=2),
    width_alone.LAW: width_alone.Setup(width=30, draws=4, root=(4,), full=(4,), plain=(4,)),
    tailored.LAW: tailored.Setup(10, layers=14, draws=2, trained=14, steps=4, looks=2, seeds=1),
    step_size.LAW: step_size.Setup(blocks=(4, 16), steps=4, seeds=2, firsts=2),
    orthogonal_learning.LAW: orthogonal_learning.Setup(
        modes=(2, 4), orthogonal=(2, 8), gaussian=(8,), width=24, most=20_000, seeds=1
    ),
}


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """The folder of a run of two laws, measured on networks smaller than those of --quick."""
    out = tmp_path_factory.mktemp("laws") / "run"
    smaller = [
        dataclasses.replace(law, quick=SMALLER.get(law.name, law.quick)) for law in laws.LAWS
    ]
    with as_users_have_jax(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(laws, "LAWS", tuple(smaller))
        assert main([*SMALL, "--out", str(out)]) == 0
    return out


@pytest.fixture
def measured_as_predicted(monkeypatch):
    """Laws whose measurement is exactly what they predict, and no pictures but the charts' JSON."""

    def exact(law):
        def measure(setup, _):
            with jax.enable_x64(True):
                return perfect(law.prediction(setup).numbers)

        return dataclasses.replace(law, measure=measure)

    def rendered(figure, stem, page):
        return {f"{stem}.json": figure.chart.to_json(validate=False, ensure_ascii=False).encode()}

    monkeypatch.setattr(laws, "LAWS", tuple(map(exact, laws.LAWS)))
    monkeypatch.setattr(charts, "rendered", rendered)


WIDE = 10**9  # units, of which finite width takes nothing off


@functools.cache
def prediction_of(law, **changes):
    """The prediction of the full run, or of one with changes."""
    with jax.enable_x64(True):
        return law.prediction(law.full._replace(**changes))


def predicted(module, **changes):
    """Predicted values of a law by case, and its prediction."""
    prediction = prediction_of(module.LAW, **changes)
    return {e.case: e.value for e in prediction.numbers}, prediction


def gaussian(f):
    """E[f(g)]."""
    value, _ = integrate.quad(lambda g: f(g) * math.exp(-g * g / 2), -12, 12, limit=400)
    return value / math.sqrt(2 * math.pi)


def steady(sigma, sigma_w, sigma_b):
    """q*, by iterating the length map."""

    def after(q):
        return sigma_w**2 * gaussian(lambda g: sigma(math.sqrt(q) * g) ** 2) + sigma_b**2

    q, before = after(1.0), 1.0
    while abs(q - before) > 1e-11:
        q, before = after(q), q
    return q


def chi(slope, sigma_w, q):
    return sigma_w**2 * gaussian(lambda g: slope(math.sqrt(q) * g) ** 2)


def tanh_slope(z):
    return 1 / math.cosh(z) ** 2


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


# 1


@pytest.mark.slow
def test_gradient_exponents_in_closed_form():
    values, _ = predicted(gradient_exponent)
    for variance in (1.0, 2.5):  # relu: χ = σ_w²/2, c = 5
        slope = values[f"relu, σ_w² = {variance:g}, n = 300"]
        assert slope == pytest.approx(0.5 * math.log(variance / 2) - 5 / 1200, abs=1e-9)
    q = steady(special.expit, 1.0, 0.0)

    def slope(z):
        return special.expit(z) * special.expit(-z)

    infinite = 0.5 * math.log(chi(slope, 1.0, q))
    narrow, wide = (values[f"sigmoid, σ_w² = 1, n = {n}"] - infinite for n in (300, 1000))
    assert 300 * narrow == pytest.approx(1000 * wide, rel=0.01)  # of order 1/n
    q = steady(math.tanh, 2.0, math.sqrt(0.05))
    expected = 0.5 * math.log(chi(tanh_slope, 2.0, q))
    assert gradient_exponent.kinds()["tanh, σ_w² = 4"].half_log_chi == pytest.approx(expected)
    critical = gradient_exponent.kinds()["tanh, critical"]
    assert critical.half_log_chi == pytest.approx(0, abs=1e-9)
    q = steady(math.tanh, critical.ensemble.sigma_w, math.sqrt(0.05))
    assert chi(tanh_slope, critical.ensemble.sigma_w, q) == pytest.approx(1, abs=1e-6)


@pytest.mark.slow
def test_the_tolerance_of_a_gradient_exponent_is_the_band_of_finite_width():
    _, prediction = predicted(gradient_exponent)
    relu = next(e for e in prediction.numbers if e.case == "relu, σ_w² = 1, n = 100")
    # ½ √(1.2 · 5/(100 · 30)) over the root of ten seeds, for many layers.
    assert relu.deviation == pytest.approx(0.5 * math.sqrt(1.2 * 5 / 3000 / 10), rel=2e-3)
    assert relu.errors == 4
    tanh = next(e for e in prediction.numbers if e.case == "tanh, σ_w² = 4, n = 100")
    bias = tanh.value - gradient_exponent.kinds()["tanh, σ_w² = 4"].half_log_chi
    assert tanh.allowed == pytest.approx(-bias * 3 / 100)


# 2


def test_mean_singular_values_in_closed_form():
    """The quarter circle; and for relu, half of the rows gone, Marchenko & Pastur's law."""
    with jax.enable_x64(True):
        identity = layer_jacobian.mean_singular_value("identity", 1.0)
        relu = layer_jacobian.mean_singular_value("relu", 2.0)
    assert identity == pytest.approx(8 / (3 * math.pi), abs=1e-7)
    ratio = 0.5
    low, high = (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2

    def density(value):  # of the n/2 values that are not zero
        return math.sqrt((high - value) * (value - low)) / (2 * math.pi * ratio * value)

    mean, _ = integrate.quad(lambda v: math.sqrt(v) * density(v), low, high)
    assert relu == pytest.approx(ratio * mean, abs=1e-6)


def test_the_mean_singular_value_of_a_tanh_layer_is_that_of_large_matrices():
    rng, n, q = np.random.default_rng(0), 500, 2.0
    slopes = 1 / np.cosh(math.sqrt(q) * stats.norm.ppf((np.arange(n) + 0.5) / n)) ** 2
    values = [
        np.linalg.svd(slopes[:, None] * rng.normal(size=(n, n)) / math.sqrt(n), compute_uv=False)
        for _ in range(3)
    ]
    with jax.enable_x64(True):
        value = layer_jacobian.mean_singular_value("tanh", q)
    assert value == pytest.approx(np.mean(values), rel=2e-3)


def test_glorot_s_two_schemes_are_a_third_and_one():
    values, _ = predicted(layer_jacobian)
    assert values["standard, U(±1/√n), weights alone"] == pytest.approx(8 / (3**1.5 * math.pi))
    assert values["normalised, U(±√(6/2n)), weights alone"] == pytest.approx(8 / (3 * math.pi))
    for scheme in layer_jacobian.SCHEMES.values():
        theta = np.asarray(scheme.draw(jax.random.key(0), (400, 400)), np.float64)
        assert 400 * theta.var() == pytest.approx(scheme.sigma_w**2, rel=0.02)


# 3


def test_xavier_loses_the_root_of_two_a_layer():
    values, _ = predicted(he_xavier)
    assert values["He: slope of ln ‖Δz‖"] == pytest.approx(-5 / 400)
    assert values["Xavier: slope of ln ‖Δz‖"] == pytest.approx(-0.5 * math.log(2) - 5 / 400)


# 4


@pytest.mark.parametrize("factors", [2, 3, 8, 64])
def test_learning_times_are_those_of_the_differential_equation(factors):
    def learned(_, u):
        return u[0] - 0.99

    learned.terminal = True
    solved = integrate.solve_ivp(
        lambda _, u: factors * u ** (2 - 2 / factors) * (1 - u),
        (0, 20),
        [0.1],
        events=learned,
        rtol=1e-9,
        atol=1e-12,
    )
    time = orthogonal_learning.learning_time(factors, 0.1, 0.99)
    assert time == pytest.approx(factors * solved.t_events[0][0], rel=1e-6)


def test_steps_of_a_finite_size_learn_sooner():
    """A factor w of two, moved by h w (1 - w²) / 2, from w² = 0.1 to 0.99."""
    w, steps, h, before = math.sqrt(0.1), 0, orthogonal_learning.STEP, 0.0
    while w * w < 0.99:
        before, w, steps = w * w, w + h / 2 * w * (1 - w * w), steps + 1
    time = h * (steps - (w * w - 0.99) / (w * w - before))
    added = time - orthogonal_learning.learning_time(2, 0.1, 0.99)
    assert added < -0.01
    assert orthogonal_learning.euler(2, 0.1, 0.99) == pytest.approx(added, rel=0.01)


def test_a_product_of_balanced_factors_moves_as_it_alone_says(rng):
    """Factors U[j] diag(w) U[j+1]ᵀ, whose product moves by the sum of what each factor does."""
    n, depth = 5, 3
    w = rng.uniform(0.3, 1.2, n)
    turns = np.linalg.qr(rng.normal(size=(depth + 1, n, n)))[0]
    factors = [turns[j] * w @ turns[j + 1].T for j in range(depth)]
    product = np.linalg.multi_dot(factors)
    error = product - rng.normal(size=(n, n))
    moved = np.zeros((n, n))
    for j, factor in enumerate(factors):
        before = np.linalg.multi_dot([np.eye(n), *factors[:j], np.eye(n)])
        after = np.linalg.multi_dot([np.eye(n), *factors[j + 1 :], np.eye(n)])
        moved += before @ (before.T @ error @ after.T) @ after
        assert factor.shape == (n, n)
    np.testing.assert_allclose(
        orthogonal_learning.pull(product, error, depth), moved / depth, atol=1e-12
    )


@pytest.mark.parametrize("factors", [2, 8, 16])
def test_what_is_not_in_the_target_falls_by_a_power_of_time(factors, monkeypatch):
    """du/dt = -u^(3-2/D) from 1, until u² is 1 %."""
    start = np.eye(3), np.zeros((3, 3))
    monkeypatch.setattr(orthogonal_learning, "start_and_target", lambda _: start)
    power = 2 - 2 / factors
    time = orthogonal_learning.time_of_product.__wrapped__(3, factors)
    assert time == pytest.approx((0.1**-power - 1) / power, rel=1e-4)


def test_two_matrices_learn_in_closed_form():
    expected = math.log(0.99 * 0.9 / (0.1 * 0.01))
    assert orthogonal_learning.learning_time(2, 0.1, 0.99) == pytest.approx(expected)


# 5


@pytest.mark.slow
def test_the_maps_of_length_and_correlation_by_brute_force():
    values, prediction = predicted(length_correlation, width=WIDE)
    late = {2.5: None, 4.0: None}
    for sigma_w in late:
        q = steady(math.tanh, sigma_w, 0.3)
        assert values[f"σ_w = {sigma_w:g}: q*"] == pytest.approx(q, rel=1e-6)
    t = np.linspace(-8, 8, 401)
    w = stats.norm.pdf(t) * (t[1] - t[0])
    q, c = 1.0 * 2.5**2 + 0.09, (0.6 * 2.5**2 + 0.09) / (2.5**2 + 0.09)
    path = [c]
    for _ in range(9):
        second = c * t[:, None] + math.sqrt(1 - c**2) * t[None, :]
        both = w @ (np.tanh(math.sqrt(q) * t)[:, None] * np.tanh(math.sqrt(q) * second)) @ w
        after = 2.5**2 * (w @ np.tanh(math.sqrt(q) * t) ** 2) + 0.09
        q, c = after, (2.5**2 * both + 0.09) / after
        path.append(c)
    curves = prediction.curves.filter(panel="Correlation of two inputs", series="σ_w = 2.5")
    np.testing.assert_allclose(curves["predicted"][:10], path, rtol=1e-5)


def test_the_bias_of_a_length_in_closed_form():
    """sin: E[σ²] = (1 - e^-2q)/2, E[σ⁴] = 3/8 - e^-2q/2 + e^-8q/8."""
    n, q, bias, variance = 100, 1.3, 0.0, 0.0
    along, biases = [], []
    for _ in range(4):
        along.append(q)
        biases.append(bias)
        fourth = 3 / 8 - math.exp(-2 * q) / 2 + math.exp(-8 * q) / 8
        square, slope = (1 - math.exp(-2 * q)) / 2, 4 * math.exp(-2 * q)
        bias = slope * bias - slope * variance
        variance = slope**2 * variance + 16 * (fourth - square**2) / n
        q = 4 * square + 0.1
    with jax.enable_x64(True):
        spread = finite.spread(draws.Ensemble("sin", 2.0, 0.1**0.5), np.array(along), n)
    np.testing.assert_allclose(spread.bias, biases, rtol=1e-4)


@pytest.mark.slow
def test_growth_and_the_edge_of_chaos():
    values, _ = predicted(length_correlation, width=WIDE)
    q = steady(math.tanh, 4.0, 0.3)
    growth = 0.5 * math.log(chi(tanh_slope, 4.0, q))
    assert values["σ_w = 4: growth of a tangent"] == pytest.approx(growth, abs=1e-6)
    edge = values["σ_w where order becomes chaos"]
    assert chi(tanh_slope, edge, steady(math.tanh, edge, 0.3)) == pytest.approx(1, abs=1e-6)


# 6


@pytest.mark.slow
def test_the_reach_of_a_signal():
    """In order -1/ln χ; in chaos from the slope of the correlation map at its fixed point."""
    sigma_b = math.sqrt(0.05)
    expected = -1 / math.log(chi(tanh_slope, 1.0, steady(math.tanh, 1.0, sigma_b)))
    assert trainability.reach(1.0) == pytest.approx(expected, rel=1e-5)
    q = steady(math.tanh, 2.0, sigma_b)
    with jax.enable_x64(True):

        def after(c):
            return float(jaxnn.theory.meanfield.correlation_map("tanh", 2.0, sigma_b, q, c))

        c = optimize.brentq(lambda c: after(c) - c, 0.0, 0.9)  # below the fixed point at 1
        up, down = after(c + 1e-4), after(c - 1e-4)
    assert trainability.reach(4.0) == pytest.approx(-1 / math.log((up - down) / 2e-4), rel=1e-4)
    values, _ = predicted(trainability)
    assert values["σ_w² = 4: depth that trains, 3 ξ_c"] == 3 * trainability.reach(4.0)
    assert values["σ_w² = 4: depth that trains, 12 ξ_c"] == 12 * trainability.reach(4.0)


def test_depths_are_compared_within_a_phase():
    assert trainability.pairs((1.0, 1.25, 3.0, 4.0)) == [(1.0, 1.25), (3.0, 4.0)]
    assert trainability.pairs((4.0, 1.7, 2.0, 3.0)) == [(2.0, 3.0), (3.0, 4.0)]


@pytest.mark.slow
def test_the_phases_meet_where_chi_is_one():
    with jax.enable_x64(True):
        critical = jaxnn.theory.meanfield.critical_sigma_w("tanh", trainability.SIGMA_B)
    assert float(critical) ** 2 == pytest.approx(trainability.CRITICAL, abs=0.005)


def test_depths_that_go_like_the_reach_have_its_ratio(monkeypatch):
    """Accuracies made by hand, that fall through half way at 7 reaches in every network."""

    def trained(key, variance, layers):
        return 1.0 - trainability.halfway() / 7 * layers / trainability.reach(variance) / 2

    reaches = {1.0: 4.0, 1.25: 8.0, 3.0: 10.0, 4.0: 6.0}
    monkeypatch.setattr(trainability, "reach", reaches.__getitem__)
    monkeypatch.setattr(trainability, "depth", lambda v, multiple: multiple * reaches[v])
    monkeypatch.setattr(trainability, "_trained", trained)
    monkeypatch.setattr(trainability, "halfway", lambda: 2 / 3)
    setup = trainability.LAW.full
    numbers = trainability.LAW.measurement(setup, jax.random.key(0)).numbers
    assert numbers["depth that trains, σ_w² = 1.25 over 1"].value == pytest.approx(2)
    assert numbers["depth that trains, σ_w² = 4 over 3"].value == pytest.approx(0.6)
    assert "depth that trains, σ_w² = 3 over 1.25" not in numbers


def test_the_depth_that_trains_lies_between_two_measured_ones():
    depths = np.array([10, 20, 40])
    assert trainability._crossing(depths, np.array([0.9, 0.7, 0.3]), 0.5) == pytest.approx(30)
    assert trainability._crossing(depths, np.array([0.9, 0.8, 0.7]), 0.5) == math.inf
    assert trainability._crossing(depths, np.array([0.4, 0.8, 0.7]), 0.5) == 0


# 7


def test_variance_and_edge_of_a_spectrum_by_free_probability():
    values, _ = predicted(jacobian_spectrum, width=10**12)
    for factors in (1, 2, 4, 8):
        expected = {"linear, Gaussian": 1, "relu, Gaussian": 2, "relu, orthogonal": 1}
        for name, each in {**expected, "linear, orthogonal": 0}.items():
            variance = values[f"{name}, L = {factors}: variance"]
            assert variance == pytest.approx(each * factors, abs=1e-9)
        # The edge is where z(ψ) = (1+ψ)^(L+1) / ψ, the inverse of the moment function, turns.
        turn = optimize.minimize_scalar(
            lambda s, power=factors + 1: (1 + s) ** power / s, bounds=(1e-3, 10), method="bounded"
        )
        edge = values[f"linear, Gaussian, L = {factors}: edge"]
        assert edge == pytest.approx(turn.fun, rel=1e-7)


@pytest.mark.parametrize("name", ["linear, Gaussian", "relu, Gaussian", "relu, orthogonal"])
def test_the_variance_of_a_spectrum_of_few_units(name):
    """Both means over many networks of five units and two factors; exact at any width."""
    rng, n, draws = np.random.default_rng(0), 5, 10_000
    kind = jacobian_spectrum.KINDS[name]
    m = np.broadcast_to(np.eye(n), (draws, n, n))
    for _ in range(2):
        theta = rng.normal(size=(draws, n, n)) / math.sqrt(n)
        if kind.variance == 0:
            q, r = np.linalg.qr(theta)
            theta = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]
        if kind.activation == "relu":
            theta = theta * (math.sqrt(2) * rng.integers(0, 2, size=(draws, n, 1)))
        m = theta @ m @ np.swapaxes(theta, 1, 2)
    square = np.einsum("dij,dij->d", m, m) / n
    trace = np.einsum("dii->d", m) / n
    expected = square.mean() / np.mean(trace**2) - 1
    assert jacobian_spectrum.variance(kind, 2, n) == pytest.approx(expected, rel=0.04)


def test_the_largest_value_of_a_wishart_matrix():
    """Johnstone 2001: (√(n-1) + √n)² - 1.2065 (√(n-1) + √n) (1/√(n-1) + 1/√n)^⅓, over n."""
    n = 4000
    root, other = math.sqrt(n - 1), math.sqrt(n)
    expected = (root + other) ** 2 - 1.2065336 * (root + other) * (1 / root + 1 / other) ** (1 / 3)
    assert jacobian_spectrum.largest(1, n) == pytest.approx(expected / n, abs=2 / n)
    assert 4 - jacobian_spectrum.largest(1, n) > 10 / n


# 8


def test_selu_s_fixed_point_in_closed_form():
    values, _ = predicted(self_normalising, width=WIDE)
    assert values["mean of a[l], late layers"] == pytest.approx(0, abs=1e-8)
    assert values["variance of a[l], late layers"] == pytest.approx(1, abs=1e-7)
    below = SELU_ALPHA**2 * math.exp(2) * special.ndtr(-2)  # E[α² e^2g; g < 0]
    infinite_width = 0.5 * math.log(SELU_SCALE**2 * (0.5 + below))
    assert infinite_width > 0
    growth = values["growth of the gradient"]
    assert growth == pytest.approx(infinite_width, abs=1e-7)

    def selu(z):
        return SELU_SCALE * (z if z > 0 else SELU_ALPHA * math.expm1(z))

    for start in (0.5, 3.0):
        q = start
        for _ in range(4):
            q = gaussian(lambda g, q=q: selu(math.sqrt(q) * g) ** 2)
        assert values[f"variance from {start:g}, layer 5"] == pytest.approx(q, rel=1e-6)


# 9


@pytest.mark.parametrize(("name", "each"), [("relu", 5), ("linear", 2)])
def test_one_layer_s_moments_and_their_limit(name, each):
    n = 30
    with jax.enable_x64(True):
        mean, variance = width_over_depth.one_layer(name, n)
        limit = 4000 * width_over_depth.one_layer(name, 4000)
    shares = {n: 1.0} if name == "linear" else {k: stats.binom.pmf(k, n, 0.5) for k in range(1, 31)}
    scale = math.log((1 if name == "linear" else 2) / n)
    t = np.linspace(-60, 6, 200_001)  # ln v of v ~ χ²_k
    moments = np.zeros(2)
    for k, share in shares.items():
        density = np.exp(stats.chi2.logpdf(np.exp(t), k) + t)
        moments += share * np.array([np.trapezoid((t + scale) ** p * density, t) for p in (1, 2)])
    assert mean == pytest.approx(moments[0], rel=1e-5)
    assert variance == pytest.approx(moments[1] - moments[0] ** 2, rel=1e-5)
    np.testing.assert_allclose(limit, [-each / 2, each], rtol=2e-3)


def test_the_predicted_normal_and_what_a_finite_width_may_add():
    values, prediction = predicted(width_over_depth)
    assert values["relu, n = 50, L = 25: mean"] == pytest.approx(-1.25 * (1 + 1.74 / 50), rel=0.01)
    variance = values["relu, n = 50, L = 25: variance"]
    assert variance == pytest.approx(2.5 * (1 + 4.08 / 50), rel=0.01)
    linear = special.polygamma(1, 50) * 50  # Var ln χ²_n of n = 100
    assert values["linear, n = 100, L = 50: variance"] == pytest.approx(linear)
    curves = prediction.curves.filter(panel=width_over_depth.DENSITY.title, series="n = 50, L = 25")
    np.testing.assert_allclose(
        curves["predicted"], stats.norm.pdf(curves["x"], -1.25, math.sqrt(2.5)), rtol=1e-9
    )
    assert {e.allowed for e in prediction.numbers} == {0.0}


def test_a_variance_and_its_standard_error():
    """For a normal sample the error is √(2/N) of the variance."""
    values = 3 * np.random.default_rng(0).normal(size=50_000)
    variance = width_over_depth.variance(values)
    assert variance.value == pytest.approx(9, rel=0.03)
    assert variance.error == pytest.approx(9 * math.sqrt(2 / 50_000), rel=0.05)


# 10


def test_ten_thousand_layers_in_closed_form():
    values, _ = predicted(ten_thousand_layers)
    assert values["linear, orthogonal"] == 0
    assert values["tanh, orthogonal"] == pytest.approx(-0.5 * math.log(1 + 128 / 66), abs=2e-4)
    layer = 0.5 * (special.digamma(32) - math.log(32))
    assert values["linear, Gaussian"] == pytest.approx(9999 * layer)
    assert values["linear, Gaussian"] == pytest.approx(-10_000 / 128, rel=0.01)


# 11


@pytest.mark.slow
def test_batch_norm_s_growth_in_closed_form():
    """Relu has J(x) = E[σ(ẑ₁) σ(ẑ₂)]/E[σ²] for uniform rows, x = -1/(B-1); linear units too."""
    values, _ = predicted(batch_norm)
    for rows in (8, 32, 128):
        x = -1 / (rows - 1)
        j = (math.sqrt(1 - x * x) + x * (math.pi - math.acos(x))) / math.pi
        slope = 1 - math.acos(x) / math.pi
        growth = (slope + rows - 1) / ((rows - 3) * (1 - j)) - 1 / (rows - 3)
        assert values[f"relu, B = {rows}: ln λ"] == pytest.approx(math.log(growth), abs=1e-7)
        assert values[f"relu, B = {rows}: c*"] == pytest.approx(j, abs=1e-7)
    assert values["identity, B = 8: ln λ"] == pytest.approx(math.log(6 / 5))
    assert values["tanh, B = 16: ln λ"] == pytest.approx(math.log(1.24626), abs=1e-5)
    assert values["tanh, B = 16: c*"] == pytest.approx(-0.06215, abs=1e-5)


def test_the_mean_correlation_of_rows_is_that_of_every_pair():
    z = np.random.default_rng(0).normal(size=(2, 4, 9)) * [[1.0], [5.0], [1.0], [0.2]]
    pairs = [np.corrcoef(np.c_[z[1], -z[1]])[i, j] for i in range(4) for j in range(i)]
    assert passes.correlation(z)[1] == pytest.approx(np.mean(pairs))


# 12


def test_a_power_law_is_the_product_of_its_blocks():
    for first in (1, 5):
        product = sum(math.log(1 + 1.3 / m) for m in range(first, 32))
        with jax.enable_x64(True):
            value = norm_with_skip.power_law(1.3, np.array([first]), 32)[0]
        assert value == pytest.approx(product, rel=1e-9)


@pytest.mark.slow
def test_the_power_law_is_the_library_s_path():
    curves = predicted(norm_with_skip)[1].curves
    with jax.enable_x64(True):
        for panel, case in norm_with_skip.cases(norm_with_skip.LAW.full):
            block = jaxnn.blocks.Residual(case.norm)
            path = jaxnn.theory.meanfield.log_delta(
                case.activation, 1.0, 0.0, case.growth, 32, hidden=block, batch=case.rows
            )
            own = curves.filter(panel=panel.title, series=f"{case.name}: with skip")
            assert own["predicted"][0] == pytest.approx(2 * float(path[0]))


# 13


@pytest.mark.slow
def test_residual_blocks_in_closed_form():
    _, prediction = predicted(residual)
    lag = {e.case: e.allowed / residual.LEFT_OUT for e in prediction.numbers if e.case[-1] != "c"}
    values = {e.case: e.value + lag.get(e.case, 0) for e in prediction.numbers}
    # relu, κ = 1: 4κ + 5κ² over (1+κ)² a block, half of it
    assert lag["relu, α = 1, L = 20: length"] == pytest.approx(20 * 9 / 4 / 2 / 300)
    assert values["relu, α = 1, L = 20: gradient"] == pytest.approx(20 * math.log(2))
    for blocks in (10, 40, 100):
        expected = blocks * math.log1p(2 / blocks)
        assert values[f"relu, α = 1/√L, L = {blocks}: gradient"] == pytest.approx(expected)
        assert values[f"relu, α = 1/√L, L = {blocks}: length"] == pytest.approx(expected)
    assert values["tanh, α = 1, L = 50: gradient"] == pytest.approx(7.2161, abs=1e-4)
    q, both, ratio = 1.0, 0.5, 0.0
    for _ in range(100):  # erf, of two inputs
        ratio += math.log1p(4 / math.pi / math.sqrt(1 + 4 * q))
        both += 2 / math.pi * math.asin(2 * both / (1 + 2 * q))
        q += 2 / math.pi * math.asin(2 * q / (1 + 2 * q))
    assert values["erf, α = 1, L = 100: gradient"] == pytest.approx(ratio, rel=1e-9)
    assert values["erf, α = 1, L = 100: length"] == pytest.approx(math.log(q), rel=1e-9)
    assert values["erf, α = 1, L = 100: c"] == pytest.approx(both / q, rel=1e-9)


# 14


@pytest.mark.slow
def test_a_shallow_and_a_deep_network_spread_alike_with_the_root_of_depth():
    values, _ = predicted(width_alone)
    assert values["α = 1/√L, L = 50"] == pytest.approx(values["α = 1/√L, L = 200"], rel=0.03)
    assert values["no skip, L = 50"] == pytest.approx(5.41, abs=0.01)
    block = jaxnn.blocks.Residual(scale=50**-0.5)
    band = jaxnn.theory.meanfield.log_delta_band("relu", 2**0.5, 0.0, 1.0, 50, 51, hidden=block)
    assert values["α = 1/√L, L = 50"] == pytest.approx(4 * float(band.sd[0]) ** 2, rel=1e-5)


# 15


def test_the_correlation_of_two_gradients_from_their_lengths():
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(2, 3, 7))
    logs = [np.log(np.linalg.norm(w, axis=1)) for w in (u, v, u + v)]
    cosine = np.sum(u * v, axis=1) / np.exp(logs[0] + logs[1])
    r = shattered_gradients.correlations(np.stack(logs[:2], axis=1), logs[2])
    np.testing.assert_allclose(r, cosine)


@pytest.mark.slow
def test_shattering_without_the_layer_above():
    values, prediction = predicted(shattered_gradients)
    plain = prediction.curves.filter(series="no skip")["predicted"]
    assert [plain[4], plain[19]] == pytest.approx([0.1046, 0.0082], abs=1e-4)
    for blocks, expected in ((5, 0.6658), (20, 0.6423), (80, 0.6359)):
        c, s = 0.0, 1.0 / blocks  # α²σ_w²/2
        for _ in range(blocks):
            both = (math.sqrt(1 - c**2) + c * (math.pi - math.acos(c))) / math.pi
            c = (c + s * both) / (1 + s)
        above = 1 - math.acos(c) / math.pi
        r = values[f"α = 1/√L, L = {blocks}"] / above
        assert r == pytest.approx(expected, abs=1e-4)


# 16


@pytest.mark.slow
def test_norm_places_in_closed_form():
    values, _ = predicted(norm_place)
    for blocks in (4, 16, 64):
        front, behind = f"norm in front, L = {blocks}", f"norm behind, L = {blocks}"
        assert values[f"{front}: last block"] == pytest.approx(math.log(150 / (1 + blocks)))
        for case in (f"{front}: first", f"{behind}: first", f"{behind}: last"):
            assert values[f"{case} block"] == pytest.approx(math.log(75))


# 17


def test_the_bias_of_a_linear_network_s_correlation():
    """Of n pairs with correlation c it is -c (1-c²)/2n, and the map neither bends nor shrinks."""
    c = np.full(3, 0.6)
    bias, steps = tailored.bias_of_c(c, np.ones(3), n=100, s=1.0)
    np.testing.assert_allclose(steps, bias[1], rtol=1e-9)
    np.testing.assert_allclose(bias, -0.6 * (1 - 0.36) / 200 * np.arange(3), rtol=1e-6, atol=1e-12)


@pytest.mark.slow
def test_a_tailored_network_ends_at_eta():
    values, _ = predicted(tailored, width=WIDE)
    assert values["tailored: c[100]"] == pytest.approx(0.9)
    assert values["tailored: c[50]"] == pytest.approx(0.7725, abs=1e-4)
    values, prediction = predicted(tailored)
    gradient = next(e for e in prediction.numbers if e.case == "tailored: gradient")
    slope = 0.57044
    c = 3 * 2 * (1 + slope**4) / (1 + slope**2) ** 2 - 1
    assert gradient.value == pytest.approx(-99 * c / 800, rel=1e-3)
    deviation = math.sqrt(99 * c / 400 / tailored.LAW.full.draws)
    assert gradient.deviation == pytest.approx(deviation, rel=1e-3)


# 18


def test_step_sizes_that_two_depths_share():
    setup = step_size.LAW.full
    assert [step_size.half(blocks) for blocks in setup.blocks] == [1, 2, 3]
    assert step_size.same_rate(setup, 16) == [-11, -10]
    assert step_size.same_rate(setup, 64) == [-11]


@pytest.mark.slow
def test_every_block_adds_the_same_to_the_first_step():
    """‖Δθ[l]‖ is a length going up times one coming down, by the maps of mean-field theory."""
    with jax.enable_x64(True):
        hidden, q, sizes = jaxnn.blocks.Residual(scale=16**-0.5), 1.0, []
        theory = jaxnn.theory.meanfield
        up = float(theory.length_map("relu", step_size.SIGMA_W, 0.0, 1.0, hidden=hidden))
        down = float(theory.chi("relu", step_size.SIGMA_W, 1.0, hidden=hidden))
    for block in range(1, 17):
        sizes.append(0.5 * (math.log(q) + (16 - block) * math.log(down)))
        q *= up
    assert sizes == pytest.approx([step_size.first_step(16)] * 16)


@pytest.mark.slow
def test_only_the_run_is_trained():
    """Adam's first step moves every weight of the run by the rate, and no other."""
    net = jaxnn.Network((4, *[6] * 4, 3), "tanh", "multiclass", hidden=jaxnn.blocks.Residual())
    key = jax.random.key(0)
    params = jaxnn.init(net, key, stacked=True)
    examples = training.Examples(jax.random.normal(key, (20, 4)), jnp.arange(20) % 3)
    rates = jnp.array([0.0, 1e-3])
    before, after = training.losses_of_run(net, params, examples, key, rates, 1, 20)
    rows = jax.random.randint(key, (1, 20), 0, 20)[0]
    _, gradient = jaxnn.backprop(net, params, examples.x[rows], examples.y[rows])
    first, run, last = params
    moved = jaxnn.network.Layer(
        *(v - 1e-3 * jnp.sign(g) for v, g in zip(run, gradient[1], strict=True))
    )
    for expected, loss in ((params, before), ((first, moved, last), after)):
        assert loss == pytest.approx(
            float(jaxnn.train.evaluate(net, expected, examples.x, examples.y).loss), rel=1e-5
        )


# 19


def test_the_layer_that_falls_through_a_floor():
    assert forgetting.falls_through(np.array([1.0, 0.4, 0.1, 0.2]), 0.2) == pytest.approx(2.5)
    assert math.isnan(forgetting.falls_through(np.array([1.0, 0.5]), 0.4))
    z = np.array([[[3.0, 4.0], [0.0, 5.0], [3.0, 4.0]]])  # three rows of length 5
    apart = math.sqrt(9 + 1) / 5
    np.testing.assert_allclose(forgetting.distances(z)[:, 0], [apart, 0, apart])


@pytest.mark.slow
def test_forgetting_by_the_closed_form_of_erf():
    values, _ = predicted(forgetting, width=WIDE)

    def both(q, product):
        return 2 / math.pi * math.asin(2 * product / (1 + 2 * q)) + 0.05

    q, product, apart = 1.05, 0.05, []
    while len(apart) < 240:
        apart.append(math.sqrt(2 * (1 - product / q)) if product < q else 0.0)
        q, product = both(q, q), both(q, product)
    for name, eps in (("bfloat16", 2.0**-7), ("float32", 2.0**-23)):
        i = next(i for i, d in enumerate(apart) if d < 8 * eps)
        part = math.log(apart[i - 1] / (8 * eps)) / math.log(apart[i - 1] / apart[i])
        assert values[name] == pytest.approx(i + part, abs=0.05)  # of 1 - c, rounding


# All laws


def perfect(predicted):
    """A measurement that is exactly what is predicted; of a bound, well on the right side."""
    reach = {"=": 1.0, "≥": 2.0, "≤": 0.5}
    cases = [(e.case, Measured(e.value * reach[e.relation], 0.0)) for e in predicted]
    return [*cases, points(gradient_exponent.PROFILE, "none", [0.0], [[0.0]])]


COARSE = {"ξ_c": 2.0, "bias of an example": 0.3, "what a batch adds": 0.3}
FEWER = {"narrow": {"cases": narrow.LAW.quick.cases}}  # of predictions that take a minute


@pytest.mark.parametrize(
    "law",
    [
        # Their predictions take as long as those of all the others together.
        pytest.param(
            law,
            marks=[pytest.mark.slow]
            if law.number > 10
            or law.name
            in ("gradient-exponent", "trainability", "length-correlation", "orthogonal-learning")
            else [],
        )
        for law in laws.LAWS
        if not law.needs  # which have a smaller test of their own
    ],
    ids=lambda law: law.name,
)
def test_a_law_whose_factor_is_wrong_does_not_hold(law):
    """By five per cent, if there is no noise; of what few runs bound, by what they can tell."""
    prediction = prediction_of(law, **FEWER.get(law.name, {}))
    measurement = Measurement(dict(perfect(prediction.numbers)[:-1]), prediction.curves)
    assert compare(law, prediction, measurement)["holds"].all()
    cases = [number.case for number in prediction.numbers]
    assert len(set(cases)) == len(cases)  # or one measurement would serve two of them
    assert set(prediction.curves["panel"]) == {panel.title for panel in law.panels}
    factors = {e.factor for e in prediction.numbers} - {""}
    assert factors
    for factor in factors:
        for f in (-COARSE.get(factor, 0.05), COARSE.get(factor, 0.05)):
            wrong = [
                e._replace(value=e.value + f * e.gain * (e.factor == factor))
                for e in prediction.numbers
            ]
            rows = compare(law, prediction._replace(numbers=tuple(wrong)), measurement)
            assert not rows["holds"].all(), factor


@pytest.mark.parametrize(
    ("relation", "measured", "holds"),
    [
        ("=", 1.29, True),
        ("=", 1.31, False),
        ("=", 0.69, False),
        ("≥", 0.71, True),
        ("≥", 5.0, True),
        ("≥", 0.69, False),
        ("≤", 1.29, True),
        ("≤", -5.0, True),
        ("≤", 1.31, False),
        ("=", math.nan, False),
        ("≥", math.inf, False),
        ("≤", math.nan, False),
    ],
)
def test_what_holds_is_within_the_tolerance(relation, measured, holds):
    """0.1 allowed and four standard errors of 0.05 make 0.3."""
    expected = Predicted("case", 1.0, 0.1, "reason", relation=relation)
    panel = laws.LAWS[0].panels[0]
    prediction = Prediction((expected,), curve(panel, "a", [0.0], [1.0]))
    measurement = Measurement(
        {"case": Measured(measured, 0.05)}, points(panel, "a", [0.0], [[1.0]])
    )
    row = compare(laws.LAWS[0], prediction, measurement).row(0, named=True)
    assert row["holds"] is holds
    assert row["tolerance"] == pytest.approx(0.3)


@pytest.mark.slow
def test_a_narrow_batch_loses_less_than_its_examples():
    """Eight layers of 16 units in chaos; both theories hold."""
    case = narrow.Case("tanh", narrow.CHAOS, 16, 8)
    setup = narrow.Setup((case,), layers=8, networks=400, draws=800)
    law = dataclasses.replace(narrow.LAW, quick=setup)
    rows, _ = examine(law, True, 0)
    assert rows["holds"].all()
    one, together = rows["measured"]
    assert together > one + 3 * rows["standard_error"][0]
    sigma_w = narrow.ensemble_of(case.activation, case.factor).sigma_w
    with jax.enable_x64(True):
        of = ("tanh", sigma_w, narrow.SIGMA_B, narrow.Q0)
        bias = float(jaxnn.theory.meanfield.log_delta_band(*of, 16, 8).bias[0])
        infinite = float(jaxnn.theory.meanfield.log_delta(*of, 8)[0])
    assert rows["predicted"][0] == pytest.approx(infinite + bias)


def test_every_law_and_seed_has_random_numbers_of_its_own():
    keys = []

    def measure(_, key):
        keys.append(tuple(jax.random.key_data(key).tolist()))
        return perfect([])

    for law in laws.LAWS:
        line = curve(law.panels[0], "none", [0.0], [0.0])
        fake = dataclasses.replace(law, predict=lambda _, line=line: [line], measure=measure)
        for seed in (0, 1):
            examine(fake, True, seed)
    assert len(set(keys)) == 2 * len(laws.LAWS) == len(keys)


def test_training_is_the_plain_loop():
    """Momentum by hand, batches from the key, the depth as data."""
    net = jaxnn.Network((4, *[6] * 5, 3), "tanh", "multiclass")
    key, of_x = jax.random.split(jax.random.key(0))
    params = draw_layers(
        np.random.default_rng(0), net.sizes, orthogonal(1.0), dtype=jnp.float32, stacked=True
    )
    x = jax.random.normal(of_x, (20, 4))
    examples = training.Examples(x, jnp.arange(20) % 3)
    descent = training.Descent(rate=0.3, momentum=0.9, batch=5)
    scores = training.accuracies(net, params, examples, key, descent, steps=40, looks=2, depth=3)
    batches = np.asarray(jax.random.randint(key, (2, 20, 5), 0, 20))
    velocity = jax.tree.map(jnp.zeros_like, params)

    @jax.jit
    def moved(params, velocity, batch):
        _, gradient = jaxnn.backprop(net, params, x[batch], examples.y[batch], depth=3)
        velocity = jax.tree.map(lambda v, g: 0.9 * v - 0.3 * g, velocity, gradient)
        return jax.tree.map(jnp.add, params, velocity), velocity

    @jax.jit
    def guesses(params):
        outputs = jax.vmap(lambda row: jaxnn.forward(net, params, row, depth=3))(x)
        return jnp.argmax(outputs, axis=1)

    accuracies = []
    for part in batches:
        for batch in part:
            params, velocity = moved(params, velocity, batch)
        accuracies.append(np.mean(np.asarray(guesses(params)) == np.asarray(examples.y)))
    np.testing.assert_allclose(scores, accuracies, atol=1e-6)
    assert accuracies[1] > 0.5  # it learns something


def test_the_fewest_steps_are_those_of_the_best_rate():
    net = jaxnn.Network((3, 3, 3, 3), "identity", "regression")
    params = draw_layers(
        np.random.default_rng(1), net.sizes, orthogonal(1.0), 0.0, jnp.float32, stacked=True
    )
    x = math.sqrt(3) * jnp.eye(3)
    examples = training.Examples(x, x @ jnp.diag(jnp.array([1.0, 0.5, 0.2])))

    @jax.jit
    def moved(params, rate):
        loss, gradient = jaxnn.backprop(net, params, x, examples.y)
        return loss, jax.tree.map(lambda v, g: v - rate * g, params, gradient)

    def steps(rate):
        here, first = params, None
        for count in range(1, 500):
            loss, here = moved(here, rate)
            first = loss if first is None else first
            if loss <= 0.01 * first:
                return count
            if not loss < 10 * first:
                return math.inf
        return math.inf

    rates = [8.0, 0.1, 0.4, 0.05]
    counts = [steps(rate) for rate in rates]
    assert counts[0] == math.inf
    assert counts[2] < counts[1] < counts[3]
    few = training.fewest_steps(net, params, examples, jnp.array(rates), 0.01, 500, 2)
    assert few == counts[2]
    none = training.fewest_steps(net, params, examples, jnp.array(rates), 0.01, counts[2] - 2, 2)
    assert none == math.inf


# The experiment


@pytest.mark.slow
def test_two_laws_hold_when_measured(small_run):
    rows = pl.read_parquet(small_run / store.ROWS)
    schema.check(rows, columns.COLUMNS)
    assert rows["law"].unique(maintain_order=True).to_list() == list(CHEAP)
    assert rows["holds"].all()
    weights = rows.filter(pl.col("case").str.contains("weights alone"))
    assert weights.height == 3
    assert (weights["tolerance"] < 0.02).all()
    assert rows["reason"].str.len_chars().min() > 10
    assert rows["source"].n_unique() == 2


def test_points_lie_beside_their_curves(small_run):
    drawn = pl.read_parquet(small_run / laws.POINTS)
    assert drawn.columns == ["law", "panel", "series", "x", "measured", "error", "predicted"]
    both = drawn.filter(pl.col("law") == "layer-jacobian")
    assert both.height == 3 * 3
    assert (abs(both["measured"] - both["predicted"]) < 5 * both["error"] + 0.005).all()


def test_files_of_the_chosen_laws_and_no_others(small_run):
    expected = {store.ROWS, store.RUN, store.PARTS, store.LOCK, laws.POINTS}
    expected |= {name for law in CHEAP for name in names.of_chart(f"law-{law}")}
    assert {path.name for path in small_run.iterdir()} == expected
    picture = (small_run / "law-layer-jacobian.svg").read_text()
    for text in ("2 layer-jacobian holds: 9 of 9", "Glorot", "width 100", "mean singular value"):
        assert text in picture
    run = json.loads((small_run / store.RUN).read_text())
    assert run["finished"]
    assert run["closing"] == "2 of 2 laws hold"
    assert run["what"]["settings"]["law"] == list(CHEAP)


@pytest.mark.slow
def test_a_chart_alone_fits_a_phone_and_is_dark_in_the_dark(small_run):
    """Its panels stand below one another, its title is text, and Vega has nothing to say."""
    phone = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"}
    with browser.launched() as chromium:
        tab = browser.Tab(chromium, small_run / "law-self-normalising.html", **phone).wait()
        assert tab.page.evaluate("document.documentElement.scrollWidth") == 360
        assert tab.page.locator("h1").inner_text().startswith("8 self-normalising holds")
        panels = tab.page.locator("#chart .role-scope[class*=concat_]").all()
        places = [panel.bounding_box() for panel in panels]
        assert len({place["y"] for place in places}) == len(places) > 1
        paper = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        ink = tab.page.locator("#chart svg text").first.evaluate("e => getComputedStyle(e).fill")
        assert browser.luminance(paper) < 0.1
        assert browser.contrast(ink, paper) > 4.5
        assert tab.said == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "setup"), SHALLOW.items(), ids=lambda value: getattr(value, "name", "")
)
def test_a_law_holds_in_a_run_that_is_quicker_than_quick(law, setup):
    rows, _ = examine(dataclasses.replace(law, quick=setup), quick=True, seed=0)
    assert rows["holds"].all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "setup"), TINY.items(), ids=lambda value: getattr(value, "name", "")
)
def test_a_law_is_measured_as_it_is_predicted(law, setup):
    """Of laws that take long, in set-ups too small to hold: the same cases, all numbers finite."""
    with jax.enable_x64(True):
        cases = {number.case for number in law.prediction(setup).numbers}
    numbers = law.measurement(setup, jax.random.key(0)).numbers
    assert cases <= set(numbers)
    assert all(math.isfinite(number.value) for number in numbers.values())


def wrong(law, factor=1.2):
    """The law, with all that it predicts too large."""

    def predict(setup):
        numbers, curves = law.prediction(setup)
        return [*(e._replace(value=factor * e.value) for e in numbers), curves]

    return dataclasses.replace(law, predict=predict)


def test_a_broken_law_is_reported_with_exit_code_1(
    tmp_path, capsys, monkeypatch, measured_as_predicted
):
    broken = [wrong(law) if law.name == CHEAP[0] else law for law in laws.LAWS]
    monkeypatch.setattr(laws, "LAWS", tuple(broken))
    out = tmp_path / "run"
    assert main([*SMALL, "--out", str(out)]) == 1
    said = capsys.readouterr()
    error = said.err.strip().splitlines()[-1]
    assert error.startswith("error: 1 of 2 laws hold; 2 layer-jacobian does not hold: ")
    assert "of 9 comparisons; " in error
    assert "NO" in said.out
    assert "Traceback" not in said.err
    rows = pl.read_parquet(out / store.ROWS)
    holds = dict(rows.group_by("law").agg(pl.col("holds").all()).rows())
    assert holds == {CHEAP[0]: False, CHEAP[1]: True}
    assert "does not hold" in (out / "law-layer-jacobian.json").read_text()
    assert json.loads((out / store.RUN).read_text())["finished"]


def test_an_interrupted_run_keeps_what_was_measured_and_goes_on(
    tmp_path, capsys, monkeypatch, measured_as_predicted
):
    seen = []

    def interrupted(law, quick, seed):
        seen.append(law.name)
        if law.name == CHEAP[1] and seen.count(law.name) == 1:
            raise KeyboardInterrupt
        return examine(law, quick, seed)

    monkeypatch.setattr(laws, "examine", interrupted)
    command = [*SMALL, "--out", str(tmp_path / "run")]
    assert main(command) == 130
    assert "1 of 1 measured law holds, 1 of 2 not measured" in capsys.readouterr().out
    rows = pl.read_parquet(tmp_path / "run" / store.ROWS)
    assert set(rows["law"]) == {CHEAP[0]}
    assert not json.loads((tmp_path / "run" / store.RUN).read_text())["finished"]
    assert main(command) == 0
    assert seen == [CHEAP[0], CHEAP[1], CHEAP[1]]
    assert "2 of 2 laws hold" in capsys.readouterr().out


def test_the_table_fits_into_eighty_columns():
    """Broken comparisons come first; of those that hold, only the nearest are listed."""
    law = laws.LAWS[0]
    cases = [Predicted(f"case {i}[l]", 1.0, 0.1, "a reason", errors=0) for i in range(12)]
    panel = law.panels[0]
    prediction = Prediction(tuple(cases), curve(panel, "a", [0.0], [1.0]))
    numbers = {e.case: Measured(1.0 + 0.001 * i) for i, e in enumerate(cases)}
    numbers["case 3[l]"] = Measured(1.2, 0.01)
    measurement = Measurement(numbers, points(panel, "a", [0.0], [[1.0]]))
    rows = compare(law, prediction, measurement)
    outcome = laws.Outcome(law, rows)
    console = Console(width=80, file=None, record=True)
    with console.capture() as captured:
        console.print(report.table([outcome]))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].strip() == "1 gradient-exponent, Schoenholz et al. 2017: does not hold"
    assert lines[2].split() == ["predicted", "measured", "±", "error", "tolerance", "holds"]
    assert lines[4].split() == ["case", "3[l]", "1", "1.2", "0.01", "0.1", "NO"]
    assert lines[5].startswith(" case 11[l]")
    assert any("and 4 that use less" in line for line in lines)
    assert any("tolerance: a reason" in line for line in lines)
    assert report.closing([outcome]) == (
        "0 of 1 law holds; 1 gradient-exponent does not hold: 11 of 12 comparisons; "
        "case 3[l]: 1.2 measured, 1 ± 0.1 predicted"
    )

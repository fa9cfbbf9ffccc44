"""What the laws predict: closed forms, SciPy's integrals, plain recursions and direct draws."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import draw_layers, orthogonal
from scipy import integrate, interpolate, linalg, optimize, special, stats

import jaxnn
from experiments.laws import (
    any_spectrum,
    attention_length,
    collapsed,
    collapsed_width,
    delta_orthogonal,
    dynamic_tanh,
    finite,
    forgetting,
    he_xavier,
    jacobian_spectrum,
    layer_jacobian,
    networks,
    norm_with_skip,
    orthogonal_learning,
    rank_collapse,
    recurrence,
    self_normalising,
    shattered_gradients,
    slow_growth,
    step_size,
    tailored,
    ten_thousand_layers,
    trainability,
    training,
    transformer_moments,
    width_over_depth,
)
from experiments.laws.law import Law
from jaxnn.flow.verdict.rates import POWER_LAW, STRETCHED
from jaxnn.theory import meanfield

pytestmark = pytest.mark.usefixtures("users_jax")

WIDE = 10**9  # units, of which finite width takes nothing off


@functools.cache
def prediction_of(module, **changes):
    """The prediction of the full run, or of one with changes."""
    with jax.enable_x64(True):
        return Law.of(module).prediction(module.FULL.but(**changes))


def predicted(module, **changes):
    """Predicted values of a law by case."""
    return {e.case: e.value for e in prediction_of(module, **changes)}


def gaussian(f):
    """E[f(g)]."""
    value, _ = integrate.quad(lambda g: f(g) * math.exp(-g * g / 2), -12, 12, limit=400)
    return value / math.sqrt(2 * math.pi)


def chi(slope, sigma_w, q):
    return sigma_w**2 * gaussian(lambda g: slope(math.sqrt(q) * g) ** 2)


def random_orthogonal(rng, *shape):
    q, r = np.linalg.qr(rng.normal(size=shape))
    return q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]


def test_mean_singular_values_in_closed_form():
    """The quarter circle; half of relu's rows gone, Marchenko & Pastur's law; Glorot's schemes."""
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
    values = predicted(layer_jacobian, layers=1)
    assert values["standard, U(±1/√n), weights alone"] == pytest.approx(8 / (3**1.5 * math.pi))
    assert values["normalised, U(±√(6/2n)), weights alone"] == pytest.approx(8 / (3 * math.pi))
    for scheme in layer_jacobian.SCHEMES.values():
        theta = np.asarray(scheme.draw(jax.random.key(0), (400, 400)), np.float64)
        assert 400 * theta.var() == pytest.approx(scheme.sigma_w**2, rel=0.02)


def test_the_mean_singular_value_of_a_tanh_layer_is_that_of_large_matrices():
    rng, n, q = np.random.default_rng(0), 200, 2.0
    slopes = 1 / np.cosh(math.sqrt(q) * stats.norm.ppf((np.arange(n) + 0.5) / n)) ** 2
    drawn = slopes[:, None] * rng.normal(size=(8, n, n)) / math.sqrt(n)
    with jax.enable_x64(True):
        value = layer_jacobian.mean_singular_value("tanh", q)
    assert value == pytest.approx(np.mean(np.linalg.svd(drawn, compute_uv=False)), rel=2e-3)


def test_xavier_loses_the_root_of_two_a_layer():
    values = predicted(he_xavier)
    assert values["He: slope of ln ‖Δz‖"] == pytest.approx(-5 / 400)
    assert values["Xavier: slope of ln ‖Δz‖"] == pytest.approx(-0.5 * math.log(2) - 5 / 400)


@pytest.mark.parametrize("factors", [2, 3, 64])
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
    if factors == 2:
        assert time == pytest.approx(math.log(0.99 * 0.9 / (0.1 * 0.01)))


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
    for j in range(depth):
        before = np.linalg.multi_dot([np.eye(n), *factors[:j], np.eye(n)])
        after = np.linalg.multi_dot([np.eye(n), *factors[j + 1 :], np.eye(n)])
        moved += before @ (before.T @ error @ after.T) @ after
    np.testing.assert_allclose(
        orthogonal_learning.pull(product, error, depth), moved / depth, atol=1e-12
    )


@pytest.mark.parametrize("factors", [2, 16])
def test_what_is_not_in_the_target_falls_by_a_power_of_time(factors, monkeypatch):
    """du/dt = -u^(3-2/D) from 1, until u² is 1 %."""
    start = np.eye(3), np.zeros((3, 3))
    monkeypatch.setattr(orthogonal_learning, "start_and_target", lambda _: start)
    power = 2 - 2 / factors
    time = orthogonal_learning.time_of_product.__wrapped__(3, factors)
    assert time == pytest.approx((0.1**-power - 1) / power, rel=1e-6)


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
        spread = finite.spread(networks.HiddenLayers("sin", 2.0, 0.1**0.5), np.array(along), n)
    np.testing.assert_allclose(spread.bias, biases, rtol=1e-4)


def test_depths_are_compared_within_a_phase_and_have_the_ratio_of_their_reach(monkeypatch):
    """Accuracies made by hand, that fall through half way at 7 reaches in every network."""
    assert trainability.pairs((4.0, 1.7, 2.0, 3.0)) == [(2.0, 3.0), (3.0, 4.0)]

    def trained(key, variance, layers):
        return 1.0 - trainability.halfway() / 7 * layers / trainability.reach(variance) / 2

    reaches = {1.0: 4.0, 1.25: 8.0, 3.0: 10.0, 4.0: 6.0}
    monkeypatch.setattr(trainability, "reach", reaches.__getitem__)
    monkeypatch.setattr(trainability, "depth", lambda v, multiple: multiple * reaches[v])
    monkeypatch.setattr(trainability, "_trained", trained)
    monkeypatch.setattr(trainability, "halfway", lambda: 2 / 3)
    law = Law.of(trainability)
    numbers = law.measurement(law.full, jax.random.key(0))
    assert numbers["depth that trains, σ_w² = 1.25 over 1"].value == pytest.approx(2)
    assert numbers["depth that trains, σ_w² = 4 over 3"].value == pytest.approx(0.6)
    assert "depth that trains, σ_w² = 3 over 1.25" not in numbers


def test_where_a_falling_number_comes_through_a_bound():
    depths, expected = np.array([10, 20, 40]), [30, math.inf, 0]
    for of, depth in zip(
        [(0.9, 0.7, 0.3), (0.9, 0.8, 0.7), (0.4, 0.8, 0.7)], expected, strict=True
    ):
        assert trainability._crossing(depths, np.array(of), 0.5) == pytest.approx(depth)
    assert forgetting.falls_through(np.array([1.0, 0.4, 0.1, 0.2]), 0.2) == pytest.approx(2.5)
    assert math.isnan(forgetting.falls_through(np.array([1.0, 0.5]), 0.4))
    z = np.array([[[3.0, 4.0], [0.0, 5.0], [3.0, 4.0]]])  # three rows of length 5
    apart = math.sqrt(9 + 1) / 5
    np.testing.assert_allclose(forgetting.distances(z)[:, 0], [apart, 0, apart])


def test_variance_and_edge_of_a_spectrum_by_free_probability():
    values = predicted(jacobian_spectrum, width=10**12)
    each = {"linear, Gaussian": 1, "relu, Gaussian": 2, "relu, orthogonal": 1}
    for factors in (1, 2, 4, 8):
        for name, variance in {**each, "linear, orthogonal": 0}.items():
            assert jacobian_spectrum.KINDS[name].each == variance
            value = values[f"{name}, L = {factors}: variance"]
            assert value == pytest.approx(variance * factors, abs=1e-9)
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
        if "orthogonal" in name:
            theta = random_orthogonal(rng, draws, n, n)
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


def test_selu_s_fixed_point_in_closed_form():
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    values = predicted(self_normalising, width=WIDE)
    assert values["mean of a[l], late layers"] == pytest.approx(0, abs=1e-8)
    assert values["variance of a[l], late layers"] == pytest.approx(1, abs=1e-7)
    below = alpha**2 * math.exp(2) * special.ndtr(-2)  # E[α² e^2g; g < 0]
    infinite_width = 0.5 * math.log(scale**2 * (0.5 + below))
    assert infinite_width > 0
    assert values["growth of the gradient"] == pytest.approx(infinite_width, abs=1e-7)


@pytest.mark.parametrize(("name", "each"), [("relu", 5), ("linear", 2)])
def test_one_layer_s_moments_and_their_limit(name, each):
    n = 30
    mean, variance = width_over_depth.one_layer(name, n)
    limit = 4000 * width_over_depth.one_layer(name, 4000)
    shares = {n: 1.0} if name == "linear" else {k: stats.binom.pmf(k, n, 0.5) for k in range(1, 31)}
    scale = math.log((1 if name == "linear" else 2) / n)
    t = np.linspace(-60, 6, 20_001)  # ln v of v ~ χ²_k
    moments = np.zeros(2)
    for k, share in shares.items():
        density = np.exp(stats.chi2.logpdf(np.exp(t), k) + t)
        moments += share * np.array([np.trapezoid((t + scale) ** p * density, t) for p in (1, 2)])
    assert mean == pytest.approx(moments[0], rel=1e-5)
    assert variance == pytest.approx(moments[1] - moments[0] ** 2, rel=1e-5)
    np.testing.assert_allclose(limit, [-each / 2, each], rtol=2e-3)


def test_the_predicted_variance_and_what_a_finite_width_may_add():
    values, prediction = predicted(width_over_depth), prediction_of(width_over_depth)
    assert values["relu, n = 50, L = 25: mean"] == pytest.approx(-1.25 * (1 + 1.74 / 50), rel=0.01)
    variance = values["relu, n = 50, L = 25: variance"]
    assert variance == pytest.approx(2.5 * (1 + 4.08 / 50), rel=0.01)
    linear = special.polygamma(1, 50) * 50  # Var ln χ²_n of n = 100
    assert values["linear, n = 100, L = 50: variance"] == pytest.approx(linear)
    assert {e.allowed for e in prediction} == {0.0}


def test_a_variance_and_its_standard_error():
    """For a normal sample the error is √(2/N) of the variance."""
    variance = width_over_depth.variance(3 * np.random.default_rng(0).normal(size=50_000))
    assert variance.value == pytest.approx(9, rel=0.03)
    assert variance.error == pytest.approx(9 * math.sqrt(2 / 50_000), rel=0.05)


def test_ten_thousand_layers_in_closed_form():
    values = predicted(ten_thousand_layers)
    assert values["linear, orthogonal"] == 0
    assert values["tanh, orthogonal"] == pytest.approx(-0.5 * math.log(1 + 128 / 66), abs=2e-4)
    layer = 0.5 * (special.digamma(32) - math.log(32))
    assert values["linear, Gaussian"] == pytest.approx(9999 * layer)
    assert values["linear, Gaussian"] == pytest.approx(-10_000 / 128, rel=0.01)


def test_correlations_are_those_of_every_pair():
    z = np.random.default_rng(0).normal(size=(2, 4, 9)) * [[1.0], [5.0], [1.0], [0.2]]
    pairs = [np.corrcoef(np.c_[z[1], -z[1]])[i, j] for i in range(4) for j in range(i + 1, 4)]
    np.testing.assert_allclose(networks.correlations(z)[1], pairs)


def test_a_power_law_is_the_product_of_its_blocks():
    product = sum(math.log(1 + 1.3 / m) for m in range(1, 32))
    assert norm_with_skip.power_law(1.3, 32) == pytest.approx(product, rel=1e-9)


@pytest.mark.slow
def test_the_power_law_is_the_library_s_path():
    with jax.enable_x64(True):
        for case in norm_with_skip.cases(norm_with_skip.FULL):
            start, block = (
                (case.activation, 1.0, 0.0, case.growth),
                jaxnn.blocks.Residual(case.norm),
            )
            path = meanfield.log_delta(*start, 32, hidden=block, batch=case.rows)
            of_norm = (case.activation, 1.0, 0.0)
            chi = meanfield.stationary_chi(*of_norm, hidden=case.norm, batch=case.rows)
            assert norm_with_skip.power_law(float(chi), 32) == pytest.approx(2 * float(path[0]))


def test_the_correlation_of_two_gradients_from_their_lengths():
    u, v = np.random.default_rng(0).normal(size=(2, 3, 7))
    logs = [np.log(np.linalg.norm(w, axis=1)) for w in (u, v, u + v)]
    cosine = np.sum(u * v, axis=1) / np.exp(logs[0] + logs[1])
    r = shattered_gradients.correlations(np.stack(logs[:2], axis=1), logs[2])
    np.testing.assert_allclose(r, cosine)


def test_the_bias_of_a_linear_network_s_correlation():
    """Of n pairs with correlation c it is -c (1-c²)/2n, and the map neither bends nor shrinks."""
    bias, steps = tailored.bias_of_c(np.full(3, 0.6), n=100, s=1.0)
    np.testing.assert_allclose(steps, bias[1], rtol=1e-9)
    np.testing.assert_allclose(bias, -0.6 * (1 - 0.36) / 200 * np.arange(3), rtol=1e-6, atol=1e-12)


@pytest.mark.slow
def test_a_tailored_network_ends_at_eta():
    values = predicted(tailored, width=WIDE)
    assert values["tailored: c[100]"] == pytest.approx(0.9)
    assert values["tailored: c[50]"] == pytest.approx(0.7725, abs=1e-4)
    numbers = prediction_of(tailored)
    gradient = next(e for e in numbers if e.case == "tailored: gradient")
    slope = 0.57044
    c = 3 * 2 * (1 + slope**4) / (1 + slope**2) ** 2 - 1
    assert gradient.value == pytest.approx(-99 * c / 800, rel=1e-3)
    deviation = math.sqrt(99 * c / 400 / tailored.FULL.draws)
    assert gradient.deviation == pytest.approx(deviation, rel=1e-3)


def test_step_sizes_that_two_depths_share():
    setup = step_size.FULL
    assert [step_size.half(blocks) for blocks in setup.blocks] == [1, 2, 3]
    assert step_size.same_rate(setup, 16) == [-11, -10]
    assert step_size.same_rate(setup, 64) == [-11]


@pytest.mark.slow
def test_every_block_adds_the_same_to_the_first_step():
    """‖Δθ[l]‖ is a length going up times one coming down, by the maps of mean-field theory."""
    hidden, q, sizes = jaxnn.blocks.Residual(scale=16**-0.5), 1.0, []
    with jax.enable_x64(True):
        up = float(meanfield.length_map("relu", step_size.SIGMA_W, 0.0, 1.0, hidden=hidden))
        down = float(meanfield.chi("relu", step_size.SIGMA_W, 1.0, hidden=hidden))
    assert up == pytest.approx(1 + 1 / 16)
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
    examples = training.TrainingSet(jax.random.normal(key, (20, 4)), jnp.arange(20) % 3)
    rates = jnp.array([0.0, 1e-3])
    before, after = training.losses_of_run(net, params, examples, key, rates, 1, 20)
    rows = jax.random.randint(key, (1, 20), 0, 20)[0]
    _, gradient = jaxnn.backprop(net, params, examples.x[rows], examples.y[rows])
    moved = jax.tree.map(lambda v, g: v - 1e-3 * jnp.sign(g), params[1], gradient[1])
    for expected, loss in ((params, before), ((params[0], moved, params[2]), after)):
        value = float(jaxnn.train.evaluate(net, expected, examples.x, examples.y).loss)
        assert loss == pytest.approx(value, rel=1e-5)


def test_two_tokens_share_attention_by_a_sigmoid():
    """A = sigmoid(d) of one, and the difference d of two logits has twice their variance."""
    for beta in (0.7, 3.0):
        sd = beta * math.sqrt(2 * math.log(2))
        exact = gaussian(lambda g, sd=sd: 1 - 2 * special.expit(sd * g) * special.expit(-sd * g))
        assert attention_length.concentration(beta, 2) == pytest.approx(exact, rel=1e-7)


def test_many_tokens_by_draws_and_in_the_limit():
    rng, tokens, beta = np.random.default_rng(0), 64, 2.0
    w = np.exp(beta * math.sqrt(math.log(tokens)) * rng.normal(size=(4_000, tokens)))
    drawn = np.sum(w**2, axis=1) / np.sum(w, axis=1) ** 2
    error = drawn.std() / math.sqrt(len(drawn))
    assert abs(attention_length.concentration(beta, tokens) - drawn.mean()) < 4 * error
    left = [attention_length.concentration(4.0, 10**k) - (1 - math.sqrt(2) / 4) for k in (2, 4, 8)]
    assert left[0] > left[1] > left[2] > 0
    assert left[2] < 0.03


def test_the_variance_of_logits_varies_from_row_to_row():
    """In d dimensions, by the distribution of three χ² over d: a third order is left out."""
    rng, width = np.random.default_rng(0), 256
    factors = np.log(np.prod(rng.chisquare(width, size=(200_000, 3)) / width, axis=1))
    at = np.linspace(-1, 1, 15)
    each = [attention_length.concentration(2.0 * math.exp(v / 2), 32) for v in at]
    drawn = np.mean(interpolate.CubicSpline(at, each)(factors))
    here, infinite = (attention_length.in_dimensions(2.0, 32, d) for d in (width, 10**9))
    assert here == pytest.approx(drawn, abs=4e-4)
    assert infinite - here > 6 * 4e-4
    assert infinite == pytest.approx(attention_length.concentration(2.0, 32), rel=1e-6)


@pytest.mark.slow
def test_few_channels_slow_tanh_down():
    """Length and gradient of drawn orthogonal networks, against those of infinite width."""
    rng, n, layers, draws = np.random.default_rng(0), 8, 200, 400
    z, saved = rng.normal(size=(draws, n)), []
    z *= np.sqrt(n / layers) / np.linalg.norm(z, axis=1, keepdims=True)
    for _ in range(layers):
        theta = random_orthogonal(rng, draws, n, n)
        saved.append((z, theta))
        z = np.einsum("di,dij->dj", np.tanh(z), theta)
    delta = rng.normal(size=(draws, n))
    delta /= np.linalg.norm(delta, axis=1, keepdims=True)
    for below, theta in reversed(saved):
        delta = np.einsum("dij,dj->di", theta, delta) / np.cosh(below) ** 2
    length = np.log(np.mean(z**2, axis=1) * layers) / 2
    gradient = np.mean(delta**2, axis=1) * n
    infinite = -0.5 * math.log(3)
    expected = delta_orthogonal.slower(n)
    assert np.mean(length) - infinite == pytest.approx(expected[0], abs=4e-3)
    error = np.std(gradient) / np.mean(gradient) / math.sqrt(draws) / 2
    measured = 0.5 * math.log(np.mean(gradient)) - infinite
    assert measured == pytest.approx(expected[1], abs=4 * error + 2 / layers)


def test_a_wave_fades_by_the_eigenvalue_of_a_mean_over_neighbours():
    first = np.zeros(8)
    first[[0, 1, -1]] = 1 / 3
    values = np.sort(linalg.eigvalsh(linalg.circulant(first)))
    assert delta_orthogonal.faded(8) == pytest.approx(values[-2])


@pytest.mark.slow
def test_a_kernel_s_taps_are_neighbours():
    a = np.arange(24.0).reshape(8, 3)
    kernel = np.zeros((3, 3, 3))
    kernel[0] = np.eye(3)  # what is before each position
    moved = delta_orthogonal.convolved(
        jnp.asarray(a, jnp.float32), jnp.asarray(kernel, jnp.float32)
    )
    np.testing.assert_allclose(moved, np.roll(a, 1, axis=0))
    tap = np.asarray(delta_orthogonal.kernel_of(jax.random.key(0), 5, True))
    assert not tap[[0, 2]].any()
    np.testing.assert_allclose(tap[1] @ tap[1].T, np.eye(5), atol=1e-6)


def test_gates_by_scipy_s_integrals():
    sigma_w, b = 1.5, 0.7
    here, chi_here = recurrence.gate(sigma_w, b)

    def u(q):
        return lambda g: special.expit(b + math.sqrt(sigma_w**2 * q + 1) * g)

    def left(q):
        gate = u(q)
        return gaussian(lambda g: gate(g) ** 2 * q + (1 - gate(g)) ** 2) - q

    q = optimize.brentq(left, 0.01, 2)
    gate = u(q)
    assert here == pytest.approx(q, rel=1e-9)
    slope = gaussian(lambda g: (gate(g) * (1 - gate(g))) ** 2)
    chi = gaussian(lambda g: gate(g) ** 2) + sigma_w**2 * slope * (q + 1)
    assert chi_here == pytest.approx(chi, rel=1e-9)
    rates = [-math.log(recurrence.gate(sigma_w, bias)[1]) for bias in (0.0, 2.0, 4.0)]
    assert rates[0] > rates[1] > rates[2] > 0


@pytest.mark.slow
def test_a_stretched_exponential_and_a_power():
    """Ln (1 + L) after a norm; after tanh(αz) the slope over √L tends to (8/3) α/√(2π)."""
    values = [*predicted(dynamic_tanh, width=WIDE, blocks=64, alpha=(2.0,)).values()]
    assert values[0] == pytest.approx(math.log(65), rel=1e-6)
    q, logs = 1.0, [0.0]
    g = np.linspace(-8, 8, 4_001)
    density = np.exp(-(g**2) / 2) / np.sum(np.exp(-(g**2) / 2))
    for _ in range(64):
        z = 2 * math.sqrt(q) * g
        slopes = density @ (2 / np.cosh(np.clip(z, -300, 300)) ** 2) ** 2
        logs.append(logs[-1] + math.log(1 + slopes))
        q += density @ np.tanh(z) ** 2
    assert values[1] == pytest.approx(logs[-1], rel=1e-6)
    rate = (logs[64] - logs[16]) / 4
    assert rate == pytest.approx(2 * 8 / 3 / math.sqrt(2 * math.pi), rel=0.15)


@pytest.mark.slow
def test_constants_of_slow_growth_are_those_of_infinite_depth():
    """In theory's own curves of 128 layers to a quarter, after a norm exactly."""
    values = predicted(slow_growth, width=WIDE, layers=128, channels=WIDE)
    for name, kind in slow_growth.kinds().items():
        if kind.constant is not None:
            constant = values[f"{name}: constant"]
            assert constant == pytest.approx(kind.constant, rel=0.25), name
            assert (name == "pre-norm") == (constant == pytest.approx(kind.constant, rel=1e-9))


def test_a_law_is_found_in_its_own_curve():
    places = np.arange(1, 65)
    law = slow_growth.law_in(-0.7 * np.sqrt(places))
    assert (law.word, law.error) == (STRETCHED, pytest.approx(0, abs=1e-12))
    assert law.constant == pytest.approx(0.7)
    assert slow_growth.law_in(-0.5 * np.log(places)).word == POWER_LAW


def test_exponents_of_a_block_by_integration():
    """The fixed point of blocks: the mean square that they return, found by repeating them."""
    a, m, s = strengths = collapsed.Strengths(0.5, 0.7, 2.0)
    square = gaussian(lambda g: math.tanh(s * g) ** 2)
    slope = s**2 * gaussian(lambda g: math.cosh(s * g) ** -4.0)
    factor = (1 + m**2 * slope) / (1 + m**2 * square)
    expected = math.log(factor / (1 + a**2)) / 2, math.log(factor) / 2, 1.0
    q = 1.0
    for _ in range(100):
        q, before = (1 - m**2) * ((1 - a**2) * q + a**2) + m**2 * square, q
    between = (1 - a**2) * before + a**2
    apart = (1 - a**2) * before / between  # squares of what tokens differ by, over the mean square
    apart *= ((1 - m**2) * between + m**2 * slope) / q
    down = ((1 - m**2) * between + m**2 * slope) / between * ((1 - a**2) * q + a**2) / q
    published = math.log(apart) / 2, math.log(down) / 2, q
    with jax.enable_x64(True):
        for block, numbers in ((collapsed.OURS, expected), (collapsed.PUBLISHED, published)):
            assert collapsed.in_theory(block, strengths) == pytest.approx(numbers, rel=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("strengths", [(0.25, 2.0, 4.0), (1.0, 0.5, 1.0)])
def test_what_a_finite_width_takes_from_a_block(strengths):
    """By drawn blocks of one token and a tangent, in four errors."""
    (a, m, s), n, blocks, key = strengths, 32, 24, jax.random.key(0)

    def attention(x, w):
        return collapsed.normed(x + a * (x @ w[0] @ w[1]))

    def mlp(x, w):
        return collapsed.normed(x + m * (jnp.tanh(s * x @ w[2]) @ w[3]))

    def size(v):
        return jnp.log(jnp.linalg.norm(v))

    def one(key):
        of_weights, *others = jax.random.split(key, 4)
        weights = jax.random.normal(of_weights, (blocks, 4, n, n)) / n**0.5
        x, tangent, delta = (jax.random.normal(k, (n,)) for k in others)

        def up(state, w):
            x, tangent = state
            of_norm = collapsed.normed, (x + a * (x @ w[0] @ w[1]),)  # it adds the same to both
            between, tangent = jax.jvp(*of_norm, (tangent,))
            above, tangent = jax.jvp(lambda x: mlp(x, w), (between,), (tangent,))
            return (above, tangent), (x, size(tangent))

        def down(delta, at):
            x, w = at
            below = jax.vjp(lambda x: mlp(attention(x, w), w), x)[1](delta)[0]
            return below, size(below)

        _, (states, tangents) = jax.lax.scan(up, (collapsed.normed(x), tangent), weights)
        _, deltas = jax.lax.scan(down, delta, (states, weights), reverse=True)
        return (tangents[-1] - tangents[3]) / (blocks - 4), (deltas[3] - deltas[-4]) / (blocks - 7)

    measured = np.array(jax.lax.map(one, jax.random.split(key, 256)), np.float64)
    error = n * measured.std(axis=1) / measured.shape[1] ** 0.5
    with jax.enable_x64(True):
        of_block = collapsed.in_theory(collapsed.OURS, collapsed.Strengths(*strengths))
        taken = np.array(collapsed_width.taken(*strengths))
    assert (np.abs(n * (measured.mean(axis=1) - of_block[:2]) - taken) < 4 * error).all()
    assert (error < 0.2).all()


def test_a_slope_is_taken_where_a_spread_is_small():
    layers = np.arange(12.0)
    for log_spread, floor, expected in (
        (-9 + 0.3 * layers, 1e-6, 0.3),
        (np.minimum(-5 + 0.7 * layers, -1), 1e-6, 0.7),  # at the state's size from layer 5 on
        (np.maximum(-7 - 1.5 * layers, -13), 1e-5, -1.5),  # by rounding
        (-9 + np.cumsum(np.tile([0.5, -0.2], 6)), 1e-6, 0.15),  # blocks of two layers
    ):
        assert collapsed.slope_while_near(log_spread, floor) == pytest.approx(expected)
    assert np.isnan(collapsed.slope_while_near(np.full(12, -0.5), 1e-6))


def test_ends_of_a_spectrum_and_a_gap_by_drawn_matrices():
    rng, n, tau = np.random.default_rng(0), 60, 0.3
    squares = np.array(
        [linalg.svdvals(rng.normal(size=(n, 2 * n)))[[0, -1]] ** 2 / (2 * n) for _ in range(60)]
    )
    errors = squares.std(axis=0) / 60**0.5 + 0.1 / n
    ends = any_spectrum.marchenko_pastur(n, 2 * n)
    assert (np.abs(squares.mean(axis=0) - ends) < 4 * errors).all()
    weights = np.exp(tau * rng.normal(size=(200, n, n)))
    s = np.linalg.svd(weights / weights.sum(axis=2, keepdims=True), compute_uv=False)
    second, rank = any_spectrum.gap(tau, n)
    # The largest noise lies 2.5 % inside its edge; what is left is of the order 1/T.
    assert np.mean(s[:, 1] / s[:, 0]) == pytest.approx(second, rel=1 / n)
    assert np.mean(np.sum((s[:, 1:] / s[:, :1]) ** 4, axis=1)) == pytest.approx(rank, rel=0.1)
    far = any_spectrum.gap(tau, 10**9)[0] * 10**4.5
    assert far == pytest.approx(2 * math.sqrt(math.expm1(tau**2)), rel=1e-4)


def test_queries_of_tokens_that_are_alike_by_hand():
    """ΔQ of drawn tokens, by the derivative of a softmax of equal logits."""
    n, t, draws, c, grown = 6, 4, 60_000, 0.5, 2.0
    rng = np.random.default_rng(0)
    own, common = rng.normal(size=(draws, t, n)), rng.normal(size=(draws, 1, n))
    z = math.sqrt(c) * common + math.sqrt(1 - c) * own
    apart = z - z.mean(axis=1, keepdims=True)
    z = apart + math.sqrt(grown) * (z - apart)
    k, v = rng.normal(size=(2, draws, n, n)) / math.sqrt(n)
    delta = rng.normal(size=(draws, t, n))
    of_shares = delta @ np.swapaxes(z @ v, 1, 2)
    of_logits = (of_shares - of_shares.mean(axis=2, keepdims=True)) / t
    of_queries = np.swapaxes(z, 1, 2) @ of_logits @ (z @ k) / math.sqrt(n)
    squares = np.sum(of_queries**2, axis=(1, 2))
    setup = rank_collapse.FULL.but(width=n, tokens=t, inputs=1)
    error = 4 * squares.std() / math.sqrt(draws)
    assert rank_collapse.of_queries(setup, c, grown) == pytest.approx(squares.mean(), abs=error)
    assert error < 0.06 * squares.mean()


def test_attention_takes_what_tokens_differ_by_to_its_cube():
    n, t, beta, draws = 6, 4, 0.01, 20_000
    rng = np.random.default_rng(1)
    z = rng.normal(size=(draws, t, n))
    q, k, v = rng.normal(size=(3, draws, n, n)) / math.sqrt(n)
    logits = beta * (z @ q) @ np.swapaxes(z @ k, 1, 2) / math.sqrt(n)
    shares = special.softmax(logits, axis=2)
    above = shares @ z @ v
    squares = np.mean((above - above.mean(axis=1, keepdims=True)) ** 2, axis=(1, 2))
    of = {"width": n, "tokens": t, "inputs": 1, "layers": 1, "beta": beta, "correlations": ()}
    values = predicted(rank_collapse, **of)
    expected = math.exp(values["without skip connections: ‖ρ′‖², β = 0.01"])
    error = 4 * squares.std() / math.sqrt(draws)
    assert squares.mean() == pytest.approx(expected, abs=error + 0.01 * expected)
    assert error < 0.1 * expected


def test_errors_are_parts_of_what_is_measured(monkeypatch):
    setup, law = transformer_moments.QUICK, Law.of(transformer_moments)
    parts = np.array([0.5, -0.1, 0.02, 0.01])  # of the measured number, by which theory is off
    of_groups = np.repeat(-np.log1p(-parts)[:, None], 16, axis=1)
    monkeypatch.setattr(transformer_moments, "feed_forward", lambda *_: of_groups)
    monkeypatch.setattr(transformer_moments, "attention", lambda *_: of_groups[2:])
    numbers = law.measurement(setup, jax.random.key(0))
    assert {number.case for number in law.prediction(setup)} == set(numbers)
    of_feed_forward = [v.value for name, v in numbers.items() if name.startswith("feed")]
    assert of_feed_forward == pytest.approx([np.mean(of_groups), 10.0, 50.0, 50.0])
    of_attention = [v.value for name, v in numbers.items() if name.startswith("att")]
    assert of_attention == pytest.approx([np.mean(of_groups[2:]), 2.0, 2.0, 2.0])


# Training


def test_training_is_the_plain_loop():
    """Momentum by hand, batches from the key, the depth as data."""
    net = jaxnn.Network((4, *[6] * 5, 3), "tanh", "multiclass")
    key, of_x = jax.random.split(jax.random.key(0))
    params = draw_layers(
        np.random.default_rng(0), net.sizes, orthogonal(1.0), dtype=jnp.float32, stacked=True
    )
    x = jax.random.normal(of_x, (20, 4))
    examples = training.TrainingSet(x, jnp.arange(20) % 3)
    descent = training.DescentRule(rate=0.3, momentum=0.9, batch=5)
    scores = training.accuracies(net, params, examples, key, descent, steps=40, looks=2, depth=3)
    batches = np.asarray(jax.random.randint(key, (2, 20, 5), 0, 20))
    params = jax.tree.map(np.asarray, params)
    velocity, accuracies = jax.tree.map(np.zeros_like, params), []
    for part in batches:
        for batch in part:
            _, gradient = jaxnn.backprop(net, params, x[batch], examples.y[batch], depth=3)
            gradient = jax.tree.map(np.asarray, gradient)
            velocity = jax.tree.map(
                lambda v, g: np.float32(0.9) * v - np.float32(0.3) * g, velocity, gradient
            )
            params = jax.tree.map(np.add, params, velocity)
        (theta, b), (thetas, bs), (last, b_last) = params
        z = x @ theta + b
        for layer in range(2):
            z = np.tanh(z) @ thetas[layer] + bs[layer]
        accuracies.append(np.mean(np.argmax(np.tanh(z) @ last + b_last, axis=1) == examples.y))
    np.testing.assert_allclose(scores, accuracies, atol=1e-6)
    assert accuracies[1] > 0.5  # it learns something


def test_the_fewest_steps_are_those_of_the_best_rate():
    net = jaxnn.Network((3, 3, 3, 3), "identity", "regression")
    params = draw_layers(
        np.random.default_rng(1), net.sizes, orthogonal(1.0), 0.0, jnp.float32, stacked=True
    )
    x = math.sqrt(3) * jnp.eye(3)
    examples = training.TrainingSet(x, x @ jnp.diag(jnp.array([1.0, 0.5, 0.2])))

    @jax.jit
    def moved(params, rate):
        loss, gradient = jaxnn.backprop(net, params, x, examples.y)
        return loss, jax.tree.map(lambda v, g: v - rate * g, params, gradient)

    def steps(rate):
        here, losses = params, []
        while len(losses) < 500:
            loss, here = moved(here, rate)
            losses.append(loss)
            if loss <= 0.01 * losses[0]:
                return len(losses)
            if not loss < 10 * losses[0]:
                break
        return math.inf

    rates = [8.0, 0.1, 0.4, 0.05]
    counts = [steps(rate) for rate in rates]
    assert counts[0] == math.inf
    assert counts[2] < counts[1] < counts[3]
    of = net, params, examples, jnp.array(rates), 0.01
    assert training.fewest_steps(*of, 500, 2) == counts[2]
    assert training.fewest_steps(*of, counts[2] - 2, 2) == math.inf

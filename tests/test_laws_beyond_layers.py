"""Laws 20, 23 to 25, 27, 28 and 32 to 34, of attention, recurrence, transformers and spectra.

Against scipy's integrals, direct draws, plain recursions and matrices.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, linalg, optimize, special

from experiments.laws import (
    any_spectrum,
    attention_length,
    collapsed,
    collapsed_width,
    delta_orthogonal,
    dynamic_tanh,
    exponents,
    rank_collapse,
    recurrence,
    slow_growth,
    trained_tokens,
    transformer_moments,
)
from experiments.laws.law import compare, examine
from jaxnn.flow.verdict.rates import POWER_LAW, STRETCHED

pytestmark = pytest.mark.usefixtures("users_jax")


def gaussian(f):
    """E[f(g)]."""
    value, _ = integrate.quad(lambda g: f(g) * math.exp(-g * g / 2), -12, 12, limit=400)
    return value / math.sqrt(2 * math.pi)


# 20


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
    """In d dimensions, by the distribution of three χ² over d."""
    rng, width = np.random.default_rng(0), 64
    factors = np.prod(rng.chisquare(width, size=(100, 3)) / width, axis=1)
    each = [attention_length.concentration(2.0 * math.sqrt(v), 32) for v in factors]
    measured = attention_length.in_dimensions(2.0, 32, width)
    assert measured == pytest.approx(np.mean(each), abs=4 * np.std(each) / 10)
    infinite = attention_length.concentration(2.0, 32)
    assert attention_length.in_dimensions(2.0, 32, 10**9) == pytest.approx(infinite, rel=1e-6)


# 23


@pytest.mark.slow
def test_few_channels_slow_tanh_down():
    """Length and gradient of drawn orthogonal networks, against those of infinite width."""
    rng, n, layers, draws = np.random.default_rng(0), 8, 200, 400
    z, saved = rng.normal(size=(draws, n)), []
    z *= np.sqrt(n / layers) / np.linalg.norm(z, axis=1, keepdims=True)
    for _ in range(layers):
        q, r = np.linalg.qr(rng.normal(size=(draws, n, n)))
        theta = q * np.sign(np.einsum("dii->di", r))[:, None, :]
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


# 24


def test_gates_by_scipy_s_integrals():
    sigma_w, b = 1.5, 0.7
    here = recurrence.gate(sigma_w, b)

    def u(q):
        return lambda g: special.expit(b + math.sqrt(sigma_w**2 * q + 1) * g)

    def left(q):
        gate = u(q)
        return gaussian(lambda g: gate(g) ** 2 * q + (1 - gate(g)) ** 2) - q

    q = optimize.brentq(left, 0.01, 2)
    gate = u(q)
    assert here.q == pytest.approx(q, rel=1e-9)
    slope = gaussian(lambda g: (gate(g) * (1 - gate(g))) ** 2)
    chi = gaussian(lambda g: gate(g) ** 2) + sigma_w**2 * slope * (q + 1)
    assert here.chi == pytest.approx(chi, rel=1e-9)
    rates = [-math.log(recurrence.gate(sigma_w, bias).chi) for bias in (0.0, 2.0, 4.0)]
    assert rates[0] > rates[1] > rates[2] > 0


# 25


@pytest.mark.slow
def test_a_stretched_exponential_and_a_power():
    """Ln (1 + L) behind a norm; behind tanh(αz) the slope over √L tends to (8/3) α/√(2π)."""
    setup = dynamic_tanh.Setup(10**9, seeds=1, blocks=64, alpha=(2.0,))
    with jax.enable_x64(True):
        prediction = dynamic_tanh.LAW.prediction(setup)
    values = [number.value for number in prediction.numbers]
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


# 32


@pytest.mark.slow
def test_constants_of_slow_growth_are_those_of_infinite_depth():
    """In theory's own curves of 128 layers to a quarter, behind a norm exactly."""
    setup = slow_growth.Setup(width=10**9, layers=128, seeds=1, channels=10**9)
    with jax.enable_x64(True):
        numbers = slow_growth.LAW.prediction(setup).numbers
    constants = {n.case.split(":")[0]: n.value for n in numbers if n.case.endswith("constant")}
    for name, kind in slow_growth.kinds().items():
        if kind.constant is None:
            continue
        assert constants[name] == pytest.approx(kind.constant, rel=0.25), name
        assert (name == "pre-norm") == (constants[name] == pytest.approx(kind.constant, rel=1e-9))


def test_a_law_is_found_in_its_own_curve():
    places = np.arange(1, 65)
    law = slow_growth.law_in(-0.7 * np.sqrt(places))
    assert (law.word, law.error) == (STRETCHED, pytest.approx(0, abs=1e-12))
    assert law.constant == pytest.approx(0.7)
    assert slow_growth.law_in(-0.5 * np.log(places)).word == POWER_LAW


# 33


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


@pytest.mark.slow
def test_transformers_are_trained_from_the_scales_that_their_rows_name(monkeypatch):
    """A few steps lower the loss of a shallow one; stored exponents are those of the formula."""
    monkeypatch.setattr(trained_tokens, "BLOCKS", 2)
    task = trained_tokens.copies()
    strengths = collapsed.Strengths(0.2, trained_tokens.M, 1.0)
    params = trained_tokens.network(task, strengths)
    batches = np.arange(60 * 32).reshape(60, 32) % 2000
    none, some = (
        float(trained_tokens.trained(params, strengths, task[:3], batches[:steps]))
        for steps in (1, 60)
    )
    assert some < 0.8 * none
    assert not task.classes[:, :4].any()
    assert not task.asked[:4].any()
    rows = trained_tokens.read()
    assert [*trained_tokens.rows(rows)] == rows  # all are there
    row = next(row for row in rows if (row["a"], row["s_A"]) == ("0.2", "1"))
    with jax.enable_x64(True):
        both = collapsed.in_theory(collapsed.PUBLISHED, strengths)[:2]
    assert [float(row[name]) for name in ("angle", "gradient")] == pytest.approx(both, rel=1e-4)


@pytest.mark.slow
def test_a_transformer_has_the_exponents_of_its_blocks():
    ours, published = collapsed.Strengths(0.5, 1.0, 3.0), collapsed.Strengths(0.5, 0.5, 2.0)
    setup = collapsed.Setup(width=64, blocks=8, seeds=12, ours=(ours,), published=(published,))
    with jax.enable_x64(True):
        prediction = collapsed.LAW.prediction(setup)
    measurement = collapsed.LAW.measurement(setup, jax.random.key(5))
    assert compare(collapsed.LAW, prediction, measurement)["holds"].all()
    wrong = [v._replace(value=v.value + 0.15) for v in prediction.numbers]
    wrong = compare(collapsed.LAW, prediction._replace(numbers=tuple(wrong)), measurement)
    assert not wrong["holds"].all()


def test_a_slope_is_taken_where_a_spread_is_small():
    layers = np.arange(12.0)
    assert exponents.slope_while_near(-9 + 0.3 * layers, 1e-6, 1) == pytest.approx(0.3)
    parted = np.minimum(-5 + 0.7 * layers, -1)  # at the size of the state from layer 5 on
    assert exponents.slope_while_near(parted, 1e-6, 1) == pytest.approx(0.7)
    rounded = np.maximum(-7 - 1.5 * layers, -13)  # by rounding
    assert exponents.slope_while_near(rounded, 1e-5, 1) == pytest.approx(-1.5)
    assert np.isnan(exponents.slope_while_near(np.full(12, -0.5), 1e-6, 1))
    by_two = -9 + np.cumsum(np.tile([0.5, -0.2], 6))
    assert exponents.slope_while_near(by_two, 1e-6, 2) == pytest.approx(0.15)


# 34


def test_ends_of_a_spectrum_and_a_gap_by_drawn_matrices():
    rng, n, tau = np.random.default_rng(0), 60, 0.3
    squares = np.array(
        [linalg.svdvals(rng.normal(size=(n, 2 * n)))[[0, -1]] ** 2 / (2 * n) for _ in range(60)]
    )
    errors = squares.std(axis=0) / 60**0.5 + 0.1 / n
    ends = any_spectrum.marchenko_pastur(n, 2 * n)
    assert (np.abs(squares.mean(axis=0) - ends) < 4 * errors).all()
    weights = np.exp(tau * rng.normal(size=(40, n, n)))
    s = np.linalg.svd(weights / weights.sum(axis=2, keepdims=True), compute_uv=False)
    second, rank = any_spectrum.gap(tau, n)
    assert np.mean(s[:, 1] / s[:, 0]) == pytest.approx(second, rel=0.05)
    assert np.mean(np.sum((s[:, 1:] / s[:, :1]) ** 4, axis=1)) == pytest.approx(rank, rel=0.1)
    far = any_spectrum.gap(tau, 10**9)[0] * 10**4.5
    assert far == pytest.approx(2 * math.sqrt(math.expm1(tau**2)), rel=1e-4)


@pytest.mark.slow
def test_layers_and_attention_have_the_spectra_of_random_matrices():
    setup = any_spectrum.Setup(width=64, layers=(2,), seeds=6, tokens=(64,), logits=(0.3,))
    with jax.enable_x64(True):
        prediction = any_spectrum.LAW.prediction(setup)
    measurement = any_spectrum.LAW.measurement(setup, jax.random.key(5))
    assert compare(any_spectrum.LAW, prediction, measurement)["holds"].all()
    wrong = [v._replace(value=1.6 * v.value) for v in prediction.numbers]
    wrong = compare(any_spectrum.LAW, prediction._replace(numbers=tuple(wrong)), measurement)
    assert not wrong["holds"].any()


# 27


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
    setup = rank_collapse.Setup(n, t, inputs=1, layers=1, seeds=1, beta=0.1, correlations=())
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
    setup = rank_collapse.Setup(n, t, 1, layers=1, seeds=1, beta=beta, correlations=())
    numbers = {number.case: number.value for number in rank_collapse.LAW.prediction(setup).numbers}
    predicted = math.exp(numbers["without skip connections: ‖ρ′‖², β = 0.01"])
    error = 4 * squares.std() / math.sqrt(draws)
    assert squares.mean() == pytest.approx(predicted, abs=error + 0.01 * predicted)
    assert error < 0.1 * predicted


# 28


def test_errors_are_parts_of_what_is_measured(monkeypatch):
    setup = transformer_moments.LAW.quick
    parts = np.array([0.5, -0.1, 0.02, 0.01])  # of the measured number, by which theory is off
    of_groups = np.repeat(-np.log1p(-parts)[:, None], 16, axis=1)
    monkeypatch.setattr(transformer_moments, "feed_forward", lambda *_: of_groups)
    both = transformer_moments.Attention(of_groups[2:], of_groups)
    monkeypatch.setattr(transformer_moments, "attention", lambda *_: both)
    law = transformer_moments.LAW
    numbers = law.measurement(setup, jax.random.key(0)).numbers
    assert {number.case for number in law.prediction(setup).numbers} == set(numbers)
    of_feed_forward = [v.value for name, v in numbers.items() if name.startswith("feed")]
    assert of_feed_forward == pytest.approx([np.mean(of_groups), 10.0, 50.0, 50.0])
    of_attention = [v.value for name, v in numbers.items() if name.startswith("att")]
    assert of_attention == pytest.approx([np.mean(of_groups[2:]), 2.0, 2.0, 2.0])


@pytest.mark.slow
def test_attention_of_a_small_set_up_has_the_gradients_of_its_twin():
    of = {"correlations": (0.5,), "sizes": (0.6,), "gradients": (0.0,), "kept": (0.5,)}
    setup = transformer_moments.Setup(32, 16, 8, inputs=256, feed_forward=0, **of)
    by_group = transformer_moments.attention(setup, jax.random.key(0)).theory
    error = by_group.std(ddof=1) / 4
    assert abs(by_group.mean()) < 4 * error + 1 / 16
    assert error < 0.04


# All of them


SMALL = {
    attention_length: attention_length.Setup(
        64, 96, 20, beta=(1.0, 3.0), overlap=0.5, beta_overlap=(3.0,)
    ),
    delta_orthogonal: delta_orthogonal.Setup(
        width=16, positions=8, layers=100, seeds=2, wave=(16, 6, 60)
    ),
    rank_collapse: rank_collapse.Setup(
        32, 6, 2, layers=4, seeds=12, beta=0.02, correlations=(0.99,)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("module", SMALL, ids=lambda module: module.LAW.name)
def test_a_law_holds_in_a_run_that_is_quicker_than_quick(module):
    law = module.LAW
    small = type(law)(**{**vars(law), "quick": SMALL[module]})
    assert examine(small, quick=True, seed=0)[0]["holds"].all()

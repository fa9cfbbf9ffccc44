"""Finite width: the formulas of one example against sums written out, and batches against draws."""

import math

import numpy as np
import pytest
from scipy import stats

import jaxnn
from jaxnn.theory import batch_band, meanfield, several_examples

G = np.linspace(-9, 9, 2001)
OF_G = np.exp(-(G**2) / 2) / np.sum(np.exp(-(G**2) / 2))
STEP = 1e-3


def one_example(sigma_w, sigma_b, q0, widths):
    """Return bias and variance of ln ‖Δz[l]‖² of tanh, with every covariance summed by itself."""
    depth, n = len(widths), np.array(widths, float)

    def e(f, q):
        z = math.sqrt(q) * G
        return OF_G @ f(np.tanh(z), np.cosh(z) ** -2.0, z)

    def by_log_q(f, q):
        """First and second derivative, both times powers of q."""
        low, mid, high = (f(q * (1 + h)) for h in (-STEP, 0, STEP))
        return (high - low) / (2 * STEP), (high - 2 * mid + low) / STEP**2

    q, rows = sigma_w**2 * q0 + sigma_b**2, []
    for _ in range(depth):
        a2, d2 = e(lambda a, d, z: a * a, q), e(lambda a, d, z: d * d, q)
        above = sigma_w**2 * a2 + sigma_b**2
        kappa = sigma_w**2 * a2 / above
        f1, f2 = np.array(by_log_q(lambda v: e(lambda a, d, z: a * a, v), q)) * kappa / a2
        l1, l2 = by_log_q(lambda v: math.log(e(lambda a, d, z: d * d, v)), q)
        rows.append(
            {
                "k": e(lambda a, d, z: d**4, q) / d2**2,
                "A": e(lambda a, d, z: d * d * a * a, q) / (a2 * d2),
                "kappa": kappa,
                "f1": f1,
                "f2": f2,
                "l1": l1,
                "l2": l2,
                "N": kappa**2 * (e(lambda a, d, z: a**4, q) / a2**2 - 1),
                "all": e(lambda a, d, z: z * z * d * d, q) / (q * d2),
                "K": kappa * e(lambda a, d, z: z * d * a, q) ** 2 / (a2 * q * d2),
            }
        )
        q = above
    r = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    # What a change of ln Q[j] makes of ln Q[i], and of ln χ of layer i.
    reach = np.eye(depth)
    for j in range(depth):
        for i in range(j, depth - 1):
            reach[i + 1, j] = reach[i, j] * r["f1"][i]
    drawn = np.append(0.0, (r["N"] / n)[:-1])  # of ln Q[j], from layer j - 1
    of_q = reach**2 @ drawn
    bends = np.append(0.0, (r["f2"] * of_q / 2)[:-1])
    steps = r["l1"] * (reach @ bends) + r["l2"] * of_q / 2 - (3 * r["k"] - 1) / (2 * n)
    rho = r["all"][-1]
    for i in range(depth - 2, -1, -1):
        k, big_a, kappa, along = (r[name][i] for name in ("k", "A", "kappa", "K"))
        across = r["all"][i] - along
        steps[i] += big_a * kappa * (rho - 1) / n[i]
        change = (3 * k - big_a) * (along * rho + across)
        change -= big_a * kappa * (along * (3 * rho**2 - rho) + across * (rho - 1))
        rho = along * rho + across + change / n[i]
    bias, variance = np.zeros(depth), np.zeros(depth)
    for first in range(depth - 1):
        counted = np.arange(first, depth - 1)
        effect = r["l1"][counted] @ reach[counted]  # of each ln Q[j] on the sum
        bias[first] = steps[counted].sum()
        variance[first] = np.sum((3 * r["k"] - 1)[counted] / n[counted]) + effect**2 @ drawn
        common = (r["kappa"] * (r["A"] - 1) / n)[counted]
        variance[first] += 2 * common @ effect[counted + 1]
    return bias, variance


def test_one_example_is_what_the_sums_say():
    """To the error of differences. With widths that differ by layer, and biases."""
    widths = [40, 50, 60, 45, 30, 50, 80]
    of = (1.6, 0.3, 0.5)
    band = meanfield.log_delta_band("tanh", *of, widths, len(widths))
    bias, variance = one_example(*of, widths)
    np.testing.assert_allclose(band.bias, bias / 2, rtol=2e-5, atol=1e-12)
    np.testing.assert_allclose(band.sd, np.sqrt(variance) / 2, rtol=2e-5, atol=1e-12)


def drawn(activation, sigma_w, sigma_b, c0, widths, batch, draws, block=None):
    """Return ln ‖Δz[l]‖ of drawn networks with all their weights, (draws, depth, batch)."""
    rng, is_behind = np.random.default_rng(1), isinstance(block, jaxnn.blocks.PostNorm)
    skip = block.inner if is_behind else block
    is_in_front = isinstance(getattr(skip, "inner", None), jaxnn.blocks.RMSNorm)
    sigma = {"tanh": np.tanh, "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z)}[activation]
    prime = {
        "tanh": lambda z: np.cosh(z) ** -2.0,
        "leaky_relu": lambda z: np.where(z > 0, 1.0, 0.01),
    }[activation]
    gram = (1 - c0) * np.eye(batch) + c0
    x = np.linalg.cholesky(gram) * batch**0.5  # rows of mean square 1 and correlation c0
    a, below = np.broadcast_to(x, (draws, batch, batch)), []
    for n in widths:
        theta = sigma_w / a.shape[2] ** 0.5 * rng.normal(size=(draws, a.shape[2], n))
        y = a @ theta + sigma_b * rng.normal(size=(draws, 1, n))
        summed = below[-1][0] + skip.scale * y if skip and below else y
        z = normed(summed) if is_behind and below else summed
        below.append((z, theta, summed))
        a = sigma(normed(z) if is_in_front else z)
    delta = prime(z) * rng.normal(size=z.shape)
    deltas = [delta]
    for (z, *_), (_, theta, summed) in zip(below[-2::-1], below[:0:-1], strict=True):
        through = through_norm(summed, delta) if is_behind else delta
        back = prime(normed(z) if is_in_front else z) * (through @ theta.mT)
        back = through_norm(z, back) if is_in_front else back
        delta = through + skip.scale * back if skip else back
        deltas.insert(0, delta)
    return np.stack([np.log(np.linalg.norm(v, axis=2)) for v in deltas], axis=1)


def normed(z):
    return z / np.sqrt(np.mean(z**2, axis=2, keepdims=True))


def through_norm(z, delta):
    """Return Δz from that of z / √(mean z²), whose Jacobian is (1 - ẑ ẑᵀ/n) over that root."""
    of_normed = normed(z)
    along = np.mean(of_normed * delta, axis=2, keepdims=True)
    return (delta - along * of_normed) * of_normed / z


PRE_NORM = jaxnn.blocks.Residual(jaxnn.blocks.RMSNorm(), scale=0.7)
BATCHES = {  # σ, σ_w, σ_b, c0, widths, examples, a block
    "fewer examples than units": ("tanh", 1.5, 0.3, 0.4, (5, 7, 4, 6), 3, None),
    "more examples than units": ("leaky_relu", 1.4, 0.2, -0.1, (4, 4, 4, 4), 6, None),
    "residual": ("tanh", 1.2, 0.1, 0.0, (5, 5, 5, 5), 3, jaxnn.blocks.Residual(scale=0.7)),
    "pre-norm": ("tanh", 1.2, 0.1, 0.0, (5, 5, 5, 5), 3, PRE_NORM),
    "post-norm": ("tanh", 1.2, 0.1, 0.0, (5, 5, 5, 5), 3, jaxnn.blocks.PostNorm()),
}


def test_first_states_have_the_correlation_that_is_said():
    z = several_examples._first(1, 4, 40_000, 1.5, 0.5, 0.4, np.random.default_rng(0))[:, 0]
    expected = 2.25 * (0.6 * np.eye(4) + 0.4) + 0.25
    np.testing.assert_allclose(z.T @ z / len(z), expected, atol=0.08)


@pytest.mark.parametrize(
    "block",
    [jaxnn.blocks.Dense(), BATCHES["residual"][-1], BATCHES["post-norm"][-1]],
    ids=["dense", "residual", "post-norm"],
)
def test_the_way_back_around_a_block_is_the_adjoint(block, rng):
    """Against central differences, in z and in the product of its layer."""
    z, y, u, w, delta = rng.normal(size=(5, 1, 4, 3))
    step = 1e-5
    after, before = (
        several_examples._around(block, z + h * u, y + h * w)[0] for h in (step, -step)
    )
    skipped, into = several_examples._around(block, z, y)[1](delta)
    along = np.sum(delta * (after - before)) / (2 * step)
    assert np.sum(skipped * u) + np.sum(into * w) == pytest.approx(along, rel=1e-8)


def test_a_band_has_half_of_the_logarithms_of_squares_and_the_error_of_a_mean(rng):
    logs = rng.normal(size=(50, 2, 3))
    band = several_examples._band(logs, np.array([0.25, 0.0]))
    size = np.log(np.mean(np.exp(logs), axis=2)) / 2
    for of, bias, error in (
        (size, band.bias, band.error),
        (np.mean(logs, axis=2) / 2, band.mean_bias, band.mean_error),
    ):
        assert bias[0] == pytest.approx(np.mean(of[:, 0] - of[:, 1]) - 0.25)
        assert error[0] == pytest.approx(stats.sem(of[:, 0] - of[:, 1]))


@pytest.mark.parametrize(
    "name",
    [n if i == 0 else pytest.param(n, marks=pytest.mark.slow) for i, n in enumerate(BATCHES)],
)
def test_a_batch_without_weights_has_the_law_of_one_with_them(name):
    """Widths far below those that any order in 1/n would do for; means and deviations."""
    activation, sigma_w, sigma_b, c0, widths, batch, block = BATCHES[name]
    draws, depth = 3000, len(widths)
    logs = drawn(activation, sigma_w, sigma_b, c0, widths, batch, draws, block)
    of = (activation, sigma_w, sigma_b, 1.0)
    units = widths[0] if len({*widths}) == 1 else widths
    band = batch_band(*of, units, depth, batch, hidden=block, c0=c0, draws=draws)
    theory = np.asarray(meanfield.log_delta(*of, depth, hidden=block))
    for measured, bias, sd in (
        (np.log(np.mean(np.exp(2 * logs), axis=2)) / 2, band.bias, band.sd),
        (np.mean(logs, axis=2), band.mean_bias, band.mean_sd),
    ):
        relative = measured - measured[:, -1:]
        error = np.std(relative, axis=0) * math.sqrt(2 / draws)  # of both means together
        assert (np.abs(np.mean(relative, axis=0) - theory - bias) <= 4 * error).all()
        assert np.std(relative, axis=0)[:-1] == pytest.approx(sd[:-1], rel=0.1)


def test_the_formula_of_skips_is_silent_where_draws_tell_otherwise():
    """Relu with c = 1 and 32 units: off by a sixth of the bias at most, and nan from there on."""
    of, block = ("relu", 2**0.5, 0.0, 1.0, 32, 48), jaxnn.blocks.Residual()
    formula = meanfield.log_delta_band(*of, hidden=block)
    drawn = batch_band(*of, 1, hidden=block, draws=400)
    known = np.isfinite(formula.bias)
    assert list(known) == list(np.isfinite(formula.sd)) == sorted(known)
    assert 10 < known.sum() < 30
    apart = np.abs(formula.bias - drawn.bias)[known]
    assert (apart <= np.abs(formula.bias)[known] / 6 + 4 * drawn.error[known]).all()
    assert (np.abs(formula.sd / drawn.sd - 1)[known][:-1] < 0.2).all()

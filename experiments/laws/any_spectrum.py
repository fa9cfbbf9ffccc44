"""Law 34: Jacobians and attention of any layers have the spectra of random matrices.

Layers of a user's own, of which `jaxnn.spectrum` knows the program alone. Singular values s of J,
of L layers of n units, by Lanczos:

    linear, orthogonal   s = 1, all of them
    linear, Gaussian     mean s² = 1, and the largest s² at the edge (L+1)^(L+1)/L^L, which the
                         distribution of Tracy & Widom lies inside of (law 7)
    n into m units       s² from (1 - √c)² to (1 + √c)², c = n/m < 1 (Marchenko & Pastur 1967)
    tanh                 mean s² = Π χ(q[l]) at criticality, and χ^L at a fixed point q*

An attention matrix of T tokens whose logits are independent, of variance τ², is 1/T everywhere but
for noise of relative variance σ² = e^τ² - 1, whose rows sum to 0. So it has one value near 1, and
the others are those of a Gaussian matrix,

    s₂ = 2σ/√T,   Σ s⁴/s₁⁴ - 1 = 2σ⁴/T

the gap that makes all tokens alike as T grows (Nait Saada et al. 2024, arXiv:2410.07799). At finite
T the largest noise lies inside its edge as Tracy & Widom have it, and entries of excess kurtosis κ
change s² by some κ/T. Tokens are orthogonal, so that x W xᵀ has independent entries.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from experiments.laws.jacobian_spectrum import TRACY_WIDOM, largest
from experiments.laws.law import Predicted, Setup, Told, mean_of
from experiments.laws.networks import HiddenLayers, fixed_point
from jaxnn.theory import meanfield

ORTHOGONAL, GAUSSIAN = "linear, orthogonal", "linear, Gaussian"
CRITICAL, CHAOTIC = "tanh, critical", "tanh at q*"
TANH = {CRITICAL: HiddenLayers("tanh", 1.0), CHAOTIC: HiddenLayers("tanh", 1.5)}
ENDS = "largest", "smallest"  # singular values
WIDER = 2  # m/n
EDGE = "4 standard errors, and what a finite width leaves"
STEPS = 64


def predict(setup: Setup) -> Told:
    """Predict ends and means of each kind, and the gap of attention."""
    n, eps = setup.width, float(np.finfo(np.float32).eps)
    means = {name: mean_squares(name, max(setup.layers)) for name in (GAUSSIAN, *TANH)}
    for count in setup.layers:
        for end in ENDS:
            reason = "rounding, L · 2⁻¹⁷"
            yield Predicted(f"{ORTHOGONAL}, L = {count}: {end}", 1.0, 64 * count * eps, reason, 0)
        reason = "4 standard errors, and rounding"
        yield Predicted(f"{GAUSSIAN}, L = {count}: mean", 1.0, 1e-4, reason).about("mean s²", 1.0)
        at = largest(count, n)
        reason = "4 standard errors, and the next order, L/n"
        yield Predicted(f"{GAUSSIAN}, L = {count}: edge", at, at * count / n, reason).about("edge")
        for name in TANH:
            value = float(means[name][count])
            allowed = value * count / n
            yield Predicted(f"{name}, L = {count}: mean", value, allowed, EDGE).about("χ")
    for end, value in zip(ENDS, marchenko_pastur(n, WIDER * n), strict=True):
        case = f"{n} into {WIDER * n} units: {end}"
        yield Predicted(case, value, value / n, EDGE).about("edge")
    yield from _predicted_attention(setup)


def _predicted_attention(setup: Setup) -> Told:
    for tau in setup.logits:
        kurtosis = sum(k * math.exp(p * tau**2) for k, p in ((1, 4), (2, 3), (3, 2))) - 6
        several = [gap(tau, tokens) for tokens in setup.tokens]
        for tokens, (second, rank) in zip(setup.tokens, several, strict=True):
            share, case = (kurtosis + 4) / tokens, f"attention, τ = {tau:g}, T = {tokens}"
            reason = "4 standard errors, and (κ + 4)/T"
            yield Predicted(f"{case}: s₂/s₁", second, share * second, reason).about("σ")
            yield Predicted(f"{case}: rank - 1", rank, share * rank, reason).about("σ⁴")


def mean_squares(name: str, most: int) -> np.ndarray:
    """Return E mean s² of 0 … most layers of a kind; called in x64."""
    if name == GAUSSIAN:
        return np.ones(most + 1)
    ensemble, _, q0, _ = fixed_point(TANH[name])
    log_delta = np.asarray(meanfield.log_delta(*ensemble, q0, most + 1))
    return np.exp(2 * (log_delta[0] - log_delta))


def marchenko_pastur(n: int, m: int) -> tuple[float, float]:
    """Return the means of the largest and smallest s² of n into m units, variance 1/m.

    Tracy & Widom's scale is μ = (√m ± √n)², σ = (√m ± √n) (1/√m ± 1/√n)^⅓ (Johnstone 2001).
    """
    ends = []
    for sign in (1.0, -1.0):
        root = math.sqrt(m) + sign * math.sqrt(n)
        scale = root * math.cbrt(1 / math.sqrt(n) + sign / math.sqrt(m))
        ends.append((root**2 + sign * TRACY_WIDOM * scale) / m)
    return ends[0], ends[1]


def gap(tau: float, tokens: int) -> tuple[float, float]:
    """Return s₂/s₁ and Σ s⁴/s₁⁴ - 1 of attention with independent logits."""
    variance = math.expm1(tau**2)
    end = 4 + 2 ** (4 / 3) * TRACY_WIDOM * tokens ** (-2 / 3)
    first = 1 + variance / tokens  # s₁²: the columns' sums differ
    return math.sqrt(variance * end / tokens / first), 2 * variance**2 / tokens


def _linear(theta: jax.Array, z: jax.Array) -> jax.Array:
    return z @ theta


def _tanh(theta: jax.Array, z: jax.Array) -> jax.Array:
    return jnp.tanh(z) @ theta


def _attention(theta: jax.Array, x: jax.Array) -> jax.Array:
    return jax.nn.softmax((x @ theta) @ jnp.swapaxes(x, 1, 2)) @ x


def _orthogonal(key: jax.Array, n: int) -> jax.Array:
    return jnp.linalg.qr(jax.random.normal(key, (n, n), jnp.float32))[0]


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure the spectra of drawn layers, and of attention."""
    n, keys = setup.width, jax.random.split(key, setup.seeds)
    for count in setup.layers:
        exact = _spectrum(ORTHOGONAL, keys[0], count, n)
        for end in ENDS:
            value = np.exp(2 * getattr(exact, f"log_{end}"))
            yield f"{ORTHOGONAL}, L = {count}: {end}", mean_of(value)
        for name in (GAUSSIAN, *TANH):
            several = [_spectrum(name, k, count, n) for k in keys]
            means = np.array([np.exp(s.log_mean) for s in several])
            yield f"{name}, L = {count}: mean", mean_of(means)
            if name == GAUSSIAN:
                ends = [np.exp(2 * s.log_largest) for s in several]
                yield f"{name}, L = {count}: edge", mean_of(ends)
    wide = [_spectrum(GAUSSIAN, k, 1, n, WIDER * n, steps=n) for k in keys]
    for end in ENDS:
        values = [np.exp(2 * getattr(s, f"log_{end}")) for s in wide]
        yield f"{n} into {WIDER * n} units: {end}", mean_of(values)
    yield from _measured_attention(setup, keys)


def _spectrum(
    name: str, key: jax.Array, count: int, n: int, m: int | None = None, steps: int = STEPS
) -> jaxnn.flow.Spectrum:
    """Return the spectrum of layers of a kind, of n units into m."""
    of_x, *of_layers = jax.random.split(key, count + 1)
    x = jax.random.normal(of_x, (1, n), jnp.float32)
    f, sigma = _linear, 1.0
    if name in TANH:
        f, sigma = _tanh, TANH[name].sigma_w
        x *= fixed_point(TANH[name]).q ** 0.5 / jnp.sqrt(jnp.mean(jnp.square(x)))
    if name == ORTHOGONAL:
        layers = [(f, _orthogonal(k, n)) for k in of_layers]
    else:
        size, shape = sigma * (m or n) ** -0.5, (n, m or n)
        layers = [(f, size * jax.random.normal(k, shape, jnp.float32)) for k in of_layers]
    return jaxnn.spectrum(layers, x, between=(0, count), steps=steps, key=of_x)


def _measured_attention(setup: Setup, keys: jax.Array) -> Told:
    for tau in setup.logits:
        seconds = []
        for tokens in setup.tokens:
            several = [_heads(tau, tokens, key) for key in keys]
            case = f"attention, τ = {tau:g}, T = {tokens}"
            seconds.append([float(heads.second[0]) for heads in several])
            yield f"{case}: s₂/s₁", mean_of(seconds[-1])
            yield f"{case}: rank - 1", mean_of([float(heads.rank[0]) - 1 for heads in several])


def _heads(tau: float, tokens: int, key: jax.Array) -> jaxnn.flow.AttentionSpectra:
    """Return the spectra of a draw of attention."""
    of_x, of_theta = jax.random.split(key)
    theta = tau * jax.random.normal(of_theta, (tokens, tokens), jnp.float32)
    x = _orthogonal(of_x, tokens)[None]
    heads = jaxnn.spectrum([(_attention, theta)], x, between=(0, 1), steps=2).attention
    assert heads is not None
    return heads


SOURCE = "Pennington et al. 2017; Nait Saada et al. 2024"
FULL = Setup(width=200, layers=(1, 4, 8), seeds=20, tokens=(64, 128, 256), logits=(0.25, 0.5))
QUICK = Setup(width=100, layers=(1, 4), seeds=8, tokens=(64, 128), logits=(0.5,))

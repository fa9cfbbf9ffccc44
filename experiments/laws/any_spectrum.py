"""Law 34: the Jacobian and the attention of any network have the spectra of random matrices.

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
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from experiments.laws.jacobian_spectrum import TRACY_WIDOM, largest
from experiments.laws.law import Law, Panel, Predicted, Told, curve, mean_of, points
from jaxnn.theory import meanfield

MEAN = Panel("Mean square of the singular values", "layers L", "mean s²", log_y=True)
GAP = Panel("Second singular value of attention", "tokens T", "s₂/s₁", log_x=True, log_y=True)
ORTHOGONAL, GAUSSIAN = "linear, orthogonal", "linear, Gaussian"
CRITICAL, CHAOTIC = "tanh, critical", "tanh at q*"
SIGMA = {CRITICAL: 1.0, CHAOTIC: 1.5}  # σ_w
WIDER = 2  # m/n
EDGE = "4 standard errors, and what a finite width leaves"
STEPS = 64


class Setup(NamedTuple):
    """Units, numbers of layers, networks of each; tokens, and sizes τ of logits."""

    width: int
    layers: tuple[int, ...]
    seeds: int
    tokens: tuple[int, ...]
    logits: tuple[float, ...]


def predict(setup: Setup) -> Told:
    """Predict ends and means of each kind, and the gap of attention."""
    n, eps = setup.width, float(np.finfo(np.float32).eps)
    for count in setup.layers:
        for end in ("largest", "smallest"):
            reason = "rounding, L · 2⁻¹⁷"
            yield Predicted(f"{ORTHOGONAL}, L = {count}: {end}", 1.0, 64 * count * eps, reason, 0)
        reason = "4 standard errors, and rounding"
        yield Predicted(f"{GAUSSIAN}, L = {count}: mean", 1.0, 1e-4, reason).about("mean s²", 1.0)
        at = largest(count, n)
        reason = "4 standard errors, and the next order, L/n"
        yield Predicted(f"{GAUSSIAN}, L = {count}: edge", at, at * count / n, reason).about(
            "edge", at
        )
        for name in SIGMA:
            value = mean_square(name, count)
            allowed = value * count / n
            yield Predicted(f"{name}, L = {count}: mean", value, allowed, EDGE).about("χ", value)
    for name in (GAUSSIAN, *SIGMA):
        dense = range(1, max(setup.layers) + 1)
        yield curve(MEAN, name, [*dense], [mean_square(name, count) for count in dense])
    for end, value in zip(("largest", "smallest"), marchenko_pastur(n, WIDER * n), strict=True):
        case = f"{n} into {WIDER * n} units: {end}"
        yield Predicted(case, value, value / n, EDGE).about("edge", value)
    yield from _predicted_attention(setup)


def _predicted_attention(setup: Setup) -> Told:
    for tau in setup.logits:
        kurtosis = sum(k * math.exp(p * tau**2) for k, p in ((1, 4), (2, 3), (3, 2))) - 6
        several = [gap(tau, tokens) for tokens in setup.tokens]
        yield curve(GAP, f"τ = {tau:g}", setup.tokens, [second for second, _ in several])
        for tokens, (second, rank) in zip(setup.tokens, several, strict=True):
            share, case = (kurtosis + 4) / tokens, f"attention, τ = {tau:g}, T = {tokens}"
            reason = "4 standard errors, and (κ + 4)/T"
            yield Predicted(f"{case}: s₂/s₁", second, share * second, reason).about("σ", second)
            yield Predicted(f"{case}: rank - 1", rank, share * rank, reason).about("σ⁴", rank)


def mean_square(name: str, count: int) -> float:
    """Return E mean s² of layers of a kind; called in x64."""
    if name == GAUSSIAN:
        return 1.0
    sigma, q = SIGMA[name], start(name)
    total = 1.0
    for _ in range(count):
        total *= float(meanfield.chi("tanh", sigma, q))
        q = float(meanfield.length_map("tanh", sigma, 0.0, q))
    return total


def start(name: str) -> float:
    """Return the mean square of the inputs."""
    return 1.0 if name == CRITICAL else float(meanfield.fixed_point("tanh", SIGMA[name], 0.0))


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


def _drawn(key: jax.Array, n: int, m: int) -> jax.Array:
    return jax.random.normal(key, (n, m), jnp.float32) * m**-0.5


def _orthogonal(key: jax.Array, n: int) -> jax.Array:
    return jnp.linalg.qr(jax.random.normal(key, (n, n), jnp.float32))[0]


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure the spectra of drawn layers, and of attention."""
    n, keys = setup.width, jax.random.split(key, setup.seeds)
    for count in setup.layers:
        exact = _spectrum(ORTHOGONAL, keys[0], count, n)
        yield f"{ORTHOGONAL}, L = {count}: largest", mean_of(np.exp(2 * exact.log_largest))
        yield f"{ORTHOGONAL}, L = {count}: smallest", mean_of(np.exp(2 * exact.log_smallest))
        for name in (GAUSSIAN, *SIGMA):
            several = [_spectrum(name, k, count, n) for k in keys]
            means = np.array([np.exp(s.log_mean) for s in several])
            yield f"{name}, L = {count}: mean", mean_of(means)
            yield points(MEAN, name, count, means)
            if name == GAUSSIAN:
                ends = [np.exp(2 * s.log_largest) for s in several]
                yield f"{name}, L = {count}: edge", mean_of(ends)
    wide = [_spectrum(GAUSSIAN, k, 1, n, WIDER * n, steps=n) for k in keys]
    for end in ("largest", "smallest"):
        values = [np.exp(2 * getattr(s, f"log_{end}")) for s in wide]
        yield f"{n} into {WIDER * n} units: {end}", mean_of(values)
    yield from _measured_attention(setup, keys)


def _spectrum(
    name: str, key: jax.Array, count: int, n: int, m: int | None = None, steps: int = STEPS
) -> jaxnn.flow.Spectrum:
    """Return the spectrum of layers of a kind, of n units into m."""
    of_x, *of_layers = jax.random.split(key, count + 1)
    x = jax.random.normal(of_x, (1, n), jnp.float32)
    f, sigma = (_tanh if name in SIGMA else _linear), SIGMA.get(name, 1.0)
    if name in SIGMA:
        with jax.enable_x64(True):
            size = start(name) ** 0.5
        x *= size / jnp.sqrt(jnp.mean(jnp.square(x)))
    if name == ORTHOGONAL:
        layers = [(f, _orthogonal(k, n)) for k in of_layers]
    else:
        layers = [(f, sigma * _drawn(k, n, m or n)) for k in of_layers]
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
        yield points(GAP, f"τ = {tau:g}", setup.tokens, np.array(seconds).T)


def _heads(tau: float, tokens: int, key: jax.Array) -> jaxnn.flow.AttentionSpectra:
    """Return the spectra of a draw of attention."""
    of_x, of_theta = jax.random.split(key)
    theta = tau * jax.random.normal(of_theta, (tokens, tokens), jnp.float32)
    x = _orthogonal(of_x, tokens)[None]
    heads = jaxnn.spectrum([(_attention, theta)], x, between=(0, 1), steps=2).attention
    assert heads is not None
    return heads


LAW = Law(
    number=34,
    name="any-spectrum",
    source="Pennington et al. 2017; Nait Saada et al. 2024",
    statement="Jacobians and attention of any layers have the spectra of random matrices",
    predict=predict,
    measure=measure,
    weights=lambda s: max(s.width**2 * max(s.layers), max(s.tokens) ** 2),
    full=Setup(width=200, layers=(1, 4, 8), seeds=20, tokens=(64, 128, 256), logits=(0.25, 0.5)),
    quick=Setup(width=100, layers=(1, 4), seeds=8, tokens=(64, 128), logits=(0.5,)),
    panels=(MEAN, GAP),
)

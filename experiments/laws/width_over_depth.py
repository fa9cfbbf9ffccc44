"""Law 9: the logarithm of ‖J u‖² is N(-β/2, β), with β = 5 L/n for relu, 2 L/n if linear.

ln ‖J u‖², for a unit vector u and the Jacobian J of L layers of n units, is nearly normal:

    N(-β/2, β),   β = 5 L/n (relu with He weights),   β = 2 L/n (linear, σ_w = 1)

so that networks of one L/n are alike, however wide. Measured is ‖uᵀJᵀ‖, a random unit cotangent
carried down: J has the distribution of its transpose. With the next orders in 1/n: for one layer,
R = ‖J u‖² is exactly χ²_K/n with K = n units (linear), or 2 χ²_K/n with K ~ Bin(n, ½) of them
(relu), independent of the others, whose logarithm has a mean and a variance in closed form. R has
the mean 1: so the mean of ln R is measured as that of ln R - (R - 1), which varies less by a factor
of n/2 and more. And as layers are independent, the sum of the variances of their ln R is that of
ln ‖J u‖², and its error is smaller by about √L. Source:
Hanin & Nica 2018, arXiv:1812.05994, theorem 1.
"""

import math

import jax
import numpy as np
from scipy.special import digamma, gammaln, polygamma

from experiments.laws.law import (
    Measured,
    Predicted,
    Setup,
    Told,
    mean_of,
)
from experiments.laws.networks import HiddenLayers, gradients

BY_LAYER = "variances of its layers"


KINDS = {"relu": HiddenLayers("relu", math.sqrt(2)), "linear": HiddenLayers("identity", 1.0)}


def predict(setup: Setup) -> Told:
    """Predict mean and variance of each shape, -β/2 and β but for the next orders in 1/n."""
    for name, _, n, layers in shapes(setup):
        exact = layers * one_layer(name, n)
        case = f"{name}, n = {n}, L = {layers}"
        yield from (
            Predicted(f"{case}: {what}", value).about("β")
            for what, value in (("mean", exact[0]), ("variance", exact[1]), (BY_LAYER, exact[1]))
        )
    two = [layers * one_layer("relu", n) for n, layers in setup.relu[:2]]
    for what, apart in zip(("mean", "variance"), two[0] - two[1], strict=True):
        yield Predicted(f"relu, two of one L/n: {what}s apart", apart)


def one_layer(name: str, n: int) -> np.ndarray:
    """Return mean and variance of ln ‖J u‖² = ln(c χ²_K / n) of one layer, K = n or Bin(n, ½).

    E ln χ²_K = ψ(K/2) + ln 2 and Var ln χ²_K = ψ′(K/2); c is 2 for relu and 1 for linear units, and
    K = 0, of probability 2^-n, is left out.
    """
    k = np.arange(1, n + 1) if name == "relu" else np.array([n])
    log_p = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) if name == "relu" else 0.0 * k
    p = np.exp(log_p - np.max(log_p))
    p /= p.sum()
    log_scale = math.log((2 if name == "relu" else 1) * 2 / n)
    means, variances = digamma(k / 2) + log_scale, polygamma(1, k / 2)
    mean = np.sum(p * means)
    return np.array([mean, np.sum(p * (variances + (means - mean) ** 2))])


def shapes(setup: Setup) -> list[tuple[str, HiddenLayers, int, int]]:
    """Return every (name, kind, n, L)."""
    return [
        (name, KINDS[name], n, layers)
        for name, sizes in (("relu", setup.relu), ("linear", setup.linear))
        for n, layers in sizes
    ]


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure mean and variance of ln ‖Δz[1]‖² over draws."""
    numbers: dict[str, Measured] = {}
    for place, (name, kind, n, layers) in enumerate(shapes(setup)):
        keys = jax.random.split(jax.random.fold_in(key, place), setup.draws)
        log_delta = 2 * gradients(keys, kind, n, layers)[0]
        logs, steps = log_delta[:, 0], log_delta[:, :-1] - log_delta[:, 1:]
        case = f"{name}, n = {n}, L = {layers}"
        numbers[f"{case}: mean"] = mean_of(np.sum(steps - np.expm1(steps), axis=1))
        numbers[f"{case}: variance"] = variance(logs)
        numbers[f"{case}: {BY_LAYER}"] = variances_of(steps)
    first, second = (f"relu, n = {n}, L = {layers}" for n, layers in setup.relu[:2])
    for what in ("mean", "variance"):
        a, b = numbers[f"{first}: {what}"], numbers[f"{second}: {what}"]
        yield f"relu, two of one L/n: {what}s apart", difference(a, b)
    yield from numbers.items()


def variance(values: np.ndarray) -> Measured:
    """Return a variance with its standard error, from the fourth moment."""
    return variances_of(values[:, None])


def variances_of(steps: np.ndarray) -> Measured:
    """Return the sum of the variances of independent steps, (draws, steps), with its error."""
    draws = len(steps)
    squares = np.sum((steps - steps.mean(axis=0)) ** 2, axis=1) * draws / (draws - 1)
    return mean_of(squares)


def difference(a: Measured, b: Measured) -> Measured:
    """Return a - b of independent measurements, each of as many draws."""
    return Measured(
        a.value - b.value, math.hypot(a.error or 0, b.error or 0), a.samples - b.samples
    )


SOURCE = "Hanin & Nica 2018"
# Shapes (n, L), the first two of one n/L.
FULL = Setup(
    relu=((100, 50), (50, 25), (50, 50), (200, 50)), linear=((50, 50), (100, 50)), draws=2000
)
QUICK = Setup(relu=((60, 30), (30, 15)), linear=((30, 15),), draws=500)

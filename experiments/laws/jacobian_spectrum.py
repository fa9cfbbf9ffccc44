"""Law 7: the spread of the singular values of a deep network's Jacobian grows with depth.

The spectrum of JJᵀ, J = F[1] ⋯ F[L] with F[l] = diag(σ′(z[l])) θ[l], relative to its mean, has at
infinite width and at criticality the variance

    L (μ₂/μ₁² - 1 - s₁),   μ_k = E[σ′(√q* g)^2k],   s₁ = -1 for Gaussian, 0 for orthogonal weights:

L for linear Gaussian networks, 2L for relu, L for relu with orthogonal weights, 0 for linear ones.
The spectrum of a linear Gaussian network ends at (L+1)^(L+1) / L^L. A finite spectrum ends
before its edge, the more so the larger the variance is compared with n. Source: Pennington,
Schoenholz & Ganguli 2017, arXiv:1711.04735.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

import jaxnn
from experiments.laws.draws import GAUSSIAN, ORTHOGONAL, draw, random_vector, square_network
from experiments.laws.law import (
    Law,
    Measurement,
    Panel,
    Predicted,
    Prediction,
    curve,
    mean_of,
    points,
)
from jaxnn.network.params import Initializer
from jaxnn.passes.spectrum import jacobian_factors, product_spectrum
from jaxnn.theory.quadrature import expectation

VARIANCE = Panel("Variance of JJᵀ's spectrum", "factors L", "variance / mean²")
EDGE = Panel("Largest value, linear Gaussian", "factors L", "largest / mean")
FINITE_VARIANCE, FINITE_EDGE = 0.15, 0.20  # parts that a width of some hundred units takes off


class Kind(NamedTuple):
    """An activation with a kind of weights, and the relative variance of θθᵀ's spectrum, -s₁."""

    activation: str
    weights: Initializer
    variance: float


WITH_EDGE = "linear, Gaussian"
KINDS = {
    "linear, Gaussian": Kind("identity", GAUSSIAN, 1.0),
    "relu, Gaussian": Kind("relu", GAUSSIAN, 1.0),
    "relu, orthogonal": Kind("relu", ORTHOGONAL, 0.0),
    "linear, orthogonal": Kind("identity", ORTHOGONAL, 0.0),
}


class Setup(NamedTuple):
    """Width, numbers L of factors, and networks of each."""

    width: int
    factors: tuple[int, ...]
    seeds: int

    @property
    def weights(self) -> int:
        """Weights of the largest network."""
        return self.width**2 * (max(self.factors) + 1)


def predict(setup: Setup) -> Prediction:
    """Predict the variance of each kind, linear in L, and the edge."""
    numbers, curves = [], []
    dense = np.arange(min(setup.factors), max(setup.factors) + 1)
    rounding = float(np.finfo(np.float32).eps)
    for name, kind in KINDS.items():
        each = _slopes(kind.activation) + kind.variance
        curves.append(curve(VARIANCE, name, dense, each * dense))
        for factors in setup.factors:
            allowed = FINITE_VARIANCE * each * factors + factors * rounding
            reason = "15 % for a finite width and a few networks" if each else "rounding, L · 2⁻²³"
            case = f"{name}, L = {factors}: variance"
            numbers.append(Predicted(case, each * factors, allowed, reason, errors=0))
    curves.append(curve(EDGE, WITH_EDGE, dense, [edge(int(d)) for d in dense]))
    for factors in setup.factors:
        reason = "20 %: the largest of n values lies inside the edge"
        case, value = f"{WITH_EDGE}, L = {factors}: edge", edge(factors)
        numbers.append(Predicted(case, value, FINITE_EDGE * value, reason, errors=0))
    return Prediction(tuple(numbers), pl.concat(curves))


def _slopes(activation: str) -> float:
    """μ₂/μ₁² - 1, at any q: both activations are the same at every scale."""
    mu1 = expectation(activation, 1.0, lambda f, z, g: f.prime(z) ** 2)
    return float(expectation(activation, 1.0, lambda f, z, g: (f.prime(z) ** 2 / mu1 - 1) ** 2))


def edge(factors: int) -> float:
    """Return the end of the spectrum of a product of Gaussian matrices, with mean 1."""
    return float((factors + 1) ** (factors + 1) / factors**factors)


def measure(setup: Setup, key: jax.Array) -> Measurement:
    """Measure variance and largest value of the squared singular values of J, over their mean."""
    keys, numbers, frames = jax.random.split(key, setup.seeds), {}, []
    for name, kind in KINDS.items():
        by_seed = [_spectra(setup, kind, key) for key in keys]
        variances = np.array([[s.variance[0] for s in spectra] for spectra in by_seed], float)
        largest = np.array([[_largest(s) for s in spectra] for spectra in by_seed])
        for j, factors in enumerate(setup.factors):
            numbers[f"{name}, L = {factors}: variance"] = mean_of(variances[:, j])
            numbers[f"{name}, L = {factors}: edge"] = mean_of(largest[:, j])
        frames.append(points(VARIANCE, name, setup.factors, variances))
        if name == WITH_EDGE:
            frames.append(points(EDGE, name, setup.factors, largest))
    return Measurement(numbers, pl.concat(frames))


def _largest(s: jaxnn.Spectrum) -> float:
    """Largest value of JJᵀ's spectrum over the mean."""
    return float(jnp.exp(2 * s.log_singular_values[0, 0] - s.log_mean[0]))


def _spectra(setup: Setup, kind: Kind, key: jax.Array) -> list[jaxnn.Spectrum]:
    """Spectra of one draw by number of factors: a shallower network is the start of a deeper."""
    sigma_w = float(jaxnn.theory.meanfield.critical_sigma_w(kind.activation, 0.0))
    n, most = setup.width, max(setup.factors)
    (theta, b), x = _draw(key, square_network(n, most + 1, "identity"), sigma_w, kind.weights)
    spectra = []
    for factors in setup.factors:
        run = [jaxnn.Layer(theta[1:factors], b[1:factors])] * (factors > 1)
        params = (jaxnn.Layer(theta[0], b[0]), *run, jaxnn.Layer(theta[factors], b[factors]))
        factors_of_j = _factors(square_network(n, factors, kind.activation), params, x[None])
        spectra.append(product_spectrum(factors_of_j))
    return spectra


_factors = jax.jit(jacobian_factors)


@partial(jax.jit, static_argnames="weights")
def _draw(
    key: jax.Array, net: jaxnn.Network, sigma_w: float, weights: Initializer
) -> tuple[jaxnn.Layer, jax.Array]:
    """All layers of a network but the last, stacked, and an input."""
    key_params, key_x = jax.random.split(key)
    first, run, _ = draw(net, key_params, sigma_w, 0.0, weights)
    layers = jaxnn.Layer(*(jnp.concatenate([v[None], k]) for v, k in zip(first, run, strict=True)))
    return layers, random_vector(key_x, net.sizes[0], 1.0)


LAW = Law(
    number=7,
    name="jacobian-spectrum",
    source="Pennington et al. 2017",
    statement="variance of JJᵀ: L linear Gaussian, 2L relu, L relu orthogonal, 0 linear orthogonal",
    predict=predict,
    measure=measure,
    full=Setup(width=400, factors=(1, 2, 4, 8), seeds=8),
    quick=Setup(width=200, factors=(1, 4), seeds=10),
    panels=(VARIANCE, EDGE),
)

"""Law 7: the variance of JJᵀ is L if linear, 2L if relu; if orthogonal as well, 0 and L.

The spectrum of JJᵀ, J = F[1] ⋯ F[L] with F[l] = diag(σ′(z[l])) θ[l], relative to its mean, has at
infinite width and at criticality the variance

    L (μ₂/μ₁² - 1 - s₁),   μ_k = E[σ′(√q* g)^2k],   s₁ = -1 for Gaussian, 0 for orthogonal weights:

L for linear Gaussian networks, 2L for relu, L for relu with orthogonal weights, 0 for linear ones.
The spectrum of a linear Gaussian network ends at (L+1)^(L+1) / L^L. What a width of n units takes
off both is derived in `variance` and `largest`. Source: Pennington,
Schoenholz & Ganguli 2017, arXiv:1711.04735.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from experiments.laws.law import Measured, Predicted, Setup, Told, mean_of
from experiments.laws.networks import GAUSSIAN, ORTHOGONAL, draw, random_rows, square_network
from jaxnn.network import Layer
from jaxnn.network.params import Initializer

TRACY_WIDOM = -1.2065336  # the mean of the distribution of real matrices' largest values


class Kind(NamedTuple):
    """An activation with a kind of weights, and μ₂/μ₁² - 1 - s₁."""

    activation: str
    weights: Initializer
    each: float


WITH_EDGE = "linear, Gaussian"
KINDS = {
    "linear, Gaussian": Kind("identity", GAUSSIAN, 1.0),
    "relu, Gaussian": Kind("relu", GAUSSIAN, 2.0),
    "relu, orthogonal": Kind("relu", ORTHOGONAL, 1.0),
    "linear, orthogonal": Kind("identity", ORTHOGONAL, 0.0),
}


def predict(setup: Setup) -> Told:
    """Predict the variance of each kind, linear in L, and the edge."""
    rounding = float(np.finfo(np.float32).eps)
    n = setup.width
    for name, kind in KINDS.items():
        for factors in setup.factors:
            case, value = f"{name}, L = {factors}: variance", variance(kind, factors, n)
            if not kind.each:
                reason = "rounding, L · 2⁻²³"
                yield Predicted(case, 0.0, factors * rounding, reason, errors=0)
                continue
            allowed, reason = value * factors / n**2, "4 standard errors, and L/n²"
            yield Predicted(case, value, allowed, reason).about("variance")
    for factors in setup.factors:
        case, value = f"{WITH_EDGE}, L = {factors}: edge", largest(factors, n)
        reason = "4 standard errors, and the next order, L/n"
        yield Predicted(case, value, value * factors / n, reason).about("edge")


def edge(factors: int) -> float:
    """Return the end of the spectrum of a product of Gaussian matrices, with mean 1."""
    return float((factors + 1) ** (factors + 1) / factors**factors)


def largest(factors: int, n: int) -> float:
    """Return the mean of the largest of n values, which lies inside the edge.

    With ψ the moment function, z = (1+ψ)^(L+1)/ψ turns at ψ = 1/L, where z is the edge e. Below it
    the density is k √(e-z)/π, k = √(2/z″)/e. So many values as an Airy spectrum has, of density
    √x/π, lie there if x = (n k)^⅔ (e - z): the largest is at e - 1.2065 (n k)^-⅔, by the mean of
    Tracy & Widom's distribution; the next order is one more value, 1/n.
    """
    end, psi = edge(factors), 1 / factors
    # z″/z = (ln z)″ where z′ = 0
    bend = end * (1 / psi**2 - (factors + 1) / (1 + psi) ** 2)
    k = math.sqrt(2 / bend) / end
    return float(end + TRACY_WIDOM * (n * k) ** (-2 / 3))


def variance(kind: Kind, factors: int, n: int) -> float:
    """Return E tr M²/n over E (tr M/n)², less 1, of M = JJᵀ with n units, exactly.

    A factor θ takes M to A = θMθᵀ. With a = tr M²/n and b = (tr M/n)², of variance 1/n

        a + b + a/n,  b + 2a/n²  (Gaussian)        a,  b  (orthogonal)

    and Σ A_ii²/n = b + 2a/n, or (nb + 2a)/(n+2). Slopes of relu, 0 or √2 (with its σ_w) independent
    of all else by the symmetry of signs, add Σ A_ii²/n to a and 1/n of that to b.
    """
    a = b = 1.0
    for _ in range(factors):
        gaussian = kind.weights is GAUSSIAN
        square = b + 2 * a / n if gaussian else (n * b + 2 * a) / (n + 2)
        if gaussian:
            a, b = a + b + a / n, b + 2 * a / n**2
        if kind.activation == "relu":
            a, b = a + square, b + square / n
    return a / b - 1


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure variance and largest value of the squared singular values of J, over their mean."""
    keys = jax.random.split(key, setup.seeds)
    for name, kind in KINDS.items():
        by_seed = [_spectra(setup, kind, key) for key in keys]
        variances = np.array([[s.variance[0] for s in spectra] for spectra in by_seed], float)
        means = np.array([[jnp.exp(s.log_mean[0]) for s in spectra] for spectra in by_seed], float)
        ends = np.array([[_largest(s) for s in spectra] for spectra in by_seed])
        for j, factors in enumerate(setup.factors):
            case = f"{name}, L = {factors}: "
            yield f"{case}variance", ratio_of(variances[:, j], means[:, j])
            yield f"{case}edge", mean_of(ends[:, j])


def ratio_of(variances: np.ndarray, means: np.ndarray) -> Measured:
    """Return the mean of tr M²/n over that of (tr M/n)², less 1; both have exact expectations."""
    below = np.square(means)
    above = (1 + variances) * below
    ratio = above.mean() / below.mean()
    return mean_of(ratio - 1 + (above - ratio * below) / below.mean())


def _largest(s: jaxnn.flow.Spectrum) -> float:
    """Largest value of JJᵀ's spectrum over the mean."""
    return float(jnp.exp(2 * s.log_largest[0] - s.log_mean[0]))


def _spectra(setup: Setup, kind: Kind, key: jax.Array) -> list[jaxnn.flow.Spectrum]:
    """Spectra of one draw by number of factors: a shallower network is the start of a deeper."""
    sigma_w = float(jaxnn.theory.meanfield.critical_sigma_w(kind.activation, 0.0))
    n, most = setup.width, max(setup.factors)
    layers, x = _draw(key, square_network(n, most + 1, "identity"), sigma_w, kind.weights)
    return [
        jaxnn.spectrum((square_network(n, factors, kind.activation), layers[: factors + 1]), x)
        for factors in setup.factors
    ]


@partial(jax.jit, static_argnames="weights")
def _draw(
    key: jax.Array, net: jaxnn.Network, sigma_w: float, weights: Initializer
) -> tuple[list[Layer], jax.Array]:
    """The layers of a network, and an input."""
    key_params, key_x = jax.random.split(key)
    layers = jaxnn.network.unstack(draw(net, key_params, sigma_w, 0.0, weights))
    return list(layers), random_rows(key_x, 1, net.sizes[0])


SOURCE = "Pennington et al. 2017"
FULL = Setup(width=400, factors=(1, 2, 4, 8), seeds=8)
QUICK = Setup(width=200, factors=(1, 4), seeds=10)

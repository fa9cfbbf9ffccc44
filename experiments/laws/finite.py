"""Finite width: the bias of q[l], and the slope of a gradient, in plain networks of n units.

Given the layers below, z[l] is Gaussian with the variance Q[l], and Q[l+1] = σ_w² mean σ(z)² + σ_b²
is a mean over n units: it has the mean f(Q[l]), f the length map, and the variance v(Q[l])/n with
v = σ_w⁴ (E[σ⁴] - E[σ²]²). So Q[1] is exact, and to first order in 1/n its variance V and its bias B

    V[l+1] = f′² V[l] + v/n        B[l+1] = f′ B[l] + ½ f″ V[l]

A derivation, made here. A function F of q, such as the mean of a, has the bias F′ B + ½ F″ V.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.laws.law import Predicted
from experiments.laws.networks import HiddenLayers, Start
from jaxnn.network.activations import Activation, find_activation
from jaxnn.theory import meanfield
from jaxnn.theory.quadrature import expectation

STEP = 1e-3  # of the differences that derivatives are, as a part of q
NEXT = 3.0  # over n: the next order in 1/n of a bias, of drawn networks of 32 units and more


class BiasAndVariance(NamedTuple):
    """Bias and variance of Q in every hidden layer, (layers,) each."""

    bias: np.ndarray
    variance: np.ndarray


def around(q: np.ndarray) -> np.ndarray:
    """Return q and its neighbours below and above, (3, layers)."""
    return np.multiply.outer([1.0, 1 - STEP, 1 + STEP], q)


def derivatives(values: np.ndarray, q: np.ndarray | float) -> tuple[Any, Any]:
    """Return the first two derivatives of a function at q, from its values `around` q."""
    here, below, above = values
    return (above - below) / (2 * STEP * q), (above - 2 * here + below) / (STEP * q) ** 2


def spread(ensemble: HiddenLayers, q: np.ndarray, n: int, keep: float = 1.0) -> BiasAndVariance:
    """Return bias and variance of Q along q[l], l = 1 …, of infinite width; to be called in x64.

    Args:
        ensemble: its activation, σ_w and σ_b.
        q: of every hidden layer.
        keep: the part of the units that dropout keeps, whose σ is divided by it.
    """
    square, fourth = moments(ensemble.activation, around(q))
    square, fourth = square / keep, fourth / keep**3
    first, second = derivatives(ensemble.sigma_w**2 * square, q)
    own = ensemble.sigma_w**4 * (fourth - square**2)[0] / n
    biases, variances = np.zeros(len(q)), np.zeros(len(q))
    for i in range(len(q) - 1):
        biases[i + 1] = first[i] * biases[i] + second[i] * variances[i] / 2
        variances[i + 1] = first[i] ** 2 * variances[i] + own[i]
    return BiasAndVariance(biases, variances)


def moments(activation: str | Activation, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return E[σ²] and E[σ⁴] at every q."""
    square, fourth = _moments(find_activation(activation), jnp.asarray(q.ravel()))
    return np.asarray(square).reshape(q.shape), np.asarray(fourth).reshape(q.shape)


@partial(jax.jit, static_argnames="sigma")
def _moments(sigma: Activation, q: jax.Array) -> tuple[jax.Array, jax.Array]:
    def at(each: tuple[jax.Array, jax.Array]) -> jax.Array:
        # One loop over both powers, for an expectation takes longer to compile than to run.
        return expectation(sigma, each[0], lambda f, z, g: f.sigma(z) ** each[1])

    powers = jnp.repeat(jnp.asarray([2, 4]), len(q))
    both = lax.map(at, (jnp.tile(q, 2), powers)).reshape(2, -1)
    return both[0], both[1]


def slope(case: str, start: Start, n: int, layers: int, seeds: int, keep: float = 1.0) -> Predicted:
    """Predict the slope of ln ‖Δz‖ over so many layers of n units, the mean of some networks.

    It is ½ ln χ with its bias to first order in 1/n, and has the error of the finite-width band.
    """
    band = meanfield.slope_band(*start.ensemble, start.q0, n, layers, keep=keep)
    bias, deviation = float(band.bias), float(band.sd) / math.sqrt(seeds)
    reason = f"4 sd of the finite-width band over √seeds, and {NEXT:g}/n of the bias"
    predicted = Predicted(case, start.half_log_chi + bias, NEXT / n * abs(bias), reason)
    return predicted.about("χ", 0.5, deviation)

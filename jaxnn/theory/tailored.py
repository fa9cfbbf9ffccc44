"""A leaky relu whose slope is tailored to the depth of the network, so that plain ones train."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..network.activations import Activation
from .meanfield import tailored_slope


@dataclass(frozen=True)
class _Leaky:
    """σ(z) = g z for z >= 0, else g s z."""

    gain: float
    slope: float

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        return self.gain * jnp.where(z >= 0, z, self.slope * z)


@dataclass(frozen=True)
class _LeakyPrime:
    """σ′(z) = g for z >= 0, else g s; nan for nan."""

    gain: float
    slope: float

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        one = jnp.ones_like(z)
        return jnp.where(jnp.isnan(z), z, self.gain * jnp.where(z >= 0, one, self.slope * one))


def tailored_relu(layers: int, eta: float = 0.9) -> Activation:
    """Return the activation of Zhang et al. 2022 for a plain network of a given depth.

    σ(z) = √(2/(1 + s²)) (max(z, 0) + s min(z, 0)). With σ_w = 1 (`jaxnn.initializers.gaussian(1.0)`
    or `jaxnn.initializers.orthogonal(1.0)`) and no biases it keeps signal and gradient at any
    depth, and s makes inputs that have nothing in common come out with the correlation η: neither
    alike, as after relu, nor as they were, as after a linear network. Two calls give equal
    activations.

    Args:
        layers: the number of activations, which is that of the hidden layers.
        eta: η, 0 < η < 1.

    Raises:
        ValueError: an argument out of range, or no such slope, as for η = 0.9 in fewer than 13
            layers: see `jaxnn.theory.meanfield.tailored_slope`.
        TypeError: eta is no real number.

    Example:
        >>> import jaxnn
        >>> sigma = jaxnn.theory.tailored_relu(100)
        >>> net = jaxnn.Network((3, *[8] * 100, 1), sigma, "binary")
        >>> round(float(jaxnn.theory.meanfield.stationary_chi(sigma, 1.0)), 6)
        1.0

    Source: arXiv:2203.08120.
    """
    slope = tailored_slope(layers, eta)
    gain = math.sqrt(2 / (1 + slope**2))
    return Activation(
        "tailored_relu",
        sigma=_Leaky(gain, slope),
        prime=_LeakyPrime(gain, slope),
        kinks=(0.0,),
        homogeneous=True,
        increasing=True,
    )

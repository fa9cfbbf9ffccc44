"""Free probability: the variance of the spectrum of JJᵀ at infinite width."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

import jaxnn
from jaxnn.theory.quadrature import expectation


@partial(jax.jit, static_argnames=("activation", "depth"))
def slope_variance(
    activation: str, sigma_w: float, sigma_b: float, q1: float, depth: int
) -> jax.Array:
    """Return Σ over l = 1 … d of μ₂/μ₁² - 1 for d = 1 … depth: the slopes' part of the variance.

    μ₂/μ₁² - 1 = E[(σ′²/μ₁ - 1)²], which does not cancel where the slopes are all but equal.
    """

    def layer(q: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        mu1 = expectation(activation, q, lambda f, z, g: f.prime(z) ** 2)
        variance = expectation(activation, q, lambda f, z, g: (f.prime(z) ** 2 / mu1 - 1) ** 2)
        return jaxnn.theory.meanfield.length_map(activation, sigma_w, sigma_b, q), variance

    return jnp.cumsum(lax.scan(layer, jnp.asarray(q1, float), None, length=depth)[1])

"""Mean-field theory of the map: the depth scale ξ_c, and the σ_w² at which it diverges."""

from functools import partial
from typing import Any

import jax
import numpy as np
import polars as pl
from jax import lax

import jaxnn

POINTS = 121  # of a curve


def depth_scale(
    activation: str, sigma_b_squared: float, lowest: float, highest: float
) -> pl.DataFrame:
    """Return ξ_c for σ_w² from lowest to highest: columns sigma_w_squared, xi_c, in layers."""
    squares = np.linspace(lowest, highest, POINTS)
    with jax.enable_x64(True):
        xi_c = np.asarray(_xi_c(activation, sigma_b_squared**0.5, np.sqrt(squares)))
    return pl.DataFrame({"sigma_w_squared": squares, "xi_c": xi_c})


@partial(jax.jit, static_argnames="activation")
def _xi_c(activation: str, sigma_b: float | jax.Array, sigma_w: float | jax.Array) -> Any:
    return lax.map(lambda each: jaxnn.theory.meanfield.xi_c(activation, each, sigma_b), sigma_w)


def critical(activation: str, sigma_b_squared: float) -> float | None:
    """Return the critical σ_w²; None if there is none."""
    try:
        sigma_w = jaxnn.theory.meanfield.critical_sigma_w(activation, sigma_b_squared**0.5)
    except ValueError:
        return None
    return float(sigma_w) ** 2

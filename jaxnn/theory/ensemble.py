"""An ensemble of random layers of infinite width, as blocks ask for its expectations."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..arrays.compiled import Number, Scalar
from ..network.activations import Activation
from ..network.blocks import Moments
from .quadrature import expectation, expectation_of_two
from .sphere import LEAST, moments


class Ensemble(NamedTuple):
    """θ ~ N(0, σ_w²/fan_in) and b ~ N(0, σ_b²), and the rows of a batch that a norm is over.

    activation: σ.
    sigma_w, sigma_b: finite, >= 0.
    batch: B, the number of rows; None for many.
    keep: the probability with which dropout keeps an entry of σ(z), then divided by it.

    The expectations are over a Gaussian z of mean square q, or two of correlation c, of which each
    has a mask of its own.
    """

    activation: Activation
    sigma_w: Number
    sigma_b: Number
    batch: int | None = None
    keep: Number = 1.0

    def square(self, q: Number) -> Scalar:
        """Return E[σ(z)²], over `keep`."""
        return expectation(self.activation, q, lambda f, z, g: f.sigma(z) ** 2) / self.keep

    def product(self, q: Number, c: Number) -> Scalar:
        """Return E[σ(z) σ(z̃)]."""
        return _product(self.activation, q, c)

    def slope_square(self, q: Number) -> Scalar:
        """Return E[σ′(z)²], over `keep`."""
        return expectation(self.activation, q, lambda f, z, g: f.prime(z) ** 2) / self.keep

    def slope_product(self, q: Number, c: Number) -> Scalar:
        """Return E[σ′(z) σ′(z̃)]."""
        return expectation_of_two(self.activation.prime, self.activation.kinks, q, c)

    def moments(self) -> Moments:
        """Return the moments of σ over the rows of a unit that a batch norm has normalised.

        Raises:
            ValueError: fewer than four rows.

        nan with dropout, for which there is no formula.
        """
        if self.batch is not None and self.batch < LEAST:
            raise ValueError(
                f"batch: expected at least {LEAST} rows, or None for many, got {self.batch}; of "
                "fewer the mean of 1/s² is infinite"
            )
        known = jnp.where(self.keep == 1, 1.0, jnp.nan)
        return Moments(*(known * moment for moment in moments(self.activation, self.batch)))


def _product(activation: Activation, q: Number, c: Number) -> Scalar:
    """E[σ σ̃], differentiated by q at nodes that stand still, and by c in closed form."""
    at = lax.stop_gradient(c)
    product = expectation_of_two(activation.sigma, activation.kinks, q, at)
    return product + _by_correlation(activation, q, c)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _by_correlation(activation: Activation, q: Number, c: Number) -> Scalar:
    """0, whose derivative by c is that of E[σ σ̃], q E[σ′ σ̃′] (Price 1958), also at c = ±1."""
    return jnp.zeros((), float)


@_by_correlation.defjvp
def _by_correlation_rule(
    activation: Activation,
    primals: tuple[Number, Number],
    tangents: tuple[Scalar, Scalar],
) -> tuple[Scalar, Scalar]:
    q, c = primals
    slope = expectation_of_two(activation.prime, activation.kinks, q, c)
    return jnp.zeros((), float), q * slope * tangents[1]

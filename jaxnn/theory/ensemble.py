"""An ensemble of random layers of infinite width, as blocks ask for its expectations."""

from typing import NamedTuple

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

    The expectations are over a Gaussian z of mean square q, or two of correlation c.
    """

    activation: Activation
    sigma_w: Number
    sigma_b: Number
    batch: int | None = None

    def square(self, q: Number) -> Scalar:
        """Return E[σ(z)²]."""
        return expectation(self.activation, q, lambda f, z, g: f.sigma(z) ** 2)

    def product(self, q: Number, c: Number) -> Scalar:
        """Return E[σ(z) σ(z̃)]."""
        return expectation_of_two(self.activation.sigma, self.activation.kinks, q, c)

    def slope_square(self, q: Number) -> Scalar:
        """Return E[σ′(z)²]."""
        return expectation(self.activation, q, lambda f, z, g: f.prime(z) ** 2)

    def slope_product(self, q: Number, c: Number) -> Scalar:
        """Return E[σ′(z) σ′(z̃)]."""
        return expectation_of_two(self.activation.prime, self.activation.kinks, q, c)

    def moments(self) -> Moments:
        """Return the moments of σ over the rows of a unit that a batch norm has normalised.

        Raises:
            ValueError: fewer than four rows.
        """
        if self.batch is not None and self.batch < LEAST:
            raise ValueError(
                f"batch: expected at least {LEAST} rows, or None for many, got {self.batch}; of "
                "fewer the mean of 1/s² is infinite"
            )
        return moments(self.activation, self.batch)

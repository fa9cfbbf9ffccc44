"""Infinite width: the distribution of a layer's weights, and what a block says of z and Δz there.

    q = E z²,  c = E z z̃ / q                    z and z̃ what goes in, of two inputs or two rows
    q′, E z′ z̃′, E‖Δz‖² / E‖Δz′‖²              z′ what comes out; Δz′ independent of both

Each kind of block has these as methods, next to its formulas forward and backward. A norm in a skip
connection, or one of these in another, needs one number more: m with z′ = m z + what is independent
of z, such as 1 of a skip connection and 0 of a layer of random weights.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from ..activations import Activation
from ..quadrature import Number, Scalar

METHODS = ("length", "covariance", "factor", "tangent", "carry")


class Field(NamedTuple):
    """θ ~ N(0, σ_w²/fan_in) and b ~ N(0, σ_b²), and the rows of a batch that a norm is over.

    activation: σ.
    sigma_w, sigma_b: finite, >= 0.
    batch: B, the number of rows; None for many.
    """

    activation: Activation
    sigma_w: Number
    sigma_b: Number
    batch: int | None = None


@runtime_checkable
class Theory(Protocol):
    """Infinite width, as a block has it; q is the mean square of z, c a correlation."""

    def length(self, field: Field, q: Number) -> Scalar:
        """Return q′, the mean square of what comes out."""

    def covariance(self, field: Field, q: Number, c: Number) -> Scalar:
        """Return E z′ z̃′."""

    def factor(self, field: Field, q: Number, c: Number) -> Scalar:
        """Return E‖Δz‖² / E‖Δz′‖²; c is the correlation of the rows, for blocks that mix them."""

    def tangent(self, field: Field, q: Number, c: Number) -> Scalar:
        """Return d E z′ z̃′ / d E z z̃ at a fixed q; at c = 1 `factor`, where rows do not meet."""

    def carry(self, field: Field, q: Number) -> Scalar | float:
        """Return m with z′ = m z + what is independent of z."""


def theory_of(block: Any) -> Theory:
    """Return the block, whose theory is asked for.

    Raises:
        ValueError: it lacks some of the methods; the message lists them.
    """
    if isinstance(block, Theory):
        return block
    missing = [name for name in METHODS if not callable(getattr(block, name, None))]
    raise ValueError(
        f"hidden: {block!r} has no theory of infinite width, for it lacks "
        f"{', '.join(missing)}; give it these methods, as jaxnn.Dense has them"
    )

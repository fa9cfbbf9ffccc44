"""Infinite width: the distribution of a layer's weights, and what a block says of z and Δz there.

    q = E z²,  c = E z z̃ / q                    z and z̃ what goes in, of two inputs or two rows
    q′, E z′ z̃′, E‖Δz‖² / E‖Δz′‖²              z′ what comes out; Δz′ independent of both

Each kind of block has these as methods, next to its formulas forward and backward. A norm in a skip
connection, or one of these in another, needs one number more: m with z′ = m z + what is independent
of z, such as 1 of a skip connection and 0 of a layer of random weights.
"""

from typing import NamedTuple, Protocol, runtime_checkable

from ...arrays.compiled import Number, Scalar

METHODS = ("length", "covariance", "factor", "tangent", "skip_gain")


class Moments(NamedTuple):
    """E σ(z₁)², E σ(z₁) σ(z₂), and κ/(B-3), the factor of Δz without σ_w² and the variance of z.

    Of two rows of a normalised unit; κ = E[(B - 1 - z₁²) σ′(z₁)²] + E[(1 + z₁ z₂) σ′(z₁) σ′(z₂)].
    Of many rows κ/(B-3) = E σ′(z₁)².
    """

    square: Number
    product: Number
    kappa: Number


@runtime_checkable
class Ensemble(Protocol):
    """Layers with θ ~ N(0, σ_w²/fan_in) and b ~ N(0, σ_b²): `jaxnn.theory.Ensemble`.

    The expectations are over a Gaussian z of mean square q, or two of correlation c.
    """

    @property
    def sigma_w(self) -> Number:
        """σ_w, finite, >= 0."""

    @property
    def sigma_b(self) -> Number:
        """σ_b, finite, >= 0."""

    def square(self, q: Number) -> Scalar:
        """Return E[σ(z)²]."""

    def product(self, q: Number, c: Number) -> Scalar:
        """Return E[σ(z) σ(z̃)]."""

    def slope_square(self, q: Number) -> Scalar:
        """Return E[σ′(z)²]."""

    def slope_product(self, q: Number, c: Number) -> Scalar:
        """Return E[σ′(z) σ′(z̃)]."""

    def moments(self) -> Moments:
        """Return the moments of σ over the rows of a unit that a batch norm has normalised."""


@runtime_checkable
class Theory(Protocol):
    """The theory of infinite width of a block: what its layers do to z and Δz, in methods.

    q is the mean square E z² of what goes in, c the correlation of z and z̃ of two inputs or rows,
    and ensemble the `jaxnn.theory.Ensemble` of the weights, which has the expectations over σ. With
    these methods `jaxnn.theory.meanfield` takes the block as `hidden=`, and a verdict predicts it.
    """

    def length(self, ensemble: Ensemble, q: Number) -> Scalar:
        """Return q′, the mean square of what comes out."""

    def covariance(self, ensemble: Ensemble, q: Number, c: Number) -> Scalar:
        """Return E z′ z̃′."""

    def factor(self, ensemble: Ensemble, q: Number, c: Number) -> Scalar:
        """Return E‖Δz‖² / E‖Δz′‖²; c is the correlation of the rows, for blocks that mix them."""

    def tangent(self, ensemble: Ensemble, q: Number, c: Number) -> Scalar:
        """Return d E z′ z̃′ / d E z z̃ at a fixed q; at c = 1 `factor`, where rows do not meet."""

    def skip_gain(self, ensemble: Ensemble, q: Number) -> Scalar | float:
        """Return m with z′ = m z + what is independent of z."""


def theory_of(block: object) -> Theory:
    """Return a block that has a theory, such as the inner one of a block around others.

    Raises:
        ValueError: it lacks some of the methods of `Theory`; the message lists them.

    Example:
        >>> import jaxnn
        >>> ensemble = jaxnn.theory.Ensemble(jaxnn.network.find_activation("relu"), 1.0, 0.0)
        >>> theory = jaxnn.blocks.theory_of(jaxnn.blocks.Residual())
        >>> round(float(theory.factor(ensemble, 1.0, 1.0)), 6)  # 1 + σ_w² E[σ′²]
        1.5
    """
    if isinstance(block, Theory):
        return block
    missing = [name for name in METHODS if not callable(getattr(block, name, None))]
    raise ValueError(
        f"hidden: {block!r} has no theory of infinite width, for it lacks "
        f"{', '.join(missing)}; give it these methods, as jaxnn.blocks.Dense has them"
    )

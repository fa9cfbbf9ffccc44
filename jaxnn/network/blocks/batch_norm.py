"""A block after a batch norm: examples meet.

    μ, s² = mean and variance of each unit over the rows, ε added to s²;  ẑ = (z - μ) / s
    Δz = (Δẑ - mean_rows Δẑ - ẑ mean_rows(Δẑ ∘ ẑ)) / s

Where rows meet they share one exponent, the largest of theirs.

In the limit of infinite width, of rows with mean square q and correlation c, f = Dense and ε = 0:
ẑ is uniform on a sphere (`sphere.py`), independent standard Gaussians for B = ∞, and

    q′ = σ_w² E[σ(ẑ₁)²] + σ_b²      E z′ z̃′ = σ_w² E[σ(ẑ₁) σ(ẑ₂)] + σ_b²
    E‖Δz‖² = σ_w² κ / ((B-3) q (1-c)) E‖Δz′‖²      κ / (B-3) = E[σ′(g)²] for B = ∞

for Δz′ whose sum over the rows is 0, as the sum of every Δz below a batch norm is. Between its own
q′ and c′ the factor is λ_B of Yang et al. 2019, arXiv:1902.08129.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from ...arrays.compiled import Number, Scalar
from ...arrays.rows import ScaledRows, aligned, exponent_of, power_of_two, rounded, with_exponents
from .dense import Dense
from .infinite_width import Ensemble, Moments
from .norm import Norm, Normed, inverse_root, unscaled


@dataclass(frozen=True)
class BatchNorm(Norm):
    """z[i+1] = f((z[i] - μ) / s), mean and standard deviation of a unit over the batch.

    Without gain and shift: N has no parameters, and takes its statistics from the rows that are
    passed, in training and in measuring. Σ Δz over the rows is 0. A unit that is the same in all
    rows becomes 0, and so does its Δz.

    Args:
        inner: f, by default the article's layer.
        eps: ε >= 0, added to the variance, which is Σ (z - μ)² / B.

    Raises:
        ValueError: ε is negative, nan or infinite.

    Example:
        >>> import jaxnn
        >>> net = jaxnn.Network((3, 4, 4, 1), "relu", "binary", hidden=jaxnn.blocks.BatchNorm())

    Source: Ioffe & Szegedy 2015, arXiv:1502.03167.
    """

    rows_meet: ClassVar[bool] = True

    def normalise(self, z: ScaledRows) -> Normed:
        """Return (z - μ) / s."""
        z = with_exponents(z)
        m, common = aligned(z)
        centred = m - jnp.mean(m, axis=0, keepdims=True)
        unit = exponent_of(jnp.max(jnp.abs(centred), axis=0, keepdims=True))
        if self.eps:
            least = exponent_of(jnp.sqrt(jnp.asarray(self.eps, m.dtype))) - common
            unit = jnp.maximum(unit, least)
        down = power_of_two(-unit, m)
        square = jnp.mean(jnp.square(centred * down), axis=0, keepdims=True)
        inverse = inverse_root(square + self.eps * power_of_two(-2 * (unit + common), m)) * down
        return Normed(centred * inverse, inverse, jnp.broadcast_to(common, z.e.shape))

    def back(self, normed: Normed, delta: ScaledRows) -> ScaledRows:
        """Return Δz from Δẑ."""
        z_hat, d, e = normed.z_hat, rounded(delta.m), delta.e
        if e is not None:
            d, common = aligned(ScaledRows(d, e))
            e = jnp.broadcast_to(common, e.shape)
        along = jnp.mean(d * z_hat, axis=0, keepdims=True)
        m = (d - jnp.mean(d, axis=0, keepdims=True) - z_hat * along) * normed.inverse
        return unscaled(ScaledRows(m, e), normed.e)

    def length(self, ensemble: Ensemble, q: Number) -> Scalar:
        """Return q′ = σ_w² E[σ(ẑ₁)²] + σ_b²."""
        return jnp.asarray(
            ensemble.sigma_w**2 * self._moments(ensemble).square + ensemble.sigma_b**2
        )

    def covariance(self, ensemble: Ensemble, q: Number, c: Number) -> Scalar:
        """Return E z′ z̃′ = σ_w² E[σ(ẑ₁) σ(ẑ₂)] + σ_b²."""
        return jnp.asarray(
            ensemble.sigma_w**2 * self._moments(ensemble).product + ensemble.sigma_b**2
        )

    def factor(self, ensemble: Ensemble, q: Number, c: Number) -> Scalar:
        """Return E‖Δz‖² / E‖Δz′‖² = σ_w² κ / ((B-3) q (1-c))."""
        return jnp.asarray(ensemble.sigma_w**2 * self._moments(ensemble).kappa / (q * (1 - c)))

    def tangent(self, ensemble: Ensemble, q: Number, c: Number) -> Scalar:
        """Return 0: the correlation of ẑ is the same for every c."""
        return jnp.zeros((), float)

    def skip_gain(self, ensemble: Ensemble, q: Number) -> float:
        """Return 0: of z the random θ leaves nothing."""
        return 0.0

    def _moments(self, ensemble: Ensemble) -> Moments:
        """Return the moments of σ over ẑ; raise where the formulas do not hold."""
        if self.eps:
            raise ValueError(
                f"hidden: expected eps = 0 for the theory of a batch norm, got {self!r}: with more "
                "it depends on the variance of each unit over the rows, which the formulas do not "
                "follow; use eps = 0, the limit for variances far above eps, or measure with "
                "jaxnn.gradient_flow"
            )
        if not isinstance(self.inner, Dense):
            raise ValueError(
                "hidden: expected jaxnn.blocks.Dense() in a batch norm for its theory, got "
                f"{self!r}: another block passes on more than random sums of the normalised rows, "
                "which the formulas do not follow; put the batch norm in the other block, as in "
                "jaxnn.blocks.Residual(jaxnn.blocks.BatchNorm()), or measure with "
                "jaxnn.gradient_flow"
            )
        return ensemble.moments()

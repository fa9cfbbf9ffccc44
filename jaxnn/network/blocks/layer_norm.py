"""A block behind a layer norm.

μ, s² = mean and variance over the units of an example, ε added to s²;  ẑ = (z - μ) / s
Δz = (Δẑ - mean_units Δẑ - ẑ mean_units(Δẑ ∘ ẑ)) / s
"""

from dataclasses import dataclass

import jax.numpy as jnp

from ...arrays.rows import ScaledRows, rounded
from .norm import Norm, Normed, over_units, sized, unscaled


@dataclass(frozen=True)
class LayerNorm(Norm):
    """z[i+1] = f((z[i] - μ) / s), mean and standard deviation over an example's units; Ba 2016.

    Without gain and shift: N has no parameters. Σ Δz over the units is 0. Of an example whose units
    are all equal N is zero, and so is its Δz.

    Args:
        inner: f, by default the article's layer.
        eps: ε >= 0, added to the variance.

    Raises:
        ValueError: ε is negative, nan or infinite.

    Example:
        >>> import jaxnn
        >>> net = jaxnn.Network((3, 4, 4, 1), "relu", "binary", hidden=jaxnn.blocks.LayerNorm())

    Source: arXiv:1607.06450.
    """

    def normalise(self, z: ScaledRows) -> Normed:
        """Return (z - μ) / s."""
        m, e = sized(z, self.eps)
        return over_units(m - jnp.mean(m, axis=1, keepdims=True), e, self.eps)

    def back(self, normed: Normed, delta: ScaledRows) -> ScaledRows:
        """Return Δz from Δẑ."""
        z_hat, d = normed.z_hat, rounded(delta.m)
        along = jnp.mean(d * z_hat, axis=1, keepdims=True)
        m = (d - jnp.mean(d, axis=1, keepdims=True) - z_hat * along) * normed.inverse
        return unscaled(delta._replace(m=m), normed.e)

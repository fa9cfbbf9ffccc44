"""A block behind a root-mean-square norm.

r = √(mean_units z² + ε),  ẑ = z / r         Δz = (Δẑ - ẑ mean_units(Δẑ ∘ ẑ)) / r
"""

from dataclasses import dataclass

import jax.numpy as jnp

from ...arrays.rows import ScaledRows, rounded
from .norm import Norm, Normed, over_units, sized, unscaled


@dataclass(frozen=True)
class RMSNorm(Norm):
    """z[i+1] = f(z[i] / r), r the root mean square of an example's units; Zhang & Sennrich 2019.

    Without gain: N has no parameters. Of an example whose units are all zero N is zero, and so is
    its Δz.

    Args:
        inner: f, by default the article's layer.
        eps: ε >= 0, added to the mean square.

    Raises:
        ValueError: ε is negative, nan or infinite.

    Example:
        >>> import jaxnn
        >>> net = jaxnn.Network((3, 4, 4, 1), "relu", "binary", hidden=jaxnn.blocks.RMSNorm())

    Source: arXiv:1910.07467.
    """

    def normalise(self, z: ScaledRows) -> Normed:
        """Return z / r."""
        return over_units(*sized(z, self.eps), self.eps)

    def back(self, normed: Normed, delta: ScaledRows) -> ScaledRows:
        """Return Δz from Δẑ."""
        z_hat, d = normed.z_hat, rounded(delta.m)
        along = jnp.mean(d * z_hat, axis=1, keepdims=True)
        return unscaled(delta._replace(m=(d - z_hat * along) * normed.inverse), normed.e)

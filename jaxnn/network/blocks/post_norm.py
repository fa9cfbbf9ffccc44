"""A norm after a block: z′ = N(f(z)), back through N first.

In the limit of infinite width q′ = 1, and E‖Δz‖² is that of f over its q′.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import PyTree

from ...arrays.compiled import Number, Scalar
from ...arrays.rows import ScaledRows
from ..activations import Activation
from ..params import Layer
from .block import Block, Gradient
from .infinite_width import Ensemble, theory_of
from .norm import LayerNorm, Norm, RMSNorm
from .residual import Residual

RESIDUAL = Residual()
_NORMS: dict[str, Norm] = {"rms": RMSNorm(), "layer": LayerNorm()}


@dataclass(frozen=True)
class PostNorm:
    """z[i+1] = N(f(z[i])), f a block, as in the Transformer of Vaswani et al. 2017.

    Args:
        inner: f, by default a residual block: z[i+1] = N(z[i] + σ(z[i]) θ[i] + b[i]).
        norm: "rms" or "layer", N of `jaxnn.blocks.RMSNorm` or of `jaxnn.blocks.LayerNorm`.

    Raises:
        ValueError: another norm.

    Example:
        >>> import jaxnn
        >>> net = jaxnn.Network((3, 4, 4, 1), "relu", "binary", hidden=jaxnn.blocks.PostNorm())

    Source: arXiv:1706.03762; Xiong et al. 2020, arXiv:2002.04745.
    """

    inner: Block = RESIDUAL
    norm: Literal["rms", "layer"] = "rms"

    def __post_init__(self) -> None:
        if self.norm not in _NORMS:
            raise ValueError(f"norm: expected 'rms' or 'layer', got {self.norm!r}")

    def forward(self, sigma: Activation, layer: Layer, z: ScaledRows) -> tuple[ScaledRows, Any]:
        """Return z[i+1]; save the norm, so that `backward` need not compute f(z) again."""
        before, saved = self.inner.forward(sigma, layer, z)
        normed = _NORMS[self.norm].normalise(before)
        return ScaledRows(normed.z_hat), (normed, saved)

    def backward(
        self, sigma: Activation, layer: Layer, z: ScaledRows, saved: PyTree, delta: ScaledRows
    ) -> tuple[Gradient, ScaledRows]:
        """Return Δθ[i], Δb[i] and Δa[i], and Δz[i]; delta is Δz[i+1]."""
        normed, saved_by_inner = saved
        below = _NORMS[self.norm].back(normed, delta)
        return self.inner.backward(sigma, layer, z, saved_by_inner, below)

    def preactivation(self, z: ScaledRows) -> ScaledRows:
        """Return what f takes σ of."""
        return self.inner.preactivation(z)

    def length(self, ensemble: Ensemble, q: Number) -> Scalar:
        """Return q′ = 1."""
        return jnp.ones((), float)

    def covariance(self, ensemble: Ensemble, q: Number, c: Number) -> Scalar:
        """Return E z′ z̃′, that of f over its q′."""
        inner = theory_of(self.inner)
        return inner.covariance(ensemble, q, c) / inner.length(ensemble, q)

    def factor(self, ensemble: Ensemble, q: Number, c: Number) -> Scalar:
        """Return E‖Δz‖² / E‖Δz′‖², that of f over its q′."""
        inner = theory_of(self.inner)
        return inner.factor(ensemble, q, c) / inner.length(ensemble, q)

    def tangent(self, ensemble: Ensemble, q: Number, c: Number) -> Scalar:
        """Return d E z′ z̃′ / d E z z̃, that of f over its q′."""
        inner = theory_of(self.inner)
        return inner.tangent(ensemble, q, c) / inner.length(ensemble, q)

    def skip_gain(self, ensemble: Ensemble, q: Number) -> Scalar | float:
        """Return m of f over the root of its q′."""
        inner = theory_of(self.inner)
        return inner.skip_gain(ensemble, q) / jnp.sqrt(inner.length(ensemble, q))

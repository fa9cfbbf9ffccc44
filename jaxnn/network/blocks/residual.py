"""A skip connection around a block: z′ = z + c f(z).

    Δ(θ, b) = Δ(θ, b) of f, from c Δz′          Δz = Δz′ + Δz of f, from c Δz′

In the limit of infinite width f(z) = m z + what is independent of z, m = 0 of Dense, and so
q′ = q (1 + 2 c m) + c² q′ of f; E‖Δz‖² = (1 + 2 c m + c² χ of f) E‖Δz′‖². With m = 0 this is Yang
& Schoenholz 2017, arXiv:1712.08969.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import PyTree

from ...arrays.compiled import Number, Scalar
from ...arrays.rows import ScaledRows, plus, scaled
from ..activations import Activation
from ..params import Layer
from .block import Block, Gradient
from .dense import DENSE
from .infinite_width import Ensemble, theory_of


@dataclass(frozen=True)
class Residual:
    """z[i+1] = z[i] + c f(z[i]), f a block; He et al. 2016, arXiv:1603.05027.

    Args:
        inner: f, by default the article's layer.
        scale: c, a finite number; 1/√L keeps signal and gradient bounded in networks of L layers,
            and 0 makes every layer the identity.

    Raises:
        ValueError: c is nan or infinite.

    Example:
        >>> import jaxnn
        >>> half = jaxnn.blocks.Residual(scale=0.5)
        >>> net = jaxnn.Network((3, 4, 4, 1), "tanh", "binary", hidden=half)
        >>> net.hidden
        Residual(inner=Dense(), scale=0.5)
    """

    inner: Block = DENSE
    scale: float = 1.0
    is_skip: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise ValueError(f"scale: expected a finite number, got {self.scale}")

    def forward(self, sigma: Activation, layer: Layer, z: ScaledRows) -> tuple[ScaledRows, Any]:
        """Return z[i+1], and what f saved."""
        change, saved = self.inner.forward(sigma, layer, z)
        return plus(z, scaled(change, self.scale)), saved

    def backward(
        self, sigma: Activation, layer: Layer, z: ScaledRows, saved: PyTree, delta: ScaledRows
    ) -> tuple[Gradient, ScaledRows]:
        """Return Δθ[i], Δb[i] and Δa[i], and Δz[i]; delta is Δz[i+1]."""
        gradient, below = self.inner.backward(sigma, layer, z, saved, scaled(delta, self.scale))
        return gradient, plus(delta, below)

    def preactivation(self, z: ScaledRows) -> ScaledRows:
        """Return what f takes σ of."""
        return self.inner.preactivation(z)

    def length(self, ensemble: Ensemble, q: Number) -> Scalar:
        """Return q′ = q (1 + 2 c m) + c² q′ of f."""
        inner = theory_of(self.inner).length(ensemble, q)
        return q * self._kept(ensemble, q) + self.scale**2 * inner

    def covariance(self, ensemble: Ensemble, q: Number, c: Number) -> Scalar:
        """Return E z′ z̃′, from E z z̃ = q c as the length is from q."""
        inner = theory_of(self.inner).covariance(ensemble, q, c)
        return q * c * self._kept(ensemble, q) + self.scale**2 * inner

    def factor(self, ensemble: Ensemble, q: Number, c: Number) -> Scalar:
        """Return E‖Δz‖² / E‖Δz′‖² = 1 + 2 c m + c² that of f."""
        inner = theory_of(self.inner).factor(ensemble, q, c)
        return self._kept(ensemble, q) + self.scale**2 * inner

    def tangent(self, ensemble: Ensemble, q: Number, c: Number) -> Scalar:
        """Return d E z′ z̃′ / d E z z̃ = 1 + 2 c m + c² that of f."""
        inner = theory_of(self.inner).tangent(ensemble, q, c)
        return self._kept(ensemble, q) + self.scale**2 * inner

    def skip_gain(self, ensemble: Ensemble, q: Number) -> Scalar | float:
        """Return 1 + c m."""
        return 1 + self.scale * theory_of(self.inner).skip_gain(ensemble, q)

    def _kept(self, ensemble: Ensemble, q: Number) -> Scalar | float:
        return 1 + 2 * self.scale * theory_of(self.inner).skip_gain(ensemble, q)

"""The article's layer: z′ = a θ + b with a = σ(z).

The derivation is at the head of `backprop.py`; here are its formulas (1) to (4), over rows. In the
limit of infinite width (Poole et al. 2016, arXiv:1606.05340; Schoenholz et al. 2017, 1611.01232)

    q′ = σ_w² E[σ²] + σ_b²    E z′ z̃′ = σ_w² E[σ σ̃] + σ_b²    E‖Δz‖² = σ_w² E[σ′²] E‖Δz′‖²
"""

from dataclasses import dataclass
from typing import Any

from jaxtyping import PyTree

from ...arrays.compiled import Number, Scalar
from ...arrays.rows import ScaledRows, matmul, outer, scaled, shifted, sum_rows
from ..activations import Activation, apply_activation
from ..params import Layer
from .block import Gradient, slope
from .infinite_width import Ensemble


@dataclass(frozen=True)
class Dense:
    """z[i+1] = a[i] θ[i] + b[i] with a[i] = σ(z[i])."""

    def forward(self, sigma: Activation, layer: Layer, z: ScaledRows) -> tuple[ScaledRows, Any]:
        """Return z[i+1]; save nothing."""
        a = apply_activation(sigma, z)
        return shifted(matmul(a, layer.theta), layer.b), None

    def backward(
        self, sigma: Activation, layer: Layer, z: ScaledRows, saved: PyTree, delta: ScaledRows
    ) -> tuple[Gradient, ScaledRows]:
        """Return Δθ[i], Δb[i] and Δa[i], and Δz[i]; delta is Δz[i+1]."""
        a = apply_activation(sigma, z)
        theta = outer(a, delta)  # (1)
        b = sum_rows(delta)  # (2)
        delta_a = matmul(delta, layer.theta.T)  # (3)
        return Gradient(theta, b, delta_a), scaled(delta_a, slope(sigma, z))  # (4)

    def preactivation(self, z: ScaledRows) -> ScaledRows:
        """Return z itself."""
        return z

    def length(self, ensemble: Ensemble, q: Number) -> Scalar:
        """Return q′ = σ_w² E[σ(z)²] + σ_b²."""
        return ensemble.sigma_w**2 * ensemble.square(q) + ensemble.sigma_b**2

    def covariance(self, ensemble: Ensemble, q: Number, c: Number) -> Scalar:
        """Return E z′ z̃′ = σ_w² E[σ(z) σ(z̃)] + σ_b²."""
        return ensemble.sigma_w**2 * ensemble.product(q, c) + ensemble.sigma_b**2

    def factor(self, ensemble: Ensemble, q: Number, c: Number) -> Scalar:
        """Return E‖Δz‖² / E‖Δz′‖² = σ_w² E[σ′(z)²]."""
        return ensemble.sigma_w**2 * ensemble.slope_square(q)

    def tangent(self, ensemble: Ensemble, q: Number, c: Number) -> Scalar:
        """Return d E z′ z̃′ / d E z z̃ = σ_w² E[σ′(z) σ′(z̃)]."""
        return ensemble.sigma_w**2 * ensemble.slope_product(q, c)

    def skip_gain(self, ensemble: Ensemble, q: Number) -> float:
        """Return 0: of z the random θ leaves nothing."""
        return 0.0


DENSE = Dense()

"""The article's layer: z′ = a θ + b with a = σ(z).

The derivation is at the head of `backprop.py`; here are its formulas (1) to (4), over rows. In the
limit of infinite width (Poole et al. 2016, arXiv:1606.05340; Schoenholz et al. 2017, 1611.01232)

    q′ = σ_w² E[σ²] + σ_b²    E z′ z̃′ = σ_w² E[σ σ̃] + σ_b²    E‖Δz‖² = σ_w² E[σ′²] E‖Δz′‖²
"""

from dataclasses import dataclass
from typing import Any

from ..activations import Activation
from ..layers import Layer
from ..numbers import Rows, outer, scaled, shifted, through, times, total
from ..quadrature import Number, Scalar, expectation, expectation_of_two
from .block import Gradient, slope
from .field import Field


@dataclass(frozen=True)
class Dense:
    """z[i+1] = a[i] θ[i] + b[i] with a[i] = σ(z[i])."""

    def forward(self, sigma: Activation, layer: Layer, z: Rows) -> tuple[Rows, Any]:
        """Return z[i+1]; save nothing."""
        a = through(sigma, z)
        return shifted(times(a, layer.theta), layer.b), None

    def backward(
        self, sigma: Activation, layer: Layer, z: Rows, saved: Any, delta: Rows
    ) -> tuple[Gradient, Rows]:
        """Return Δθ[i], Δb[i] and Δa[i], and Δz[i]; delta is Δz[i+1]."""
        a = through(sigma, z)
        theta = outer(a, delta)  # (1)
        b = total(delta)  # (2)
        delta_a = times(delta, layer.theta.T)  # (3)
        return Gradient(theta, b, delta_a), scaled(delta_a, slope(sigma, z))  # (4)

    def argument(self, z: Rows) -> Rows:
        """Return z itself."""
        return z

    def length(self, field: Field, q: Number) -> Scalar:
        """Return q′ = σ_w² E[σ(z)²] + σ_b²."""
        square = expectation(field.activation, q, lambda f, z, g: f.sigma(z) ** 2)
        return field.sigma_w**2 * square + field.sigma_b**2

    def covariance(self, field: Field, q: Number, c: Number) -> Scalar:
        """Return E z′ z̃′ = σ_w² E[σ(z) σ(z̃)] + σ_b²."""
        sigma = field.activation
        both = expectation_of_two(sigma.sigma, sigma.kinks, q, c)
        return field.sigma_w**2 * both + field.sigma_b**2

    def factor(self, field: Field, q: Number, c: Number) -> Scalar:
        """Return E‖Δz‖² / E‖Δz′‖² = σ_w² E[σ′(z)²]."""
        square = expectation(field.activation, q, lambda f, z, g: f.prime(z) ** 2)
        return field.sigma_w**2 * square

    def tangent(self, field: Field, q: Number, c: Number) -> Scalar:
        """Return d E z′ z̃′ / d E z z̃ = σ_w² E[σ′(z) σ′(z̃)]."""
        sigma = field.activation
        return field.sigma_w**2 * expectation_of_two(sigma.prime, sigma.kinks, q, c)

    def carry(self, field: Field, q: Number) -> float:
        """Return 0: of z the random θ leaves nothing."""
        return 0.0


DENSE = Dense()

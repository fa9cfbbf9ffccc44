"""The article's layer: z′ = a θ + b with a = σ(z).

The derivation is at the head of `backprop.py`; here are its formulas (1) to (4), over rows.
"""

from dataclasses import dataclass

from ..activations import Activation
from ..layers import Layer
from ..numbers import Rows, outer, scaled, shifted, through, times, total
from .block import Gradient, slope


@dataclass(frozen=True)
class Dense:
    """z[i+1] = a[i] θ[i] + b[i] with a[i] = σ(z[i])."""

    def forward(self, sigma: Activation, layer: Layer, z: Rows) -> Rows:
        """Return z[i+1]."""
        a = through(sigma, z)
        return shifted(times(a, layer.theta), layer.b)

    def backward(
        self, sigma: Activation, layer: Layer, z: Rows, delta: Rows
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


DENSE = Dense()

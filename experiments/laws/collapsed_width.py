"""The bias that a finite width gives the exponents of law 33, of blocks with norms behind them.

One direction ε of what two tokens differ by, one cotangent Δ, n channels; of a branch that is
multiplied by m and ends in a matrix of its own, h the units in front of it, h′ what ε changes them
by, x the numbers at these units, of variance s_A²,

    u = m² E σ²    w = m² s_A² E σ′²    κ = E σ⁴/(E σ²)²    k = E σ′⁴/(E σ′²)²
    α = E σ²σ′²/(E σ² E σ′²)    r = u/(1 + u)

**Means of logarithms.** |z + h B|² and |ε + h′ B|² have the relative variances

    V_u = (4u + (κ + 1) u²)/(1 + u)² n    V_w = (4w + (3k + 1) w²)/(1 + w)² n

and their logarithms are half of that too low on average: of the cross term, of the last matrix and
of the units. Of attention, two matrices without units in between, V = 4 u/(1 + u) n with u = a².

**Norms** take the part of ε along z away, and so of Δ; squared, on average, of the angle

    attention   u/(1 + u) n         MLP   (u + w + u w (1 + α))/((1 + u)(1 + w)) n

**A Δ after a norm** is at right angles to z′ = z + h B, and B is known along h, A along z, from
the forward pass. So the MLP takes δ/(1 + w) n more from |Δ|², and leaves ρ/n of it along z, which
the norm of attention takes; Δ in front of attention is at right angles to z:

    δ = -w (1 + r α) + m² (E σ′²x² - r (E σσ′x)²/E σ²) - 2 m² E σσ′x/(1 + u)
    ρ = m² (E σ²/(1 + u) + E σ′²x² - r (E σσ′x)²/E σ² - 2 E σσ′x/(1 + u))/(1 + w)

and attention (2u + u²)/(1 + u)² n. A derivation, made here, to first order in 1/n.
"""

from functools import partial

import jax

from jaxnn.network.activations import Activation, find_activation
from jaxnn.theory.quadrature import expectation


def taken(a: float, m: float, s: float) -> tuple[float, float]:
    """Return n times what a finite width adds to λ_angle and λ_gradient; called in x64."""
    square, fourth, slope, slopes, both, mixed, moved = _expectations(s)
    u, w, of_attention = m**2 * square, m**2 * s**2 * slope, a**2 / (1 + a**2)
    alpha, r = both / (square * slope), u / (1 + u)
    of_size = (4 * u + (fourth / square**2 + 1) * u**2) / (1 + u) ** 2
    of_change = (4 * w + (3 * slopes / slope**2 + 1) * w**2) / (1 + w) ** 2
    parallel = (u + w + u * w * (1 + alpha)) / ((1 + u) * (1 + w))
    angle = (of_size - of_change) / 2 - parallel + of_attention
    known = moved - r * mixed**2 / square
    delta = -w * (1 + r * alpha) + m**2 * (known - 2 * mixed / (1 + u))
    left = m**2 * (square / (1 + u) + known - 2 * mixed / (1 + u)) / (1 + w)
    of_gradient = delta / (1 + w) + (of_size - of_change) / 2 - left
    return angle / 2, (of_gradient - of_attention * (1 + 1 / (1 + a**2))) / 2


def _expectations(s: float) -> list[float]:
    """Return E of σ², σ⁴, σ′², σ′⁴, σ²σ′², σσ′x and σ′²x² of tanh, over x ~ N(0, s²)."""
    powers = ((2, 0, 0), (4, 0, 0), (0, 2, 0), (0, 4, 0), (2, 2, 0), (1, 1, 1), (0, 2, 2))
    return [float(expectation(find_activation("tanh"), s**2, partial(_product, p))) for p in powers]


def _product(powers: tuple[int, int, int], f: Activation, z: jax.Array, g: jax.Array) -> jax.Array:
    of_value, of_slope, of_place = powers
    return f.sigma(z) ** of_value * f.prime(z) ** of_slope * z**of_place

"""Two inputs at infinite width: their lengths, what they have in common, and their gradients.

z and z̃ of two inputs have the mean squares q and q̃ and the correlation c. Behind Dense

    q′ = σ_w² E[σ(z)²] + σ_b²,   √(q′ q̃′) c′ = σ_w² E[σ(z) σ(z̃)] + σ_b²

and Δz, Δz̃ of one and the same Δz′ have the product σ_w² E[σ′(z) σ′(z̃)] ‖Δz′‖². So from one
cotangent at the top the gradients of two inputs lose their correlation layer by layer (Balduzzi et
al. 2017, arXiv:1702.08591), by ρ = E[σ′ σ̃′] / √(E[σ′²] E[σ̃′²]). A block around Dense has these in
its own letters: a skip connection adds c m + c m̃ + 1 of what goes in, m from `skip_gain`, and a
norm divides by both sizes.

Arguments as in `meanfield`.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ..arrays.compiled import Number, Scalar, computed
from ..network.activations import Activation, find_activation
from ..network.blocks import Block, Dense, PostNorm, Residual, Theory, rows_meet, theory_of
from ..network.blocks.norm import Norm
from . import meanfield
from .arguments import Blocks, Name, Names, Numbers, formula, path_formula
from .ensemble import Ensemble
from .layers import layers_above
from .quadrature import solve, tiny

__all__ = ["Limit", "Paths", "curvature_to", "paths", "residual_limit"]


def __dir__() -> list[str]:
    return __all__


NODES = 64  # of the integral over c


class Paths(NamedTuple):
    """Two inputs in each hidden layer, l = 1 … depth.

    q, q_other: the mean squares of z and z̃, (depth,).
    c: their correlation.
    gradient: the correlation of Δz[l] and Δz̃[l], from one Δz[depth] for both; 1 in the last.
    """

    q: Array
    q_other: Array
    c: Array
    gradient: Array


class Limit(NamedTuple):
    """The correlation of two inputs in the limit of a deep residual network, and its approach.

    c: c*.
    exponent: δ: two networks that differ in c[1] come together as l^-δ.
    """

    c: Array
    exponent: Array


@path_formula
def paths(
    activation: Names,
    sigma_w: Numbers,
    sigma_b: Numbers,
    q0: Number,
    q0_other: Number,
    c0: Number,
    depth: int,
    *,
    hidden: Blocks | None = None,
    keep: Number = 1.0,
) -> Paths:
    """Follow two inputs of mean squares q0 and q0_other and correlation c0 through the layers.

    Lists of σ, σ_w, σ_b and blocks as in `meanfield.lengths`; the first layer is Dense. With
    dropout (keep < 1, see `meanfield`) each input has masks of its own, also where both are equal.

    Raises:
        ValueError: also for a batch norm, and for a block of a user's own: for two lengths there
            are formulas of `Dense` and of the blocks that the library puts around it.

    Example:
        >>> two = paths("relu", 2**0.5, 0.0, 1.0, 4.0, 0.0, 3)
        >>> [round(float(c), 4) for c in two.c]  # as for equal lengths
        [0.0, 0.3183, 0.4937]
        >>> [round(float(c), 4) for c in two.gradient]  # 1 - arccos(0.3183)/π, and half of it
        [0.3016, 0.6031, 1.0]
    """
    layers = layers_above(activation, sigma_w, sigma_b, hidden, None, depth, keep)
    first_w, first_b = (jnp.atleast_1d(jnp.asarray(v, float))[0] for v in (sigma_w, sigma_b))
    q, other = (jnp.maximum(first_w**2 * v + first_b**2, _least()) for v in (q0, q0_other))
    c = (first_w**2 * jnp.sqrt(q0 * q0_other) * c0 + first_b**2) / jnp.sqrt(q * other)

    def step(block: Theory, ensemble: Ensemble, *state: Scalar) -> tuple[tuple[Scalar, ...], Any]:
        q, other, c = state
        product, tangent = _between(block, ensemble, q, other, c)
        above = [jnp.maximum(block.length(ensemble, v), _least()) for v in (q, other)]
        factors = block.factor(ensemble, q, 0.0) * block.factor(ensemble, other, 0.0)
        c_above = jnp.clip(product / jnp.sqrt(above[0] * above[1]), -1.0, 1.0)
        return (*above, c_above), tangent / jnp.sqrt(factors)

    def layer(
        state: tuple[Scalar, ...], at: tuple[Array, Array, Array]
    ) -> tuple[tuple[Scalar, ...], Any]:
        which, sigma_w, sigma_b = at
        one = layers._replace(which=which, sigma_w=sigma_w, sigma_b=sigma_b)
        above, common = one.apply(step, *state)
        return above, (*state, common)

    of_layers = (layers.which, layers.sigma_w, layers.sigma_b)
    start: tuple[Scalar, ...] = (q, other, jnp.clip(c, -1.0, 1.0))
    lengths, others, cs, common = lax.scan(layer, start, of_layers)[1]
    gradient = jnp.append(jnp.cumprod(common[:-1][::-1])[::-1], 1.0)
    return Paths(lengths, others, cs, gradient)


def _least() -> float:
    """The least mean square that is told from 0, which has no correlation."""
    return float(tiny() ** 0.5)


def _between(
    block: object, ensemble: Ensemble, q: Scalar, other: Scalar, c: Scalar
) -> tuple[Scalar, Scalar]:
    """Return E z′ z̃′ of two lengths, and its derivative by E z z̃."""
    if isinstance(block, Dense):
        square = jnp.square(ensemble.sigma_w)
        product = square * ensemble.product(q, c, other) + jnp.square(ensemble.sigma_b)
        return product, square * ensemble.slope_product(q, c, other)
    if isinstance(block, Residual):
        product, tangent = _between(block.inner, ensemble, q, other, c)
        gains = [theory_of(block.inner).skip_gain(ensemble, v) for v in (q, other)]
        retained = 1 + block.scale * (gains[0] + gains[1])
        product = jnp.sqrt(q * other) * c * retained + block.scale**2 * product
        return product, retained + block.scale**2 * tangent
    if isinstance(block, Norm) and not rows_meet(block):
        normed, other_normed = (v / (v + block.eps) for v in (q, other))
        product, tangent = _between(block.inner, ensemble, normed, other_normed, c)
        return product, tangent / jnp.sqrt((q + block.eps) * (other + block.eps))
    if isinstance(block, PostNorm):
        product, tangent = _between(block.inner, ensemble, q, other, c)
        sizes = [jnp.sqrt(theory_of(block.inner).length(ensemble, v)) for v in (q, other)]
        return product / sizes[0] / sizes[1], tangent / sizes[0] / sizes[1]
    raise ValueError(
        f"hidden: expected Dense, or Residual, RMSNorm, LayerNorm or PostNorm around it, got "
        f"{block!r}: there is no formula for two inputs of different lengths behind it; "
        "meanfield.correlation_map has that of equal lengths"
    )


@formula
def residual_limit(
    activation: Name, sigma_w: Number, sigma_b: Number, *, hidden: Block | None = None
) -> Limit:
    """c* and the exponent δ of a deep network of residual blocks, z′ = z + α f(z).

    A block adds v = E f² to q and f(c) = E f f̃ to q c. So dc / d ln l = f(c)/v - c, c* is where it
    is 0, and δ = 1 - f′(c*)/v. α does not matter. Of `Residual()`, z grows until σ is what it is at
    ±∞: saturated, E[σ σ̃] = s² + d² (2/π) arcsin c with s and d half the sum and the difference of
    both ends; or with two slopes, as relu, c* = 1, and 1 - c falls as l⁻² (δ = 2). Of a norm in the
    branch, z = 1 stays in front of σ, and c* is that of the branch alone.

    Source: Yang & Schoenholz 2017, arXiv:1712.08969, for tanh; the others are derived here.

    Args:
        activation: σ.
        sigma_w: σ_w of the blocks.
        sigma_b: σ_b.
        hidden: `Residual()` if not given, or `Residual` around an `RMSNorm` or `LayerNorm`.

    Raises:
        ValueError: another block, or σ that is straight or has no limit at ±∞.

    Example:
        >>> limit = residual_limit("tanh", 1.0, 0.0)
        >>> round(float(limit.c), 4), round(float(limit.exponent), 4)  # 0, 1 - 2/π
        (0.0, 0.3634)
    """
    block = Residual() if hidden is None or isinstance(hidden, Dense) else hidden
    inner = block.inner if isinstance(block, Residual) else None
    normed = isinstance(inner, Norm) and not rows_meet(inner) and isinstance(inner.inner, Dense)
    if (
        not isinstance(block, Residual)
        or not block.scale
        or not (isinstance(inner, Dense) or normed)
    ):
        raise ValueError(
            "hidden: expected jaxnn.blocks.Residual() around Dense, RMSNorm or LayerNorm, with a "
            "scale "
            f"that is not 0, got {hidden!r}; pairs.paths follows other blocks layer by layer"
        )
    sigma = find_activation(activation)
    if normed:
        return _behind_a_norm(sigma, sigma_w, sigma_b)
    return _far_out(sigma, sigma_w, sigma_b)


def _behind_a_norm(sigma: Activation, sigma_w: Number, sigma_b: Number) -> Limit:
    """The limit of f(ẑ) with ẑ of mean square 1."""
    ensemble, one = Ensemble(sigma, sigma_w, sigma_b), jnp.ones((), float)
    added = sigma_w**2 * ensemble.square(one) + sigma_b**2
    at_one = sigma_w**2 * ensemble.slope_square(one) / added

    def excess(c: Scalar) -> Scalar:
        return (sigma_w**2 * ensemble.product(one, c) + sigma_b**2) / added - c

    top = jnp.asarray(1 - meanfield.NEAR, float)
    bottom = jnp.zeros((), float)
    apart = jnp.where(excess(bottom) > 1e-12, solve(excess, bottom, top), 0.0)
    slope = sigma_w**2 * ensemble.slope_product(one, apart) / added
    chaos = (at_one > 1) & (excess(top) < 0)
    return Limit(jnp.where(chaos, apart, 1.0), 1 - jnp.where(chaos, slope, at_one))


def _far_out(sigma: Activation, sigma_w: Number, sigma_b: Number) -> Limit:
    """The limit of f(z) with z that grows for ever."""
    ends = np.asarray([-np.inf, np.inf])
    low, high = (float(v) for v in np.asarray(computed(sigma.sigma, ends)))
    if math.isfinite(low) and math.isfinite(high) and low != high:
        middle, half = (high + low) / 2, (high - low) / 2
        shared = sigma_w**2 * middle**2 + sigma_b**2
        square = sigma_w**2 * half**2

        def excess(c: Scalar) -> Scalar:
            return (square * 2 / math.pi * jnp.arcsin(c) + shared) / (square + shared) - c

        bottom, top = jnp.zeros((), float), jnp.asarray(1 - meanfield.NEAR, float)
        c = jnp.where(shared > 0, solve(excess, bottom, top), 0.0)
        slope = square * 2 / math.pi / ((square + shared) * jnp.sqrt(1 - c**2))
        return Limit(c, 1 - slope)
    slopes = [float(v) for v in np.asarray(computed(sigma.prime, ends))]
    if all(map(math.isfinite, slopes)) and slopes[0] != slopes[1]:
        return Limit(jnp.ones((), float), jnp.asarray(2.0, float))
    raise ValueError(
        f"activation: {sigma.name} has neither two values nor two slopes at ±∞, and with skip "
        "connections z grows for ever: c has no limit of its own; pairs.paths follows it"
    )


@formula
def curvature_to(eta: Number) -> Scalar:
    """T(η) = ∫₀^η π dc / (√(1-c²) - c arccos c): the curvature that takes c from 0 to η.

    In L layers of a leaky relu of slope s, (1-s)²/(1+s²) L tends to T for large L, in which
    `meanfield.tailored_slope` solves for s: of Zhang, Botev & Martens 2022, arXiv:2203.08120.

    Args:
        eta: η, 0 < η < 1, or an array of them.

    Raises:
        ValueError: η is out of range.

    Example:
        >>> round(float(curvature_to(0.9)), 4)
        14.1684
    """
    # c = cos e^-t takes what grows as 1/θ² at θ = 0 to what grows as e^t.
    x, w = (jnp.asarray(v, float) for v in np.polynomial.legendre.leggauss(NODES))
    low, high = -math.log(math.pi / 2), -jnp.log(jnp.arccos(eta))
    angle = jnp.exp(-(low + (high - low) * (x + 1) / 2))
    kernel = angle * jnp.sin(angle) / (jnp.sin(angle) - angle * jnp.cos(angle))
    return math.pi * jnp.sum(w * kernel) * (high - low) / 2

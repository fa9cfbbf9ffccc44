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

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ..arrays.compiled import Number, Scalar
from ..network.blocks import Dense, PostNorm, Residual, Theory, rows_meet, theory_of
from ..network.blocks.norm import Norm
from .arguments import Blocks, Names, Numbers, path_formula
from .ensemble import Ensemble
from .layers import layers_above
from .quadrature import tiny

__all__ = ["Paths", "paths"]


def __dir__() -> list[str]:
    return __all__


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

"""Block floating point: rows of numbers beyond the range of a float.

A row of Δz is carried as mantissa × 2^exponent, with one int32 exponent for each row (example), so
that a gradient of 10^-6279 is a number like any other. After every layer the mantissas are
multiplied by the power of two that brings the row's largest entry into [1, 2). That is exact, and
so is every product of the recursion with a scaled row: as long as the plain recursion stays among
the normal numbers, mantissa × 2^exponent is its result to the last bit.

Exponents are read from and written to the float's bits: on a CPU `frexp` and `ldexp` would double
the cost of the whole pass.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

LN2 = 0.6931471805599453

NEVER = -(2**28)  # the exponent of a row of zeros: below every other

_INTEGER_OF_WIDTH = {2: jnp.int16, 4: jnp.int32, 8: jnp.int64}


class BlockFloat(NamedTuple):
    """Rows of numbers mantissa × 2^exponent; a row of zeros has the exponent NEVER or 0."""

    mantissa: Float[Array, "*k B n"]
    exponent: Int[Array, "*k B"]


def as_plain(rows: Float[Array, "*k B n"]) -> BlockFloat:
    """Return the rows with exponent 0, unchanged."""
    return BlockFloat(rows, jnp.zeros_like(rows[..., 0], jnp.int32))


def as_block(rows: Float[Array, "*k B n"]) -> BlockFloat:
    """Return the rows as block floats, renormalised."""
    return renormalised(as_plain(rows))


def renormalised(v: BlockFloat) -> BlockFloat:
    """Renormalise: bring the largest mantissa of every row into [1, 2), the numbers unchanged.

    Zeros, inf and nan stay as they are. A row of subnormal numbers is multiplied by the largest
    power of two of the dtype, which leaves it below 1.
    """
    return with_largest(v)[0]


def with_largest(v: BlockFloat) -> tuple[BlockFloat, Float[Array, "*k B"]]:
    """Like `renormalised`, with the largest |mantissa| of every row."""
    # Not max |v|: on a CPU a maximum and a minimum take a third of its time.
    largest = jnp.maximum(jnp.max(v.mantissa, axis=-1), -jnp.min(v.mantissa, axis=-1))
    up = exponent_of(largest)
    scale = power_of_two(-up, v.mantissa)
    exponent = jnp.where(largest == 0, NEVER, v.exponent + up)
    return BlockFloat(v.mantissa * scale[..., None], exponent), largest * scale


def exponent_of(x: Float[Array, "*s"]) -> Int[Array, "*s"]:
    """The k with 2^k <= x < 2^(k+1), for x >= 0, clipped to the range of `power_of_two`."""
    digits, bias, integer = _format(x)
    bits = lax.bitcast_convert_type(x, integer)
    k = (bits >> digits).astype(jnp.int32) - bias
    return jnp.where(x == 0, 0, jnp.clip(k, 1 - bias, bias - 1))


def power_of_two(k: Int[Array, "*s"], like: Array) -> Float[Array, "*s"]:
    """2^k in the dtype of `like`: 0 below its normal numbers, its largest power of two above."""
    digits, bias, integer = _format(like)
    bits = jnp.clip(k + bias, 0, 2 * bias).astype(integer) << digits
    return lax.bitcast_convert_type(bits, like.dtype)


def _format(x: Array) -> tuple[int, int, Any]:
    """Mantissa bits, exponent bias and the integer type of the same width."""
    info = jnp.finfo(x.dtype)  # type: ignore[no-untyped-call]
    return int(info.nmant), int(info.maxexp) - 1, _INTEGER_OF_WIDTH[x.dtype.itemsize]


def alignment(
    exponent: Int[Array, "*k B"], like: Array
) -> tuple[Float[Array, "*k B"], Int[Array, "*k"]]:
    """Factors that bring rows to the largest of their exponents, and that exponent.

    Exact, except that rows smaller than the largest by more than the range of the dtype become
    zero, as they would in a sum.
    """
    common = jnp.max(exponent, axis=-1)
    return power_of_two(exponent - common[..., None], like), common


def in_range(v: BlockFloat) -> BlockFloat:
    """Return the numbers with exponent 0, except for rows beyond the range of the dtype.

    Rows beyond it (less a factor of 4, as room for a sum) have the rest as an exponent above 0.
    """
    _, bias, _ = _format(v.mantissa)
    beyond = jnp.maximum(v.exponent - (bias - 2), 0)
    rows = v.mantissa * power_of_two(v.exponent - beyond, v.mantissa)[:, None]
    return BlockFloat(rows, beyond)


def value_of(mantissa: Float[Array, "*s"], exponent: Int[Array, "*s"]) -> Float[Array, "*s"]:
    """Mantissa × 2^exponent as a float; inf or 0 beyond its range."""
    half = exponent // 2  # a single power of two could leave the range where the product does not
    return mantissa * power_of_two(half, mantissa) * power_of_two(exponent - half, mantissa)


def log_of(mantissa: Float[Array, " *s"], exponent: Int[Array, " *s"]) -> Float[Array, " *s"]:
    """The logarithm of mantissa × 2^exponent, in at least float32; -inf for zero."""
    log = jnp.log(at_least_float32(mantissa))
    return log + exponent.astype(log.dtype) * LN2


def at_least_float32(v: Float[Array, "..."]) -> Float[Array, "..."]:
    """Widen 16-bit floats to float32, since sums of squares would leave their range."""
    return v if v.dtype.itemsize >= 4 else v.astype(jnp.float32)

"""Narrow number formats, to the last bit: what they make zero, subnormal or too large.

    rounded to nearest, ties to even, with s the smallest number of a format and m the largest
    |x| <= s / 2                 becomes zero: the tie goes to 0, which is even
    |x| >= m + half a step       overflows; where m is even, the tie itself goes to m

In blocks the numbers along the last axis share a scale: MXFP8 is 32 of E4M3 with a power of two,
NVFP4 is 16 of E2M1 with a scale in E4M3 and one in float32 for the whole array. A block at the end
of the axis may be shorter.

Sources: OCP 8-bit Floating Point Specification 1.0; OCP Microscaling Formats Specification 1.0,
sections 5.2, 5.4 and 6.3; NVIDIA, Pretraining Large Language Models with NVFP4, appendix B.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ...arrays.loops import reduced
from ...arrays.rows import exponent_of, power_of_two


class Format(NamedTuple):
    """A number format."""

    name: str
    bits: float  # of one number, with its share of the scales
    digits: int  # of the mantissa, behind the point
    least: int  # the exponent of the smallest normal number
    largest: float  # the largest number

    @property
    def lowest(self) -> int:
        """The exponent of the smallest subnormal number."""
        return self.least - self.digits

    @property
    def highest(self) -> int:
        """The exponent of the largest number."""
        return math.floor(math.log2(self.largest))

    @property
    def edge(self) -> tuple[float, bool]:
        """From which m on m 2^highest overflows; and whether the edge itself does."""
        step = 2.0**-self.digits
        most = self.largest / 2.0**self.highest
        return most + step / 2, (most / step) % 2 == 1

    def beyond(self, size: Float[Array, "*s"]) -> Bool[Array, "*s"]:
        """Tell what overflows."""
        edge, itself = self.edge
        level = edge * 2.0**self.highest
        return size >= level if itself else size > level


E4M3 = Format("float8_e4m3fn", 8, 3, -6, 448.0)
E2M1 = Format("float4_e2m1fn", 4, 1, 0, 6.0)
NARROW = (
    Format("float16", 16, 10, -14, 65504.0),
    Format("bfloat16", 16, 7, -126, (2 - 2.0**-7) * 2.0**127),
    E4M3,
    Format("float8_e5m2", 8, 2, -14, 57344.0),
)
MXFP8, NVFP4 = 32, 16  # numbers that share a scale
BLOCKS = (E4M3._replace(name="mxfp8", bits=8.25), E2M1._replace(name="nvfp4", bits=4.5))

# Edges between 1 and 2 that a mantissa is compared with, each with whether it passes its own: is
# a number more than a power of two; does it overflow. Each is passed by what passes the next.
EDGES = ((1.0, False), *sorted({kind.edge for kind in NARROW}))


def edges_passed(mantissa: Float[Array, "*s"]) -> Int[Array, "*s"]:
    """Return how many of `EDGES` a mantissa in [1, 2) passes."""
    passed = [mantissa >= edge if itself else mantissa > edge for edge, itself in EDGES]
    return sum((mask.astype(jnp.int32) for mask in passed[1:]), passed[0].astype(jnp.int32))


FIRST_SQUARE = 3  # of what `sums_in_blocks` has


def sums_in_blocks(
    size: Float[Array, "R w"], full: Bool[Array, "R w"], largest: Float[Array, " R"]
) -> Float[Array, "R k"]:
    """Return sums over the entries of each row, for each of five a pair, of both `BLOCKS`.

    These are the numbers of entries that are not zero, and become zero, subnormal, or overflow; and
    the sums of the squares of those that become zero, and of those that overflow. What overflows is
    the largest number of the format then. Sizes, and the largest of the whole array, are times one
    power of two, which changes nothing as long as scales are in their range.
    """
    size, largest = size.astype(jnp.float32), largest.astype(jnp.float32)
    made = (_in_mxfp8(size), E4M3), (_in_nvfp4(size, largest), E2M1)
    pairs = zip(*(_terms(size, full, *rounded) for rounded in made), strict=True)
    terms = [term for pair in pairs for term in pair]

    def add(a: Sequence[Array], b: Sequence[Array]) -> list[Array]:
        return [v + w for v, w in zip(a, b, strict=True)]

    return jnp.stack(reduced(terms, add, [0] * len(terms)), axis=1)


def _in_mxfp8(size: Float[Array, "R w"]) -> Float[Array, "R w"]:
    """Return |v| / X of the elements v of blocks, before they are rounded; a row is a block.

    X = 2^(floor(log2(max |v|)) - 8), 8 the exponent of the largest number of E4M3, in E8M0.
    """
    most = jnp.max(size, axis=1, keepdims=True)
    shared = jnp.clip(exponent_of(most) - E4M3.highest, -127, 127)
    return size * power_of_two(-shared, size)


def _in_nvfp4(size: Float[Array, "R w"], largest: Float[Array, " R"]) -> Float[Array, "R w"]:
    """Return |v| s / d of the elements v of blocks, before they are rounded.

    s = 6 · 448 / max |v| of the whole array; of a block d = E4M3(max |v| · s / 6).
    """
    rows, width = size.shape
    v = size.reshape(rows, -(-width // NVFP4), min(NVFP4, width))
    encode = E2M1.largest * E4M3.largest / jnp.where(largest == 0, 1, largest)[:, None, None]
    most = jnp.max(v, axis=2, keepdims=True)
    decode = in_e4m3(most * (encode * jnp.float32(1 / E2M1.largest)))
    none = decode == 0  # then the whole block is
    return jnp.where(none, 0, v * (encode / jnp.where(none, 1, decode))).reshape(size.shape)


def in_e4m3(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Return x >= 0 rounded to E4M3, to its largest number if it is beyond that."""
    step = jnp.maximum(exponent_of(x), E4M3.least) - E4M3.digits
    rounded = jnp.round(x * power_of_two(-step, x)) * power_of_two(step, x)
    return jnp.minimum(rounded, E4M3.largest)


def _terms(
    v: Float[Array, "R w"], full: Bool[Array, "R w"], y: Float[Array, "R w"], kind: Format
) -> list[Float[Array, "R w"]]:
    """Return what sums up to `sums_in_blocks` of v, which are y before they are rounded."""
    zero = full & (y <= 2.0 ** (kind.lowest - 1))
    small = full & ~zero & (y < 2.0**kind.least)
    over = kind.beyond(y)
    square = jnp.where(jnp.isfinite(v), jnp.square(v), 0)
    terms = [mask.astype(v.dtype) for mask in (zero, small, over)]
    return terms + [jnp.where(mask, square, 0) for mask in (zero, over)]

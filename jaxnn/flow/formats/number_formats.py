"""Narrow number formats, to the last bit: what they make zero, subnormal or too large.

    rounded to nearest, ties to even, with s the smallest number of a format and m the largest
    |x| <= s / 2                 becomes zero: the tie goes to 0, which is even
    |x| >= m + half a step       overflows; where m is even, the tie itself goes to m

Source: OCP 8-bit Floating Point Specification 1.0.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Format(NamedTuple):
    """A number format."""

    name: str
    bits: int  # of one number
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


NARROW = (
    Format("float16", 16, 10, -14, 65504.0),
    Format("bfloat16", 16, 7, -126, (2 - 2.0**-7) * 2.0**127),
    Format("float8_e4m3fn", 8, 3, -6, 448.0),
    Format("float8_e5m2", 8, 2, -14, 57344.0),
)

# Edges between 1 and 2 that a mantissa is compared with, each with whether it passes its own: is
# a number more than a power of two; does it overflow. Each is passed by what passes the next.
EDGES = ((1.0, False), *sorted({kind.edge for kind in NARROW}))


def edges_passed(mantissa: Float[Array, "*s"]) -> Int[Array, "*s"]:
    """Return how many of `EDGES` a mantissa in [1, 2) passes."""
    passed = [mantissa >= edge if itself else mantissa > edge for edge, itself in EDGES]
    return sum((mask.astype(jnp.int32) for mask in passed[1:]), passed[0].astype(jnp.int32))

"""Entries: what share of a gradient a number format keeps, from a histogram of its exponents.

    Δ = m 2^e of each example -> exponents of all entries, from their bits -> counts and squares

Entry x lies in bin k if 2^(top-k) <= |x| < 2^(top-k+1). Rounding to nearest makes it zero if it is
below half of the smallest subnormal number, which is an edge of bins: so what a format keeps is a
sum over bins, for any scale of the loss that is a power of two. Only the last factor of two below
the largest number is not told from what overflows: it counts as kept.
"""

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..arrays.rows import ScaledRows, at_least_float32, exponent_of, power_of_two

BINS = 64  # factors of two below the largest entry; the last has all that is smaller
LOWEST = 2**20  # factors of two below which nothing counts
NARROW = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")


class Entries(NamedTuple):
    """Histograms of the entries of Δ, one a layer.

    top: the exponent of bin 0.
    counts: the number of entries in each bin.
    squares: the sum of their squares, over 2^(2 top).
    zeros: the number of entries that are zero.
    """

    top: Float[Array, "*v"]
    counts: Float[Array, "*v K"]
    squares: Float[Array, "*v K"]
    zeros: Float[Array, "*v"]

    @classmethod
    def of(cls, delta: ScaledRows) -> "Entries":
        """Return that of a renormalised cotangent, (B, …), its largest |m| below 2."""
        size = jnp.abs(at_least_float32(delta.m)).reshape(len(delta.m), -1)
        top = jnp.max(delta.e)
        below = jnp.minimum(top - delta.e, LOWEST)[:, None]
        k = jnp.clip(below - exponent_of(size), 0, BINS - 1)
        where = jnp.where(size == 0, BINS, k)
        count = jnp.zeros(BINS + 1, size.dtype).at[where].add(1)
        square = jnp.square(size * power_of_two(-below, size))
        sums = jnp.zeros(BINS, size.dtype).at[k].add(square)
        return cls(top.astype(size.dtype), count[:-1], sums, count[-1])

    @classmethod
    def together(cls, each: Sequence["Entries"]) -> "Entries":
        """Return that of several arrays."""
        top = jnp.max(jnp.stack([one.top for one in each]))
        parts = [one.below(top) for one in each]
        return cls(top, *(reduce(jnp.add, column) for column in list(zip(*parts, strict=True))[1:]))

    def below(self, top: Float[Array, ""]) -> "Entries":
        """Return the same histogram under a higher exponent."""
        by = jnp.minimum(top - self.top, LOWEST).astype(jnp.int32)
        places = jnp.clip(jnp.arange(BINS, dtype=jnp.int32) - by, 0, BINS)

        def moved(v: Array) -> Array:
            rest = jnp.append(jnp.cumsum(v[::-1])[::-1], jnp.zeros(1, v.dtype))[places]
            return rest - jnp.append(rest[1:], jnp.zeros(1, v.dtype))

        square = moved(self.squares) * jnp.square(power_of_two(-by, self.squares))
        return Entries(top, moved(self.counts), square, self.zeros)


class Kept(NamedTuple):
    """Shares of the nonzero entries of each layer's Δ that a format changes, (L,) each.

    scale: the k of 2^k by which the loss is multiplied.
    zero, subnormal, overflow: of the entries; subnormal are those below the normal numbers that do
        not become zero.
    zero_square, overflow_square: of the square norm.
    """

    scale: int
    zero: np.ndarray
    subnormal: np.ndarray
    overflow: np.ndarray
    zero_square: np.ndarray
    overflow_square: np.ndarray


def kept_in(name: str, entries: Entries, scale: int | None = None) -> Kept:
    """Return what a format keeps of each layer.

    Args:
        name: of the format.
        entries: of one flow, with known values.
        scale: the k of 2^k by which the loss is multiplied; if None the largest for which no
            layer's largest entry leaves the format.
    """
    info = jnp.finfo(name)  # type: ignore[no-untyped-call]
    least, most = (round(math.log2(float(v))) for v in (info.smallest_subnormal, info.tiny))
    largest = math.floor(math.log2(float(info.max)))
    top = np.asarray(entries.top, np.float64)
    count = np.asarray(entries.counts, np.float64)
    square = np.asarray(entries.squares, np.float64)
    square = square / np.maximum(square.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    known = count.sum(axis=1) > 0
    if scale is None:
        scale = int(largest - top[known].max()) if known.any() else 0
    exponent = top[:, None] - np.arange(BINS) + scale
    zero, over = exponent < least - 1, exponent > largest
    small = ~zero & (exponent < most)
    whole = np.maximum(count.sum(axis=1, keepdims=True), 1)
    of_entries = (np.sum(count / whole, axis=1, where=where) for where in (zero, small, over))
    of_square = (np.sum(square, axis=1, where=where) for where in (zero, over))
    return Kept(scale, *of_entries, *of_square)


def rows_of(entries: Entries, names: tuple[str, ...], scale: int | None) -> list[dict[str, Any]]:
    """Return a row for each layer and format, as it is and with the loss multiplied."""
    rows = []
    for name in NARROW:
        for kept in (kept_in(name, entries, 0), kept_in(name, entries, scale)):
            shares = [np.asarray(v).tolist() for v in kept[1:]]
            rows += [
                {"layer": i, "name": layer, "format": name, "scale": kept.scale}
                | dict(zip(Kept._fields[1:], values, strict=True))
                for i, (layer, *values) in enumerate(zip(names, *shares, strict=True), 1)
            ]
    return rows

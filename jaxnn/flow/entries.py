"""Entries: what share of an array a number format keeps, from a histogram of its exponents.

    m 2^e of each row -> exponent and mantissa of all entries, from their bits -> counts and squares

Bins fall from the largest entry of the array: `PARTS` for each factor of two, which are told apart
by the `EDGES` where some format begins to overflow, or rounds a power of two to zero. So what a
format keeps is a sum over bins, exactly, for any scale that is a power of two; see `kept.py`. What
it keeps in blocks needs the entries themselves, and is counted beside: `narrow.py`.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..arrays.rows import (
    ZERO_EXPONENT,
    ScaledRows,
    at_least_float32,
    exponent_and_mantissa,
    power_of_two,
)
from ..arrays.spread import automatically
from .narrow import EDGES, MXFP8, InBlocks, edges_passed

OCTAVES = 160  # factors of two below the largest entry; the last has all that is smaller
PARTS = len(EDGES) + 1  # bins of each, the one with the largest entries first
BINS = OCTAVES * PARTS
LOWEST = 2**20  # factors of two below which nothing counts
GROUPS = 4  # of entries that are summed apart, so that no sum outgrows its float's digits


def bins_of(below: Int[Array, "*s"], mantissa: Float[Array, "*s"]) -> Int[Array, "*s"]:
    """Return the bin of each entry, `BINS` of a zero.

    Args:
        below: how far its exponent is below that of bin 0.
        mantissa: in [1, 2); 0 of a zero.
    """
    octave = jnp.clip(below, 0, OCTAVES - 1)
    place = octave * PARTS + (PARTS - 1 - edges_passed(mantissa))
    return jnp.where(mantissa == 0, BINS, place)


class Entries(NamedTuple):
    """Histograms of the entries of arrays, one for each.

    top: the exponent of the largest entry.
    counts: the number of entries in each bin; bin `PARTS` k + p has part p of octave k, 2^(top-k)
        <= |x| < 2^(top-k+1).
    squares: the sum of their squares, over 2^(2 top).
    zeros: the number of entries that are zero, or subnormal in the array's own type.
    blocks: what formats in blocks do to them.
    """

    top: Float[Array, "*v"]
    counts: Float[Array, "*v K"]
    squares: Float[Array, "*v K"]
    zeros: Float[Array, "*v"]
    blocks: InBlocks

    def at(self, i: int) -> "Entries":
        """Return that of array i of several."""
        return jax.tree.map(lambda v: v[i], self)  # type: ignore[no-any-return]

    def part(self, start: int, end: int) -> "Entries":
        """Return those of some of several arrays."""
        return jax.tree.map(lambda v: v[start:end], self)  # type: ignore[no-any-return]

    @classmethod
    def together(cls, each: Sequence["Entries"]) -> "Entries":
        """Return that of several arrays."""
        if len(each) == 1:
            return each[0]
        top = jnp.max(jnp.stack([one.top for one in each]))
        return reduce(_sum, (one.below(top) for one in each))

    def below(self, top: Float[Array, ""]) -> "Entries":
        """Return the same histogram under a higher exponent."""
        by = jnp.minimum(top - self.top, LOWEST).astype(jnp.int32)
        places = jnp.minimum(jnp.arange(OCTAVES, dtype=jnp.int32) + by, OCTAVES - 1)

        def moved(v: Array) -> Array:
            octaves = v.reshape(OCTAVES, PARTS)
            return jnp.zeros_like(octaves).at[places].add(octaves).ravel()

        scale = jnp.square(power_of_two(-by, self.squares))
        blocks = self.blocks._replace(
            zero_square=scale * self.blocks.zero_square,
            overflow_square=scale * self.blocks.overflow_square,
        )
        return Entries(top, moved(self.counts), scale * moved(self.squares), self.zeros, blocks)


def _sum(a: Entries, b: Entries) -> Entries:
    """Return that of both, which have one top."""
    both: Entries = jax.tree.map(jnp.add, a, b)
    return both._replace(top=a.top)


def entries_of(arrays: Sequence[ScaledRows]) -> Entries:
    """Return those of arrays m 2^e, stacked, each with an exponent for each row, or one for all.

    All arrays are cut into short rows along their last axis and counted in one go, which is
    compiled once; short axes are filled up with zeros to a power of two.
    """
    return automatically(_entries_of, list(arrays))


def _entries_of(arrays: list[ScaledRows]) -> Entries:
    by_width: dict[int, list[int]] = {}
    for i, v in enumerate(arrays):
        width = min(MXFP8, 1 << (_last(v) - 1).bit_length())
        by_width.setdefault(width, []).append(i)
    each = [_counted([arrays[i] for i in own], width) for width, own in by_width.items()]
    order = np.argsort([i for own in by_width.values() for i in own])
    return jax.tree.map(lambda *v: jnp.concatenate(v)[order], *each)  # type: ignore[no-any-return]


def _last(v: ScaledRows) -> int:
    """Return the length of the last axis, which is not that of rows, at least 1."""
    return max(int(v.m.shape[-1]), 1) if v.m.ndim > v.e.ndim else 1


def _counted(arrays: Sequence[ScaledRows], width: int) -> Entries:
    """Return the entries of arrays, stacked, in rows of a power of two, `MXFP8` at most."""
    rows, exponents, lengths, sizes = [], [], [], []
    for v in arrays:
        m = at_least_float32(v.m)
        m = jnp.expand_dims(m, -1) if m.ndim == v.e.ndim else m
        e = jnp.broadcast_to(jnp.expand_dims(v.e, range(v.e.ndim, m.ndim - 1)), m.shape[:-1])
        m = jnp.pad(m, [(0, 0)] * (m.ndim - 1) + [(0, -m.shape[-1] % width)])
        rows.append(m.reshape(-1, width))
        exponents.append(jnp.repeat(e.ravel(), m.shape[-1] // width))
        lengths.append(len(rows[-1]))
        sizes.append(v.m.size)
    count = len(arrays)
    number = jnp.arange(sum(lengths), dtype=jnp.int32)  # of the row
    ends = np.cumsum(lengths)[:-1].astype(np.int32)
    array = jnp.sum(number[:, None] >= ends[None], axis=1, dtype=jnp.int32)  # that it belongs to
    k, mantissa = exponent_and_mantissa(jnp.abs(jnp.concatenate(rows)))
    exponent = jnp.where(mantissa == 0, ZERO_EXPONENT, k + jnp.concatenate(exponents)[:, None])
    top = jax.ops.segment_max(jnp.max(exponent, axis=1), array, count)
    below = top[array][:, None] - exponent
    size = mantissa * power_of_two(-jnp.minimum(below, LOWEST), mantissa)
    largest = jax.ops.segment_max(jnp.max(size, axis=1), array, count)

    # Into `GROUPS` buffers, row by row in turn.
    group = (number % GROUPS) * count + array

    def summed(values: Any, place: Any, length: int) -> Array:
        zero = jnp.zeros((GROUPS * count * length, *values.shape[1:]), values.dtype)
        total = zero.at[place].add(values, mode="promise_in_bounds")
        return jnp.sum(total.reshape(GROUPS, count, length, *values.shape[1:]), axis=0)

    place = (group[:, None] * (BINS + 1) + bins_of(below, mantissa)).ravel()
    counts = summed(jnp.ones(place.shape, jnp.int32), place, BINS + 1)[:, :-1].astype(size.dtype)
    squares = summed(jnp.square(size).ravel(), place, BINS + 1)[:, :-1]
    blocks = summed(InBlocks.of_rows(size, mantissa != 0, largest[array]), group, 1)[:, 0]
    return Entries(
        top.astype(size.dtype),
        counts,
        squares,
        jnp.array(sizes, size.dtype) - jnp.sum(counts, axis=1),
        InBlocks(*jnp.moveaxis(blocks, 1, 0).astype(size.dtype)),
    )


class FlowEntries(NamedTuple):
    """Histograms of the entries of a flow; of PyTorch only those of Δ and of states.

    delta, state: of Δ of each state and of the state itself, one for each layer.
    delta_parameter, parameter: of Δ of each parameter array and of the array itself, in the order
        of `flow.parameters`.
    """

    delta: Entries
    state: Entries
    delta_parameter: Entries | None = None
    parameter: Entries | None = None

"""Entries: what share of an array a number format keeps, from a histogram of its exponents.

    m 2^e of each row -> exponent and mantissa of all entries, from their bits -> counts and squares

Bins fall from the largest entry of the array: `PARTS` for each factor of two, which are told apart
by the `EDGES` where some format begins to overflow, or rounds a power of two to zero. So what a
format keeps is a sum over bins, exactly, for any scale that is a power of two (`format_loss.py`).
"""

from collections.abc import Sequence
from functools import reduce
from itertools import chain
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ...arrays.rows import (
    ZERO_EXPONENT,
    ScaledRows,
    at_least_float32,
    exponent_and_mantissa,
    power_of_two,
)
from ...arrays.spread import automatically
from ...network.params import is_run
from .number_formats import EDGES, edges_passed

OCTAVES = 160  # factors of two below the largest entry; the last has all that is smaller
PARTS = len(EDGES) + 1  # bins of each, the one with the largest entries first
BINS = OCTAVES * PARTS
LOWEST = 2**20  # factors of two below which nothing counts
LONGEST = 32  # entries of a row that are counted together
GROUPS = 4  # of entries that are summed apart, at least, so that sums keep their digits
MOST_COUNTED = 2**24  # of these in a group: more ones than that a float32 cannot count


def bins_of(below: Int[Array, "*s"], mantissa: Float[Array, "*s"]) -> Int[Array, "*s"]:
    """Return the bin of each entry, its exponent so far below bin 0; the last one of a zero."""
    octave = jnp.clip(below, 0, OCTAVES - 1)
    place = octave * PARTS + (PARTS - 1 - edges_passed(mantissa))
    return jnp.where(mantissa == 0, BINS - 1, place)


class Entries(NamedTuple):
    """Histograms of the entries of arrays, one for each; what is zero counts in no bin.

    So is what is subnormal in the array's own type. Bin `PARTS` k + p has part p of octave k,
    2^(top-k) <= |x| < 2^(top-k+1).
    """

    top: Float[Array, "*v"]  # the exponent of the largest entry
    # The number of entries in each bin, and the sum of squares over 2^(2 top).
    sums: Float[Array, "*v K 2"]

    def at(self, places: Any) -> "Entries":
        """Return that of array i of several, or those at several places."""
        places = places if isinstance(places, int) else np.array(places)
        return jax.tree.map(lambda v: v[places], self)  # type: ignore[no-any-return]

    def part(self, start: int, end: int) -> "Entries":
        """Return those of some of several arrays."""
        return jax.tree.map(lambda v: v[start:end], self)  # type: ignore[no-any-return]

    @classmethod
    def together(cls, entries: Sequence["Entries"]) -> "Entries":
        """Return that of several arrays."""
        if len(entries) == 1:
            return entries[0]
        top = jnp.max(jnp.stack([one.top for one in entries]))
        moved = [one.below(top) for one in entries]
        together: Entries = jax.tree.map(lambda *v: reduce(jnp.add, v), *moved)
        return together._replace(top=top)

    def below(self, top: Float[Array, ""]) -> "Entries":
        """Return the same histogram under a higher exponent."""
        by = jnp.minimum(top - self.top, LOWEST).astype(jnp.int32)
        places = jnp.minimum(jnp.arange(OCTAVES, dtype=jnp.int32) + by, OCTAVES - 1)
        octaves = self.sums.reshape(OCTAVES, PARTS, 2)
        moved = jnp.zeros_like(octaves).at[places].add(octaves).reshape(self.sums.shape)
        scale = jnp.square(power_of_two(-by, self.sums))
        one = jnp.ones_like(scale)
        return Entries(top, moved * jnp.stack([one, scale])[None])


def entries_of(arrays: Sequence[ScaledRows]) -> Entries:
    """Return those of arrays m 2^e, stacked, each with an exponent for each row, or one for all."""
    return automatically(_entries_of, list(arrays))


def _entries_of(arrays: list[ScaledRows]) -> Entries:
    by_width: dict[int, list[int]] = {}
    for i, v in enumerate(arrays):
        last = max(int(v.m.shape[-1]), 1) if v.m.ndim > v.e.ndim else 1  # no axis of rows
        width = min(LONGEST, 1 << (last - 1).bit_length())
        by_width.setdefault(width, []).append(i)
    counted = [_counted([arrays[i] for i in places], width) for width, places in by_width.items()]
    if len(counted) == 1:
        return counted[0]
    order = np.argsort([i for places in by_width.values() for i in places])
    return jax.tree.map(lambda *v: jnp.concatenate(v)[order], *counted)  # type: ignore[no-any-return]


def _counted(arrays: Sequence[ScaledRows], width: int) -> Entries:
    """Return the entries of arrays, stacked, in rows of a power of two, `LONGEST` at most."""
    rows, exponents, lengths = [], [], []
    for v in arrays:
        m = at_least_float32(v.m)
        m = jnp.expand_dims(m, -1) if m.ndim == v.e.ndim else m
        e = jnp.broadcast_to(jnp.expand_dims(v.e, range(v.e.ndim, m.ndim - 1)), m.shape[:-1])
        m = jnp.pad(m, [(0, 0)] * (m.ndim - 1) + [(0, -m.shape[-1] % width)])
        rows.append(m.reshape(-1, width))
        exponents.append(jnp.repeat(e.ravel(), m.shape[-1] // width))
        lengths.append(len(rows[-1]))
    count, number = len(arrays), jnp.arange(sum(lengths), dtype=jnp.int32)  # of the row
    ends = np.cumsum(lengths)[:-1].astype(np.int32)
    array = jnp.sum(number[:, None] >= ends[None], axis=1, dtype=jnp.int32)  # that it belongs to
    is_inside = array[None] == jnp.arange(count, dtype=jnp.int32)[:, None]
    k, mantissa = exponent_and_mantissa(jnp.abs(jnp.concatenate(rows)))
    exponent = jnp.where(mantissa == 0, ZERO_EXPONENT, k + jnp.concatenate(exponents)[:, None])
    most = jnp.max(exponent, axis=1)
    top = jnp.max(jnp.where(is_inside, most, ZERO_EXPONENT), axis=1, initial=ZERO_EXPONENT)
    below = top[array][:, None] - exponent
    size = mantissa * power_of_two(-jnp.minimum(below, LOWEST), mantissa)

    # Counts and squares side by side, into several buffers, row by row in turn.
    groups = max(GROUPS, -(-len(number) * width // MOST_COUNTED))
    place = ((number % groups) * count + array)[:, None] * BINS + bins_of(below, mantissa)
    full = mantissa != 0
    pairs = jnp.stack([full.astype(size.dtype), jnp.square(size)], axis=-1)
    zero = jnp.zeros((groups * count * BINS, 2), size.dtype)
    sums = zero.at[place].add(pairs, mode="promise_in_bounds").reshape(groups, count, BINS, 2)
    return Entries(top.astype(size.dtype), jnp.sum(sums, axis=0))


class FlowEntries(NamedTuple):
    """Histograms of the entries of a flow; of PyTorch without those of Δ of parameters."""

    delta: Entries  # of Δ of the state of each layer
    state: Entries  # of each layer
    delta_parameter: Entries | None = None  # in the order of `flow.parameters`
    parameter: Entries | None = None


def sorted_entries(
    layers: Sequence[Any],
    records: Sequence[Sequence[Entries | None]],
    of_states: Sequence[int],
    of_parameters: Sequence[int],
) -> FlowEntries:
    """Return the entries of a flow, given those of each layer and how many its arrays are."""
    parts = []
    for layer, record in zip(layers, records, strict=True):
        if is_run(layer) and record:  # (k, arrays of the layer, …), the layers of a pattern in turn
            side_by_side = jax.tree.map(lambda *v: jnp.concatenate(v, axis=1), *record)
            parts.append(jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:]), side_by_side))
        else:
            parts += record
    whole: Entries = jax.tree.map(lambda *v: jnp.concatenate(v), *parts)
    counts = np.array([of_states, of_states, of_parameters, of_parameters]).T
    ends = np.cumsum(counts).reshape(counts.shape)
    delta, state, *both = (
        [range(end - count, end) for end, count in zip(*pair, strict=True)]
        for pair in zip(ends.T.tolist(), counts.T.tolist(), strict=True)
    )
    every = [whole.at([*chain(*places)]) for places in both] if any(of_parameters) else []
    return FlowEntries(_by_layer(whole, delta), _by_layer(whole, state), *every)


def _by_layer(whole: Entries, places: Sequence[range]) -> Entries:
    """Return the entries of each layer, those of its several arrays together."""
    order: list[int] = []
    parts = []
    for count in sorted(set(map(len, places))):
        layers = [i for i, of_layer in enumerate(places) if len(of_layer) == count]
        several = whole.at([[*places[i]] for i in layers])
        order += layers
        arrays = range(count)
        parts.append(
            jax.vmap(lambda v, at=arrays: Entries.together([v.at(i) for i in at]))(several)
        )
    return jax.tree.map(lambda *v: jnp.concatenate(v)[np.argsort(order)], *parts)  # type: ignore[no-any-return]

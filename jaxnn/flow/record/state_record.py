"""Records of the states of a chain, one by one on the way down, or of small ones together.

    on the way    a state                 ->  its record, or itself as it is
    after it      those that were left    ->  one array with zeros behind each  ->  their records

A program for each state would take long to compile; small ones are compiled once for all layers.
Zeros change no sum of squares, so what is measured relative to such a sum is as it was.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from ...arrays.loops import barrier
from ...arrays.rows import ScaledRows, as_one_row, as_reals, at_least_float32, floats, renormalised
from ...chain.state import main_of, streams, with_main_first
from .example_spread import log_spread_within, positions_of, rows_of
from .flow import FlowOptions
from .layer_record import StateRecord

FEW = 2**16  # numbers of a small state
SEVERAL = 4  # small states for which it pays to compile them together
MOST = 2**20  # numbers of all of them, with the zeros behind each: they are copied


class Small(NamedTuple):
    """A small state that is recorded after the walk."""

    state: Any


def are_together(states: Sequence[Any], options: FlowOptions) -> bool:
    """Tell whether the small ones of states, each of a layer in no run, are recorded together."""
    numbers = [_numbers(state) for state in states if is_small(state)]
    on_mesh = not jax.sharding.get_abstract_mesh().empty
    if len(numbers) < SEVERAL or on_mesh or options.replicas:
        return False
    return len(numbers) * max(numbers) <= MOST


def is_small(state: PyTree) -> bool:
    """Tell a state of few numbers."""
    return 0 < _numbers(state) <= FEW


def _numbers(state: PyTree) -> int:
    return sum(int(v.size) for v in floats(streams(state)))


def record_of(state: PyTree, dtype: jnp.dtype, options: FlowOptions) -> StateRecord:
    """Return the record of one state."""
    out, examples = floats(streams(state)), options.examples
    if options.replicas:  # are as many more units
        out = [_with_units(v) for v in out]
    if not (examples and with_main_first(state)):
        return state_record(out, dtype, examples)
    of_main = state_record(main_of(state), dtype, examples)
    of_all = state_record(out, dtype, examples=False)
    return of_all._replace(spread=of_main.spread)


def _with_units(v: Array) -> Array:
    """Return a state of replicas, (B, R, …, n), with their units side by side, (B, …, R n)."""
    v = jnp.moveaxis(v, 1, -2) if v.ndim > 2 else v
    return v.reshape(*v.shape[:-2], -1) if v.ndim > 2 else v


def state_record(out: list[Array], dtype: jnp.dtype, examples: bool) -> StateRecord:
    """Return what is recorded of a state, given its floats, with what differs between examples."""
    # Stored once: XLA would scale a state in each kernel that takes it, and store it as often.
    arrays, e = barrier(as_one_row([at_least_float32(v).astype(dtype) for v in out]))
    z = ScaledRows(rows_of(ScaledRows(arrays), dtype), e)
    return StateRecord.of(z, _eps(out), arrays) if examples else StateRecord.of(z, None)


def rows_of_state(out: list[Array], dtype: jnp.dtype) -> list[ScaledRows]:
    """Return the floats of a state as rows, one for each example."""
    return as_rows(out, [jnp.zeros(len(v), jnp.int32) for v in out], dtype)


def _eps(out: list[Array]) -> float:
    """Return the relative distance of neighbours among the numbers of a state."""
    return max(float(jnp.finfo(v.dtype).eps) for v in out)  # type: ignore[no-untyped-call]


# Small ones


def records_of_small(small: Sequence[Small], dtype: jnp.dtype, examples: bool) -> list[StateRecord]:
    """Return the records of small states."""
    of_all = _records([floats(streams(state.state)) for state in small], dtype, examples)
    if not examples:
        return of_all
    several = [i for i, state in enumerate(small) if with_main_first(state.state)]
    of_main = _records([main_of(small[i].state) for i in several], dtype, examples)
    for i, record in zip(several, of_main, strict=True):
        of_all[i] = of_all[i]._replace(spread=record.spread)
    return of_all


def _records(states: list[list[Array]], dtype: jnp.dtype, examples: bool) -> list[StateRecord]:
    """Return the records of states, each a list of arrays."""
    if not states:
        return []
    rows = [rows_of(ScaledRows(out), dtype) for out in states]
    counts = np.array([v.shape[1] for v in rows])
    scaled = barrier(renormalised(ScaledRows(_padded(rows), jnp.zeros(len(rows), jnp.int32))))
    eps = jnp.asarray(list(map(_eps, states)), dtype)

    def of(z: ScaledRows, eps: Array) -> StateRecord:
        return StateRecord.of(z, eps if examples else None)

    record: StateRecord = jax.vmap(of)(scaled, eps)
    # Means over a row with its zeros: as large as they should be once they are over its own length.
    square = record.square * (counts.max() / counts).astype(dtype)[:, None]
    spread = record.spread
    if spread is not None:
        spread = spread._replace(log_spread_within=_within(states, scaled, square))
    whole = StateRecord(record.exponent, square, spread)
    return [jax.tree.map(lambda v, i=i: v[i], whole) for i in range(len(rows))]


def _within(states: list[list[Array]], scaled: ScaledRows, square: Array) -> Array:
    """Return log_spread_within of states, given their rows together and means of their squares."""
    logs = [jnp.full((), jnp.nan, square.dtype)] * len(states)
    alike: dict[tuple[int, ...], list[int]] = {}
    for i, out in enumerate(states):
        if positions_of(out):
            alike.setdefault(out[0].shape[1:], []).append(i)
    for shape, numbers in alike.items():
        at = np.array(numbers)
        rows = scaled.m[at, :, : prod(shape)]
        several = rows.reshape(*rows.shape[:2], *shape)
        means = jnp.mean(square[at], axis=1)
        log_spread = jax.vmap(lambda v, mean: log_spread_within([v], mean))(several, means)
        for place, i in enumerate(numbers):
            logs[i] = log_spread[place]
    return jnp.stack(logs)


def _padded(arrays: Sequence[Array]) -> Array:
    """Return arrays as one, with zeros behind each; stored, and made in no other kernel again."""
    most = [max(sizes) for sizes in zip(*(v.shape for v in arrays), strict=True)]
    widths = ([(0, n - size) for n, size in zip(most, v.shape, strict=True)] for v in arrays)
    return barrier(jnp.stack([jnp.pad(v, w) for v, w in zip(arrays, widths, strict=True)]))


def as_rows(arrays: list[Array], exponents: list[Array], dtype: jnp.dtype) -> list[ScaledRows]:
    """Return arrays times 2^exponent, each as one row."""
    return [
        ScaledRows(at_least_float32(v).astype(dtype), e)
        for v, e in zip(arrays, exponents, strict=True)
    ]


def rows_of_arrays(arrays: list[Array], dtype: jnp.dtype) -> list[ScaledRows]:
    """Return parameter arrays, each as one row."""
    return as_rows(list(map(as_reals, arrays)), [jnp.zeros((), jnp.int32)] * len(arrays), dtype)

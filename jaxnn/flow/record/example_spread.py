"""Examples on the way up: what is left of their differences, layer by layer.

    spread   s[l]² = mean (z[l] - mean over examples of z[l])² / mean z[l]²

A network that makes its examples alike cannot tell them apart, whatever its gradient. Rounding
keeps a spread at some eps of the dtype: below that it says nothing.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ...arrays.loops import loop, product
from ...arrays.rows import (
    ScaledRows,
    aligned,
    at_least_float32,
    floats,
)
from ...arrays.spread import as_rows, beside, first_rows, spec_of
from ..formats.ranges import NOISE

RANK_OF = 64  # examples, at most, whose effective rank is taken
STRIP = 2**18  # numbers of a row that are multiplied at a time


def rows_of(z: ScaledRows, dtype: jnp.dtype) -> Float[Array, "B n"]:
    """Return the floats of a state as one row for each example, on one common exponent."""
    together = beside([as_rows(at_least_float32(v).astype(dtype)) for v in floats(z.m)])
    return together if z.e is None else aligned(ScaledRows(together, z.e)).m


class Spread(NamedTuple):
    """Differences between the examples of a state, by the names that a Flow has for them."""

    log_spread: Float[Array, "*k"]
    cosine: Float[Array, "*k"]
    rank: Float[Array, "*k"]
    log_spread_within: Float[Array, "*k"] | None = None


def spread_of(
    rows: Float[Array, "B n"],
    eps: float | Array,
    arrays: list[Array] | None,
    mean_square: Float[Array, ""],
) -> Spread:
    """Return what differs between the rows of a state; their squares are in range."""
    count = len(rows)
    square = jnp.mean(jnp.square(rows), axis=1)
    deviation, spread = _spread(rows, 0, jnp.mean(square))
    norms = jnp.sqrt(square * rows.shape[1])
    units = rows / jnp.where(norms == 0, 1, norms)[:, None]
    total = jnp.sum(jnp.square(jnp.sum(units, axis=0)))
    some = first_rows(deviation, RANK_OF)  # all with all
    gram = _gram(some)
    rank = jnp.square(jnp.trace(gram)) / jnp.sum(jnp.square(gram))
    within = None if arrays is None else log_spread_within(arrays, mean_square)
    if count == 1:  # nothing to compare it with
        nan = jnp.full_like(total, jnp.nan)
        return Spread(nan, nan, nan, within)
    return Spread(
        jnp.log(spread),
        (total - count) / (count * (count - 1.0)),
        jnp.where(spread > NOISE * eps, rank, jnp.nan),
        within,
    )


def _gram(rows: Float[Array, "B n"]) -> Float[Array, "B B"]:
    """Return the products of rows with each other, of long ones in strips, to save memory."""
    strips = rows.shape[1] // STRIP
    if strips < 2 or any(spec_of(rows)):
        return product(rows, rows.T)

    def add(i: Array, total: Array) -> Array:
        strip = lax.dynamic_slice_in_dim(rows, i * STRIP, STRIP, axis=1)
        return total + product(strip, strip.T)

    last = rows[:, strips * STRIP :]
    return loop(0, strips, add, product(last, last.T))


def positions_of(arrays: Sequence[Any]) -> int:
    """Return the number of positions of a state (B, …, channels) of one array; 0 without any."""
    if len(arrays) != 1 or arrays[0].ndim < 3:
        return 0
    count = prod(arrays[0].shape[1:-1])
    return count if count > 1 else 0


def log_spread_within(states: list[Array], mean_square: Float[Array, ""]) -> Float[Array, ""]:
    """Return ln of the spread between the positions of an example; the last axis is no position."""
    if not positions_of(states):
        return jnp.full_like(mean_square, jnp.nan)
    positions = tuple(range(1, states[0].ndim - 1))
    return jnp.log(_spread(states[0], positions, mean_square)[1])


def _spread(
    values: Array, axis: int | tuple[int, ...], mean_square: Float[Array, ""]
) -> tuple[Array, Array]:
    """Return the deviation of values from their mean along an axis, and its relative size."""
    deviation = values - jnp.mean(values, axis=axis, keepdims=True)
    return deviation, jnp.sqrt(jnp.mean(jnp.square(deviation)) / mean_square)

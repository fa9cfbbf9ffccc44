"""The record of a walk: what it leaves of each layer on its way, and the Flow that comes of it.

    on the way     of Δ of a state, and of a state, one number of each example with an exponent
    after it       of all layers, (L, B): the fields of a Flow, their numbers of a batch

The walk of a Network and that of a chain leave these, stacked for a run, and so does torch.
Examples are brought together after the walk, for all layers at once: that is compiled once, where
a loop over layers and each layer by itself would have it compiled again.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ...arrays.rows import (
    ScaledRows,
    aligned,
    alignment,
    as_one_row,
    at_least_float32,
    log_of,
    lost_in_plain,
    power_of_two,
    squares,
)
from ...network.checks import UsedDepth
from ...network.params import is_run
from ...passes.walk import scan_up
from ..formats.entries import Entries, FlowEntries
from .example_spread import (
    Pushed,
    at_start,
    examples_of,
    log_spread_by_position,
    log_tangent,
    pushed,
)
from .flow import Flow
from .positions import log_delta_by_position

Fields = dict[str, Any]  # of a Flow


class DeltaRecord(NamedTuple):
    """Numbers of Δ = m 2^e of a state.

    exponent: e of each example; `ZERO_EXPONENT` if its Δ is zero.
    largest: its largest |m|.
    square: the sum of its m².
    entries: of all examples, if asked for.
    """

    exponent: Int[Array, "*k B"]
    largest: Float[Array, "*k B"]
    square: Float[Array, "*k B"]
    entries: Entries | None = None

    @classmethod
    def of(
        cls, delta: ScaledRows, largest: Float[Array, " B"], entries: Entries | None = None
    ) -> "DeltaRecord":
        """Return the numbers of Δ, which is renormalised."""
        return cls(delta.e, largest, squares(delta), entries)

    @classmethod
    def together(cls, each: Sequence["DeltaRecord"]) -> "DeltaRecord":
        """Return the numbers of several arrays as those of one."""
        if len(each) == 1:
            return each[0]
        common = jnp.max(jnp.stack([one.exponent for one in each]), axis=0)
        scales = [power_of_two(one.exponent - common, one.square) for one in each]
        largest = [scale * one.largest for scale, one in zip(scales, each, strict=True)]
        sums = [jnp.square(scale) * one.square for scale, one in zip(scales, each, strict=True)]
        entries = [one.entries for one in each if one.entries is not None]
        return cls(
            common,
            jnp.max(jnp.stack(largest), axis=0),
            jnp.sum(jnp.stack(sums), axis=0),
            Entries.together(entries) if entries else None,
        )

    def fields(self) -> Fields:
        """Return the fields of a Flow on the size of Δ."""
        scale, common = alignment(self.exponent, self.square)
        square = jnp.sum(jnp.square(scale) * self.square, axis=1)
        largest = jnp.max(scale * at_least_float32(self.largest), axis=1)
        return {
            "log_delta": log_of(jnp.sqrt(square), common),
            "log_delta_example": log_of(jnp.sqrt(self.square), self.exponent),
            "log_largest": log_of(largest, common),
            "entries_delta": self.entries,
        }


class StateRecord(NamedTuple):
    """Numbers of a state z = m 2^e.

    exponent: e of each example.
    square: the mean of its m².
    examples: of `examples_of`, if asked for, and other fields of a Flow.
    entries: of all examples, if asked for.
    """

    exponent: Int[Array, "*k B"]
    square: Float[Array, "*k B"]
    examples: Fields
    entries: Entries | None = None

    @classmethod
    def of(cls, z: ScaledRows, eps: float | Array | None) -> "StateRecord":
        """Return the numbers of a state, (B, n), whose squares are in range; e may be one for all.

        That is of a state which is renormalised. eps is that of the dtype that it is computed in;
        None leaves out what differs between examples.
        """
        z = z._replace(m=at_least_float32(z.m))
        rows = as_one_row(aligned(z).m).m if z.e.ndim else z.m
        examples = {} if eps is None else examples_of(rows, eps)
        square = jnp.mean(jnp.square(z.m), axis=-1)
        return cls(jnp.broadcast_to(z.e, square.shape), square, examples)

    def mean_square(self) -> ScaledRows:
        """Return the mean over the examples too, with an exponent."""
        scale, common = alignment(self.exponent, self.square)
        return ScaledRows(jnp.mean(jnp.square(scale) * self.square, axis=1), 2 * common)

    def fields(self) -> Fields:
        """Return the fields of a Flow on states; a mean square of nan, of inf - inf, is inf."""
        log = log_of(*self.mean_square())
        log = jnp.where(jnp.isnan(log), jnp.inf, log)
        return {"log_mean_square": log, "entries_state": self.entries, **self.examples}


class PositionRecord(NamedTuple):
    """Numbers of the positions of one state, as in `Positions`."""

    log_delta: Float[Array, "*k t"]
    log_spread: Float[Array, "*k t"]

    @classmethod
    def of(cls, state: Array, delta: ScaledRows, dtype: Any) -> "PositionRecord":
        """Return those of a state (B, …, channels) and of its Δ."""
        return cls(log_delta_by_position(delta, dtype), log_spread_by_position(state, dtype))


def in_order(entries: Sequence[Any], records: Sequence[Sequence[Any]]) -> Any:
    """Return what is recorded of all layers, (L, …), from the first to the last.

    Args:
        entries: the parameters that the walk takes, some of them runs.
        records: of each entry those of its layers: one, or the several of a pattern, or none; of a
            run stacked.
    """
    parts = []
    for entry, of_layers in zip(entries, records, strict=True):
        if not of_layers:
            continue
        if is_run(entry):
            # (k, …) of each layer of the pattern -> (k · layers, …)
            together = jax.tree.map(lambda *v: jnp.stack(v, axis=1), *of_layers)
            parts.append(jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:]), together))
        else:
            parts.append(jax.tree.map(lambda *v: jnp.stack(v), *of_layers))
    return jax.tree.map(lambda *v: jnp.concatenate(v), *parts)


def log_tangents(
    net: Any,
    entries: Sequence[Any],
    x: ScaledRows,
    forwards: Callable[[Any, Any], Sequence[Callable[[ScaledRows], ScaledRows]]],
    dtype: Any,
    depth: UsedDepth = None,
) -> Float[Array, " L"]:
    """Return log_tangent of every layer, from a second way up.

    Args:
        net: the network, or something with the kinds of its layers.
        entries: its parameters.
        x: what goes into it.
        forwards: (kind, entry) -> the functions of its layers.
        dtype: of the result.
        depth: the layers used of the one run.
    """

    def step(kind: Any, entry: Any, state: Pushed) -> tuple[Pushed, list[Array]]:
        logs = []
        for forward in forwards(kind, entry):
            state = pushed(forward, state)
            logs.append(log_tangent(state, dtype))
        return state, logs if getattr(kind, "is_layer", True) else []

    _, records = scan_up(net, tuple(entries), at_start(x), step, depth)
    logs: Array = in_order(entries, records)
    return logs


def flow_of(
    fields: dict[str, Any],
    dtype: Any,
    used: Bool[Array, " L"] | None = None,
    above: Int[Array, " L"] | None = None,
    log_main: Float[Array, " L"] | None = None,
    of_parameters: tuple[Entries | None, Entries | None] = (None, None),
    entries: FlowEntries | None = None,
    **others: Any,
) -> Flow:
    """Return a Flow, with what a layer does to Δ and where plain numbers end.

    Args:
        fields: those of its fields that have an entry for each layer, and some without.
        dtype: the float type of plain backpropagation.
        used: the layers that the network has; numbers of others become nan.
        above: of each layer the index of the one above it.
        log_main: log_delta of the main array of each state, if some have several.
        of_parameters: entries of Δ of each parameter array, and of the array.
        entries: of all, if they are not among the fields.
        others: further fields, which are not masked.
    """
    log_delta = fields["log_delta"] if log_main is None else log_main
    with_end = jnp.append(log_delta, jnp.nan)
    fields = fields | {
        "log_gain": log_delta - (with_end[1:] if above is None else with_end[above]),
        "lost": lost_in_plain(fields["log_largest"], dtype, True if used is None else used),
    }

    def masked(v: Array) -> Array:
        if used is None or v.dtype == bool or not v.ndim:
            return v
        return jnp.where(jnp.expand_dims(used, range(1, v.ndim)), v, jnp.nan)

    fields = jax.tree.map(masked, fields)
    delta, state = fields.pop("entries_delta"), fields.pop("entries_state")
    if delta is not None:
        entries = FlowEntries(delta, state, *of_parameters)
    return Flow(**fields, entries=entries, dtype=dtype, **others)

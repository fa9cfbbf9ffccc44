"""Records of layers: numbers of each example on the way down, of the batch after it.

    on the way     of Δ of a state, and of a state, one number of each example with an exponent
    after it       of all layers, (L, …): their numbers over the batch, one `LayerRecord`, one Flow

The walks of a Network and of a chain leave these, stacked for a run, and so does torch.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

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
    value_of,
)
from ...network.params import is_run
from ..formats.entries import FlowEntries
from .example_spread import Spread, spread_of
from .flow import Flow, Parameters, Units

T = TypeVar("T")


class DeltaSizes(NamedTuple):
    """Sizes of Δ of a state over the batch, under the names that they have in a Flow."""

    log_delta: Float[Array, "*k"]
    log_delta_example: Float[Array, "*k B"]
    log_largest: Float[Array, "*k"]


class StateSizes(NamedTuple):
    """Sizes of a state over the batch: its mean square, and what differs between its examples."""

    mean_square: Float[Array, "*k"]  # inf and 0 beyond the range
    log_mean_square: Float[Array, "*k"]
    spread: Spread | None


class UsedLayers(NamedTuple):
    """The layers that a network with a depth uses, and of each the place of the one above it."""

    are_used: Bool[Array, " L"]
    above: Int[Array, " L"]


class LayerRecord(NamedTuple):
    """The fields of a flow of its layers, (L, …), with sizes of Δ of their states and of these."""

    delta: DeltaSizes
    state: StateSizes
    log_theta: Float[Array, " L"]
    log_gain: Float[Array, " L"]
    lost: Bool[Array, " L"]
    mixes: Bool[Array, " L"]
    linear: Bool[Array, " L"]
    log_branch: Float[Array, " L"] | None
    units: Units | None

    @classmethod
    def of(
        cls,
        delta: DeltaSizes,
        state: StateSizes,
        log_theta: Float[Array, " L"],
        mixes: Bool[Array, " L"],
        linear: Bool[Array, " L"],
        *,
        dtype: jnp.dtype,
        main: DeltaSizes | None = None,
        log_branch: Float[Array, " L"] | None = None,
        units: Units | None = None,
        used: UsedLayers | None = None,
    ) -> "LayerRecord":
        """Return the record, with what each layer does to Δ, and where plain numbers end.

        main is Δ of the main array of each state, where some have several; dtype is that of
        plain backpropagation.
        """
        main = delta if main is None else main
        # The layer above is the next one, but for the last that a depth leaves of a run.
        with_end = jnp.append(main.log_delta, jnp.nan)
        above = with_end[1:] if used is None else with_end[used.above]
        return cls(
            delta._replace(log_largest=main.log_largest),
            state,
            log_theta,
            main.log_delta - above,
            lost_in_plain(main.log_largest, dtype, True if used is None else used.are_used),
            mixes,
            linear,
            log_branch,
            units,
        )


def over_batch(tree: T) -> T:
    """Return a tree with sizes over the batch for each record of examples in it."""
    # After the walk: that is compiled once for all layers, where it would be once for each.
    return called("over_batch", tree)


def called(method: str, tree: T) -> T:
    """Return a tree with what a method returns for each node that has it."""

    def has_method(v: Array) -> bool:
        return hasattr(v, method)

    inside: T = jax.tree.map(
        lambda v: getattr(v, method)() if has_method(v) else v, tree, is_leaf=has_method
    )
    return inside


def masked(tree: T, are_used: Bool[Array, " n"]) -> T:
    """Return a tree of arrays (n, …) with nan where they are not used; booleans stay."""

    def mask(v: Array) -> Array:
        if v.dtype == bool:
            return v
        return jnp.where(jnp.expand_dims(are_used, range(1, v.ndim)), v, jnp.nan)

    with_nan: T = jax.tree.map(mask, tree)
    return with_nan


class DeltaRecord(NamedTuple):
    """Numbers of Δ = m 2^e of a state."""

    exponent: Int[Array, "*k B"]  # e of each example; `ZERO_EXPONENT` if its Δ is zero
    largest: Float[Array, "*k B"]  # its largest |m|
    square: Float[Array, "*k B"]  # the sum of its m²

    @classmethod
    def of(cls, delta: ScaledRows, largest: Float[Array, " B"], replicas: int = 1) -> "DeltaRecord":
        """Return the numbers of Δ, which is renormalised, with the mean square over replicas."""
        return cls(delta.e, largest, squares(delta) / replicas)

    @classmethod
    def together(cls, records: Sequence["DeltaRecord"]) -> "DeltaRecord":
        """Return the numbers of several arrays as those of one."""
        if len(records) == 1:
            return records[0]
        # On the largest exponent of an example: what is far below it is lost to rounding in an
        # exact sum too.
        common = jnp.max(jnp.stack([one.exponent for one in records]), axis=0)
        scales = [power_of_two(one.exponent - common, one.square) for one in records]
        largest = [scale * one.largest for scale, one in zip(scales, records, strict=True)]
        sums = [jnp.square(scale) * one.square for scale, one in zip(scales, records, strict=True)]
        return cls(common, jnp.max(jnp.stack(largest), axis=0), jnp.sum(jnp.stack(sums), axis=0))

    def over_batch(self) -> DeltaSizes:
        """Return the sizes over the batch: a sum of squares on one common exponent."""
        scale, common = alignment(self.exponent, self.square)
        square = jnp.sum(jnp.square(scale) * self.square, axis=1)
        largest = jnp.max(scale * at_least_float32(self.largest), axis=1)
        return DeltaSizes(
            log_of(jnp.sqrt(square), common),
            log_of(jnp.sqrt(self.square), self.exponent),
            log_of(largest, common),
        )


class StateRecord(NamedTuple):
    """Numbers of a state z = m 2^e."""

    exponent: Int[Array, "*k B"]  # e of each example
    square: Float[Array, "*k B"]  # the mean of its m²
    spread: Spread | None  # what differs between the examples, if asked for

    @classmethod
    def of(
        cls, z: ScaledRows, eps: float | Array | None, arrays: list[Array] | None = None
    ) -> "StateRecord":
        """Return the numbers of a renormalised state, (B, n); e may be one for all.

        eps: of the dtype that it is computed in; None leaves out what differs between examples.
        arrays: those that z is made of, if their positions may differ too.
        """
        z = z._replace(m=at_least_float32(z.m))
        rows = as_one_row(aligned(z).m).m if z.e.ndim else z.m
        square = jnp.mean(jnp.square(z.m), axis=-1)
        spread = None if eps is None else spread_of(rows, eps, arrays, jnp.mean(square))
        return cls(jnp.broadcast_to(z.e, square.shape), square, spread)

    def over_batch(self) -> StateSizes:
        """Return the sizes over the batch; a mean square of nan, of inf - inf, is inf."""
        scale, common = alignment(self.exponent, self.square)
        mean = jnp.mean(jnp.square(scale) * self.square, axis=1)
        log = log_of(mean, 2 * common)
        log = jnp.where(jnp.isnan(log), jnp.inf, log)
        return StateSizes(value_of(mean, 2 * common), log, self.spread)


def in_order(entries: Sequence[Any], records: Sequence[Sequence[Any]]) -> Any:
    """Return what is recorded of all layers, (L, …); of a run, and of its pattern, stacked."""
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


def assemble(
    layers: LayerRecord,
    parameters: Parameters,
    *,
    names: Sequence[str],
    sizes: Sequence[int],
    dtype: jnp.dtype,
    log_delta_input: Float[Array, ""],
    entries: FlowEntries | None = None,
    **notes: Any,
) -> Flow:
    """Return a Flow; notes are further fields of it."""
    spread = layers.state.spread
    return Flow(
        **layers.delta._asdict(),
        **({} if spread is None else spread._asdict()),
        log_mean_square=layers.state.log_mean_square,
        **{name: getattr(layers, name) for name in LayerRecord._fields[2:]},
        log_delta_input=log_delta_input,
        parameters=parameters,
        names=tuple(names),
        sizes=tuple(sizes),
        dtype=dtype,
        entries=entries,
        **notes,
    )


def smallest_of(dtypes: Sequence[jnp.dtype]) -> jnp.dtype:
    """Return the float type with the smallest range."""
    return min(dtypes, key=lambda d: float(jnp.finfo(d).maxexp))  # type: ignore[no-untyped-call]

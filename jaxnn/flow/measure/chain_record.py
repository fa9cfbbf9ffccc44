"""Records of the layers of a chain, made on the way down, and the Flow made of them.

on the way     of a link   Δ of its state, that state, ln of the norms of Δ of its parameters
after it       of all of them in order, small states and arrays together  ->  a `LayerRecord`
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from ...arrays.rows import (
    FEW,
    ScaledRows,
    at_least_float32,
    floats,
    log_size_of_rows,
    log_size_together,
    log_sizes_of,
)
from ...chain.chain import Lowered
from ...chain.state import counted, main_of, streams, with_main_first
from ...recognition.skips import Skip, log_branch
from ..formats.entries import Entries, FlowEntries, entries_of, sorted_entries
from ..record.example_spread import positions_of
from ..record.flow import Flow, FlowOptions, Streams
from ..record.given import Given
from ..record.heads import RecognisedRecord, recognised_of, unread_notes
from ..record.layer_record import (
    DeltaRecord,
    LayerRecord,
    StateRecord,
    assemble,
    in_order,
    over_batch,
    smallest_of,
)
from ..record.state_record import (
    Small,
    are_together,
    as_rows,
    is_small,
    record_of,
    records_of_small,
    rows_of_arrays,
    rows_of_state,
)
from .layer_vjp import ChainStep, arrays_of
from .parameter_sizes import Deltas, parameter_sizes
from .unrolled import Unrolled

MOST = 2**22  # numbers of all links that are recorded after the way down


class _LinkRecord(NamedTuple):
    """A link on the way down, in one dtype for all."""

    delta: DeltaRecord  # of its state
    # Of the main array of that; None in a network whose states have one array each.
    main: DeltaRecord | None
    per_array: DeltaRecord | None  # of every array, (s, B); None likewise
    of_state: StateRecord | Small  # the state itself of one that is left for the end
    # ln ‖Δ‖ of each parameter array; Δ itself of one that is measured together with others.
    theta: Deltas
    recognised: RecognisedRecord
    entries: Entries | None  # of all arrays: Δ of the state, it, Δ of parameters and these
    mixes: Bool[Array, ""]
    # ln of what is added to a stream, relative to it; nan without a skip.
    log_branch: Float[Array, ""]


Records = Sequence[Sequence[_LinkRecord]]  # of the links of each entry; of a run stacked


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Left:
    """A link on the way down that is recorded after it."""

    step: ChainStep  # its numbers, without what is static
    below: PyTree  # the state that went in, if there is a skip around it
    skip: Skip | None = field(metadata={"static": True})

    @classmethod
    def of(cls, step: ChainStep) -> "_Left":
        """Take the numbers of a step."""
        skip, below = (None, None) if step.skip is None else step.skip
        return cls(step._replace(is_alone=None, skip=None), below, skip)

    def restored(self, is_alone: bool) -> ChainStep:
        """Return the step."""
        skip = None if self.skip is None else (self.skip, self.below)
        return self.step._replace(is_alone=is_alone, skip=skip)


class ChainRecorder(NamedTuple):
    """The record of one chain: what is kept of each link, and the flow of that."""

    chain: Unrolled
    options: FlowOptions
    dtype: jnp.dtype  # of all numbers
    together: bool  # small states are recorded together, at the end

    @classmethod
    def of(cls, chain: Unrolled, options: FlowOptions) -> "ChainRecorder":
        is_double = any(d.itemsize == 8 for d in chain.dtypes)
        dtype = jnp.dtype(jnp.float64 if is_double else jnp.float32)
        return cls(chain, options, dtype, are_together(chain.states_alone, options))

    def keep(self, step: ChainStep) -> _LinkRecord | _Left:
        """Return what is kept of a link: its record, or all of its numbers if they are few."""
        if not self.options.entries:
            step = step._replace(trained=[])
        left = _Left.of(step)
        numbers = sum(map(np.size, jax.tree.leaves(left))) * len(self.chain.states)
        return left if self.options.at_end and numbers <= MOST else self._kept(step)

    def _of_entry(
        self, of_links: Sequence[_LinkRecord | _Left], is_alone: bool
    ) -> list[_LinkRecord]:
        """Return the records of the links of an entry, also of those that were left."""

        def of(left: _Left) -> _LinkRecord:
            return self._kept(left.restored(is_alone))

        late = of if is_alone else jax.vmap(of)
        return [late(link) if isinstance(link, _Left) else link for link in of_links]

    def _kept(self, step: ChainStep) -> _LinkRecord:
        """Return the record of a link."""
        dtype, several = self.dtype, self.chain.has_streams
        shared = isinstance(step.theta.e, list)
        exponents = step.theta.e if shared else [step.theta.e] * len(step.theta.m)
        theta = [ScaledRows(m, e) for m, e in zip(step.theta.m, exponents, strict=True)]
        # States may be of several dtypes, records are of one: those of all layers are stacked.
        deltas = [
            (v._replace(m=at_least_float32(v.m).astype(dtype)), largest.astype(dtype))
            for v, largest, counts in zip(
                arrays_of(step.delta), step.largest, counted(step.out), strict=True
            )
            if counts
        ]
        records = [DeltaRecord.of(v, largest, self.chain.replicas) for v, largest in deltas]
        whole = DeltaRecord.together(records)
        main = records[0] if with_main_first(step.out) else whole
        branch = jnp.array(jnp.nan, dtype)
        if step.skip is not None:
            branch = log_branch(*step.skip, step.out, dtype)
        return _LinkRecord(
            whole,
            main if several else None,
            jax.tree.map(lambda *v: jnp.stack(v), *records) if several else None,
            self._of_state(step),
            self._of_theta(theta, bool(step.is_alone)),
            RecognisedRecord.of(step.recognised, dtype),
            self._entries([v for v, _ in deltas], step, as_rows(step.theta.m, exponents, dtype)),
            jnp.array(True) if step.mixes is None else step.mixes,
            branch,
        )

    def _of_theta(self, theta: list[ScaledRows], is_alone: bool) -> Deltas:
        """Return ln ‖Δ‖ of parameter arrays; small ones as they are until the end."""
        # In the end one program has all norms; in a run it is one program anyway, and keeping them
        # would take the memory of all layers.
        waits = [is_alone and v.m.size <= FEW for v in theta]
        logs = iter(log_sizes_of([v for v, later in zip(theta, waits, strict=True) if not later]))
        return [
            v if later else next(logs).astype(self.dtype)
            for v, later in zip(theta, waits, strict=True)
        ]

    def _of_state(self, step: ChainStep) -> StateRecord | Small:
        if self.together and step.is_alone and is_small(step.out):
            return Small(step.out)
        return record_of(step.out, self.dtype, self.options)

    def _entries(
        self, deltas: list[ScaledRows], step: ChainStep, theta: list[ScaledRows]
    ) -> Entries | None:
        if not self.options.entries:
            return None
        states = rows_of_state(floats(streams(step.out)), self.dtype)
        return entries_of([*deltas, *states, *theta, *rows_of_arrays(step.trained, self.dtype)])

    def flow(
        self,
        net: Lowered,
        all_records: Sequence[Sequence[_LinkRecord | _Left]],
        bottom: ScaledRows,
        given: Given | None,
    ) -> Flow:
        """Return the Flow of what was kept of each entry, of a conversion nothing."""
        chain, options, dtype = self.chain, self.options, self.dtype
        records = [
            self._of_entry(links, op.is_alone)
            for (op, _), links in zip(chain.layers, filter(None, all_records), strict=True)
        ]
        of_states = self._with_small(records)
        deltas = [[kept.theta for kept in record] for record in records]
        parameters, log_theta = parameter_sizes(net, chain, deltas, dtype)
        of_layers = [
            [
                (kept.delta, state, log, kept.mixes, kept.main, kept.log_branch)
                for kept, state, log in zip(*entry, strict=True)
            ]
            for entry in zip(records, of_states, log_theta, strict=True)
        ]
        weights = [weights for _, weights in chain.layers]
        delta, state, log_thetas, mixes, main, branch = over_batch(in_order(weights, of_layers))
        unread = [(i, name) for i, a in enumerate(chain.anatomies, 1) for name in a.unread]
        recognised = [[kept.recognised for kept in record] for record in records]
        smallest = smallest_of(chain.dtypes)
        return assemble(
            LayerRecord.of(
                *(delta, state, log_thetas, mixes, chain.linear),
                dtype=smallest,
                main=main,
                log_branch=branch if any(a.skip for a in chain.anatomies) else None,
            ),
            parameters,
            names=net.names,
            sizes=chain.sizes,
            dtype=smallest,
            log_delta_input=self._log_of_input(bottom),
            entries=self._flow_entries(records, parameters.layers),
            streams=self._streams(records),
            positions=tuple(positions_of(main_of(v)) for v in chain.states),
            closed=net.closed,
            given=given,
            replicas=options.replicas,
            notes=unread_notes(unread, net.names),
            **recognised_of(chain.anatomies, recognised, net.paths),
        )

    def _with_small(self, records: Records) -> list[list[StateRecord]]:
        """Return the records of all states, those that were left for the end together."""
        small = [
            kept.of_state
            for record in records
            for kept in record
            if isinstance(kept.of_state, Small)
        ]
        of_small = iter(records_of_small(small, self.dtype, self.options.examples))
        return [
            [
                next(of_small) if isinstance(v, Small) else v
                for v in (kept.of_state for kept in record)
            ]
            for record in records
        ]

    def _streams(self, records: Records) -> Streams | None:
        """Return the sizes of Δ of all arrays that go from layer to layer; None of one each."""
        if not self.chain.has_streams:
            return None
        by_entry: list[DeltaRecord] = []
        for (op, _), record in zip(self.chain.layers, records, strict=True):
            axis = 0 if op.is_alone else 1  # behind that of the layers
            of_links = [kept.per_array for kept in record]
            by_entry.append(jax.tree.map(lambda *v, axis=axis: _in_a_row(v, axis), *of_links))
        whole: DeltaRecord = jax.tree.map(lambda *v: jnp.concatenate(v), *by_entry)
        arrays = [floats(streams(state)) for state in self.chain.states]
        return Streams(
            whole.over_batch().log_delta,
            tuple(f"{v.dtype}{list(v.shape[1:])}" for vs in arrays for v in vs),
            tuple(number for number, vs in enumerate(arrays, 1) for _ in vs),
        )

    def _flow_entries(self, records: Records, layers: tuple[int, ...]) -> FlowEntries | None:
        """Return the histograms of all arrays, given the layer of each parameter array."""
        if not self.options.entries:
            return None
        arrays, states = Counter(layers), self.chain.states
        return sorted_entries(
            [weights for _, weights in self.chain.layers],
            [[kept.entries for kept in record] for record in records],
            [len(floats(streams(state))) for state in states],
            [arrays[number] for number in range(1, len(states) + 1)],
        )

    def _log_of_input(self, delta: ScaledRows) -> Float[Array, ""]:
        """Return ln of the norm of Δx; nan without floats."""
        logs = [log_size_of_rows(v).astype(self.dtype) for v in arrays_of(delta)]
        none = jnp.array(jnp.nan, self.dtype)
        return log_size_together(logs) - self.chain.log_replicas if logs else none


def _in_a_row(values: tuple[Array, ...], axis: int) -> Array:
    """Return the arrays of links one after the other, of a run those of its first layer first."""
    together = jnp.concatenate(values, axis)
    return together.reshape(-1, *together.shape[axis + 1 :])

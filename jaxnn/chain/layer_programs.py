"""Programs of layers: the main steps between two places, or the body of a scan, as a function.

    (arrays, state)  ->  prologue and main steps    ->  state        a layer
    (arrays, state)  ->  one step of a scan         ->  state        a layer of a run

A layer runs what it needs of the prologue again: so it has the arrays that were handed over. What
takes long to make, or is the batch's, rides in the state instead.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PyTree

from ..arrays.rows import can_be_learned
from ..arrays.spread import zeros
from ..jaxpr.interpreter import function
from ..jaxpr.program import Closed, TracedProgram, behind, evaluated, resized, struct
from ..jaxpr.scan_params import Need, Prepared, ScanInputs, Source, prepared
from .dependence import MOST_IN_A_ROW, TracedNetwork
from .parameter_handover import Made
from .scan_runs import Scanned
from .state import NOTHING_FILLED, Filled, LayerState

Leaf = TypeVar("Leaf")  # an array, or its type


class Piece(NamedTuple):
    """A layer, or a run of k layers."""

    names: tuple[str, ...]  # of its layers
    program: TracedProgram  # (arrays, state) -> state
    # Sources of its arrays; of a run (k, …), None where all share one.
    per_layer: tuple[Source | None, ...]
    shared: tuple[Source | None, ...]  # of a run the sources of what all layers share
    trained: tuple[bool, ...]  # for each array whether it is a parameter
    k: int  # the length of a run; 0 for a layer
    # Products within that are not taken apart, if most are; not numbered yet.
    closed: Closed | None = None
    between: bool = False  # no layer, but what turns one state into another, next to a run
    filled: Filled = NOTHING_FILLED  # of a run the outputs of its steps


class Knife:
    """Cuts a traced network into the programs of its layers."""

    def __init__(self, network: TracedNetwork, riding: list[int]) -> None:
        self.network, self.riding = network, riding
        known = {*riding}
        self.prologue = [s for s in network.prologue if known.isdisjoint(s.outputs)]

    def is_same(self, at: list[int] | None, values: list[int]) -> bool:
        """Tell whether a state is that of other values; None is xs, or the output."""
        network = self.network
        if at is not None:
            return at == values
        values = [network.roots.get(v, v) for v in values]
        outside = [[*network.xs], [*network.flat.outputs]]
        structures = [network.into, network.out]
        leaf = jax.tree.structure(0)
        return not self.riding and any(
            structure == leaf and values == whole and network.axes.get(values[0]) == 0
            for structure, whole in zip(structures, outside, strict=True)
        )

    def inside(self, v: int, array: Array) -> Array:
        """Return an array of a state as the program has it."""
        axis = self.network.axes.get(v, 0)
        return jnp.moveaxis(array, 0, axis) if axis else array

    def outside(self, v: int, array: Array) -> Array:
        """Return an array of the program as a state has it, the examples first."""
        axis = self.network.axes.get(v, 0)
        return jnp.moveaxis(array, axis, 0) if axis else array

    def packed(self, streams: Sequence[Leaf], riders: Sequence[Leaf]) -> LayerState | Leaf:
        """Return a state; of one stream alone that is the array."""
        if len(streams) == 1 and not riders:
            return streams[0]
        return LayerState(tuple(streams), tuple(riders))

    def type_of(self, values: Sequence[int]) -> PyTree:
        """Return the types of a state."""
        types, axes = self.network.flat.types, self.network.axes
        streams, riders = (
            [struct(types[v], axes.get(v, 0)) for v in group] for group in (values, self.riding)
        )
        return self.packed(streams, riders)

    def layer(
        self, names: Sequence[str], a: int, b: int, into: list[int] | None, out: list[int] | None
    ) -> Piece:
        """Return main steps a … b - 1 as a layer, which runs its prologue; `into` None is xs."""
        network, flat, steps = self.network, self.network.flat, self.network.main[a:b]
        taken = network.xs if into is None else [*into, *self.riding]
        made = flat.outputs if out is None else [*out, *self.riding]
        # What the state brings along is taken from it, and not made again; the rest of what the
        # steps need, the prologue makes of the arrays that were handed over.
        blank = {v for v in made if v in network.blank}
        needs = {v for step in steps for v in step.inputs}.union(made) - blank
        whole = network.prologue if into is None else self.prologue
        prologue, values = behind(needs - {*taken}, [*whole])
        used = [v for v in network.sources if v in values]
        if into is not None:
            used += sorted(network.indices & values)

        def run(arrays: list[Array], state: PyTree) -> Any:
            leaves = dict(zip(taken, jax.tree.leaves(state), strict=True))
            empty = {v: zeros(1, flat.types[v])[0] for v in blank}
            given = {v: x if into is None else self.inside(v, x) for v, x in leaves.items()}
            known = flat.constants | empty | dict(zip(used, arrays, strict=True)) | given
            values = evaluated(made, [*prologue, *steps], known)
            if out is None:
                return jax.tree.unflatten(network.out, values)
            # A value that passes goes on as it came, without two moves of its examples' axis.
            arrays = [
                leaves[v] if v in leaves and into is not None else self.outside(v, x)
                for v, x in zip(made, values, strict=True)
            ]
            return self.packed(arrays[: len(out)], arrays[len(out) :])

        stacks = (s.inputs[0] for s in prologue if s.entry is not None)
        apart = behind(network.parameters.intersection(stacks), prologue)[1]
        per_layer = tuple(network.source(v)._replace(by_index=v in apart) for v in used)
        if into is None:
            state = jax.tree.unflatten(network.into, [struct(flat.types[v]) for v in taken])
        else:
            state = self.type_of(into)
        program = TracedProgram.of(run, [struct(flat.types[v]) for v in used], state)
        trained = tuple(can_be_learned(flat.types[v]) for v in used)
        closed = _closed(network, a, b)
        return Piece(tuple(names), program, per_layer, (None,) * len(per_layer), trained, 0, closed)

    def run(self, names: Sequence[str], run: Scanned) -> Piece:
        """Return a scan as a run of its body."""
        network, body = self.network, _Body(self, run)
        flat, needs = network.flat, body.handed
        types = [
            struct(flat.types[v])
            if rows is None
            else resized(flat.types[v], flat.types[v].shape[1:])
            for v, rows in needs
        ]
        per_layer = tuple(None if rows is None else network.source(v, rows) for v, rows in needs)
        shared = tuple(
            network.source(need.value)._replace(by_index=need in body.prepared.by_index)
            if need.rows is None
            else None
            for need in needs
        )
        program = TracedProgram.of(body, types, self.type_of(run.into))
        trained = tuple(
            need.value in network.parameters and can_be_learned(t)
            for need, t in zip(needs, types, strict=True)
        )
        entries = (tuple(names), program, per_layer, shared, trained, run.scan.k)
        return Piece(*entries, filled=self._places_filled(run, body))

    def _places_filled(self, run: Scanned, body: "_Body") -> Filled:
        """Return which leaves of the state a layer fills a place of, and which array says where."""
        if not run.blank:
            return NOTHING_FILLED
        axes = (min(self.network.axes.get(v, 0), 1) for v in run.blank)
        leaves = tuple(enumerate(axes, len(run.order)))
        return Filled(leaves, body.handed.index(body.place), run.scan.reverse)


class _Body:
    """The body of a scan as a layer, (arrays, state) -> state.

    The state has the carries, the outputs of all steps, of which a step fills its place, then what
    is held and the riders. What the body takes else is made of the arrays of the layer:

        made of parameters    of entries of its own, or of all (`scan_params.py`)
        of riders, or free    again from the riders, in each layer
    """

    def __init__(self, knife: Knife, run: Scanned) -> None:
        self.knife, self.scanned = knife, run
        network, riding = knife.network, {*knife.riding}
        self.streams, self.riders = network.streams, network.dependent - network.streams
        of_riders = [v for v in run.stacks if v in self.riders]
        self.prepared = self._prepared(of_riders, riding)
        # Of the size of the batch perhaps, such as a mask, or riders; a layer makes it again.
        whole = [v for v, rows in self.prepared.needs if rows is None]
        self.free = [v for v in whole if v in self.riders or not network.is_of_params(v)]
        self.steps, values = behind({*self.free} - riding, knife.prologue)
        self.also = [Need(v, None) for v in network.sources if v in values]
        again = {Need(v, None) for v in self.free}
        handed = [need for need in self.prepared.needs if need not in again] + self.also
        self.place = Need(network.flat.value(*_indices(run.scan.k)), run.rows)
        if of_riders or run.blank or not self.streams.isdisjoint(run.stacks):
            handed.append(self.place)
        self.handed = [*dict.fromkeys(handed)]

    def _prepared(self, of_riders: list[int], riding: set[int]) -> Prepared:
        """Return how a layer comes to what its step takes, but for streams and stacks of riders."""
        network, run = self.knife.network, self.scanned
        inputs = ScanInputs(
            [*(v for v in run.consts if v not in self.streams), *of_riders],
            [v for v in run.stacks if v not in network.dependent],
            run.rows,
        )
        before = [step for step in network.before if riding.isdisjoint(step.outputs)]
        return prepared(network.flat, before, network.parameters, {*network.raw}, inputs)

    def __call__(self, arrays: list[Array], state: PyTree) -> LayerState | Array:
        """Return the state after a step."""
        run, knife = self.scanned, self.knife
        given, leaves = dict(zip(self.handed, arrays, strict=True)), jax.tree.leaves(state)
        carried, filled = len(run.order), len(run.order) + len(run.blank)
        rest = leaves[filled:]
        passing = dict(zip((*run.held, *knife.riding), rest, strict=True))
        known = {v: knife.inside(v, x) for v, x in passing.items()}
        known |= {need.value: given[need] for need in self.also} | knife.network.flat.constants
        made = dict(zip(self.free, evaluated(self.free, self.steps, known), strict=True))
        needs = [given[need] if need in given else made[need.value] for need in self.prepared.needs]
        consts, entries = map(iter, self.prepared.entry(needs))
        at = given.get(self.place)
        out = function(run.scan.body)(
            *[known[v] if v in self.streams else next(consts) for v in run.consts],
            *self._carries(leaves),
            *(self._entry(v, at, passing, made, entries) for v in run.stacks),
        )
        ends = zip(run.carries(run.step.outputs), run.carries(out), strict=True)
        outputs = zip(run.blank, leaves[carried:filled], out[carried:], strict=True)
        streams = [
            *(knife.outside(v, x) for v, x in ends),
            *(self._with_place(v, whole, at, x) for v, whole, x in outputs),
            *rest[: len(run.held)],
        ]
        return knife.packed(streams, rest[len(run.held) :])

    def _carries(self, leaves: Sequence[Array]) -> list[Array | None]:
        """Return the carries of a state, whose main one is the first, in the order of the scan."""
        run = self.scanned
        carries: list[Array | None] = [None] * len(run.order)
        for i, v, x in zip(run.order, run.carries(run.step.outputs), leaves, strict=False):
            carries[i] = self.knife.inside(v, x)
        return carries

    def _entry(
        self,
        v: int,
        at: Array | None,
        passing: dict[int, Array],
        made: dict[int, Array],
        entries: Iterator[Array],
    ) -> Array:
        """Return the entry of a stack that the step takes: of a stream, a rider, or the next."""
        if v in self.streams:
            axis = self.knife.network.axes.get(v, 0)
            taken = _entry_at(passing[v], at, min(axis, 1))
            return jnp.moveaxis(taken, 0, axis - 1) if axis > 1 else taken
        return _entry_at(made[v], at, 0) if v in self.riders else next(entries)

    def _with_place(self, v: int, whole: Array, at: Array | None, x: Array) -> Array:
        """Return the outputs of all steps with that of one."""
        axis = self.knife.network.axes.get(v, 0)
        x = jnp.moveaxis(x, axis - 1, 0) if axis > 1 else x
        filled: Array = lax.dynamic_update_index_in_dim(whole, x, at, min(axis, 1))
        return filled


def _entry_at(stack: Array, at: Array | None, axis: int) -> Array:
    entry: Array = lax.dynamic_index_in_dim(stack, at, axis, keepdims=False)
    return entry


def _closed(network: TracedNetwork, a: int, b: int) -> Closed | None:
    """Return the products within main steps that hold a program, if they are most of all."""
    counts = [step.products for step in network.main]
    closed = [step for step in network.main[a:b] if step.products > MOST_IN_A_ROW]
    products = sum(step.products for step in closed)
    if 2 * products <= sum(counts):
        return None
    most = max(closed, key=lambda step: step.products)
    usual = "write it as lax.scan, or hand over its layers as a list"
    return Closed(0, products, most.way_out(usual))


def _indices(k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return 0 … k - 1, its type and its numbers."""
    index = np.arange(k, dtype=np.int32)
    return index, index


def made_of_params(network: TracedNetwork, v: int) -> Made:
    """Return a value of the prologue as it is made of params."""
    flat, raw = network.flat, network.raw
    steps, values = behind([v], network.before)
    used = [u for u in raw if u in values]

    def run(arrays: list[Array], _: PyTree) -> list[Array]:
        return evaluated([v], steps, flat.constants | dict(zip(used, arrays, strict=True)))

    program = TracedProgram.of(run, [struct(flat.types[u]) for u in used], ())
    return Made(program, tuple(raw[u] for u in used))

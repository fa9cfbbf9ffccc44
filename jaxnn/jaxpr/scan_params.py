"""Stacks: the parameters of one layer, of those that a program prepares for all before a scan.

    T(W)[j] = t(W[j])    where every step of T keeps the layers apart, such as a cast, a scale or a
                         weight norm: t is those steps, on stacks of one entry
    T(W)[j]              where one does not, such as a mean over layers, or the times that a scan
                         makes of a step size: all of T in every layer, which takes its entry

So the Δ of a layer belongs to the parameters that were handed over, not to what is made of them; it
is what a Python loop over T(W)[0], T(W)[1], … gives. What moves numbers and no more (a stack of
arrays, a slice, another shape) leaves the size of Δ as it is: that is done once, beforehand.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jaxtyping import Array

from ..arrays.compiled import Numbers, computed
from .primitives import BROADCAST, LOOK_UP, ONCE, REPEATED, Rows
from .program import Flat, TracedStep, behind, evaluated, resized


class Need(NamedTuple):
    """A value: its entries for the layers, or all of it in each if rows is None."""

    value: int
    rows: Rows | None


class Source(NamedTuple):
    """The source of one array of a layer or a run: an array of the user's pytree, or rows of it."""

    value: int  # the number of an array of the pytree; beyond those, of one that is made of them
    rows: Rows | None = None  # its entries along the first axis, in their order; None for all of it
    by_index: bool = False  # the layer takes an entry of its own, of what it makes of all

    def row(self, j: int | None) -> int | None:
        """Return the entry that is meant, of a run's that of layer j; None if it is all."""
        return j if self.rows is None else self.rows[j or 0]

    def taken(self, values: Sequence[Numbers]) -> Numbers:
        """Return the array; a slice of one of JAX's by one program for all rows."""
        v, rows = values[self.value], self.rows
        if rows is None:
            return v
        if rows == tuple(range(len(v)))[::-1]:
            return v[::-1]
        if len(rows) > 1:
            return v[np.array(rows)]
        if isinstance(v, np.ndarray):
            return v[rows[0] : rows[0] + 1]
        return jax.lax.dynamic_slice_in_dim(v, np.int32(rows[0]), 1)


class Prepared(NamedTuple):
    """Arrays of a scan by layers."""

    needs: list[Need]  # to hand over; those with rows are the layers' own, others all of them share
    by_index: set[Need]  # of those shared, the ones of which each layer takes an entry of its own
    # (an array for each need, without the axis of layers) -> (constants, entries) of a layer.
    entry: Callable[[Sequence[Any]], tuple[list[Any], list[Any]]]


class ScanInputs(NamedTuple):
    """Inputs of a scan but for its carry: constants, and stacks with an entry for each step."""

    consts: Sequence[int]
    stacks: Sequence[int]
    rows: Rows  # the entry of a stack that each layer takes


class MixedLayersError(Exception):
    """A step that does not keep the layers apart, or a parameter that is needed in two ways."""


def prepared(
    flat: Flat, prologue: list[TracedStep], parameters: set[int], raw: set[int], inputs: ScanInputs
) -> Prepared:
    """Return what the layers of a scan are handed over, and how they come to their entries."""
    # The layers' own entries are best, since each array then has the Δ of its own use. Moved
    # beforehand they are cheapest; where a parameter would be moved in two ways, or a step is not
    # known to keep layers apart, nothing is moved; and where that fails too, all of a stack is
    # made in every layer, but for those that can be made by entries.
    given = flat, prologue, parameters, raw
    for moves in (True, False):
        plan = _EntryPlan(*given, moves=moves)
        try:
            by_entries = _prepared(plan, inputs, whole=set())
            plan.check_apart()
        except MixedLayersError:
            continue
        return by_entries
    mixed = {v for v in inputs.stacks if not _EntryPlan(*given).keeps_apart(v, inputs)}
    return _prepared(_EntryPlan(*given), inputs, mixed & parameters)


def _prepared(plan: "_EntryPlan", inputs: ScanInputs, whole: set[int]) -> Prepared:
    """Prepare the entries of a layer; those of `whole` stacks by its index in all of them."""
    count, places = len(inputs.consts), [v in whole for v in inputs.stacks]
    values = [plan.place(Need(v, None)) for v in inputs.consts]
    shared = {*plan.leaves}
    values += [plan.place(Need(v, None if v in whole else inputs.rows)) for v in inputs.stacks]
    by_index = {need for need in plan.leaves.keys() - shared if need.rows is None and whole}
    index = [Need(plan.indices(inputs.rows), inputs.rows)] if whole else []

    def entry(arrays: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        made = plan.evaluated(values, arrays[: len(plan.leaves)])
        return made[:count], [
            lax.dynamic_index_in_dim(v, arrays[-1], keepdims=False) if is_whole else v
            for v, is_whole in zip(made[count:], places, strict=True)
        ]

    return Prepared([*plan.leaves, *index], by_index, entry)


class MadeEntry(NamedTuple):
    """An entry of a stack, made of entries."""

    value: int  # the entry, with an axis of one in front
    leaves: dict[int, Need]  # the values that are handed over for it, and their needs
    steps: list[TracedStep]  # those that make it of these


def entry_of(
    flat: Flat, prologue: list[TracedStep], parameters: set[int], raw: set[int], v: int, i: int
) -> MadeEntry | None:
    """Return entry i of a stack made of the layer's own entries; None if it is of others too."""
    for moves in (False, True):
        plan = _EntryPlan(flat, prologue, parameters, raw, moves=moves)
        try:
            value = plan.place(Need(v, (i,)))
            plan.check_apart()
        except MixedLayersError:
            continue
        return MadeEntry(value, {at: need for need, at in plan.leaves.items()}, plan.steps)
    return None


class _EntryPlan:
    """Steps that make values of what is handed over; with moves parameters are moved beforehand."""

    def __init__(
        self,
        flat: Flat,
        prologue: list[TracedStep],
        parameters: set[int],
        raw: set[int],
        *,
        moves: bool = True,
    ) -> None:
        self.moves = moves
        self.flat, self.prologue = flat, prologue
        self.parameters, self.raw = parameters, raw
        self.maker = {v: step for step in prologue for v in step.outputs}
        self.leaves: dict[Need, int] = {}
        self.made: dict[Need, int] = {}
        self.steps: list[TracedStep] = []

    def place(self, need: Need) -> int:
        """Return the value that a need has among the steps, with those that make it."""
        if need not in self.made:
            if self.is_leaf(need):
                self.leaves[need] = self.made[need] = self.fresh(need)
            elif need.rows is None:
                self.make_whole(need.value)
            else:
                self.make_entry(need.value, need.rows)
        return self.made[need]

    def fresh(self, need: Need) -> int:
        """Return a value for a need: of entries, a new one."""
        if need.rows is None:
            return need.value
        t = self.flat.types[need.value]
        return self.flat.value(resized(t, (1, *t.shape[1:])))

    def is_leaf(self, need: Need) -> bool:
        """Tell what is handed over: data, and parameters with nothing but moves behind them."""
        v, rows = need
        if v in self.raw or v in self.flat.constants:
            return True
        if v not in self.parameters:
            return self.moves or rows is None or v not in self.maker
        if rows is None or not self.moves:
            return False
        return self.moved(self.selected(v)) is not None or self.is_rearranged(v)

    def is_rearranged(self, v: int) -> bool:
        """Tell entries whose numbers are parameters' own, moved, each once in an entry."""
        steps, values = behind([v], self.prologue)
        raw = sorted(values & self.raw)
        if not all(step.rule.holds for step in steps) or not self.parameters.issuperset(raw):
            return False
        shapes = [self.flat.types[u].shape for u in raw]
        starts = np.cumsum([0, *map(np.prod, shapes)])
        numbers = [
            np.arange(start, start + np.prod(shape), dtype=np.int32).reshape(shape)
            for start, shape in zip(starts, shapes, strict=False)
        ]

        def made(*numbers: Array) -> Any:
            known = self.flat.constants | dict(zip(raw, numbers, strict=True))
            return evaluated([v], steps, known)[0]

        entries = np.asarray(computed(made, *numbers))
        return all(len(np.unique(entry)) == entry.size for entry in entries)

    def selected(self, v: int) -> int:
        """Return what the entries of a stack are taken from, each of them once; else v itself."""
        step = self.maker.get(v)
        if step is None or not self.takes_rows(step):
            return v
        return step.inputs[0]

    def takes_rows(self, step: TracedStep) -> bool:
        """Tell a step whose entries are entries of its operand, or all of it."""
        operand, out = (self.flat.types[v].shape for v in (step.inputs[0], step.outputs[0]))
        params = step.eqn.params
        if step.eqn.primitive.name == BROADCAST:
            added = params["broadcast_dimensions"] == tuple(range(len(out)))[1:]
            return bool(operand == (out[1:] if added else (1, *out[1:])))
        if step.eqn.primitive.name != LOOK_UP or step.inputs[1] in self.parameters:
            return False
        numbers = params["dimension_numbers"]
        return bool(
            params["slice_sizes"] == (1, *operand[1:])
            and numbers.collapsed_slice_dims == (0,)
            and numbers.offset_dims == tuple(range(1, len(out)))
            and out[1:] == operand[1:]
        )

    def moved(self, v: int) -> set[int] | None:
        """Return the parameters whose numbers a value holds, each once; None if it is no such."""
        if v in self.raw:
            return {v}
        if v not in self.parameters:
            return set()
        step = self.maker[v]
        shapes = [self.flat.types[u].shape for u in (step.inputs[0], v)]
        reshaped = step.rule.holds == REPEATED and np.prod(shapes[0]) == np.prod(shapes[1])
        if step.rule.holds != ONCE and not reshaped:
            return None
        parameters: set[int] = set()
        for u in step.inputs:
            of_input = self.moved(u)
            if of_input is None or parameters & of_input:
                return None
            parameters |= of_input
        return parameters

    def make_whole(self, v: int) -> None:
        """Append the steps that make all of a value."""
        for step in behind([v], self.prologue)[0]:
            if step.outputs[0] not in self.raw and Need(step.outputs[0], None) not in self.made:
                self.steps.append(step._replace(inputs=tuple(map(self.whole, step.inputs))))
                self.made |= {Need(v, None): v for v in step.outputs}

    def whole(self, v: int) -> int:
        """Return all of a value; what the program has as a constant is not handed over."""
        return v if v in self.flat.constants else self.place(Need(v, None))

    def make_entry(self, v: int, rows: Rows) -> None:
        """Append the steps that make entries of a value from entries, or raise MixedLayersError."""
        step = self.maker[v]
        call = self.flat.call(step)
        rows_of = step.rule.entry(call, rows)
        if rows_of is None:
            raise MixedLayersError
        inputs = tuple(
            self.whole(u) if needed_rows is None else self.place(Need(u, needed_rows))
            for u, needed_rows in zip(step.inputs, rows_of, strict=True)
        )
        needs = [Need(u, rows) for u in step.outputs]
        outputs = tuple(map(self.fresh, needs))
        self.steps.append(
            TracedStep(
                step.eqn.replace(params={**step.rule.of_one(call.params)}),
                inputs,
                outputs,
                step.scope,
            )
        )
        self.made |= dict(zip(needs, outputs, strict=True))

    def check_apart(self) -> None:
        """Raise if a parameter is behind two of the leaves: their Δ would have to be added."""
        seen: set[int] = set()
        for v, _ in self.leaves:
            if v in self.parameters:
                made_of = {v} if v in self.raw else behind([v], self.prologue)[1] | {v}
                behind_leaf = made_of & self.raw & self.parameters
                if seen & behind_leaf:
                    raise MixedLayersError
                seen |= behind_leaf

    def keeps_apart(self, v: int, inputs: ScanInputs) -> bool:
        """Tell a stack that can be prepared by entries, of parameters that no other input has."""
        others = {u for u in (*inputs.consts, *inputs.stacks) if u != v}
        behind_it, theirs = (
            behind(variables, self.prologue)[1] & self.raw for variables in ({v}, others)
        )
        if behind_it & theirs & self.parameters:
            return False
        try:
            self.place(Need(v, inputs.rows))
            self.check_apart()
        except MixedLayersError:
            return False
        return True

    def indices(self, rows: Rows) -> int:
        """Return a value that holds 0, 1, …, as many as there are entries."""
        index = np.arange(max(rows) + 1, dtype=np.int32)
        return self.flat.value(index, index)

    def evaluated(self, values: list[int], arrays: Sequence[Any]) -> list[Any]:
        """Return values for one layer, without an axis of layers, of arrays for the leaves."""
        given = dict(zip(self.leaves.values(), arrays, strict=True))
        stacked = {at for need, at in self.made.items() if need.rows is not None}
        known = {at: v[None] if at in stacked else v for at, v in given.items()}
        made = evaluated(values, self.steps, self.flat.constants | known)
        return [
            given[at] if at in given else v[0] if at in stacked else v
            for at, v in zip(values, made, strict=True)
        ]

"""A function as JAX traced it, seen as a network: what depends on xs, on parameters, on both.

    main        the steps that depend on xs and on parameters, in their order; so do their results,
                the streams
    prologue    the other steps: casts, masks, reshaped weights, and riders, which depend on xs and
                on no parameter; a layer runs those that it needs
    roots       copies of riders that a skip carries over a block: streams (`input_streams.py`)
    product     a main step of a parameter and the state: a matrix product, a convolution, a look-up
                in a table, or a whole program (a scan, a custom rule) that takes a parameter

The axis of the examples is the one that grows in a second trace, with more of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import PyTree

from ..arrays.rows import can_be_learned, is_float, is_narrow
from ..arrays.spread import count_of_devices, is_on_mesh
from ..jaxpr.primitives import LONG, PART, Rows
from ..jaxpr.program import (
    Flat,
    LayerProgram,
    TracedProgram,
    TracedStep,
    behind,
    resized,
    struct,
    typed,
)
from ..jaxpr.scan_params import Source, entry_of
from ..jaxpr.scan_splitting import split

# Of products in a row, each fed by the one before.
MOST_IN_A_ROW = 3  # in a layer that holds more than half of the network's
LONGEST = 8  # that are one layer where it need not be


@dataclass
class TracedNetwork:
    """A flat program seen as a network."""

    flat: Flat  # of params and xs
    into: Any  # the structure of xs
    out: Any  # the structure of the output
    xs: list[int]  # the values of xs
    sources: dict[int, Source]  # of params by their values, and of the entries of stacked ones
    entries: dict[int, TracedStep] = field(
        default_factory=dict
    )  # the steps that take those entries
    main: list[TracedStep] = field(
        default_factory=list
    )  # the steps that depend on xs and parameters
    prologue: list[TracedStep] = field(default_factory=list)  # the other steps
    # The prologue and the steps of the entries, in their order.
    before: list[TracedStep] = field(default_factory=list)
    dependent: set[int] = field(default_factory=set)  # the values that depend on xs
    # Those that depend on floats of params, not on xs.
    parameters: set[int] = field(default_factory=set)
    streams: set[int] = field(default_factory=set)  # those that depend on both, and roots
    # Copies of riders that a skip carries, each with its rider.
    roots: dict[int, int] = field(default_factory=dict)
    axes: dict[int, int] = field(default_factory=dict)  # of the examples, of values that have one
    first: dict[int, int] = field(default_factory=dict)  # the main step that first takes a value
    # The one that last does; -1 of an output that none takes.
    last: dict[int, int] = field(default_factory=dict)
    # A number for each stream that grows with the main steps that make them.
    made_at: dict[int, int] = field(default_factory=dict)
    # The streams that are needed later, before each main step and after the last.
    alive: list[set[int]] = field(default_factory=list)
    # Values of the prologue that layers are handed over.
    made: list[int] = field(default_factory=list)
    blank: set[int] = field(default_factory=set)  # values of zeros, for what a scan fills
    # Values that are the number of an entry of a rider, such as a token's or a key's: each layer is
    # handed its own, so that layers are equal whichever entry they take.
    indices: set[int] = field(default_factory=set)

    def sort(self) -> None:
        """Tell main steps from the prologue, and entries of stacked parameters from both."""
        self.dependent.update(self.xs, self.roots)
        self.streams.update(self.roots)
        self.parameters.update(v for v in self.sources if can_be_learned(self.flat.types[v]))
        same = dict[int, int]()
        entries: dict[tuple[int, int], int] = {}
        # One walk, since the steps are in an order in which each has its inputs made before. An
        # entry of stacked parameters becomes a parameter of its own, under one value wherever it is
        # taken: so layers that a loop takes from one stack are equal, and each has its own Δ.
        for step in self.flat.steps:
            step = step._replace(inputs=tuple(same.get(v, v) for v in step.inputs))
            learns = not (self.parameters | self.streams).isdisjoint(step.inputs)
            if not self.dependent.isdisjoint(step.inputs):
                self.dependent.update(step.outputs)
                if learns:
                    self.main.append(step)
                else:
                    self._go_ahead(self._by_index(step))
                self.streams.update(step.outputs if learns else ())
                continue
            if learns:
                self.parameters.update(step.outputs)
            entry = None if step.entry is None else self._entry(step, entries)
            if entry is None:
                self._go_ahead([step])
            else:
                same[step.outputs[0]] = entry

    def _entry(self, step: TracedStep, entries: dict[tuple[int, int], int]) -> int | None:
        """Return the value of an entry that a step takes of parameters; None if it is not known."""
        (stack,), (v,), i = step.inputs, step.outputs, step.entry
        assert i is not None
        if (stack, i) not in entries:
            known = stack in self.sources and stack not in self.entries
            made = self._taken(v, stack, i) if known else self._made_entry(stack, i, entries)
            if made is None:
                return None
            entries[stack, i] = made
        return entries[stack, i]

    def _taken(self, v: int, stack: int, i: int) -> int:
        """Return a value that is entry i of what is handed over."""
        closed = jax.make_jaxpr(lambda v: lax.slice_in_dim(v, i, i + 1))(
            struct(self.flat.types[stack])
        )
        (step,) = self.flat.instead(closed, [stack], self.flat.steps[0])[0]
        self.sources[v] = self.source(stack, (i,))
        self.entries[v] = step._replace(outputs=(v,))
        self.before.append(self.entries[v])
        return v

    def _go_ahead(self, steps: list[TracedStep]) -> None:
        """Add steps to the prologue."""
        self.prologue += steps
        self.before += steps

    def _made_entry(self, stack: int, i: int, entries: dict[tuple[int, int], int]) -> int | None:
        """Return a value that is entry i of what is made of parameters; None of no such."""
        if stack not in self.parameters:
            return None
        made = entry_of(self.flat, self.prologue, self.parameters, {*self.sources}, stack, i)
        if made is None:
            return None
        # An entry that is made of other stacks' entries needs those as parameters; where one of
        # them is made of entries itself, both would be parameters, each with Δ of its own use.
        taken = [leaf for leaf, rows in made.leaves.values() if rows is not None]
        if any(leaf not in self.parameters or self._is_of_entries(leaf) for leaf in taken):
            return None
        same = dict[int, int]()
        for v, (leaf, rows) in made.leaves.items():
            if rows is not None:
                (row,) = rows
                if (leaf, row) not in entries:
                    entries[leaf, row] = self._taken(v, leaf, row)
                same[v] = entries[leaf, row]
                self.parameters.update([same[v]] if leaf in self.parameters else [])
        for step in made.steps:
            inputs = tuple(same.get(v, v) for v in step.inputs)
            self._go_ahead([step._replace(inputs=inputs)])
            self.parameters.update(step.outputs)
        return same.get(made.value, made.value)

    def _is_of_entries(self, v: int) -> bool:
        """Tell whether a value is made of entries alone: its parts are no entries of their own."""
        steps = [step for step in self.before if self.entries.keys().isdisjoint(step.outputs)]
        sources = behind([v], steps)[1] & self.sources.keys()
        # Else both it and a part would be parameters of a layer, each with Δ of its own use.
        return bool(sources) and sources <= self.entries.keys()

    def _by_index(self, step: TracedStep) -> list[TracedStep]:
        """Return a step of riders; what takes one entry along an axis does so by its number."""
        if step.eqn.primitive.name != PART:
            return [step]
        v, params = step.inputs[0], step.eqn.params
        start, limit = params["start_indices"], params["limit_indices"]
        shape = self.flat.types[v].shape
        cut = [i for i, n in enumerate(shape) if limit[i] - start[i] < n]
        if len(cut) != 1 or limit[cut[0]] - start[cut[0]] != 1:
            return [step]
        number = np.asarray(start[cut[0]], np.int32)
        index = self.flat.value(number, number)
        self.indices.add(index)
        program = jax.make_jaxpr(lambda v, i: lax.dynamic_slice_in_dim(v, i, 1, cut[0]))(
            struct(self.flat.types[v]), number
        )
        steps, (out,) = self.flat.instead(program, [v, index], step)
        same = {out: step.outputs[0]}
        return [s._replace(outputs=tuple(same.get(v, v) for v in s.outputs)) for s in steps]

    def find_alive(self) -> None:
        """Walk over the main steps with the set of the streams alive."""
        steps = [*enumerate(self.main)]
        self.made_at.update((v, 2 * i + 2) for i, step in steps for v in step.outputs)
        self.first.update((v, i) for i, step in reversed(steps) for v in step.inputs)
        self.last.update((v, i) for i, step in steps for v in step.inputs)
        self.made_at.update((v, 2 * self.first[v] + 1) for v in self.roots)
        last = self.last | dict.fromkeys(self.flat.outputs, len(self.main))
        self.last.update((v, -1) for v in self.flat.outputs if v not in self.last)
        alive = set[int]()
        self.alive.append(alive)
        for i, step in steps:
            # A root is alive behind the first step that takes it: up to that it rides.
            alive = alive.union(step.outputs, self.roots.keys() & step.inputs)
            alive = {v for v in alive if last.get(v, -1) > i}
            self.alive.append(alive)

    def entering(self, a: int, b: int) -> set[int]:
        """The roots that main steps a … b are the first to take."""
        return {v for v in self.roots if a <= self.first[v] < b}

    def age(self, v: int) -> tuple[int, int]:
        """The order in which streams are made; a root is where the first step takes it."""
        return self.made_at.get(v, 0), v

    def floats(self, values: Iterable[int]) -> list[int]:
        """The values of a float type, in their order."""
        return sorted((v for v in values if is_float(self.flat.types[v])), key=self.age)

    def is_state(self, values: Iterable[int]) -> bool:
        """Tell whether values can go from one layer to the next: examples along an axis of each."""
        types = {v: self.flat.types[v] for v in values}
        return any(map(is_float, types.values())) and not any(
            (is_float(t) and (v not in self.axes or is_narrow(t)))
            or jnp.issubdtype(t.dtype, jnp.complexfloating)
            or not is_on_mesh(t)
            for v, t in types.items()
        )

    @property
    def raw(self) -> dict[int, int]:
        """The numbers of params by their values."""
        return {v: s.value for v, s in self.sources.items() if v not in self.entries}

    def is_of_params(self, v: int) -> bool:
        """Tell whether a value of the prologue depends on params, of a float type or not."""
        values = behind([v], self.before)[1]
        return not values.isdisjoint(self.raw)

    def source(self, v: int, rows: Rows | None = None) -> Source:
        """Return where a value of the prologue comes from, or entries of it."""
        if v not in self.sources:
            if v not in self.made:
                self.made.append(v)
            source = Source(len(self.raw) + self.made.index(v))
        else:
            source = self.sources[v]
        if rows is None or rows == tuple(range(self.flat.types[v].shape[0])):
            return source
        return source._replace(
            rows=rows if source.rows is None else tuple(source.rows[i] for i in rows)
        )

    def is_product(self, step: TracedStep) -> bool:
        """Tell products of a parameter and the state."""
        return step.is_product and not self.parameters.isdisjoint(step.inputs)

    def products(self, a: int, b: int) -> list[TracedStep]:
        """The products among main steps a … b; without any, the last step."""
        return [step for step in self.main[a:b] if self.is_product(step)] or self.main[b - 1 : b]

    def is_bias(self, steps: list[TracedStep]) -> bool:
        """Tell whether steps add a parameter to one value, or scale it."""
        return any(not self.parameters.isdisjoint(step.inputs) for step in steps) and all(
            step.is_affine and len(self.dependent.intersection(step.inputs)) == 1 for step in steps
        )

    def takes_long(self, step: TracedStep) -> bool:
        """Tell steps of riders whose results ride; others are made again where they are needed."""
        return step.eqn.primitive.name in LONG and self.is_state(step.outputs)


def traced(
    program: TracedProgram, f: LayerProgram, params: list[jax.ShapeDtypeStruct], xs: PyTree
) -> TracedNetwork:
    """Find what depends on what in the program of f(params, xs)."""
    closed = program.closed
    if not any(map(is_float, closed.out_avals)):
        raise ValueError(
            f"f: expected f(params, xs) to return floats, got {typed(closed.out_avals) or 'none'}"
        )
    flat, count = Flat(closed), len(params)
    sources = dict(zip(flat.inputs[:count], map(Source, range(count)), strict=True))
    structures = jax.tree.structure(xs), program.structure
    axes = _axes(f, params, xs, flat)
    network = TracedNetwork(flat, *structures, flat.inputs[count:], sources, axes=axes)
    network.sort()
    if network.dependent.isdisjoint(flat.outputs):
        raise ValueError(
            "f: expected an output that depends on xs, got one that does not: nothing of xs is "
            "used, or only through what has slope 0 everywhere, as the second derivative of relu; "
            "where derivatives of the network are asked for, take tanh, softplus or silu"
        )
    network.find_alive()
    return network


def _axes(
    f: LayerProgram, params: list[jax.ShapeDtypeStruct], xs: PyTree, flat: Flat
) -> dict[int, int]:
    """Return the axis of the examples of each value that has one, after scans are taken apart."""
    # The second trace has one example more, or one for each device, over which they may be spread.
    # Where f does not take that, or is another program then, it is the first axis, of the values
    # for which that has the right length.
    count, more = len(jax.tree.leaves(xs)[0]), count_of_devices()
    larger = jax.tree.map(lambda v: resized(v, (count + more, *v.shape[1:])), xs)
    try:
        grown: Flat | None = Flat(jax.make_jaxpr(f)(params, larger))
    except Exception:  # of a user's own function, which need not take it
        grown = None
    axes = _grown_axes(flat, grown, count, more)
    for program in (flat,) if grown is None else (flat, grown):
        learned = [v for v in program.inputs[: len(params)] if can_be_learned(program.types[v])]
        split(program, learned, program.inputs[len(params) :], axes)
    return _grown_axes(flat, grown, count, more)


def _grown_axes(flat: Flat, grown: Flat | None, count: int, more: int) -> dict[int, int]:
    """Return the axes along which values have more entries in a program of more examples."""
    shapes = [getattr(t, "shape", ()) for t in flat.types]
    others = [getattr(t, "shape", ()) for t in grown.types] if grown else []
    if list(map(len, shapes)) != list(map(len, others)):
        return {v: 0 for v, shape in enumerate(shapes) if shape[:1] == (count,)}
    axes = {}
    for v, (shape, other) in enumerate(zip(shapes, others, strict=True)):
        differing = [i for i, (m, n) in enumerate(zip(shape, other, strict=True)) if m != n]
        if [(shape[i], other[i]) for i in differing] == [(count, count + more)]:
            axes[v] = differing[0]
    return axes

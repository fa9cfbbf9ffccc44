"""The program of a layer as a graph, in which attention and routers are recognised.

exp, and its sum over some axes                        a softmax
steps entry by entry, or that change a shape alone     the way from one product to the next
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import jax
from jax.extend.core import primitives
from jaxtyping import PyTree

from ..graph.steps import KEEPING, Kind
from ..jaxpr.axis_kinds import AxisKinds
from ..jaxpr.interpreter import CALLS, Jaxpr
from ..jaxpr.primitives import ADDING, ENDING, KINDS, MASKING, WEIGHING
from ..jaxpr.program import Flat, TracedStep, behind, evaluated

# A reverse rule of the user's own is no matter here, where nothing is differentiated.
OPENED = (*CALLS, primitives.custom_jvp_call_p, primitives.custom_vjp_call_p, primitives.scan_p)


class Softmax(NamedTuple):
    """A softmax."""

    logits: int  # the value that it is of
    powers: int  # exp(logits - their largest)
    numerators: int  # these without those that it leaves out
    total: int  # their sum
    keys: tuple[int, ...]  # its axes


@dataclass(frozen=True, eq=False)
class Graph:
    """The program of a layer, (arrays, state) -> state."""

    flat: Flat  # the program
    states: tuple[int, ...]  # the values of the state that goes in
    taken: dict[int, list[TracedStep]] = field(default_factory=dict)  # the steps that take a value
    made: dict[int, TracedStep] = field(default_factory=dict)  # the one that makes it
    beside: Sequence[int] = ()  # places in the state of what is no state of a cut, such as masks
    constants: int = 0  # the number of inputs in front that are no arrays of the layer
    # Arrays that are known to be those of a list of so many equal modules.
    lists: Sequence[tuple[int, tuple[int, ...]]] = ()
    names: Sequence[str] = ()  # of the arrays, in place of their numbers

    @classmethod
    def of(cls, closed: Jaxpr, state: PyTree) -> "Graph":
        """Return that of a jaxpr whose last inputs are the leaves of a state."""
        return cls.of_flat(Flat(closed, OPENED), len(jax.tree.leaves(state)))

    @classmethod
    def of_flat(cls, flat: Flat, states: int, **more: Any) -> "Graph":
        """Return that of a program, of whose inputs the last ones are the state."""
        graph = cls(flat, tuple(flat.inputs[len(flat.inputs) - states :]), **more)
        for step in flat.steps:
            graph.made.update(dict.fromkeys(step.outputs, step))
            for v in step.inputs:
                graph.taken.setdefault(v, []).append(step)
        return graph

    @cached_property
    def axes(self) -> AxisKinds:
        """The axes of all values that depend on the state."""
        return AxisKinds.of(self.flat, self.states, {self.states[i] for i in self.beside})

    @cached_property
    def numbers(self) -> dict[int, int]:
        """The numbers of the arrays, by their values."""
        count = len(self.flat.inputs) - len(self.states)
        return {v: i for i, v in enumerate(self.flat.inputs[self.constants : count])}

    @cached_property
    def made_of(self) -> dict[int, frozenset[int]]:
        """For each value that is made of arrays their numbers."""
        made = {v: frozenset({i}) for v, i in self.numbers.items()}
        for step in self.flat.steps:
            numbers = frozenset[int]().union(*(made.get(v, ()) for v in step.inputs))
            made.update(dict.fromkeys(step.outputs, numbers) if numbers else {})
        return made

    @cached_property
    def dependent(self) -> set[int]:
        """The values that depend on the state."""
        dependent = {*self.states}
        for step in self.flat.steps:
            dependent.update(step.outputs if not dependent.isdisjoint(step.inputs) else ())
        return dependent

    def depends(self, v: int) -> bool:
        """Tell whether a value depends on the state."""
        return v in self.dependent

    def kind(self, v: int) -> Kind | None:
        """Return the kind of the step that makes a value; None of what goes in."""
        step = self.made.get(v)
        return None if step is None else KINDS.get(step.eqn.primitive.name, "other")

    def inputs(self, v: int) -> tuple[int, ...]:
        """Return the values that one is made of."""
        return self.made[v].inputs if v in self.made else ()

    def parameter(self, v: int) -> set[Any]:
        """Return the number or name of the array that a value is, but for its form; or none."""
        while self.kind(v) in KEEPING:
            v = self.inputs(v)[0]
        number = self.numbers.get(v)
        return set() if number is None else {self.names[number] if self.names else number}

    def value(self, v: int, known: dict[int, Any]) -> Any:
        """Return a value, of known ones."""
        rest = [step for step in self.flat.steps if known.keys().isdisjoint(step.outputs)]
        steps, _ = behind([v], rest)
        (found,) = evaluated([v], steps, known)
        return found

    def without(self, known: dict[int, Any], products: Collection[int]) -> dict[int, Any]:
        """Return known values but for those that are made of some others."""
        made = {*products}
        for step in self.flat.steps:
            made.update(step.outputs if not made.isdisjoint(step.inputs) else ())
        return {v: number for v, number in known.items() if v not in made}

    def arrays(self, values: Sequence[int]) -> tuple[int, ...]:
        """Return the numbers of the arrays that values are made of."""
        return tuple(sorted(frozenset().union(*(self.made_of.get(v, ()) for v in values))))

    # Softmaxes

    def softmaxes(self) -> Iterator[Softmax]:
        """Yield all softmaxes, in their order."""
        for step in self.flat.steps:
            (v, *_) = step.outputs
            if step.eqn.primitive is not primitives.exp_p or not self.depends(v):
                continue
            total, logits = self._sum_of(v), self._without_largest(step.inputs[0])
            if total is not None and logits is not None:
                yield Softmax(logits, v, *total)

    def divisions(self, total: int) -> frozenset[int]:
        """Return the steps that divide by a sum, to which others may be added before."""
        steps = self.above(total, lambda step: step.eqn.primitive.name in ADDING)
        return frozenset(id(step) for step in steps if step.eqn.primitive is primitives.div_p)

    def _sum_of(self, v: int) -> tuple[int, int, tuple[int, ...]] | None:
        """Return the value whose sum the numerators v are divided by, their sum, and its axes."""
        shape = self.flat.types[v].shape

        def weighs(step: TracedStep) -> bool:
            has_shape = self.flat.types[step.outputs[0]].shape == shape
            return has_shape and step.eqn.primitive.name in WEIGHING

        for step in self.above(v, weighs):
            if step.eqn.primitive is primitives.reduce_sum_p:
                axes = tuple(int(i) for i in step.eqn.params["axes"])
                return step.inputs[0], step.outputs[0], axes
        return None

    def _without_largest(self, v: int) -> int | None:
        """Return x of v = x - max x, v itself without a maximum; None of other programs."""
        step = self.made.get(v)
        while step is not None and step.eqn.primitive.name in MASKING:
            parts = [u for u in step.inputs if self._has_maximum(u)]
            step = self.made.get(parts[0]) if len(parts) == 1 else None
        if step is not None and step.eqn.primitive is primitives.sub_p:
            left, right = step.inputs
            if self._has_maximum(right):
                return left
        return None if self._has_maximum(v) else v

    def _has_maximum(self, v: int) -> bool:
        return any(step.eqn.primitive is primitives.reduce_max_p for step in self.ends_behind([v]))

    # Products

    def products_behind(self, values: Sequence[int]) -> list[TracedStep]:
        """Return the products that values are made of, by steps that are none."""
        return [s for s in self.ends_behind(values) if s.eqn.primitive is primitives.dot_general_p]

    def ends_behind(self, values: Sequence[int]) -> list[TracedStep]:
        """Return the steps that a way down from values ends at."""
        waiting, ends = [*values], dict[int, TracedStep]()
        seen = set(waiting)
        for v in waiting:
            step = self.made.get(v)
            if step is None:
                continue
            if not passes(step):
                ends[id(step)] = step
                continue
            waiting += [u for u in step.inputs if u not in seen]
            seen.update(step.inputs)
        return [*ends.values()]

    def products_above(self, v: int) -> list[TracedStep]:
        """Return the products that a value goes into, by steps that are none."""
        return [s for s in self.above(v, passes) if s.eqn.primitive is primitives.dot_general_p]

    def above(self, v: int, goes_on: Callable[[TracedStep], bool]) -> Iterator[TracedStep]:
        """Yield the steps that take a value, or what such steps make of it that go on."""
        waiting, seen = [v], {v}
        for u in waiting:
            for step in self.taken.get(u, ()):
                yield step
                if goes_on(step):
                    waiting += [w for w in step.outputs if w not in seen]
                    seen.update(step.outputs)


def passes(step: TracedStep) -> bool:
    """Tell steps from one product to the next: entry by entry, or another shape."""
    return not step.is_product and step.eqn.primitive.name not in ENDING

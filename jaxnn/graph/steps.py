"""Steps: what a network computes, whoever runs it, in one vocabulary of kinds.

    a jaxpr, or torch's graph  ->  an adapter  ->  a graph of steps  ->  readers

An adapter has a table from names of operations to kinds; readers know kinds alone.
"""

from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

Kind = Literal["addition", "product", "copy", "shape", "transpose", "norm", "relu", "other"]
KEEPING: tuple[Kind, ...] = ("copy", "shape", "transpose")  # what leaves an array what it is

V = TypeVar("V", bound=Hashable)  # a value, as an adapter names it
Axes = tuple[int, int]  # of a kernel: that of its inputs and that of its outputs


class Step(NamedTuple, Generic[V]):
    """An operation that makes values of others."""

    kind: Kind
    inputs: Sequence[V]
    kernel: Axes | None = None  # of a convolution without groups, whose second input it is


@dataclass(frozen=True)
class Graph(Generic[V]):
    """The steps of a network, or of a layer of it."""

    outputs: Sequence[V]
    made: Callable[[V], Step[V] | None]  # the step that makes a value; None of what goes in
    array: Callable[[V], Any]  # the number or name of a parameter; None of another value
    depends: Callable[[V], bool]  # whether a value, which is no parameter, depends on what goes in

    def is_state(self, value: V) -> bool:
        """Tell whether a value is made of more than constants, and is no parameter."""
        return self.depends(value) and not self.parameter(value)

    def parameter(self, value: V) -> set[Any]:
        """Return the parameter that a value is, but for its form; empty if it is none."""
        while (step := self.made(value)) is not None and step.kind in KEEPING:
            value = step.inputs[0]
        name = self.array(value)
        return set() if name is None else {name}

    def behind(self, values: Iterable[V], ends: Iterable[V] = ()) -> dict[V, int]:
        """Return what values are made of, those below first: each with all below it as bits."""

        def inputs(value: V) -> Sequence[V]:
            step = self.made(value)
            return step.inputs if step is not None else ()

        below = dict.fromkeys(ends, 0)
        for value in below_first(values, inputs, {*below}):
            below[value] = 1 << len(below)  # the bit of a value is its place
            for v in inputs(value):
                below[value] |= below[v]
        return below


def below_first(
    values: Iterable[V], inputs: Callable[[V], Iterable[V]], known: Container[V] = ()
) -> Iterator[V]:
    """Yield values and all that they are made of, but for what is known: each behind its inputs."""
    seen, waiting = set[V](), [(value, False) for value in values]
    while waiting:  # a stack, since graphs are deeper than Python may call
        value, is_done = waiting.pop()
        if is_done:
            yield value
        elif value not in seen and value not in known:
            seen.add(value)
            waiting += [(value, True), *((v, False) for v in inputs(value))]

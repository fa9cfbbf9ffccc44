"""Kinds of steps in the programs of all frameworks, and the order of what is made of each other."""

from collections.abc import Callable, Container, Hashable, Iterable, Iterator
from typing import Literal, TypeVar

Kind = Literal["addition", "product", "copy", "shape", "transpose", "norm", "relu", "other"]
KEEPING: tuple[Kind, ...] = ("copy", "shape", "transpose")  # what leaves an array what it is

V = TypeVar("V", bound=Hashable)
Axes = tuple[int, int]  # of a kernel: that of its inputs and that of its outputs


def below_first(
    values: Iterable[V], inputs: Callable[[V], Iterable[V]], known: Container[V] = ()
) -> Iterator[V]:
    """Yield values and all that they are made of, but for what is known: each after its inputs."""
    seen, waiting = set[V](), [(value, False) for value in values]
    while waiting:  # a stack, since graphs are deeper than Python may call
        value, is_done = waiting.pop()
        if is_done:
            yield value
        elif value not in seen and value not in known:
            seen.add(value)
            waiting += [(value, True), *((v, False) for v in inputs(value))]

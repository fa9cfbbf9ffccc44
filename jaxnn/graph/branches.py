"""Branches: where something is added to a state, and the parameters that they end with.

    v = u + branch(u)       the state itself, or what a layer has made of it

A sum is a skip if one of its terms is needed for the other one. The last product of a branch is the
first that is met on the way back from the sum; what is added between the two is its bias.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from .steps import Axes, Graph, V


def branches_of(graph: Graph[V]) -> list[set[Any]]:
    """Return the parameters of the last product of each branch, and its bias."""
    return [arrays for _, _, arrays in _skips(graph, graph.behind(graph.outputs))]


def is_post_norm(graph: Graph[V]) -> bool:
    """Tell whether a norm lies between the sum of a branch and what a later one is added to."""
    below = graph.behind(graph.outputs)
    places, skips = _places(below), list(_skips(graph, below))
    steps = {v: graph.made(v) for v in below}
    norms = sum(places[v] for v, step in steps.items() if step and step.kind == "norm")
    for _, u, _ in skips:
        under = [v for v, _, _ in skips if below[u] & places[v]]
        if under and below[u] & ~below[under[-1]] & norms:
            return True
    return False


def kernels_of(graph: Graph[V]) -> dict[Any, Axes]:
    """Return the axes of inputs and outputs of each kernel of a convolution, by parameter."""
    kernels: dict[Any, Axes] = {}
    for step in map(graph.made, graph.behind(graph.outputs)):
        if step is not None and step.kernel is not None:
            kernels |= dict.fromkeys(graph.parameter(step.inputs[1]), step.kernel)
    return kernels


def terms_of(graph: Graph[V], value: V, state: Sequence[V]) -> tuple[set[V], bool]:
    """Return the values of a state among the terms of a sum, and if others are made of it."""
    streams, others, waiting, seen = set[V](), False, [value], {value}
    for v in waiting:
        step = graph.made(v)
        if v in state:
            streams.add(v)
        elif step is not None and step.kind in ("addition", "copy", "shape"):
            waiting += [w for w in step.inputs if w not in seen]
            seen.update(step.inputs)
        else:
            others |= graph.is_state(v)
    return streams, others


def _skips(graph: Graph[V], below: dict[V, int]) -> Iterator[tuple[V, V, set[Any]]]:
    """Yield of each sum that is a skip its value, what it adds to, and a branch's parameters."""
    places = _places(below)
    for v in below:
        step = graph.made(v)
        if step is None or step.kind != "addition" or len(step.inputs) != 2:
            continue
        for u, w in (step.inputs, step.inputs[::-1]):
            is_skip = u != w and below[w] & places[u] and graph.is_state(u)
            arrays = _last_product(graph, w, u) if is_skip else set()
            if arrays:
                yield v, u, arrays
                break


def _places(below: dict[V, int]) -> dict[V, int]:
    return {v: 1 << i for i, v in enumerate(below)}


def _last_product(graph: Graph[V], value: V, stream: V) -> set[Any]:
    """Return the parameters of the last product before a value and after another, and its bias."""
    waiting, seen = [(value, set[Any]())], {stream}
    while waiting:
        v, bias = waiting.pop()
        step = None if v in seen else graph.made(v)
        seen.add(v)
        if step is None:
            continue
        parameters = [graph.parameter(w) for w in step.inputs]
        direct = set[Any]().union(*parameters)
        if step.kind == "product" and direct:
            return direct | bias
        if step.kind != "product":
            bias = bias | direct if step.kind == "addition" else bias
            pairs = zip(step.inputs, parameters, strict=True)
            waiting += [(w, bias) for w, of_w in pairs if not of_w][::-1]
    return set()

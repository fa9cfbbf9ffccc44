"""Branches: where something is added to a state, and the parameters that they end with.

    v = u + branch(u)       the state itself, or what a layer has made of it

A sum is a skip if one of its terms is needed for the other one. The last product of a branch is the
first that is met on the way back from the sum; what is added between the two is its bias.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from jax.extend.core import primitives

from ..graph.steps import Axes, below_first
from .step_graph import Graph


def branches_of(graph: Graph) -> list[set[Any]]:
    """Return the parameters of the last product of each branch, and its bias."""
    return [arrays for _, _, arrays in _skips(graph, _behind(graph))]


def is_post_norm(graph: Graph) -> bool:
    """Tell whether a norm lies between the sum of a branch and what a later one is added to."""
    below = _behind(graph)
    places, skips = _places(below), list(_skips(graph, below))
    norms = sum(place for v, place in places.items() if graph.kind(v) == "norm")
    for _, u, _ in skips:
        under = [v for v, _, _ in skips if below[u] & places[v]]
        if under and below[u] & ~below[under[-1]] & norms:
            return True
    return False


def kernels_of(graph: Graph) -> dict[Any, Axes]:
    """Return the axes of inputs and outputs of each kernel of a convolution, by parameter."""
    kernels: dict[Any, Axes] = {}
    for step in graph.flat.steps:
        if step.eqn.primitive is primitives.conv_general_dilated_p:
            params = step.eqn.params
            out, into, *_ = params["dimension_numbers"].rhs_spec
            # Units of a grouped convolution do not all meet.
            if params["feature_group_count"] * params["batch_group_count"] == 1:
                kernels |= dict.fromkeys(graph.parameter(step.inputs[1]), (into, out))
    return kernels


def terms_of(graph: Graph, value: int, state: Sequence[int]) -> tuple[set[int], bool]:
    """Return the values of a state among the terms of a sum, and if others are made of it."""
    streams, others, waiting, seen = set[int](), False, [value], {value}
    for v in waiting:
        if v in state:
            streams.add(v)
        elif graph.kind(v) in ("addition", "copy", "shape"):
            waiting += [w for w in graph.inputs(v) if w not in seen]
            seen.update(graph.inputs(v))
        else:
            others |= graph.depends(v)
    return streams, others


def _skips(graph: Graph, below: dict[int, int]) -> Iterator[tuple[int, int, set[Any]]]:
    """Yield of each sum that is a skip its value, what it adds to, and a branch's parameters."""
    places = _places(below)
    for v in below:
        terms = graph.inputs(v)
        if graph.kind(v) != "addition" or len(terms) != 2:
            continue
        for u, w in (terms, terms[::-1]):
            is_skip = u != w and below[w] & places[u] and graph.depends(u)
            arrays = _last_product(graph, w, u) if is_skip else set()
            if arrays:
                yield v, u, arrays
                break


def _behind(graph: Graph) -> dict[int, int]:
    """Return what comes out and all that it is made of, each with all below it as bits."""
    below: dict[int, int] = {}
    for value in below_first(graph.flat.outputs, graph.inputs):
        below[value] = 1 << len(below)  # the bit of a value is its place
        for v in graph.inputs(value):
            below[value] |= below[v]
    return below


def _places(below: dict[int, int]) -> dict[int, int]:
    return {v: 1 << i for i, v in enumerate(below)}


def _last_product(graph: Graph, value: int, stream: int) -> set[Any]:
    """Return the parameters of the last product before a value and after another, and its bias."""
    waiting, seen = [(value, set[Any]())], {stream}
    while waiting:
        v, bias = waiting.pop()
        kind, inputs = graph.kind(v), graph.inputs(v)
        if v in seen or kind is None:
            continue
        seen.add(v)
        parameters = [graph.parameter(w) for w in inputs]
        direct = set[Any]().union(*parameters)
        if kind == "product" and direct:
            return direct | bias
        if kind != "product":
            bias = bias | direct if kind == "addition" else bias
            pairs = zip(inputs, parameters, strict=True)
            waiting += [(w, bias) for w, of_w in pairs if not of_w][::-1]
    return set()

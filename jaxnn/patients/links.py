"""Links: the different layers of a chain, and their programs as graphs of steps."""

from collections.abc import Iterator
from typing import Any

import jax

from ..chain.chain import Chain, Link
from ..graph.steps import Graph
from ..network.params import is_run
from ..recognition import step_graph

Tree = Any  # of arrays, or of their types
TypedLink = tuple[list[int], Link, Tree, Tree]  # layers, counted from 0, with arrays and state


def links(net: Chain, params: Tree, xs: Tree) -> Iterator[TypedLink]:
    """Yield each different layer of a chain: the layers, from 0, its arrays and state as types."""
    state, first = jax.eval_shape(net.state, jax.tree.map(jax.numpy.asarray, xs)), 0
    lowered = net.for_batch(state)
    for pattern, k, entry in zip(lowered.kinds, lowered.lengths, params, strict=True):
        one = jax.eval_shape(lambda e: e.at(0), entry) if is_run(entry) else entry
        p = len(pattern.links)
        for j, (link, arrays) in enumerate(zip(pattern.links, one.arrays, strict=True)):
            if not pattern.between:
                yield [first + j + p * i for i in range(max(k, 1))], link, arrays, state
            state = jax.eval_shape(link, arrays, state)
        first += 0 if pattern.between else p * max(k, 1)


def graph_of(link: Link, arrays: Tree, state: Tree, is_repeated: bool = False) -> Graph[int]:
    """Return the program of a layer, or of it behind itself where it takes what it makes."""

    def twice(arrays: Tree, state: Tree) -> Any:
        return link(arrays, link(arrays, state))

    above = jax.eval_shape(link, arrays, state)
    is_repeated &= jax.tree.flatten(above) == jax.tree.flatten(state)
    closed = jax.make_jaxpr(twice if is_repeated else link)(arrays, state)
    return step_graph.Graph.of(closed, state).steps

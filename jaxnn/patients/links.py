"""Links: the programs of layers of a chain as graphs of steps."""

from typing import Any

import jax

from ..chain.chain import Link
from ..chain.links import Tree
from ..recognition.step_graph import Graph


def graph_of(link: Link, arrays: Tree, state: Tree, is_repeated: bool = False) -> Graph:
    """Return the program of a layer, or of it behind itself where it takes what it makes."""

    def twice(arrays: Tree, state: Tree) -> Any:
        return link(arrays, link(arrays, state))

    above = jax.eval_shape(link, arrays, state)
    is_repeated &= jax.tree.flatten(above) == jax.tree.flatten(state)
    closed = jax.make_jaxpr(twice if is_repeated else link)(arrays, state)
    return Graph.of(closed, state)

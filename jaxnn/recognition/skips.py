"""Skip connections around a whole layer, recognised in its program.

    out = u + branches      u an array of the state that goes in, as it is

The way back from what comes out leads through sums alone to u, and the other terms are made of the
state too. A norm behind the sum, or a factor of u, ends it: then out - u is not what branches add.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree

from ..arrays.rows import ScaledRows, at_least_float32, is_float, log_sizes_of
from ..chain.state import LayerState
from .branches import terms_of
from .step_graph import Graph


class Skip(NamedTuple):
    """A skip connection around a layer."""

    stream: int  # the number of the array that branches are added to, among the leaves that go in
    out: int  # that of the sum, among the leaves that come out


def skip_of(graph: Graph, state: PyTree) -> Skip | None:
    """Return the skip connection around a layer; None without one, or where it is not clear."""
    main = {graph.states[0]} if isinstance(state, LayerState) else set[int]()
    flat, numbers = graph.flat, {v: i for i, v in enumerate(graph.states)}
    for out, v in enumerate(flat.outputs):
        if v in numbers or not is_float(flat.types[v]):
            continue
        streams, others = terms_of(graph, v, graph.states)
        # Either of two terms may be the stream. Of a function that is cut between the last product
        # of a branch and the sum the main one is the branch, which the layer below has made.
        if len(streams) == 2 and not others:
            others, streams = True, streams - main
        if len(streams) == 1 and others:
            (u,) = streams
            if flat.types[u].shape == flat.types[v].shape:
                return Skip(numbers[u], out)
    return None


def log_branch(skip: Skip, before: PyTree, after: PyTree, dtype: DTypeLike) -> Float[Array, ""]:
    """Return ln of the norm of what branches add, relative to the stream; nan of a zero one."""
    u, v = (
        at_least_float32(jax.tree.leaves(state)[i]).astype(dtype)
        for state, i in ((before, skip.stream), (after, skip.out))
    )
    zero = jnp.zeros((), jnp.int32)
    stream, branch = log_sizes_of([ScaledRows(w, zero) for w in (u, v - u)])
    return jnp.where(stream > -jnp.inf, branch - stream, jnp.nan)

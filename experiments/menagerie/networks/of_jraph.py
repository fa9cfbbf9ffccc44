"""Networks of Jraph, with update functions of Haiku: one graph, which has no examples."""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import jraph

from experiments.menagerie import inputs

Layer = Callable[[jraph.GraphsTuple], jraph.GraphsTuple]


def graph() -> jraph.GraphsTuple:
    ring = jnp.array([0, 1, 2, 3]), jnp.array([1, 2, 3, 0])
    return jraph.GraphsTuple(
        nodes=inputs.vectors(),
        edges=inputs.sequences(1)[:, 0],
        senders=ring[0],
        receivers=ring[1],
        globals=inputs.vectors()[:1],
        n_node=jnp.array([4]),
        n_edge=jnp.array([4]),
    )


def update(*inputs: jax.Array) -> Any:
    return hk.nets.MLP([8, 8])(jnp.concatenate(inputs, -1))


def rounds(layer: Callable[[], Layer], count: int, of: str = "nodes") -> Callable[[Any], Any]:
    """Return layers of message passing on a graph, the last one's nodes or globals."""

    def network(graph: jraph.GraphsTuple) -> Any:
        for _ in range(count):
            graph = layer()(graph)
        return getattr(graph, of)

    return network


def attention() -> Any:
    logits = lambda sent, received, _: jax.nn.leaky_relu(
        hk.Linear(1)(jnp.concatenate([sent, received], -1))
    )
    return jraph.GAT(lambda nodes: hk.Linear(8)(nodes), logits)


def relations(graph: jraph.GraphsTuple) -> Any:
    layer = jraph.RelationNetwork(
        lambda sent, received: update(sent, received), lambda edges: hk.nets.MLP([8, 8])(edges)
    )
    graph = layer(graph)  # before the head, whose name in Haiku follows
    return hk.nets.MLP([8, 8])(graph.globals)

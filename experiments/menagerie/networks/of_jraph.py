"""Networks of Jraph, with update functions of Haiku: one graph, which has no examples."""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import jraph

from experiments.menagerie import inputs

KEY = jax.random.key(0)
Layer = Callable[[jraph.GraphsTuple], jraph.GraphsTuple]


def _measured(network: Callable[[jraph.GraphsTuple], Any]) -> inputs.Arguments:
    graph = jraph.GraphsTuple(
        nodes=inputs.vectors(),
        edges=inputs.sequences(1)[:, 0],
        senders=jnp.array([0, 1, 2, 3]),
        receivers=jnp.array([1, 2, 3, 0]),
        globals=inputs.vectors()[:1],
        n_node=jnp.array([4]),
        n_edge=jnp.array([4]),
    )
    model = hk.without_apply_rng(hk.transform(network))
    return {"model": (model.apply, model.init(KEY, graph)), "xs": graph, "each": "whole"}


def _update(*inputs: jax.Array) -> Any:
    return hk.nets.MLP([8, 8])(jnp.concatenate(inputs, -1))


def _rounds(layer: Callable[[], Layer], count: int, of: str = "nodes") -> inputs.Arguments:
    def network(graph: jraph.GraphsTuple) -> Any:
        for _ in range(count):
            graph = layer()(graph)
        return getattr(graph, of)

    return _measured(network)


def _attention() -> Any:
    logits = lambda sent, received, _: jax.nn.leaky_relu(
        hk.Linear(1)(jnp.concatenate([sent, received], -1))
    )
    return jraph.GAT(lambda nodes: hk.Linear(8)(nodes), logits)


def _relation_network() -> inputs.Arguments:
    def network(graph: jraph.GraphsTuple) -> Any:
        graph = jraph.RelationNetwork(
            lambda sent, received: _update(sent, received), lambda edges: hk.nets.MLP([8, 8])(edges)
        )(graph)
        return hk.nets.MLP([8, 8])(graph.globals)

    return _measured(network)


NETWORKS: inputs.Networks = {
    "graph_network": (
        "GraphNetwork, 3 rounds",
        lambda: _rounds(lambda: jraph.GraphNetwork(_update, _update, _update), 3, "globals"),
    ),
    "interaction_network": (
        "InteractionNetwork, 3 rounds",
        lambda: _rounds(lambda: jraph.InteractionNetwork(_update, _update), 3),
    ),
    "graph_convolution": (
        "GraphConvolution, 4 layers",
        lambda: _rounds(
            lambda: jraph.GraphConvolution(
                lambda nodes: jnp.tanh(hk.Linear(8)(nodes)), add_self_edges=True
            ),
            4,
        ),
    ),
    "attention": ("GAT, 3 layers", lambda: _rounds(_attention, 3)),
    "deep_sets": (
        "DeepSets, 3 rounds",
        lambda: _rounds(
            lambda: jraph.DeepSets(_update, lambda nodes: hk.nets.MLP([8, 8])(nodes)), 3, "globals"
        ),
    ),
    "relation_network": ("RelationNetwork and a head", _relation_network),
}

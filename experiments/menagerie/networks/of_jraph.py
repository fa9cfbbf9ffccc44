"""Networks of Jraph, with update functions of Haiku: one graph, which has no examples."""

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import jraph

from experiments.menagerie import inputs

KEY = jax.random.key(0)


def _measured(network: Any) -> dict[str, Any]:
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


def _update(*inputs: Any) -> Any:
    return hk.nets.MLP([8, 8])(jnp.concatenate(inputs, -1))


def graph_network() -> dict[str, Any]:
    """GraphNetwork, 3 rounds."""

    def network(graph: Any) -> Any:
        for _ in range(3):
            graph = jraph.GraphNetwork(_update, _update, _update)(graph)
        return graph.globals

    return _measured(network)


def interaction_network() -> dict[str, Any]:
    """InteractionNetwork, 3 rounds."""

    def network(graph: Any) -> Any:
        for _ in range(3):
            graph = jraph.InteractionNetwork(_update, _update)(graph)
        return graph.nodes

    return _measured(network)


def graph_convolution() -> dict[str, Any]:
    """GraphConvolution, 4 layers."""

    def network(graph: Any) -> Any:
        for _ in range(4):
            layer = jraph.GraphConvolution(
                lambda nodes: jnp.tanh(hk.Linear(8)(nodes)), add_self_edges=True
            )
            graph = layer(graph)
        return graph.nodes

    return _measured(network)


def attention() -> dict[str, Any]:
    """GAT, 3 layers."""

    def network(graph: Any) -> Any:
        for _ in range(3):
            logits = lambda sent, received, _: jax.nn.leaky_relu(
                hk.Linear(1)(jnp.concatenate([sent, received], -1))
            )
            graph = jraph.GAT(lambda nodes: hk.Linear(8)(nodes), logits)(graph)
        return graph.nodes

    return _measured(network)


def deep_sets() -> dict[str, Any]:
    """DeepSets, 3 rounds."""

    def network(graph: Any) -> Any:
        for _ in range(3):
            graph = jraph.DeepSets(_update, lambda nodes: hk.nets.MLP([8, 8])(nodes))(graph)
        return graph.globals

    return _measured(network)


def relation_network() -> dict[str, Any]:
    """RelationNetwork and a head."""

    def network(graph: Any) -> Any:
        graph = jraph.RelationNetwork(
            lambda sent, received: _update(sent, received), lambda edges: hk.nets.MLP([8, 8])(edges)
        )(graph)
        return hk.nets.MLP([8, 8])(graph.globals)

    return _measured(network)

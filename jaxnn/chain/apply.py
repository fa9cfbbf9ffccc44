"""A chain as a plain function of its parameters, which JAX differentiates: for a training.

    state[l] = f[l](params[l], state[l-1]),   k equal layers as one loop

It computes what the user's function does; what is measured takes the walk of `jaxnn.passes`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import PyTree

from ..network.params import Stacked, is_run
from .chain import Chain, Link, Lowered, decoded, encoded
from .parameter_handover import LayerWeights
from .state import types_of

Once = Callable[[Any, LayerWeights], tuple[Any, "Kept"]]
Kept = tuple[Any, ...]  # for each layer of a pattern, with an axis of its repetitions in front


def applied(
    net: Chain, params: PyTree, xs: PyTree, keep: Callable[[Any], Any] = lambda state: ()
) -> tuple[Any, list[Kept]]:
    """Return the output of a chain, and of each pattern of layers what is kept of it, (k, …)."""
    state = net.state(jax.tree.map(jnp.asarray, xs))
    output, of_patterns = through(net.for_batch(state), params, state, keep)
    return (jax.tree.map(lambda v: v[0], output) if net.whole else output), of_patterns


def through(
    lowered: Lowered, params: PyTree, state: PyTree, keep: Callable[[Any], Any] = lambda state: ()
) -> tuple[Any, list[Kept]]:
    """Return like `applied`, of a chain for batches of one shape, the examples first."""
    state = encoded(jax.tree.map(jnp.asarray, state))
    of_patterns: list[Kept] = []
    for pattern, entry in zip(lowered.kinds, jax.tree.map(jnp.asarray, params), strict=True):

        def once(
            state: PyTree, weights: LayerWeights, links: Sequence[Link] = pattern.links
        ) -> tuple[Any, Kept]:
            of_links = []
            for link, arrays in zip(links, weights.arrays, strict=True):
                state = link(arrays, state)
                of_links.append(keep(state))
            return state, tuple(of_links)

        def of_run(
            state: PyTree, per_layer: PyTree, entry: Stacked = entry, once: Once = once
        ) -> tuple[Any, Kept]:
            after: tuple[Any, Kept] = once(state, entry.rebuild(per_layer, entry.shared))
            return after

        # A run is one loop, so that its program does not grow with its length, unless its layers
        # change the types of their state: a loop's carry may not.
        parts = [entry]
        if is_run(entry):
            after = jax.eval_shape(once, state, entry.at(0))[0]
            if types_of(after) == types_of(state):
                state, of_links = lax.scan(of_run, state, entry.per_layer, length=entry.k)
                of_patterns.append(of_links)
                continue
            parts = [entry.at(j) for j in range(entry.k)]
        for part in parts:
            state, of_links = once(state, part)
            if not pattern.between:
                of_patterns.append(jax.tree.map(lambda v: v[None], of_links))
    return decoded(state), of_patterns

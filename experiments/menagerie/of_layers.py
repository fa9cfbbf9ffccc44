"""The layers of a chain applied in turn, as one plain function, and its gradient by `jax.grad`.

    state[l] = f[l](params[l], state[l-1]) + 0   ->  Δ of each state: in that 0
                                                 ->  Δ of each array of each layer: in params[l]

Which states there are, and which part of an array's Δ is whose, only the chain's cut can say; the
numbers are those of one reverse pass of JAX through all layers, without exponents.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxnn.arrays.rows import floats, with_floats
from jaxnn.chain.chain import as_one_example, decoded
from jaxnn.chain.state import counted
from jaxnn.flow.measure.layer_vjp import with_flags


class Norms(NamedTuple):
    """The norms of Δ, each layer's in a list of its own.

    streams: of the arrays of the state that comes out.
    arrays: of the parameters, in the order of `Flow.parameters`.
    """

    streams: list[list[float]]
    arrays: list[list[float]]

    @property
    def states(self) -> list[float]:
        """The norm of Δ of each state, all of its arrays together."""
        return [math.hypot(*norms) for norms in self.streams]


def plain(net: Any, params: PyTree, xs: PyTree, loss: Callable[[Any], jax.Array]) -> Norms:
    """Return the norms of plain gradients of a chain."""
    x = as_one_example(xs) if net.whole else xs
    layers = [*_layers(net.for_batch(x), params)]

    def applied(trained: PyTree, x: PyTree, passed: Callable[[list[Any]], list[Any]]) -> Any:
        given = iter(trained)
        for link, arrays, is_layer in layers:
            own = iter(next(given))
            filled = [
                [next(own) if is_trained else v for v, is_trained in zip(vs, flags, strict=True)]
                for vs, flags in with_flags(link, arrays)
            ]
            x = link(filled, x)
            if is_layer:
                counts = counted(x)
                streams = iter(passed([v for v, c in zip(floats(x), counts, strict=True) if c]))
                merged = zip(floats(x), counts, strict=True)
                x = with_floats(x, [next(streams) if c else v for v, c in merged])
        output = decoded(x)
        return jax.tree.map(lambda v: v[0], output) if net.whole else output

    def states(trained: PyTree, x: PyTree) -> list[list[Any]]:
        seen: list[list[Any]] = []

        def passed(streams: list[Any]) -> list[Any]:
            seen.append(streams)
            return streams

        applied(trained, x, passed)
        return seen

    def lost(trained: PyTree, zeros: list[list[Any]], x: PyTree) -> jax.Array:
        added = iter(zeros)
        return loss(
            applied(trained, x, lambda vs: [v + z for v, z in zip(vs, next(added), strict=True)])
        )

    trained = [
        [
            v
            for vs, flags in with_flags(link, arrays)
            for v, is_trained in zip(vs, flags, strict=True)
            if is_trained
        ]
        for link, arrays, _ in layers
    ]
    zeros = jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), jax.eval_shape(states, trained, x))
    of_arrays, of_streams = jax.jit(jax.grad(lost, (0, 1)))(trained, zeros, x)
    recorded = [vs for vs, (_, _, is_layer) in zip(of_arrays, layers, strict=True) if is_layer]
    return Norms(*([[_norm(v) for v in vs] for vs in each] for each in (of_streams, recorded)))


def _layers(lowered: Any, params: PyTree) -> Iterator[tuple[Any, Any, bool]]:
    """Yield the links with their arrays, and whether each is a layer that is recorded."""
    for kind, k, entry in zip(lowered.kinds, lowered.lengths, params, strict=True):
        for weights in [entry.at(j) for j in range(k)] if k else [entry]:
            for link, arrays in zip(kind.links, weights.arrays, strict=True):
                yield link, arrays, not kind.between


def _norm(v: jax.typing.ArrayLike) -> float:
    return float(np.linalg.norm(np.ravel(v)))

"""Attention, recognised in the program of a layer without a line from the user.

    product of two states  ->  masks, scales, biases  ->  softmax  ->  product with a state

A softmax is exp, its sum over some axes, and a way from exp to a product. What depends on the state
is known from the steps alone, and so are the axes: examples, positions, heads.

A key is masked for a query if the softmax would give it nothing though all products were zero: that
is so of where(mask, logits, -inf), of an added -1e9, and of what a softmax leaves out itself.
"""

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..arrays.spread import merged, spec_of, zeros
from .axes import EXAMPLES, FEATURES, POSITIONS, Axis
from .graph import Graph, Softmax
from .program import Step

MASKED = 1e-20  # of the largest numerator of a row, with zero products: such a key gets nothing


class Attention(NamedTuple):
    """A softmax between two products of states.

    softmax: the softmax.
    products: the values that its logits are made of.
    shape: of the logits, each axis in its factors.
    order: of these, the heads first, then what else there is of rows, the keys last.
    heads: the number of heads.
    keys: the number of keys.
    arrays: the numbers of the arrays of the layer that queries and keys are products with.
    """

    softmax: Softmax
    products: tuple[int, ...]
    shape: tuple[int, ...]
    order: tuple[int, ...]
    heads: int
    keys: int
    arrays: tuple[int, ...]

    def by_head(self, v: Array) -> Array:
        """Return logits, or what has their shape, as (heads, rows, keys)."""
        v = v.reshape(self.shape).transpose(self.order)
        sizes = [prod(v.shape[:i]) for i in range(v.ndim)]
        v = merged(v, 0, sizes.index(self.heads))
        spec = spec_of(v)  # rows come in any order: those that are spread over devices first
        rows = sorted(range(1, v.ndim - 1), key=lambda i: spec[i] is None)
        return merged(v.transpose(0, *rows, v.ndim - 1), 1, v.ndim - 1)


class Logits(NamedTuple):
    """Logits of one attention, and for each whether its key is not masked."""

    values: Float[Array, "heads rows keys"]
    seen: Bool[Array, "heads rows keys"]


def attentions_of(graph: Graph) -> Iterator[Attention]:
    """Yield all attentions of a layer, in their order."""
    for softmax in graph.softmaxes():
        products = graph.products_behind([softmax.logits])
        if any(_is_of_states(graph, step) for step in products) and any(
            _is_of_states(graph, step) for step in graph.products_above(softmax.powers)
        ):
            yield _by_heads(graph, softmax, products)


def logits_of(graph: Graph, attention: Attention, known: dict[int, Any]) -> Logits:
    """Return the logits of an attention; known are the constants and inputs of the program."""
    softmax, types = attention.softmax, graph.flat.types
    values = attention.by_head(graph.value(softmax.logits, known))
    zero = {v: zeros(1, types[v])[0] for v in attention.products}
    weights = attention.by_head(graph.value(softmax.numerators, known | zero))
    least = MASKED * jnp.max(weights, axis=-1, keepdims=True)
    return Logits(values, weights > least.astype(weights.dtype))


def _is_of_states(graph: Graph, step: Step) -> bool:
    return all(map(graph.depends, step.inputs))


def _arrays(graph: Graph, products: list[Step]) -> tuple[int, ...]:
    """Return the numbers of the arrays that the factors of products are products with."""
    factors = [v for step in products for v in step.inputs]
    products = graph.products_behind(factors)
    return graph.arrays([v for step in products for v in step.inputs if not graph.depends(v)])


def _by_heads(graph: Graph, softmax: Softmax, products: list[Step]) -> Attention:
    """Return an attention, with its axes told apart."""
    axes = graph.axes.known[softmax.logits]
    rows = [i for i in range(len(axes)) if i not in softmax.keys]
    queries = [i for i in rows if _holds(axes[i], POSITIONS)]
    if not queries:  # positions as features: then the queries are next to the keys
        queries = [i for i in rows if axes[i] and not _holds(axes[i], EXAMPLES)][-1:]
    shape, numbers = list[int](), list[int]()
    heads, others, keys = list[int](), list[int](), list[int]()
    for i, axis in enumerate(axes):
        for factor in axis:
            is_head = factor.kind == FEATURES and i not in queries
            group = keys if i in softmax.keys else heads if is_head else others
            group.append(len(shape))
            shape.append(factor.size)
            numbers.append(factor.number)
    heads.sort(key=numbers.__getitem__)
    count, width = (prod(shape[i] for i in group) for group in (heads, keys))
    return Attention(
        softmax,
        tuple(v for step in products for v in step.outputs),
        tuple(shape),
        (*heads, *others, *keys),
        count,
        width,
        _arrays(graph, [step for step in products if _is_of_states(graph, step)]),
    )


def _holds(axis: Axis, kind: str) -> bool:
    return any(factor.kind == kind for factor in axis)

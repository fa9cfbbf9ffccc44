"""Attention, recognised in the program of a layer without a line from the user.

    product of two states  ->  masks, scales, biases  ->  softmax  ->  product with a state

A softmax is exp, its sum over some axes, and a way from exp to a product; in blocks of keys too.
A key is masked for a query if the softmax would give it nothing though all products were zero: that
is so of where(mask, logits, -inf), of an added -1e9, and of what a softmax leaves out itself.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.extend.core import primitives
from jaxtyping import Array, Bool, Float

from ..arrays.loops import barrier
from ..arrays.spread import merged, spec_of, zeros
from ..jaxpr.axis_kinds import EXAMPLES, FEATURES, POSITIONS, Axis
from ..jaxpr.primitives import DOT, EXP, LARGEST, LOOPS, SCALING, SHIFTING
from ..jaxpr.program import TracedStep, behind, primitives_in
from .step_graph import Graph, Softmax

WORDS = ("attention", "attn")  # in the names of kernels
NAMES = ("target_name", "call_target_name", "name")  # parameters of a kernel that has one
BY_HAND = "a softmax written by hand"
FAR = 1e8  # below the largest one lie masked logits
MASKED = -46.0  # below the largest logit of a row, with zero products: such a key gets nothing


class KeyBlock(NamedTuple):
    """The logits of a softmax, or of one block of its keys.

    softmax: the softmax.
    shape: of the logits, each axis in its factors.
    order: of these, the heads first, then what else there is of rows, the keys last.
    heads: the number of heads.
    keys: the number of factors that count keys.
    """

    softmax: Softmax
    shape: tuple[int, ...]
    order: tuple[int, ...]
    heads: int
    keys: int

    def by_head(self, v: Array) -> Array:
        """Return logits, or what has their shape, as (heads, rows, keys)."""
        v = v.reshape(self.shape).transpose(self.order)
        v = merged(v, v.ndim - self.keys, v.ndim)
        sizes = [prod(v.shape[:i]) for i in range(v.ndim)]
        v = merged(v, 0, sizes.index(self.heads))
        spec = spec_of(v)  # rows come in any order: those that are spread over devices first
        rows = sorted(range(1, v.ndim - 1), key=lambda i: spec[i] is None)
        return merged(v.transpose(0, *rows, v.ndim - 1), 1, v.ndim - 1)


class Attention(NamedTuple):
    """A softmax between a product of states, or of one and parameters, and one of states."""

    blocks: tuple[KeyBlock, ...]  # of its keys
    products: tuple[int, ...]  # the values that its logits are made of
    # Of the layer that queries and keys are products with, or made of alone.
    arrays: tuple[int, ...]

    @property
    def heads(self) -> int:
        """The number of heads."""
        return self.blocks[0].heads


class Logits(NamedTuple):
    """Logits of one attention, and for each whether its key is not masked."""

    values: Float[Array, "heads rows keys"]
    seen: Bool[Array, "heads rows keys"]


def attentions_of(graph: Graph) -> Iterator[Attention]:
    """Yield all attentions of a layer, in their order."""
    blocks: dict[Any, list[Softmax]] = {}
    behind: dict[Any, list[TracedStep]] = {}
    taken: dict[Any, list[TracedStep]] = {}
    for softmax in graph.softmaxes():
        if not any(_is_of_states(graph, s) for s in graph.products_above(softmax.powers)):
            continue
        products = graph.products_behind([softmax.logits])
        of_states = [step for step in products if _is_of_states(graph, step)]
        if not of_states and _is_over_positions(graph, softmax):
            of_states = [step for step in products if any(map(graph.depends, step.inputs))]
        if of_states:
            key = graph.divisions(softmax.total) or softmax
            blocks.setdefault(key, []).append(softmax)
            behind.setdefault(key, []).extend(products)
            taken.setdefault(key, []).extend(of_states)
    for key, several in blocks.items():
        yield Attention(
            tuple(_by_heads(graph, softmax, taken[key]) for softmax in several),
            tuple({v for step in behind[key] for v in step.outputs}),
            _arrays(graph, taken[key]),
        )


def unread_of(graph: Graph) -> Iterator[str]:
    """Yield the names of loops and kernels that take the state and may attend inside."""
    known = {softmax.powers for softmax in graph.softmaxes()}
    for step in graph.flat.steps:
        if not any(map(graph.depends, step.inputs)):
            continue
        eqn, (out, *_) = step.eqn, step.outputs
        if eqn.primitive is primitives.exp_p and out not in known:
            products = graph.products_above(out), graph.products_behind([out])
            if all(any(_is_of_states(graph, s) for s in several) for several in products):
                yield BY_HAND
        names = (eqn.primitive.name, *(str(eqn.params.get(key, "")) for key in NAMES))
        is_attention = any(word in name.lower() for name in names for word in WORDS)
        counts = Counter(primitives_in(eqn))
        is_loop = eqn.primitive.name in LOOPS
        # A loop has a maximum too, as a softmax has: exp alone is in the softplus of a solver's
        # steps.
        is_softmax = counts[EXP] and (counts[LARGEST] or not is_loop)
        if is_attention or (counts[DOT] > 1 and is_softmax):
            length = eqn.params.get("length")
            loop = "a loop" if length is None else f"a loop of {length} steps"
            yield loop if is_loop else f"the kernel {next(filter(None, names[::-1]))}"


def logits_of(graph: Graph, attention: Attention, known: dict[int, Any]) -> Logits:
    """Return the logits of an attention, from constants, inputs and other values that are known."""
    types = graph.flat.types
    values = _by_head(graph, attention, lambda softmax: softmax.logits, known)
    if not any(_may_be_masked(graph, attention, block.softmax) for block in attention.blocks):
        return Logits(values, jnp.ones_like(values, bool))
    # Behind a barrier: else XLA computes the softmax of these zeros while it compiles.
    products = barrier({v: zeros(1, types[v])[0] for v in attention.products})
    instead = graph.without(known, attention.products) | products
    together = partial(_by_head, graph, attention, known=instead)
    try:
        logits = together(lambda softmax: softmax.logits)
        counts = together(lambda softmax: softmax.numerators) > 0
    except KeyError:  # a mask that is made of numbers which are not known
        return Logits(values, values > jnp.max(values, axis=-1, keepdims=True) - FAR)
    least = jnp.max(jnp.where(counts, logits, -jnp.inf), axis=-1, keepdims=True) + MASKED
    return Logits(values, counts & (logits > least))


def _by_head(
    graph: Graph, attention: Attention, value_of: Callable[[Softmax], int], known: dict[int, Any]
) -> Array:
    """Return a value of each softmax of an attention, (heads, rows, keys)."""
    values = [b.by_head(graph.value(value_of(b.softmax), known)) for b in attention.blocks]
    return jnp.concatenate(values, axis=-1) if len(values) > 1 else values[0]


def _may_be_masked(graph: Graph, attention: Attention, softmax: Softmax) -> bool:
    """Tell whether something but factors is between products and exp, or behind that."""
    products = {*attention.products}
    above = [step for step in graph.flat.steps if products.isdisjoint(step.outputs)]
    steps, _ = behind([softmax.powers], above)
    is_scaled = all(step.eqn.primitive.name in SCALING | SHIFTING for step in steps)
    # Without, the logits of products that are 0 are 0, and every key is seen.
    return not is_scaled or softmax.numerators != softmax.powers


def _is_over_positions(graph: Graph, softmax: Softmax) -> bool:
    axes = graph.axes.known.get(softmax.logits, ())
    return bool(axes and softmax.keys) and all(_holds(axes[i], POSITIONS) for i in softmax.keys)


def _is_of_states(graph: Graph, step: TracedStep) -> bool:
    return all(map(graph.depends, step.inputs))


def _arrays(graph: Graph, products: list[TracedStep]) -> tuple[int, ...]:
    """Return the numbers of the arrays that the factors of products are products with."""
    factors = [v for step in products for v in step.inputs]
    behind_it = [v for step in graph.products_behind(factors) for v in step.inputs]
    return graph.arrays([v for v in (*factors, *behind_it) if not graph.depends(v)])


def _queries(graph: Graph, softmax: Softmax, products: list[TracedStep]) -> list[int]:
    """Return the axes of the logits that count queries: positions, or learned ones."""
    axes = graph.axes.known[softmax.logits]
    rows = [i for i in range(len(axes)) if i not in softmax.keys]
    others = (graph.axes.others.get(v, ()) for step in products for v in step.inputs)
    learned = {factor for axes in others for axis in axes for factor in axis}
    queries = [i for i in rows if _holds(axes[i], POSITIONS) or not learned.isdisjoint(axes[i])]
    if queries or learned:
        return queries
    # Positions that are features of the state: then queries are next to the keys.
    return [i for i in rows if axes[i] and not _holds(axes[i], EXAMPLES)][-1:]


def _by_heads(graph: Graph, softmax: Softmax, products: list[TracedStep]) -> KeyBlock:
    """Return the logits of a softmax, with their axes told apart."""
    axes, queries = graph.axes.known[softmax.logits], _queries(graph, softmax, products)
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
    count = prod(shape[i] for i in heads)
    return KeyBlock(softmax, tuple(shape), (*heads, *others, *keys), count, len(keys))


def _holds(axis: Axis, kind: str) -> bool:
    return any(factor.kind == kind for factor in axis)

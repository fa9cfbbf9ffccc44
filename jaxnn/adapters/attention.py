"""Attention, recognised in the program of a layer without a line from the user.

    product of two states  ->  masks, scales, biases  ->  softmax  ->  product with a state

A softmax is exp, its sum over some axes, and a way from exp to a product. What depends on the state
is known from the steps alone, and so are the axes: examples, positions, heads.

A key is masked for a query if the softmax would give it nothing though all products were zero: that
is so of where(mask, logits, -inf), of an added -1e9, and of what a softmax leaves out itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import primitives
from jaxtyping import Array, Bool, Float

from .axes import EXAMPLES, FEATURES, POSITIONS, Axis, axes_of
from .program import CALLS, Flat, Step, behind, evaluated

# A reverse rule of the user's own is no matter here, where nothing is differentiated.
OPENED = (*CALLS, primitives.custom_jvp_call_p, primitives.custom_vjp_call_p)
MASKED = 1e-20  # of the largest numerator of a row, with zero products: such a key gets nothing
# Steps that end a way from one product to the next.
GATHERING = ("reduce", "arg", "cum", "sort", "top_k", "approx_top_k", "gather", "scatter")


class Softmax(NamedTuple):
    """A softmax.

    logits: the value that it is of.
    powers: exp(logits - their largest).
    numerators: these without those that it leaves out.
    keys: the axes of their sum.
    """

    logits: int
    powers: int
    numerators: int
    keys: tuple[int, ...]


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
        return v.reshape(self.shape).transpose(self.order).reshape(self.heads, -1, self.keys)


class Logits(NamedTuple):
    """Logits of one attention, and for each whether its key is not masked."""

    values: Float[Array, "heads rows keys"]
    seen: Bool[Array, "heads rows keys"]


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The program of a layer, (arrays, state) -> state, and what is recognised in it.

    flat: the program.
    states: the values of the state that goes in.
    taken, made: the steps that take a value, and the one that makes it.
    """

    flat: Flat
    states: tuple[int, ...]
    taken: dict[int, list[Step]] = field(default_factory=dict)
    made: dict[int, Step] = field(default_factory=dict)

    @classmethod
    def of(cls, closed: Any, state: Any) -> "Anatomy":
        """Return that of a jaxpr whose last inputs are the leaves of a state."""
        flat, leaves = Flat(closed, OPENED), jax.tree.leaves(state)
        found = cls(flat, tuple(flat.inputs[len(flat.inputs) - len(leaves) :]))
        for step in flat.steps:
            found.made.update(dict.fromkeys(step.outputs, step))
            for v in step.inputs:
                found.taken.setdefault(v, []).append(step)
        return found

    @cached_property
    def axes(self) -> dict[int, tuple[Axis, ...]]:
        """The axes of all values that depend on the state."""
        return axes_of(self.flat, self.states)

    @cached_property
    def attentions(self) -> tuple[Attention, ...]:
        """All attentions, in their order."""
        return tuple(self._attentions())

    def _attentions(self) -> Iterator[Attention]:
        for softmax in self._softmaxes():
            products = self._products_behind([softmax.logits])
            if any(self._is_of_states(step) for step in products) and any(
                self._is_of_states(step) for step in self._products_above(softmax.powers)
            ):
                yield self._by_heads(softmax, products)

    def logits(self, arrays: Any, state: Any) -> tuple[Logits, ...]:
        """Return the logits of each attention, for the arrays and the state of the layer."""
        given = dict(zip(self.flat.inputs, jax.tree.leaves((arrays, state)), strict=True))
        return tuple(self._logits(each, self.flat.constants | given) for each in self.attentions)

    def _logits(self, attention: Attention, known: dict[int, Any]) -> Logits:
        softmax, flat = attention.softmax, self.flat
        steps, _ = behind([softmax.logits], flat.steps)
        (values,) = evaluated([softmax.logits], steps, known)
        zero = {v: jnp.zeros(flat.types[v].shape, flat.types[v].dtype) for v in attention.products}
        rest = [step for step in flat.steps if zero.keys().isdisjoint(step.outputs)]
        steps, _ = behind([softmax.numerators], rest)
        (weights,) = evaluated([softmax.numerators], steps, known | zero)
        weights = attention.by_head(weights)
        least = MASKED * jnp.max(weights, axis=-1, keepdims=True)
        return Logits(attention.by_head(values), weights > least.astype(weights.dtype))

    # Softmaxes

    def _softmaxes(self) -> Iterator[Softmax]:
        for step in self.flat.steps:
            (v, *_) = step.outputs
            if step.eqn.primitive is not primitives.exp_p or v not in self.axes:
                continue
            total, logits = self._sum_of(v), self._without_largest(step.inputs[0])
            if total is not None and logits is not None:
                yield Softmax(logits, v, *total)

    def _sum_of(self, v: int) -> tuple[int, tuple[int, ...]] | None:
        """Return the value whose sum the numerators v are divided by, and its axes."""
        shape, waiting = self.flat.types[v].shape, [v]
        passing = (primitives.convert_element_type_p, primitives.select_n_p, primitives.mul_p)
        for u in waiting:
            for step in self.taken.get(u, ()):
                if step.eqn.primitive is primitives.reduce_sum_p:
                    return u, tuple(int(i) for i in step.eqn.params["axes"])
                (out, *_) = step.outputs
                if step.eqn.primitive in passing and self.flat.types[out].shape == shape:
                    waiting.append(out)
        return None

    def _without_largest(self, v: int) -> int | None:
        """Return x of v = x - max x, v itself without a maximum; None of other programs."""
        step = self.made.get(v)
        if step is not None and step.eqn.primitive is primitives.sub_p:
            left, right = step.inputs
            if self._has_maximum(right):
                return left
        return None if self._has_maximum(v) else v

    def _has_maximum(self, v: int) -> bool:
        return any(step.eqn.primitive is primitives.reduce_max_p for step in self._ends_behind([v]))

    # Products

    def _products_behind(self, values: Sequence[int]) -> list[Step]:
        """Return the products that values are made of, by steps that are none."""
        return [s for s in self._ends_behind(values) if s.eqn.primitive is primitives.dot_general_p]

    def _ends_behind(self, values: Sequence[int]) -> list[Step]:
        """Return the steps that a way down from values ends at."""
        waiting, ends = [*values], dict[int, Step]()
        seen = set(waiting)
        for v in waiting:
            step = self.made.get(v)
            if step is None:
                continue
            if not _passes(step):
                ends[id(step)] = step
                continue
            waiting += [u for u in step.inputs if u not in seen]
            seen.update(step.inputs)
        return [*ends.values()]

    def _products_above(self, v: int) -> list[Step]:
        """Return the products that a value goes into, by steps that are none."""
        waiting, seen, products = [v], {v}, []
        for u in waiting:
            for step in self.taken.get(u, ()):
                if step.eqn.primitive is primitives.dot_general_p:
                    products.append(step)
                elif _passes(step):
                    waiting += [w for w in step.outputs if w not in seen]
                    seen.update(step.outputs)
        return products

    def _arrays(self, products: list[Step]) -> tuple[int, ...]:
        """Return the numbers of the arrays that the factors of products are products with."""
        factors = [v for step in products for v in step.inputs]
        weights = {
            v for step in self._products_behind(factors) for v in step.inputs if v not in self.axes
        }
        _, values = behind(weights, self.flat.steps)
        arrays = self.flat.inputs[: len(self.flat.inputs) - len(self.states)]
        return tuple(i for i, v in enumerate(arrays) if v in values)

    def _is_of_states(self, step: Step) -> bool:
        return all(v in self.axes for v in step.inputs)

    # Heads

    def _by_heads(self, softmax: Softmax, products: list[Step]) -> Attention:
        """Return an attention, with its axes told apart."""
        axes = self.axes[softmax.logits]
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
            self._arrays([step for step in products if self._is_of_states(step)]),
        )


def _holds(axis: Axis, kind: str) -> bool:
    return any(factor.kind == kind for factor in axis)


def _passes(step: Step) -> bool:
    """Tell steps from one product to the next: entry by entry, or another shape."""
    return not step.is_product and not step.eqn.primitive.name.startswith(GATHERING)

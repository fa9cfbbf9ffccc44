"""Stretches of a network between two layers, and products with their Jacobians.

A state is a vector here, (B, n): the floats of its streams; riders, which depend on the batch
alone, are held as they are. Equal layers are one stretch, and a loop.

    up      t′ = t F[l]      the transpose of the reverse rule, which is linear
    down    c = F[l] w       the reverse rule of the layer, by `jax.vjp`

Both are of all examples together, which is right where examples do not meet.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from ...arrays.loops import match_carry_type
from ...arrays.rows import ScaledRows, at_least_float32, floats, renormalised, with_floats
from ...arrays.spread import pcast_like
from ...chain.chain import Link
from ...chain.from_network import BlockLayer
from ...chain.parameter_handover import LayerWeights
from ...chain.state import LayerState, streams
from ...network.params import Stacked
from ...recognition.anatomy import Anatomy
from ..measure.layer_vjp import applied
from ..measure.unrolled import Unrolled


class Stretch(NamedTuple):
    """Layers that follow each other: links, repeated if their weights are those of a run."""

    links: tuple[Link, ...]
    anatomies: tuple[Anatomy, ...]  # of the links' programs
    weights: LayerWeights | Stacked
    states: tuple[PyTree, ...]  # that go into the links; of a run stacked
    is_layer: bool = True  # False of a conversion between two states, which counts in no number

    @property
    def layers(self) -> int:
        """The number of layers."""
        if not self.is_layer:
            return 0
        return len(self.links) * (self.weights.k if isinstance(self.weights, Stacked) else 1)

    def at(self, j: int) -> "Stretch":
        """Return one repetition of a run."""
        if not isinstance(self.weights, Stacked):
            return self
        states = jax.tree.map(lambda v: v[j], self.states)
        return self._replace(weights=self.weights.at(j), states=states)

    def repeated(self, start: int, end: int) -> "Stretch":
        """Return some repetitions of a run."""
        run = self.weights
        if not isinstance(run, Stacked):
            return self
        per_layer, states = jax.tree.map(lambda v: v[start:end], (run.per_layer, self.states))
        of_part = Stacked(per_layer, run.shared, run.rebuild, end - start)
        return self._replace(weights=of_part, states=states)

    def part(self, start: int, end: int) -> "Stretch":
        """Return some links of a stretch that is not repeated."""
        assert isinstance(self.weights, LayerWeights)
        weights = LayerWeights(self.weights.arrays[start:end])
        part = slice(start, end)
        return Stretch(self.links[part], self.anatomies[part], weights, self.states[part])

    def between(self, start: int, end: int) -> "Iterator[Stretch]":
        """Yield some layers: part of a repetition, whole ones, and part of the last."""
        size = len(self.links)
        whole, last = -(-start // size), end // size
        if whole > last:
            yield self.at(last).part(start % size, end % size)
            return
        if start % size:
            yield self.at(whole - 1).part(start % size, size)
        if last > whole:
            yield self.repeated(whole, last)
        if end % size:
            yield self.at(last).part(0, end % size)


def layers_between(chain: Unrolled, x: PyTree, i: int, j: int) -> list[Stretch]:
    """Return layers i + 1 to j and the conversions between them, given what goes into layer 1."""
    taken: list[Stretch] = []
    first, state = 0, x
    for op, weights in zip(chain.kinds, chain.weights, strict=True):
        state, states = _through(op.pattern.links, weights, state)
        stretch = Stretch(op.pattern.links, op.anatomies, weights, states, op.is_layer)
        if op.is_layer:
            taken += stretch.between(*(min(max(at - first, 0), stretch.layers) for at in (i, j)))
        elif i <= first < j:
            taken.append(stretch)
        first += stretch.layers
    return taken


def _through(
    links: Sequence[Link], weights: LayerWeights | Stacked, state: PyTree
) -> tuple[PyTree, tuple[PyTree, ...]]:
    """Return the state after a stretch, and those that go into its links."""

    def one(state: PyTree, layer: LayerWeights) -> tuple[PyTree, tuple[PyTree, ...]]:
        states = [state]
        for link, arrays in zip(links, layer.arrays, strict=True):
            states.append(applied(link, arrays, states[-1]))
        return states[-1], tuple(states[:-1])

    if isinstance(weights, LayerWeights):
        return one(state, weights)
    rebuild, shared = weights.rebuild, weights.shared
    whole: tuple[PyTree, tuple[PyTree, ...]] = lax.scan(
        lambda state, v: one(state, rebuild(v, shared)), state, weights.per_layer, weights.k
    )
    return whole


def as_vector(state: PyTree) -> Float[Array, "B n"]:
    """Return the floats of a state's streams as a vector of each example."""
    values = [at_least_float32(v).reshape(len(v), -1) for v in floats(streams(state))]
    dtype = jnp.result_type(*values)
    return jnp.concatenate([v.astype(dtype) for v in values], axis=1)


def _from_vector(state: PyTree, vector: Float[Array, "B n"]) -> Any:
    """Undo `as_vector`, given the state, whose other values stay."""
    values, at = [], 0
    for v in floats(streams(state)):
        size = v.size // len(v)
        values.append(vector[:, at : at + size].reshape(v.shape).astype(v.dtype))
        at += size
    whole = with_floats(streams(state), values)
    return LayerState(whole, state.riders) if isinstance(state, LayerState) else whole


class Factor(NamedTuple):
    """The Jacobian F of one layer at a state."""

    at: Float[Array, "B n"]  # the state
    made: Float[Array, "B m"]  # what comes out
    pull: Callable[[Array], Array]  # the reverse rule of the layer

    @classmethod
    def of(cls, link: Link, arrays: PyTree, state: PyTree) -> "Factor":
        """Return that of a link, of a Network's by its own rule."""
        (part, *more), at = link.parts, as_vector(state)
        layer = None if part.f is None or more else part.f.value
        if isinstance(layer, BlockLayer):
            return cls(at, *layer.with_rule(arrays[0], state))
        made, pull = jax.vjp(lambda v: as_vector(applied(link, arrays, _from_vector(state, v))), at)
        return cls(at, made, lambda delta: pull(delta)[0])

    def down(self, delta: Float[Array, "B m"]) -> Float[Array, "B n"]:
        """Return F Δ."""
        return self.pull(pcast_like(delta, self.made))

    def up(self, tangent: Float[Array, "B n"]) -> Float[Array, "B m"]:
        """Return t F."""
        above: Array
        (above,) = jax.linear_transpose(self.pull, self.made)(pcast_like(tangent, self.at))
        return above


def fold(step: Any, carry: Any, stretch: Stretch, *others: Any, downwards: bool = False) -> Any:
    """Go through a stretch like `lax.scan`, by (carry, layers, *others) -> carry, record."""
    # A layer is a link with its arrays and the state that goes in, as `Factor.of` takes them.
    run = stretch.weights

    def body(carry: Any, entries: Any) -> Any:
        weights, states, *of_layer = entries
        layer = run.rebuild(weights, run.shared) if isinstance(run, Stacked) else weights
        layers = zip(stretch.links, layer.arrays, states, strict=True)
        return step(carry, list(layers), *of_layer)

    if isinstance(run, LayerWeights):
        return body(carry, (run, stretch.states, *others))
    entries = (run.per_layer, stretch.states, *others)
    first = jax.tree.map(lambda v: v[0], entries)
    carry = match_carry_type(lambda first, carry: body(carry, first)[0], first, carry)
    return lax.scan(body, carry, entries, length=run.k, reverse=downwards)


def through(stretches: Sequence[Stretch], vector: Array, *, downwards: bool) -> ScaledRows:
    """Return J Δ, or t J upwards, each row times a power of two of its own."""

    def step(rows: ScaledRows, layers: list[Any]) -> tuple[ScaledRows, None]:
        for layer in reversed(layers) if downwards else layers:
            factor = Factor.of(*layer)
            m = factor.down(rows.m) if downwards else factor.up(rows.m)
            rows = renormalised(ScaledRows(m, rows.e))
        return rows, None

    rows = renormalised(ScaledRows(vector, jnp.zeros(len(vector), jnp.int32)))
    for stretch in reversed(stretches) if downwards else stretches:
        rows, _ = fold(step, rows, stretch, downwards=downwards)
    return rows

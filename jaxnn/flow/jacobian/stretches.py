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
    state: PyTree  # that goes into the first of them; of a run stacked
    is_layer: bool = True  # False of a conversion between two states, which counts in no number

    @property
    def layers(self) -> int:
        """The number of layers."""
        if not self.is_layer:
            return 0
        return len(self.links) * (self.weights.k if isinstance(self.weights, Stacked) else 1)

    def states(self, weights: LayerWeights, state: PyTree) -> list[Any]:
        """Return the state that goes into each link."""
        states = [state]
        for link, arrays in zip(self.links[:-1], weights.arrays, strict=False):
            states.append(applied(link, arrays, states[-1]))
        return states

    def at(self, j: int) -> "Stretch":
        """Return one repetition of a run."""
        if not isinstance(self.weights, Stacked):
            return self
        state = jax.tree.map(lambda v: v[j], self.state)
        return self._replace(weights=self.weights.at(j), state=state)

    def repeated(self, start: int, end: int) -> "Stretch":
        """Return some repetitions of a run."""
        run = self.weights
        if not isinstance(run, Stacked):
            return self
        per_layer, state = jax.tree.map(lambda v: v[start:end], (run.per_layer, self.state))
        of_part = Stacked(per_layer, run.shared, run.rebuild, end - start)
        return self._replace(weights=of_part, state=state)

    def part(self, start: int, end: int) -> "Stretch":
        """Return some links of a stretch that is not repeated."""
        weights = self.weights
        assert isinstance(weights, LayerWeights)
        state = self.states(weights, self.state)[start]
        taken = slice(start, end)
        return Stretch(
            self.links[taken], self.anatomies[taken], LayerWeights(weights.arrays[taken]), state
        )


def stretches_of(chain: Unrolled, x: PyTree) -> list[Stretch]:
    """Return all stretches of a network, given what goes into it."""
    stretches, state = [], x
    for op, weights in zip(chain.kinds, chain.weights, strict=True):
        links = op.pattern.links
        state, entering = (
            _through_run(links, weights, state)
            if isinstance(weights, Stacked)
            else (_after(links, weights, state), state)
        )
        stretches.append(Stretch(links, op.anatomies, weights, entering, op.is_layer))
    return stretches


def _through_run(links: Sequence[Link], run: Stacked, state: PyTree) -> tuple[Any, Any]:
    """Return the state behind a run, and those that go into its repetitions, stacked."""

    def one(state: PyTree, per_layer: PyTree) -> tuple[Any, Any]:
        return _after(links, run.rebuild(per_layer, run.shared), state), state

    return lax.scan(one, state, run.per_layer, length=run.k)


def _after(links: Sequence[Link], weights: LayerWeights, state: PyTree) -> Any:
    for link, arrays in zip(links, weights.arrays, strict=True):
        state = applied(link, arrays, state)
    return state


def layers_between(stretches: Sequence[Stretch], i: int, j: int) -> list[Stretch]:
    """Return layers i + 1 to j, and the conversions between them."""
    taken: list[Stretch] = []
    first = 0
    for stretch in stretches:
        if not stretch.is_layer:
            taken += [stretch] if i <= first < j else []
            continue
        start, end = (min(max(at - first, 0), stretch.layers) for at in (i, j))
        taken += _cut(stretch, start, end)
        first += stretch.layers
    return taken


def _cut(stretch: Stretch, start: int, end: int) -> Iterator[Stretch]:
    """Yield some layers of a stretch: part of a repetition, whole ones, and part of the last."""
    size = len(stretch.links)
    whole, last = -(-start // size), end // size
    if whole > last:
        yield stretch.at(last).part(start % size, end % size)
        return
    if start % size:
        yield stretch.at(whole - 1).part(start % size, size)
    if last > whole:
        yield stretch.repeated(whole, last)
    if end % size:
        yield stretch.at(last).part(0, end % size)


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

    def down(self, delta: Float[Array, "B m"]) -> Float[Array, "B n"]:
        """Return F Δ."""
        return self.pull(pcast_like(delta, self.made))

    def up(self, tangent: Float[Array, "B n"]) -> Float[Array, "B m"]:
        """Return t F."""
        above: Array
        (above,) = jax.linear_transpose(self.pull, self.made)(pcast_like(tangent, self.at))
        return above


def factor_of(link: Link, arrays: PyTree, state: PyTree) -> Factor:
    """Return the Jacobian of a layer at a state, of a Network by its own rule."""
    (part, *more), at = link.parts, as_vector(state)
    layer = None if part.f is None or more else part.f.value
    if isinstance(layer, BlockLayer):
        return Factor(at, *layer.with_rule(arrays[0], state))

    def of(vector: Array) -> Array:
        return as_vector(applied(link, arrays, _from_vector(state, vector)))

    made, pull = jax.vjp(of, at)
    return Factor(at, made, lambda delta: pull(delta)[0])


def factors_of(stretch: Stretch, weights: LayerWeights, state: PyTree) -> list[Factor]:
    """Return the Jacobians of the layers of a stretch, or of one repetition."""
    states = stretch.states(weights, state)
    links = zip(stretch.links, weights.arrays, states, strict=True)
    return [factor_of(*link) for link in links]


def fold(step: Any, carry: Any, stretch: Stretch, *others: Any, downwards: bool = False) -> Any:
    """Go through a stretch like `lax.scan`, by (carry, factors, *others) -> carry, record."""
    run = stretch.weights
    if isinstance(run, LayerWeights):
        return step(carry, factors_of(stretch, run, stretch.state), *others)

    def body(carry: Any, entries: Any) -> Any:
        per_layer, state, *of_layer = entries
        weights = run.rebuild(per_layer, run.shared)
        return step(carry, factors_of(stretch, weights, state), *of_layer)

    entries = (run.per_layer, stretch.state, *others)
    first = jax.tree.map(lambda v: v[0], entries)
    carry = match_carry_type(lambda first, carry: body(carry, first)[0], first, carry)
    return lax.scan(body, carry, entries, length=run.k, reverse=downwards)


def through(stretches: Sequence[Stretch], vector: Array, *, downwards: bool) -> ScaledRows:
    """Return J Δ, or t J upwards, each row times a power of two of its own."""

    def step(rows: ScaledRows, factors: list[Factor]) -> tuple[ScaledRows, None]:
        for factor in reversed(factors) if downwards else factors:
            m = factor.down(rows.m) if downwards else factor.up(rows.m)
            rows = renormalised(ScaledRows(m, rows.e))
        return rows, None

    rows = renormalised(ScaledRows(vector, jnp.zeros(len(vector), jnp.int32)))
    for stretch in reversed(stretches) if downwards else stretches:
        rows, _ = fold(step, rows, stretch, downwards=downwards)
    return rows

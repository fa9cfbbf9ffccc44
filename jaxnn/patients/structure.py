"""Structure: the equal layers of a chain in another form."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import jax
import numpy as np
from jax.extend.core import primitives
from jaxtyping import Bool, Int

from ..arrays.rows import is_float
from ..chain.chain import Chain, Link, Lowered, decoded, encoded, from_layers
from ..chain.links import Tree, TypedLink, with_arrays
from ..jaxpr.interpreter import CALLS
from ..jaxpr.primitives import CASTS, SHAPES, STOPPED
from ..jaxpr.program import Flat, Instead, TracedStep, evaluated
from ..network.params import Stacked
from .patient import Form

OPENED = (*CALLS, primitives.custom_jvp_call_p)


@dataclass(frozen=True)
class Plain:
    """A layer as it is, without the encoding of keys in its state, which its new chain does."""

    link: Link

    def __call__(self, arrays: Tree, state: Tree) -> Any:
        for part, of_part in zip(self.link.parts, arrays, strict=True):
            state = part(of_part, state)
        return state


@dataclass(frozen=True)
class Formed(Plain):
    """A layer f in another form: out(state, f(into(state)))."""

    form: Form

    def __call__(self, arrays: Tree, state: Tree) -> Any:
        return self.form.out(state, super().__call__(arrays, self.form.into(state)))


@dataclass(frozen=True)
class Remade(Plain):
    """A layer as its program, some values of which are made in another way."""

    opened: ClassVar[tuple[Any, ...]] = OPENED

    def __call__(self, arrays: Tree, state: Tree) -> Any:
        flat, structure = traced(super().__call__, arrays, state, self.opened)
        given = dict(zip(flat.inputs, jax.tree.leaves((arrays, state)), strict=True))
        made = evaluated(flat.outputs, flat.steps, flat.constants | given, self.instead(flat))
        return jax.tree.unflatten(structure, made)

    def instead(self, flat: Flat) -> Instead:
        """Return the values that are made in another way."""
        raise NotImplementedError


def traced(
    link: Callable[..., Any], arrays: Tree, state: Tree, opened: Sequence[Any] = OPENED
) -> tuple[Flat, Any]:
    """Return the program of a layer, and the structure of what comes out."""
    closed, shape = jax.make_jaxpr(link, return_shape=True)(arrays, state)
    return Flat(closed, opened), jax.tree.structure(shape)


@dataclass(frozen=True)
class Open(Remade):
    """A layer whose program stops no gradient."""

    opened: ClassVar = CALLS  # with the derivatives that users give

    def instead(self, flat: Flat) -> Instead:
        return {s.outputs[0]: (s.inputs[0], lambda v: v) for s in flat.steps if _is_stop(s)}


def stops(link: Link, arrays: Tree, state: Tree) -> bool:
    """Tell whether the program of a layer has a `stop_gradient`."""
    return any(map(_is_stop, traced(link, arrays, state, CALLS)[0].steps))


def operations(link: Link, arrays: Tree, state: Tree) -> list[str]:
    """Return the names of the operations of a layer, but for shapes and dtypes, in their order."""
    names = [step.eqn.primitive.name for step in traced(link, arrays, state)[0].steps]
    return [name for name in names if name not in SHAPES | CASTS]


def _is_stop(step: TracedStep) -> bool:
    return step.eqn.primitive.name == STOPPED


Rebuild = Callable[[Link], Plain]


@dataclass(frozen=True)
class Rebuilding:
    """Put layers into another form; equal to another one of the same form, as its programs are."""

    kind: Callable[[Link, Any], Plain]  # of the layers that it makes
    other: Any  # what they take next to the link, such as the form

    def __call__(self, link: Link) -> Plain:
        return self.kind(link, self.other)


def keep_their_shape(links: Iterable[TypedLink], count: int) -> Bool[np.ndarray, " L"]:
    """Tell of each layer whether its state is one float array, which it returns in its shape."""
    keeps = np.zeros(count, bool)
    for layers, link, arrays, state in links:
        above = jax.eval_shape(link, arrays, state)
        keeps[layers] = _type(state) is not None and _type(state) == _type(above)
    return keeps


def outermost(names: Sequence[str]) -> list[str]:
    """Return the modules that layers are named by, but for those inside of another one.

    Example:
        >>> outermost(["a[1].query", "a[1]", "a[1].out", "b#1", "b#2", "a[10]"])
        ['a[1]', 'b', 'a[10]']
    """
    modules = dict.fromkeys(name.partition("#")[0] for name in names)

    def is_inside(name: str) -> bool:
        return any(name[:i] in modules for i, letter in enumerate(name) if letter in "./[")

    return [name for name in modules if not is_inside(name)]


def rebuilt(
    net: Chain, params: Tree, xs: Tree, meant: Bool[np.ndarray, " L"], form: Rebuild
) -> tuple[Chain, Tree, Int[np.ndarray, " L"]]:
    """Return (net, params, numbers) with some layers of a chain in another form."""
    # numbers: those that the layers had, from 0; -1 of what was none.
    layers, numbers, number = [], [], 0
    for link, arrays, is_layer in with_arrays(net.for_batch(xs), params):
        layers.append((form(link) if is_layer and meant[number] else Plain(link), arrays))
        numbers.append(number if is_layer else -1)
        number += is_layer
    return *from_layers(layers), np.array(numbers)


def with_form(
    lowered: Lowered, params: Tree, meant: Bool[np.ndarray, " L"], form: Rebuild
) -> tuple[Lowered, list[Tree]]:
    """Return what a chain computes with some layers in another form; its runs stay loops."""

    def formed(link: Link) -> Any:
        return lambda arrays, state: encoded(form(link)(arrays, decoded(state)))

    kinds, entries, first = [], [], 0
    for pattern, k, entry in zip(lowered.kinds, lowered.lengths, params, strict=True):
        turns, links = max(k, 1), len(pattern.links)
        of_turns = np.zeros((turns, links), bool)
        if not pattern.between:
            of_turns = meant[first : first + turns * links].reshape(turns, links)
            first += turns * links
        ends = np.flatnonzero(np.any(of_turns[1:] != of_turns[:-1], axis=1)) + 1
        for start, stop in pairwise((0, *ends, turns)):
            changed = zip(pattern.links, of_turns[start], strict=True)
            kinds.append(replace(pattern, links=tuple(formed(f) if m else f for f, m in changed)))
            entries.append(_part(entry, start, stop) if len(ends) else entry)
    return replace(lowered, kinds=tuple(kinds)), entries


def _part(entry: Stacked, start: int, stop: int) -> Stacked:
    """Return some layers of a run."""
    per_layer = jax.tree.map(lambda v: v[start:stop], entry.per_layer)
    return replace(entry, per_layer=per_layer, k=stop - start)


def _type(state: Tree) -> Any:
    """Return shape and dtype of a state that is one float array; None of others."""
    is_array = hasattr(state, "shape") and is_float(state)
    return (state.shape, state.dtype) if is_array else None

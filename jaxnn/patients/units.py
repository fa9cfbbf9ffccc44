"""Units: the elementwise functions of a layer, found in its program and replaced by another.

… product -> z -> σ(z) -> product …
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..chain.chain import Link
from ..chain.links import Tree
from ..jaxpr.primitives import AFFINE, CASTS, MULTIPLYING, SHAPES, SUMS, UNITWISE
from ..jaxpr.program import Flat, Instead, TracedStep, behind, evaluated
from .structure import Remade, traced

SOME = 257  # numbers that a function is compared at


@dataclass(frozen=True)
class WithUnits(Remade):
    """A layer with another function in place of its elementwise ones."""

    sigma: Callable[[Any], Any] = jnp.tanh
    is_last: bool = False  # then what follows its last product stays

    def instead(self, flat: Flat) -> Instead:
        functions = dict(_functions(flat))
        if self.is_last:
            products = [s.eqn.primitive.name in MULTIPLYING for s in flat.steps]
            stop = max(np.flatnonzero(products), default=0)
            inside = {v for step in flat.steps[:stop] for v in step.outputs}
            functions = {v: z for v, z in functions.items() if v in inside}
        return {v: (z, partial(self._made, flat.types[v])) for v, z in functions.items()}

    def _made(self, made: Any, z: Any) -> Any:
        return self.sigma(z).astype(made.dtype)


@dataclass(frozen=True)
class Everywhere:
    """Put another function in place of all elementwise ones, but for the last."""

    sigma: Callable[[Any], Any]
    last: Link | None  # None if other layers are like it

    def __call__(self, link: Link) -> WithUnits:
        return WithUnits(link, self.sigma, link == self.last)


def of_link(link: Link, arrays: Tree, state: Tree) -> int:
    """Return the number of elementwise functions of a layer."""
    return len(_functions(traced(link, arrays, state)[0]))


def are_relu(link: Link, arrays: Tree, state: Tree) -> list[bool]:
    """Return for each elementwise function of a layer whether it is relu."""
    flat, _ = traced(link, arrays, state)
    relu = []
    for v, z in _functions(flat):
        some = np.linspace(-3, 3, SOME)
        entries = np.resize(some, flat.types[z].shape).astype(flat.types[z].dtype)
        between = behind([v], [step for step in flat.steps if z not in step.outputs])[0]
        (made,) = evaluated([v], between, flat.constants | {z: jnp.asarray(entries)})
        relu.append(bool(np.array_equal(made, np.maximum(entries, 0))))
    return relu


def _functions(flat: Flat) -> list[tuple[int, int]]:
    """Return (what comes out, what goes in) of each elementwise function that is not linear."""
    # σ goes into a product, into a sum or out of the layer. A gate, which goes into a product of
    # entries, is none, nor what a norm or a softmax reduces.
    # Constants stay constants; every other value that is made of one array, entry by entry, has a
    # source: the first array on its way. It is curved if a step on the way is not linear.
    fixed, source, curved = {*flat.constants}, dict[int, int](), set[int]()
    users: dict[int, list[TracedStep]] = {}
    for step in flat.steps:
        for u in step.inputs:
            users.setdefault(u, []).append(step)
        free = [u for u in step.inputs if u not in fixed]
        if not free:
            fixed.update(step.outputs)
            continue
        sources = {source.get(u, u) for u in free}
        name, (v, *more) = step.eqn.primitive.name, step.outputs
        alone = len(sources) == 1 and not more and name in UNITWISE
        (first, *_) = sources
        if not alone or flat.types[v].shape != flat.types[first].shape:
            continue
        source[v] = first
        # A product of two that are free is a square, z · σ(z) or alike.
        is_linear = name in AFFINE and (len(free) == 1 or name in ("add", "sub"))
        if not is_linear or any(u in curved for u in free):
            curved.add(v)
    return [(v, z) for v, z in source.items() if v in curved and _leaves(flat, v, users, source)]


def _leaves(flat: Flat, v: int, users: dict[int, list[TracedStep]], source: dict[int, int]) -> bool:
    """Tell whether all that uses a value is a product, a sum of other things, or the output."""

    def ends(u: int) -> bool:
        return all(map(is_end, users.get(u, []))) and (u in users or u in flat.outputs)

    def is_end(step: TracedStep) -> bool:
        name = step.eqn.primitive.name
        return name in MULTIPLYING | SUMS or (name in SHAPES | CASTS and ends(step.outputs[0]))

    # One that goes on as a function of the same array is a part of a larger one, as tanh in gelu.
    goes_on = any(source.get(w) == source[v] for step in users.get(v, []) for w in step.outputs)
    return not goes_on and ends(v)

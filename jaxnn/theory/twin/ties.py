"""Ties: the entries of a user's arrays that several layers of a chain have, drawn once for all.

    arrays of the pytree   ->  roots: equal ones are one, those that a run takes in turn one after
                               the other
    arrays of the layers   ->  origins, the entries of a root that they have, of a run's by steps
    programs of the layers ->  their products, whose shared entries are found as in one layer

A run is a scan here: what its layers share is one weight that all steps have.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ...arrays.rows import is_float, told_by
from ...chain.chain import Link, Lowered
from ...chain.parameter_handover import Handover, LayerWeights, Layout, Static
from ...chain.state import types_of
from ...errors import NoTwinError
from ...jaxpr.program import resized
from ...jaxpr.scan_params import Source
from ...network.params import is_run
from .origins import Uses, WeightOrigin
from .program import CONSTANT, STATE, WEIGHT, ProductKeys, Value, look_for_uses

REPLICAS = 2  # of programs that are looked at, and not computed
STEPS = 1  # the number of a run among the scans around a product

Type = tuple[tuple[int, ...], Any]  # shape and dtype
Ties = tuple[
    tuple[Static, ...], ...
]  # for each link of each entry of a chain, `ProductKeys.entries`


class TakenSources(NamedTuple):
    """The sources of one array of a layer, or of the layers of a run."""

    steps: tuple[Source, ...]  # for each layer of the run; one if all have it
    is_stack: bool = False  # it is the stack with an entry for each layer of a run

    @property
    def differs(self) -> bool:
        """Tell whether layers of a run have arrays of their own."""
        return self.is_stack or len(self.steps) > 1


Same = tuple[int, ...]  # for each array of the pytree the number of the first that is equal to it


def equal_arrays(handover: Handover, params: Sequence[Any]) -> Same:
    """Return which matrices of the user's pytree are equal, by the chain's parameters, if known."""
    # Equal in all numbers they are one matrix, as where a list has a layer several times.
    same = list(range(len(handover.pytree.types)))
    leaves = jax.tree.leaves(params)
    if any(isinstance(v, jax.core.Tracer) or not _is_at_hand(v) for v in leaves):
        return tuple(same)
    firsts: dict[Any, int] = {}
    for layout, entry in zip(handover.layouts, jax.device_get(list(params)), strict=True):
        for source, v in layout.uses(entry):
            is_whole = source.rows is None and source.value < len(same)
            if is_whole and is_float(v) and v.ndim > 1:
                same[source.value] = firsts.setdefault(told_by(np.asarray(v)), source.value)
    return tuple(same)


def _is_at_hand(v: Any) -> bool:
    return not isinstance(v, jax.Array) or v.is_fully_addressable


def taken_by(layout: Layout, same: Same) -> list[list[TakenSources]]:
    """Return for each link of a layout, of a run's pattern, what its arrays are taken from."""

    def first(source: Source | None) -> Any:
        if source is None or source.value >= len(same):
            return source
        return source._replace(value=same[source.value])

    count = 1 if layout.is_stacked else max(layout.k, 1)
    links = [[first(s) for part in link for s in part] for link in layout.links]
    pattern = len(links) // count
    shared = [[first(s) for part in link for s in part] for link in layout.shared or ()]
    of_links = []
    for i in range(pattern):
        by_step = list(zip(*links[i::pattern], strict=True))
        of_all = shared[i] if shared else [None] * len(by_step)
        of_links.append(
            [
                TakenSources(steps, layout.is_stacked) if s is None else TakenSources((s,))
                for s, steps in zip(of_all, by_step, strict=True)
            ]
        )
    return of_links


def has_ties(net: Lowered, handover: Handover, same: Same) -> bool:
    """Tell whether several layers may have a parameter in common."""
    rows: dict[int, list[int | None]] = {}
    for kind, layout in zip(net.kinds, handover.layouts, strict=True):
        for link, arrays in zip(kind.links, taken_by(layout, same), strict=True):
            for taken, is_trained in zip(arrays, _trained(link), strict=True):
                if not is_trained or any(source.by_index for source in taken.steps):
                    continue
                times = 1 if taken.differs else max(layout.k, 1)
                for source in taken.steps:
                    for array in (same[i] for i in handover.arrays_of(source)):
                        has_rows = source.rows is not None and array == source.value
                        several = source.rows if has_rows and source.rows else (None,)
                        rows.setdefault(array, []).extend(several * times)
    return any(
        len(several) > 1 and (None in several or len({*several}) < len(several))
        for several in rows.values()
    )


def _trained(link: Link) -> list[bool]:
    return [flag for part in link.trained for flag in part]


@lru_cache(maxsize=64)
def ties(
    net: Lowered, handover: Handover, same: Same, structure: Any, types: tuple[Type, ...]
) -> Ties:
    """Return what the draws of a chain's layers share; structure and types are of the batch."""
    uses = Uses()
    origins = _Origins(handover, same, uses)
    state = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*v) for v in types])  # type: ignore[no-untyped-call]
    parts = zip(net.kinds, handover.layouts, _first_layers(handover), strict=True)
    for place, (kind, layout, layer) in enumerate(parts):
        # The first layer of a run stands for all, unless its state gets another type.
        for _ in range(max(layout.k, 1)):
            before, state = state, _looked_at(kind.links, layout, layer, state, origins, place)
            if types_of(before) == types_of(state):
                break
    try:
        entries = uses.entries()
    except NoTwinError as error:
        raise NoTwinError(f"layers that share parameters: {error}") from None
    return tuple(
        tuple(
            Static({at[2:]: v for at, v in entries.items() if at[:2] == (place, i)})
            for i in range(len(kind.links))
        )
        for place, kind in enumerate(net.kinds)
    )


def _first_layers(handover: Handover) -> Any:
    """Return the types of the arrays of each entry, of a run those of its first layer."""
    return jax.eval_shape(
        lambda arrays: [
            entry.at(0) if is_run(entry) else entry for entry in handover.params(arrays)
        ],
        list(handover.pytree.types),
    )


def _looked_at(
    links: Sequence[Link],
    layout: Layout,
    layer: LayerWeights,
    state: PyTree[Any],
    origins: "_Origins",
    place: int,
) -> PyTree[Any]:
    """Note the products of an entry's layers, and return the type of the state behind them."""
    for i, (link, arrays, taken) in enumerate(
        zip(links, layer.arrays, taken_by(layout, origins.same), strict=True)
    ):
        closed, made = jax.make_jaxpr(link, return_shape=True)(arrays, state)
        flat = zip(jax.tree.leaves(arrays), taken, _trained(link), strict=True)
        given = [origins.value(*of_array) for of_array in flat]
        given += map(_of_replicas, jax.tree.leaves(state))
        draws = ProductKeys(jnp.zeros(2, jnp.uint32), REPLICAS)
        draws.uses, draws.path, draws.steps = origins.uses, (place, i), (0,) * bool(layout.k)
        try:
            look_for_uses(closed, given, draws)
        except NoTwinError as error:
            raise NoTwinError(f"layer {link.label}: {error}") from None
        state = made
    return state


def _of_replicas(v: jax.ShapeDtypeStruct) -> Value:
    return Value(resized(v, (REPLICAS, *v.shape)), STATE) if v.ndim else Value(v, CONSTANT)


class _Origins:
    """The origins of the arrays of layers."""

    def __init__(self, handover: Handover, same: Same, uses: Uses) -> None:
        self.uses, self.pytree, self.same = uses, handover.pytree, same
        self.made_of = handover.numbers()
        self.first = self._first_places(handover)
        self.of_several: dict[int, WeightOrigin] = {}  # by the number of a value

    def _first_places(self, handover: Handover) -> dict[int, tuple[WeightOrigin, int]]:
        """Return the root that each array of the pytree is in, and the place of its first entry."""
        # Those that layers of a run take in turn are in one.
        paths, types = self.pytree.paths, self.pytree.types
        groups = {i: [i] for i in range(len(paths))}
        for layout in handover.layouts:
            for taken in (taken for arrays in taken_by(layout, self.same) for taken in arrays):
                several = [groups[s.value] for s in taken.steps if s.value in groups]
                together = [*dict.fromkeys(i for group in several for i in group)]
                groups.update(dict.fromkeys(together, together))
        first: dict[int, tuple[WeightOrigin, int]] = {}
        for group in groups.values():
            if group[0] in first:
                continue
            shape = types[group[0]].shape
            shape = shape if len(group) == 1 else (len(group), *shape)
            root = self.uses.root(shape, name=", ".join(paths[i] for i in group))
            sizes = [prod(types[i].shape) for i in group]
            starts = np.cumsum([0, *sizes[:-1]])
            first.update({i: (root, int(at)) for i, at in zip(group, starts, strict=True)})
        return first

    def value(self, array: jax.ShapeDtypeStruct, taken: TakenSources, is_trained: bool) -> Value:
        """Return an array of a layer as its program takes it."""
        # Of layers that share arrays in turn none differs from all others.
        differs = taken.is_stack or len({*taken.steps}) == len(taken.steps) > 1
        varies = frozenset({STEPS} if differs else ())
        if not is_trained:
            return Value(array, CONSTANT, varies)
        steps = [self._of(source) for source in taken.steps]
        if not taken.differs:
            return Value(array, WEIGHT, varies, steps[0])
        if taken.is_stack:
            (whole,) = steps
        elif len({origin.root for origin in steps}) == 1:
            whole = WeightOrigin(
                steps[0].root, lambda: np.stack([origin.places for origin in steps])
            )
        else:
            whole = self.uses.root((len(steps), *array.shape), parts=tuple(steps))
        return Value(array, WEIGHT, varies, whole.at_step(STEPS))

    def _of(self, source: Source) -> WeightOrigin:
        """Return the origin of what a source is, of all layers of a stack."""
        number, rows = source.value, ... if source.rows is None else np.array(source.rows)
        if number in self.first:
            return self._of_array(number, rows)
        if number not in self.of_several:
            arrays, places = self.made_of[number]
            several = [self.same[i] for i in dict.fromkeys(arrays.flat)]
            if len(several) == 1:
                whole, start = self.first[several[0]]
                return WeightOrigin(whole.root, lambda: (start + places.astype(int))[rows])
            parts = tuple(self._of_array(i, ...) for i in several)
            self.of_several[number] = self.uses.root(arrays.shape, parts=parts)
        root = self.of_several[number].root
        return WeightOrigin(root, lambda: np.arange(prod(root.shape)).reshape(root.shape)[rows])

    def _of_array(self, number: int, rows: Any) -> WeightOrigin:
        (whole, start), shape = self.first[number], self.pytree.types[number].shape
        return WeightOrigin(
            whole.root, lambda: (start + np.arange(prod(shape)).reshape(shape))[rows]
        )

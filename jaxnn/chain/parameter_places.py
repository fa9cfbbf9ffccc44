"""Weights: the matrices and kernels of a network's layers, replaced one by one.

    params, (weight, its place) -> another -> params

A weight is a trained array of two axes or more. Of a run the arrays of all layers are one, with an
axis of layers in front.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from ..arrays.rows import can_be_learned
from ..network.network import Network
from ..network.params import Layer, LazyRun, Stacked, as_layers, is_run, length
from .chain import Chain, Link, Lowered, Pattern
from .parameter_handover import LayerWeights

Uses = tuple[tuple[int, int], ...]


class ArrayPlace(NamedTuple):
    """The place of an array."""

    layers: np.ndarray  # its layers, counted from 0
    number: int  # among the arrays of a layer
    of_run: bool  # it is stacked, with an entry for each of the layers
    # Of each entry, else of the one array, all that have it in the network: (layer, number).
    uses: tuple[Uses, ...]


Change = Callable[[Any, ArrayPlace], Any]  # (array, its place) -> the array in its stead


def changed(net: Network | Lowered, params: PyTree, change: Change, least: int = 2) -> Any:
    """Return parameters with each weight replaced; a run stored as a key gets numbers."""
    if isinstance(net, Network):
        return tuple(_network(params, change))
    return tuple(_chain(net, params, change, least))


def places(net: Network | Chain, params: PyTree, least: int = 2) -> set[tuple[int, int]]:
    """Return the layer, counted from 0, and the number there of each weight; `least` its axes."""
    weights: set[tuple[int, int]] = set()

    def noted(v: Array, place: ArrayPlace) -> Any:
        weights.update((int(layer), place.number) for layer in place.layers)
        return v

    jax.eval_shape(lambda params: changed(net, params, noted, least), params)
    return weights


def arrays(
    net: Network | Chain, params: PyTree, least: int = 0, most: float = np.inf
) -> dict[tuple[int, int], np.ndarray]:
    """Return each array that is trained, but for large ones, by its layer and number."""
    known: dict[tuple[int, int], np.ndarray] = {}

    def noted(v: Array, place: ArrayPlace) -> Array:
        if np.size(v) > most * (len(place.layers) if place.of_run else 1):
            return v  # without a copy of it in NumPy's memory
        entries = np.asarray(v) if place.of_run else [np.asarray(v)] * len(place.layers)
        places = ((int(layer), place.number) for layer in place.layers)
        known.update(zip(places, entries, strict=True))
        return v

    changed(net, params, noted, least)
    return known


def are_shared(net: Network | Chain, params: PyTree) -> bool:
    """Tell whether several layers have one weight, as the steps of a recurrent network do."""
    shared: list[bool] = []

    def noted(v: Array, place: ArrayPlace) -> Any:
        shared.extend(len(of_entry) > 1 for of_entry in place.uses)
        return v

    jax.eval_shape(lambda params: changed(net, params, noted), params)
    return any(shared)


def _uses(net: Lowered) -> dict[tuple[int, int], Uses]:
    """Return for each array, by layer and number, all places that have it, its own among them."""
    of_array: dict[Any, list[tuple[int, int]]] = {}
    for layer, identities in enumerate(net.identities):
        for number, identity in enumerate(identities):
            at = layer, number
            known = identity.array is not None
            of_array.setdefault(identity.array if known else at, []).append(at)
    return {at: tuple(every) for every in of_array.values() for at in every}


def _network(params: PyTree, change: Change) -> Iterator[Any]:
    first = 0
    for entry in as_layers(params):
        layer = entry.stored() if isinstance(entry, LazyRun) else entry
        k = length(layer) if is_run(layer) else 1
        layers = np.arange(first, first + k)
        place = ArrayPlace(layers, 0, is_run(layer), tuple(((int(i), 0),) for i in layers))
        yield Layer(change(layer.theta, place), layer.b)
        first += k


def _chain(net: Lowered, params: PyTree, change: Change, least: int) -> Iterator[Any]:
    first, uses = 0, _uses(net)
    for pattern, k, entry in zip(net.kinds, net.lengths, params, strict=True):
        if pattern.between:
            yield entry
            continue
        p, of_run = len(pattern.links), isinstance(entry, Stacked)
        # Layers of a pattern of p take turns: the j-th link has the layers j, j + p, j + 2 p, …
        every = [np.arange(first + j, first + p * max(k, 1), p) for j in range(p)]

        def changed_parts(
            part_of: PyTree,
            stacked: bool,
            every: list[np.ndarray] = every,
            pattern: Pattern = pattern,
        ) -> Any:
            return tuple(
                _parts(link, parts, layers, stacked, change, least, uses)
                for link, parts, layers in zip(pattern.links, part_of, every, strict=True)
            )

        if of_run:
            shared = None if entry.shared is None else changed_parts(entry.shared, False)
            yield Stacked(changed_parts(entry.per_layer, True), shared, entry.rebuild, entry.k)
        else:
            yield LayerWeights(changed_parts(entry.arrays, False), entry.mixes)
        first += p * max(k, 1)


def _parts(
    link: Link,
    parts: PyTree,
    layers: np.ndarray,
    stacked: bool,
    change: Change,
    least: int,
    uses: dict[tuple[int, int], Uses],
) -> tuple[list[Any], ...]:
    number = 0
    new = []
    for flags, arrays in zip(link.trained, parts, strict=True):
        arrays_of_part = []
        for trained, v in zip(flags, arrays, strict=True):
            axes = jnp.ndim(v) - stacked if v is not None else 0
            meant = v is not None and trained and can_be_learned(v) and axes >= least
            if meant:
                of_entries = layers if stacked else layers[:1]
                uses_of_entries = tuple(uses[int(layer), number] for layer in of_entries)
                v = change(v, ArrayPlace(layers, number, stacked, uses_of_entries))
            arrays_of_part.append(v)
            number += 1
        new.append(arrays_of_part)
    return tuple(new)

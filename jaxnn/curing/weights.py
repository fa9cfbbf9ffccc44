"""Weights: the matrices and kernels of a network's layers, to be multiplied or drawn again.

    params, a number for each layer -> params whose weights are multiplied by it

A weight is a trained array of two axes or more. Of a run the arrays of all layers are one, with an
axis of layers in front.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..adapters.handover import Weights
from ..adapters.layers import Chain, Link, Lowered
from ..arrays.rows import can_be_learned
from ..network.network import Network
from ..network.params import Layer, LazyRun, Stacked, as_layers, is_run, length


class Place(NamedTuple):
    """The place of an array: its layers, counted from 0, and its number among those of a layer.

    of_run: whether it is stacked, with an entry for each of the layers.
    """

    layers: np.ndarray
    number: int
    of_run: bool


Change = Callable[[Any, Place], Any]  # (array, its place) -> the array in its stead


def changed(net: Network | Chain, params: Any, change: Change, least: int = 2) -> Any:
    """Return parameters with each weight replaced.

    Args:
        net: the network.
        params: its parameters; a run that is stored as a random key gets its numbers.
        change: called for each weight, of a run once for all layers.
        least: the axes of a weight, at least; of a chain.
    """
    if isinstance(net, Network):
        return tuple(_network(params, change))
    return tuple(_chain(net, params, change, least))


def multiplied(net: Network | Chain, params: Any, factors: np.ndarray, only: Any = None) -> Any:
    """Return parameters whose weights are multiplied by a number for each layer.

    Args:
        net: the network.
        params: its parameters.
        factors: one for each layer, (L,); 1 leaves it as it is. Weights that layers share are
            multiplied by the geometric mean of theirs.
        only: (layer, number) of the arrays that are meant; None for all weights.
    """

    def change(v: Any, place: Place) -> Any:
        of_layers = np.array(
            [
                factors[layer] if only is None or (int(layer), place.number) in only else 1.0
                for layer in place.layers
            ]
        )
        if np.all(of_layers == 1):
            return v
        if place.of_run:
            of_layers = of_layers.reshape(-1, *[1] * (jnp.ndim(v) - 1))
        else:
            of_layers = np.exp(np.mean(np.log(of_layers)))
        return (jnp.asarray(v) * jnp.asarray(of_layers, v.dtype)).astype(v.dtype)

    # An array named in `only` may be a bias, which is no weight.
    return changed(net, params, change, 2 if only is None else 0)


def _network(params: Any, change: Change) -> Iterator[Any]:
    first = 0
    for entry in as_layers(params):
        layer = entry.stored() if isinstance(entry, LazyRun) else entry
        k = length(layer) if is_run(layer) else 1
        place = Place(np.arange(first, first + k), 0, is_run(layer))
        yield Layer(change(layer.theta, place), layer.b)
        first += k


def _chain(net: Lowered, params: Any, change: Change, least: int) -> Iterator[Any]:
    first = 0
    for pattern, k, entry in zip(net.kinds, net.lengths, params, strict=True):
        if pattern.between:
            yield entry
            continue
        p, of_run = len(pattern.links), isinstance(entry, Stacked)
        every = [np.arange(first + j, first + p * max(k, 1), p) for j in range(p)]

        def of(part_of: Any, stacked: bool, every: Any = every, pattern: Any = pattern) -> Any:
            return tuple(
                _parts(link, parts, layers, stacked, change, least)
                for link, parts, layers in zip(pattern.links, part_of, every, strict=True)
            )

        if of_run:
            shared = None if entry.shared is None else of(entry.shared, False)
            yield Stacked(of(entry.per_layer, True), shared, entry.rebuild, entry.k)
        else:
            yield Weights(of(entry.arrays, False), entry.mixes)
        first += p * max(k, 1)


def _parts(
    link: Link, parts: Any, layers: np.ndarray, stacked: bool, change: Change, least: int
) -> tuple[list[Any], ...]:
    number = 0
    new = []
    for flags, arrays in zip(link.trained, parts, strict=True):
        own = []
        for trained, v in zip(flags, arrays, strict=True):
            axes = jnp.ndim(v) - stacked if v is not None else 0
            meant = v is not None and trained and can_be_learned(v) and axes >= least
            own.append(change(v, Place(layers, number, stacked)) if meant else v)
            number += 1
        new.append(own)
    return tuple(new)


def orthogonal(net: Network | Chain, params: Any, layers: np.ndarray, seed: int) -> Any:
    """Return parameters with orthogonal matrices of the same mean square in some layers, or None.

    Matrices alone are drawn again, from the QR decomposition of Gaussian ones; of a matrix with
    more rows than columns the columns are orthogonal, else the rows. Kernels of more axes stay.
    None if there are no matrices.

    Args:
        net: the network.
        params: its parameters.
        layers: whose weights are drawn again, a truth value for each, (L,).
        seed: of the draws.
    """
    rng, count = np.random.default_rng(seed), 0

    def change(v: Any, place: Place) -> Any:
        nonlocal count
        is_matrix = jnp.ndim(v) - place.of_run == 2 and not jnp.iscomplexobj(v)
        if not is_matrix or not layers[place.layers].any():
            return v
        count += 1
        values = np.asarray(v, np.float64)
        if place.of_run:
            pairs = zip(values, layers[place.layers], strict=True)
            values = np.stack([orthogonal_like(rng, one) if meant else one for one, meant in pairs])
        else:
            values = orthogonal_like(rng, values)
        return jnp.asarray(values, v.dtype)

    drawn_again = changed(net, params, change)
    return drawn_again if count else None


def orthogonal_like(rng: np.random.Generator, v: np.ndarray) -> np.ndarray:
    """Return a random matrix with orthogonal columns, or rows, of the same mean square."""
    n, m = v.shape
    q, r = np.linalg.qr(rng.normal(size=(max(n, m), min(n, m))))
    q = q * np.sign(np.diag(r))
    q = q if n >= m else q.T
    drawn: np.ndarray = q * np.sqrt(np.sum(np.square(v)) / np.sum(np.square(q)))
    return drawn


def places(net: Network | Chain, params: Any) -> set[tuple[int, int]]:
    """Return the layer, counted from 0, and the number there of each weight."""
    found: set[tuple[int, int]] = set()

    def noted(v: Any, place: Place) -> Any:
        found.update((int(layer), place.number) for layer in place.layers)
        return v

    jax.eval_shape(lambda params: changed(net, params, noted), params)
    return found

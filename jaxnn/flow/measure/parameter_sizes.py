"""Sizes of the parameters of a chain and of their Δ, of all of its layers.

on the way     of Δ of a layer's arrays   ->  ln of their norms, or small arrays themselves
after it       those of all layers        ->  ln of each norm, and log_theta
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...arrays.rows import (
    ScaledRows,
    log_size_of,
    log_size_together,
    log_sizes,
)
from ...chain.chain import Link, Lowered, Pattern
from ...chain.parameter_handover import Identity, Weights
from ...network.params import is_run
from ..record.flow import Parameters
from ..record.rows import rows_of_arrays
from .layer_vjp import ChainOp, trained_of, with_flags

Logs = list[list[Any]]  # of the arrays of each link; of a run (k,) each


def log_sizes_of(
    ways: list[ChainOp], layers: list[Any], records: list[Any], dtype: Any
) -> tuple[list[Logs], list[Logs]]:
    """Return ln of the norms of Δ of all parameter arrays, and of these, for each entry."""
    of_delta = [[each.parameters for each in record] for record in records]
    of_values = _values([way.pattern for way in ways], layers, dtype)
    both: tuple[list[Logs], list[Logs]] = _measured((of_delta, of_values))
    return both


def log_sizes_of_chain(net: Lowered, params: Any, dtype: Any) -> Float[Array, " P"]:
    """Return ln of the norm of each parameter array, in the order of `flow.parameters`."""
    return _in_one(_measured(_values(net.kinds, params, dtype)), dtype)


def _values(patterns: Sequence[Pattern], layers: Sequence[Any], dtype: Any) -> list[Logs]:
    """Return for each entry its arrays, and ln of the norms of a run's."""
    return [
        [] if pattern.between else [_values_of_entry(pattern.links, layer, dtype)]
        for pattern, layer in zip(patterns, layers, strict=True)
    ]


def _values_of_entry(links: tuple[Link, ...], layer: Any, dtype: Any) -> list[Any]:
    def of(weights: Weights) -> list[ScaledRows]:
        pairs = zip(links, weights.arrays, strict=True)
        return rows_of_arrays([v for pair in pairs for v in trained_of(*pair)], dtype)

    if not any(flag for link in links for part in link.trained for flag in part):
        return []
    if not is_run(layer):
        return of(layer)
    of_one = jax.eval_shape(lambda: of(layer.at(0)))
    of_all = of(layer.rebuild(layer.per_layer, layer.shared))  # shared ones without an axis of k
    every = jnp.zeros(layer.k, jnp.int32)
    return [
        jnp.broadcast_to(log_size_of(v if v.m.ndim == one.m.ndim else v._replace(e=every)), layer.k)
        for v, one in zip(of_all, of_one, strict=True)
    ]


def _measured(tree: Any) -> Any:
    """Return a tree with ln of its norm in the place of each array: of all arrays together."""
    leaves, structure = jax.tree.flatten(tree, is_leaf=_is_rows)
    logs = iter(log_sizes([v for v in leaves if _is_rows(v)]))
    return jax.tree.unflatten(structure, [next(logs) if _is_rows(v) else v for v in leaves])


def _is_rows(v: Any) -> bool:
    return isinstance(v, ScaledRows)


def log_thetas(layer: Any, logs: Logs, dtype: Any) -> list[Array]:
    """Return ln ‖Δparams‖ of the links of an entry; -inf of one without parameters."""
    none = jnp.full((layer.k,) if is_run(layer) else (), -jnp.inf, dtype)
    return [log_size_together(each) if each else none for each in logs]


def parameters_of(
    net: Lowered,
    ways: list[ChainOp],
    layers: list[Any],
    of_delta: list[Logs],
    of_values: list[Logs],
    dtype: Any,
) -> Parameters:
    """Return the sizes of all parameter arrays and of their Δ, layer by layer."""
    shapes: list[list[Any]] = []  # of each layer; None of an array that is no parameter
    for way, layer in zip(ways, layers, strict=True):
        if not way.is_layer:
            continue
        one = layer.at(0) if is_run(layer) else layer
        of_links = [_shapes_of(*pair) for pair in zip(way.pattern.links, one.arrays, strict=True)]
        shapes += of_links * (layer.k if is_run(layer) else 1)
    arrays = [
        (number, path, shape, identity)
        for number, of_layer in enumerate(zip(net.paths, shapes, net.identities, strict=True), 1)
        for path, shape, identity in zip(*of_layer, strict=True)
        if shape is not None
    ]
    numbers, paths, kept, identities = zip(*arrays, strict=True) if arrays else ((),) * 4
    logs, sizes = (_in_one(each, dtype) for each in (of_delta, of_values))
    return Parameters(logs, sizes, paths, numbers, kept, are_tied(identities))


def are_tied(identities: Sequence[Identity]) -> bool:
    """Tell arrays most of which layers share, as the steps of a recurrent network do."""
    return len(identities) > 2 and 2 * len(set(identities)) <= len(identities)


def _in_one(of: list[Logs], dtype: Any) -> Float[Array, " P"]:
    """Return the numbers of all arrays, layer by layer."""
    entries = [[v for logs in of_links for v in logs] for of_links in of]
    none = jnp.zeros(0, dtype)
    return jnp.concatenate([none, *(jnp.stack(vs, axis=-1).ravel() for vs in entries if vs)])


def _shapes_of(link: Link, parts: Any) -> list[Any]:
    """Return the shapes of a layer's arrays, None of those that are no parameters."""
    return [
        v.shape if trained else None
        for part, flags in with_flags(link, parts)
        for v, trained in zip(part, flags, strict=True)
    ]

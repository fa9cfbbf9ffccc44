"""Sizes of the parameters of a chain and of their Δ, of all of its layers.

on the way     of Δ of a layer's arrays   ->  ln of their norms, or small arrays themselves
after it       those of all layers        ->  ln of each norm, and log_theta
"""

from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ...arrays.rows import ScaledRows, as_reals, log_size_together, log_sizes, log_sizes_of
from ...chain.chain import Link, Lowered
from ...chain.parameter_handover import LayerWeights
from ...network.params import is_run
from ..record.flow import Parameters
from .layer_vjp import trained_of, with_flags
from .unrolled import Unrolled

Deltas = list[ScaledRows | Float[Array, "*k"]]  # of the arrays of a link: Δ, or ln of its norm
Logs = list[list[Float[Array, "*k"]]]  # of the arrays of each link of an entry; of a run (k,) each


def parameter_sizes(
    net: Lowered, chain: Unrolled, deltas: Sequence[Sequence[Deltas]], dtype: jnp.dtype
) -> tuple[Parameters, list[list[Float[Array, "*k"]]]]:
    """Return the sizes of all parameter arrays and of their Δ, and log_theta of each link."""
    values = [[_values_of_entry(op.pattern.links, weights)] for op, weights in chain.layers]
    of_delta, of_values = _measured((deltas, values), dtype)
    if chain.replicas > 1:
        of_delta = jax.tree.map(lambda v: v - np.asarray(chain.log_replicas, v.dtype), of_delta)
    nones = [jnp.full(() if op.is_alone else op.times, -jnp.inf, dtype) for op, _ in chain.layers]
    log_theta = [
        [log_size_together(logs) if logs else none for logs in of_links]
        for of_links, none in zip(of_delta, nones, strict=True)
    ]
    return _parameters(net, chain, of_delta, of_values, dtype), log_theta


def log_sizes_of_chain(net: Lowered, params: PyTree, dtype: jnp.dtype) -> Float[Array, " P"]:
    """Return ln of the norm of each parameter array, in the order of `flow.parameters`."""
    entries = zip(net.kinds, params, strict=True)
    values = [[_values_of_entry(kind.links, layer)] for kind, layer in entries if not kind.between]
    return _in_one(_measured(values, dtype), dtype)


def _values_of_entry(links: tuple[Link, ...], layer: Any) -> list[Any]:
    def of(weights: LayerWeights) -> list[ScaledRows]:
        arrays = [v for pair in zip(links, weights.arrays, strict=True) for v in trained_of(*pair)]
        return [ScaledRows(as_reals(v), jnp.zeros((), jnp.int32)) for v in arrays]

    if not any(flag for link in links for part in link.trained for flag in part):
        return []
    if not is_run(layer):
        return of(layer)
    of_one = jax.eval_shape(lambda: of(layer.at(0)))
    of_all = of(layer.rebuild(layer.per_layer, layer.shared))  # shared ones without an axis of k
    every = jnp.zeros(layer.k, jnp.int32)
    rows = [
        v if v.m.ndim == one.m.ndim else v._replace(e=every)
        for v, one in zip(of_all, of_one, strict=True)
    ]
    return [jnp.broadcast_to(log, layer.k) for log in log_sizes_of(rows)]


def _measured(tree: PyTree, dtype: jnp.dtype) -> Any:
    """Return a tree with ln ‖array‖ in place of each array; all norms are one computation."""
    leaves, structure = jax.tree.flatten(tree, is_leaf=_is_rows)
    logs = iter(log_sizes([v for v in leaves if _is_rows(v)]))
    values = (next(logs) if _is_rows(v) else v for v in leaves)
    return jax.tree.unflatten(structure, [v.astype(dtype) for v in values])


def _is_rows(v: Any) -> bool:
    return isinstance(v, ScaledRows)


def _parameters(
    net: Lowered, chain: Unrolled, of_delta: list[Logs], of_values: list[Logs], dtype: jnp.dtype
) -> Parameters:
    types: list[list[Any]] = []  # of each layer: see `_types_of`
    for op, weights in chain.layers:
        one = weights if isinstance(weights, LayerWeights) else weights.at(0)
        links = zip(op.pattern.links, one.arrays, op.anatomies, strict=True)
        of_links = [_types_of(link, parts, anatomy.added) for link, parts, anatomy in links]
        types += of_links * op.times
    arrays = [
        (number, path, *type_of_array, identity)
        for number, of_layer in enumerate(zip(net.paths, types, net.identities, strict=True), 1)
        for path, type_of_array, identity in zip(*of_layer, strict=True)
        if type_of_array is not None
    ]
    columns = zip(*arrays, strict=True) if arrays else ((),) * 6
    numbers, paths, shapes, dtypes, are_added, identities = columns
    added = tuple(i for i, is_added in enumerate(are_added) if is_added)
    logs, sizes = (_in_one(links, dtype) for links in (of_delta, of_values))
    return Parameters(logs, sizes, paths, numbers, shapes, dtypes, are_tied(identities), added)


def are_tied(identities: Sequence[Hashable]) -> bool:
    """Tell arrays most of which layers share, as the steps of a recurrent network do."""
    return len(identities) > 2 and 2 * len(set(identities)) <= len(identities)


def _in_one(links: list[Logs], dtype: jnp.dtype) -> Float[Array, " P"]:
    """Return the numbers of all arrays, layer by layer."""
    entries = [[v for logs in of_links for v in logs] for of_links in links]
    none = jnp.zeros(0, dtype)
    return jnp.concatenate([none, *(jnp.stack(vs, axis=-1).ravel() for vs in entries if vs)])


def _types_of(link: Link, parts: Any, added: Sequence[int]) -> list[Any]:
    """Return shape, dtype, and if it is added alone, of each array; None of one not trained."""
    of_parts = with_flags(link, parts)
    arrays = [pair for part, flags in of_parts for pair in zip(part, flags, strict=True)]
    return [
        (v.shape, np.dtype(v.dtype).name, i in added) if trained else None
        for i, (v, trained) in enumerate(arrays)
    ]

"""Links: the layers of a chain one by one, each different one by its types, or all with arrays."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from ..network.params import is_run
from .chain import Link, Lowered
from .parameter_handover import is_key

Tree = Any  # of arrays, or of their types
TypedLink = tuple[list[int], Link, Tree, Tree]  # layers, counted from 0, with arrays and state


def links(lowered: Lowered, params: Tree, state: Tree) -> Iterator[TypedLink]:
    """Yield each different layer of a chain: the layers, from 0, its arrays and state as types."""
    first = 0
    for pattern, k, entry in zip(lowered.kinds, lowered.lengths, params, strict=True):
        one = jax.eval_shape(lambda e: e.at(0), entry) if is_run(entry) else entry
        p = len(pattern.links)
        for j, (link, arrays) in enumerate(zip(pattern.links, one.arrays, strict=True)):
            if not pattern.between:
                yield [first + j + p * i for i in range(max(k, 1))], link, arrays, state
            state = jax.eval_shape(link, arrays, state)
        first += 0 if pattern.between else p * max(k, 1)


def with_arrays(lowered: Lowered, params: Tree) -> Iterator[tuple[Link, Tree, bool]]:
    """Yield each link of a chain, its arrays by NumPy, and whether it is a layer."""
    for pattern, k, entry in zip(lowered.kinds, lowered.lengths, params, strict=True):
        for i in range(max(k, 1)):
            one = _of_layer(entry, i) if is_run(entry) else entry
            for link, arrays in zip(pattern.links, one.arrays, strict=True):
                yield link, arrays, not pattern.between


def _of_layer(run: Any, i: int) -> Any:
    of_layer = jax.tree.map(lambda v: v[i] if is_key(v) else np.asarray(v)[i], run.per_layer)
    return run.rebuild(of_layer, run.shared)

"""Entries of a chain: all arrays of a layer are counted in one go, and sorted after the walk.

    of each layer   Δ of the arrays of its state, these arrays, Δ of its parameters, these

What is done with counts is done for all layers together: it is compiled once, where each layer by
itself would have it compiled again.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..network.params import is_run
from .entries import Entries, FlowEntries


def sorted_entries(
    layers: Sequence[Any],
    records: Sequence[Sequence[Entries]],
    of_states: Sequence[int],
    of_parameters: Sequence[int],
) -> FlowEntries:
    """Return the entries of a flow.

    Args:
        layers: the parameters that the walk takes, some of them runs.
        records: of each the entries of its layers, of a run stacked; none of what is no layer.
        of_states: of each layer the number of arrays of its state.
        of_parameters: of its parameters.
    """
    parts = []
    for layer, record in zip(layers, records, strict=True):
        if is_run(layer) and record:  # (k, arrays of the layer, …), the layers of a pattern in turn
            own = jax.tree.map(lambda *v: jnp.concatenate(v, axis=1), *record)
            parts.append(jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:]), own))
        else:
            parts += record
    whole: Entries = jax.tree.map(lambda *v: jnp.concatenate(v), *parts)
    counts = np.array([of_states, of_states, of_parameters, of_parameters]).T
    ends = np.cumsum(counts).reshape(counts.shape)
    delta, state, *both = (
        [range(end - count, end) for end, count in zip(*pair, strict=True)]
        for pair in zip(ends.T.tolist(), counts.T.tolist(), strict=True)
    )
    every = [whole.at([*chain(*places)]) for places in both] if any(of_parameters) else []
    return FlowEntries(_by_layer(whole, delta), _by_layer(whole, state), *every)


def _by_layer(whole: Entries, places: Sequence[range]) -> Entries:
    """Return the entries of each layer, those of its several arrays together."""
    order: list[int] = []
    parts = []
    for count in sorted(set(map(len, places))):
        own = [i for i, each in enumerate(places) if len(each) == count]
        several = whole.at([[*places[i]] for i in own])
        order += own
        parts.append(_together(several, count))
    return jax.tree.map(lambda *v: jnp.concatenate(v)[np.argsort(order)], *parts)  # type: ignore[no-any-return]


def _together(several: Entries, count: int) -> Entries:
    """Return the entries of so many arrays of each layer, (layers, arrays, …), as those of one."""
    together: Entries = jax.vmap(lambda v: Entries.together([v.at(i) for i in range(count)]))(
        several
    )
    return together

"""States of a network that is cut: the arrays that go from one layer to the next.

    streams   depend on xs and on parameters: they have a Δ that layers below learn from
    riders    depend on xs alone, such as tokens, masks and keys: they pass every layer unchanged

Riders count in no number of a layer. Of those that are floats Δ is carried all the same, for Δx.
"""

from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from ..arrays.rows import floats, is_float


class LayerState(NamedTuple):
    """The arrays that one layer hands to the next."""

    streams: tuple[Any, ...]  # the first is the main one, that the next product takes
    riders: tuple[Any, ...] = ()  # arrays of xs, or made of xs alone


def streams(state: PyTree) -> Any:
    """Return a state without its riders."""
    return state.streams if isinstance(state, LayerState) else state


class Filled(NamedTuple):
    """The arrays of a state of which each layer of a run fills one place, as a scan its outputs."""

    # (its number among the leaves of the state, the axis of the places).
    leaves: tuple[tuple[int, int], ...] = ()
    place: int = 0  # the number, among the arrays of a layer, of the one that is its place
    downwards: bool = False  # the first layer fills the last place


NOTHING_FILLED = Filled()


def riders(state: PyTree) -> Any:
    """Return the riders of a state, which every layer hands on."""
    return state.riders if isinstance(state, LayerState) else ()


def counted(state: PyTree) -> tuple[bool, ...]:
    """Return for each float leaf of a state whether it counts in the layer; riders do not."""
    if not isinstance(state, LayerState):
        return (True,) * len(floats(state))
    return (True,) * len(floats(state.streams)) + (False,) * len(floats(state.riders))


def with_main_first(state: PyTree) -> bool:
    """Tell a state of several streams, whose first is the main one."""
    return isinstance(state, LayerState) and sum(map(is_float, jax.tree.leaves(state.streams))) > 1


def main_of(state: PyTree) -> list[Any]:
    """Return the float arrays of the main stream of a state; of one without several, all."""
    out = floats(streams(state))
    return out[:1] if with_main_first(state) else out


def types_of(state: PyTree) -> Any:
    """Return the structure of a state, and shapes and dtypes of its arrays, to be compared."""
    return jax.tree.structure(state), [(v.shape, v.dtype) for v in jax.tree.leaves(state)]

"""A chain unrolled for one batch: what the walk takes, and the type of the state after each layer.

    entry of a chain, state that goes in   ->   op, parameters, types of the states that come out

A run whose first layer changes the shapes of its state is taken apart.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from ...arrays.rows import floats, in_bfloat16, is_narrow
from ...chain.chain import Lowered, Pattern
from ...chain.parameter_handover import LayerWeights
from ...chain.state import streams, types_of, with_main_first
from ...jaxpr.program import typed
from ...network.params import Stacked
from ...passes.walk import AnySaved
from ...recognition.anatomy import Anatomy
from .layer_vjp import ChainOp, applied, with_flags, with_mixes


class Unrolled(NamedTuple):
    """A chain as the walk takes it; conversions between two states are entries, but no layers."""

    kinds: tuple[ChainOp, ...]  # for each entry how it goes up and down
    weights: tuple[LayerWeights | Stacked, ...]  # its parameters
    # Of each layer the type of the state that comes out of it.
    states: tuple[PyTree[jax.ShapeDtypeStruct], ...]
    linear: Bool[Array, " L"]  # of each layer whether its reverse rule is linear
    replicas: int  # of the state of a wide twin, over which the loss is a sum; 1 of others

    @property
    def log_replicas(self) -> float:
        """½ ln R: ln of a norm over all R replicas, less this, is ln of their root mean square."""
        return 0.5 * math.log(self.replicas)

    @property
    def layers(self) -> list[tuple[ChainOp, LayerWeights | Stacked]]:
        """The entries that are layers, or runs of them."""
        pairs = zip(self.kinds, self.weights, strict=True)
        return [(op, weights) for op, weights in pairs if op.is_layer]

    @property
    def anatomies(self) -> list[Anatomy]:
        """The attention, routers and skips recognised in each layer."""
        return [anatomy for op, _ in self.layers for anatomy in op.anatomies * op.times]

    @property
    def states_alone(self) -> list[PyTree[jax.ShapeDtypeStruct]]:
        """The states of the layers that are in no run."""
        are_alone = (
            op.is_alone for op, _ in self.layers for _ in range(len(op.anatomies) * op.times)
        )
        return [state for state, is_alone in zip(self.states, are_alone, strict=True) if is_alone]

    @property
    def dtypes(self) -> list[jnp.dtype]:
        """The float types of all states."""
        return [v.dtype for state in self.states for v in floats(state)]

    @property
    def has_streams(self) -> bool:
        """True if some states have several arrays, of which the first is the main one."""
        return any(map(with_main_first, self.states))

    @property
    def sizes(self) -> list[int]:
        """The number of floats in each state for an example, and replica."""
        sizes = [sum(v.size // len(v) for v in floats(streams(state))) for state in self.states]
        return [size // self.replicas for size in sizes]

    def tried(self, saved: list[AnySaved]) -> "Unrolled":
        """Return it with what the way up tells: where examples meet, and which rules are linear."""
        of_entries = [
            with_mixes(op, weights, kept)
            for op, weights, kept in zip(self.kinds, self.weights, saved, strict=True)
        ]
        linear = [v for op, (_, v) in zip(self.kinds, of_entries, strict=True) if op.is_layer]
        weights = tuple(known for known, _ in of_entries)
        return self._replace(weights=weights, linear=jnp.concatenate(linear))


def unrolled(
    net: Lowered, params: tuple[LayerWeights | Stacked, ...], x: PyTree[Array], replicas: int
) -> Unrolled:
    """Return a chain as it is measured, given what goes into it."""
    ops: list[ChainOp] = []
    weights: list[LayerWeights | Stacked] = []
    states: list[Any] = []
    state = jax.eval_shape(lambda x: x, x)
    count = len(jax.tree.leaves(state)[0])
    for kind, k, given, entry in zip(net.kinds, net.lengths, net.given, params, strict=True):
        for part in _parts(kind, k, given, entry, state, count):
            # A layer of a run stands for all, which have the same program on other numbers.
            one, times = (part, 1) if isinstance(part, LayerWeights) else (part.at(0), part.k)
            traced = list(_traced(kind, one, state, count))
            anatomies = tuple(anatomy for _, anatomy in traced)
            op = ChainOp(kind, anatomies, times, is_alone=one is part)
            if op.is_layer:
                states += [after for after, _ in traced] * op.times
            state = traced[-1][0]
            ops.append(op)
            weights.append(part)
    ops[-1] = replace(ops[-1], is_top=True)  # only now is it known which one is the last
    linear = jnp.ones(len(states), bool)
    return Unrolled(tuple(ops), tuple(weights), tuple(states), linear, replicas)


def _parts(
    kind: Pattern, k: int, given: bool, entry: Any, state: PyTree[Any], count: int
) -> list[LayerWeights | Stacked]:
    """Return the entry, or its layers if it is a run that changes the shapes of its state."""
    if not k:
        return [entry]
    *_, (after, _) = _traced(kind, entry.at(0), state, count)
    if types_of(after) == types_of(state):
        return [entry]
    if given:
        raise ValueError(
            f"layer {kind.links[0].label}: expected a run to keep the shapes and dtypes of its "
            f"state, got {typed(state)} -> {typed(after)}"
        )
    return [entry.at(j) for j in range(k)]


def _traced(
    pattern: Pattern, layer: LayerWeights, state: PyTree[Any], count: int
) -> Iterator[tuple[PyTree[jax.ShapeDtypeStruct], Anatomy]]:
    """Yield for each link the type of the state that comes out, and what its program has."""
    for link, arrays in zip(pattern.links, layer.arrays, strict=True):
        for part, flags in with_flags(link, arrays):
            for v, trained in zip(part, flags, strict=True):
                if trained and is_narrow(v):
                    raise ValueError(f"layer {link.label}: expected parameters of {in_bfloat16(v)}")
        given = state
        closed, state = jax.make_jaxpr(partial(applied, link), return_shape=True)(arrays, given)
        _check_state(link.label, state, count)
        yield state, Anatomy.of(closed, given, state) if link.is_recognised else Anatomy()


def _check_state(name: str, state: PyTree[jax.ShapeDtypeStruct], count: int) -> None:
    """Raise unless the state after a layer can be measured."""
    for v in jax.tree.leaves(state):
        if jnp.issubdtype(v.dtype, jnp.complexfloating):
            raise ValueError(
                f"layer {name}: expected real numbers, got {v.dtype}; carry the real and the "
                "imaginary part as two arrays"
            )
    for v in floats(state):
        if is_narrow(v):
            raise ValueError(
                f"layer {name}: expected a state of {in_bfloat16(v)}, at the end of the layer; "
                "inside of it such numbers are no matter"
            )
        if not v.ndim or v.shape[0] != count:
            raise ValueError(
                f"layer {name}: expected every float array of its state to have the {count} "
                f"examples first, got shape {v.shape}; hand over what examples share as parameters"
            )
    if not floats(state):
        raise ValueError(f"layer {name}: expected a state with floats, got none")

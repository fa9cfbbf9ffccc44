"""A proof, from the program of a reverse rule, that it keeps examples apart.

    Δ of what comes out, (B, …)  ->  a linear program  ->  Δ of what goes in, (B, …)

Of each value it is known that it is zero, or that it does not depend on Δ, or else along which axis
its examples lie. Where a program has other operations, such as a loop, nothing is known.

    x (B, …)  ->  a program of any operations  ->  a value in which examples lie apart, or have met

Of a program upwards it is enough that entries of examples are made of their own alone.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from ..arrays.compiled import Numbers
from ..arrays.rows import is_float
from .interpreter import Jaxpr
from .primitives import RESHAPE
from .program import Flat, TracedStep

PLACES = 4096  # that are kept: those of equal layers are equal


class ExamplePlace(NamedTuple):
    """The place of the examples in a value."""

    axis: int  # the one that they lie along
    each: int  # how many entries of it, one after the other, an example has


MET = ExamplePlace(-1, 0)  # of a value whose examples may have met


def keeps_apart(pull: Callable[[list[Array]], list[Array]], delta: list[Any]) -> bool:
    """Tell whether each example's Δ is known to be linear in that of the same example alone."""
    flat = Flat(jax.make_jaxpr(pull)(delta))
    axes = dict.fromkeys(flat.inputs, 0)
    zeros = {v for v, constant in flat.constants.items() if _is_zero(constant)}
    # A fact about each value, the strongest that its step's rule gives. The first step without one
    # ends the proof: from there on an example might have met another, or a rule be no linear one.
    for step in flat.steps:
        rule, zero = step.rule, [v in zeros for v in step.inputs]
        if axes.keys().isdisjoint(step.inputs):
            zeros.update(step.outputs if rule.makes_zeros(zero) else ())
            continue
        axis = rule.axis(flat.call(step), [axes.get(v) for v in step.inputs], zero)
        if axis is None:
            return False
        axes.update(dict.fromkeys(step.outputs, axis))
    # A constant that is no zero is no linear function of Δ, though no example meets another in it.
    return all(v in zeros or axes.get(v) == 0 for v in flat.outputs)


def _is_zero(constant: Numbers) -> bool:
    is_number = not isinstance(constant, jax.core.Tracer) and is_float(constant)
    return is_number and np.size(constant) == 1 and not np.any(constant)


@lru_cache(maxsize=PLACES)
def places_through(
    program: Jaxpr, places: tuple[ExamplePlace | None, ...], examples: int
) -> list[ExamplePlace | None]:
    """Return the places of examples in what comes out of a program; None of what has none."""
    flat = Flat(program)
    known = {v: place for v, place in zip(flat.inputs, places, strict=True) if place is not None}
    for step in flat.steps:
        if not known.keys().isdisjoint(step.inputs):
            of_inputs = [known.get(v) for v in step.inputs]
            known.update(dict.fromkeys(step.outputs, _place(flat, step, of_inputs, examples)))
    return [known.get(v) for v in flat.outputs]


def _place(
    flat: Flat, step: TracedStep, places: Iterable[ExamplePlace | None], examples: int
) -> ExamplePlace:
    """Return the place of examples in what a step makes."""
    ends, call = set[ExamplePlace](), flat.call(step)
    moves = step.rule.moves(call)
    for v, place, axes in zip(step.inputs, places, moves, strict=True):
        if place == MET and is_float(flat.types[v]):
            return MET
        if place is None or place == MET:  # no gradient goes through integers
            continue
        if step.eqn.primitive.name == RESHAPE:
            ends.add(_reshaped(place, call.shapes[0], call.out, examples))
        else:
            axis = axes[place.axis]
            ends.add(MET if axis is None else place._replace(axis=axis))
    return ends.pop() if len(ends) == 1 else MET


def _reshaped(
    place: ExamplePlace, shape: tuple[int, ...], out: tuple[int, ...], examples: int
) -> ExamplePlace:
    apart = place.each * prod(shape[place.axis + 1 :])  # how far examples lie from each other
    for axis, n in enumerate(out):
        stride = prod(out[axis + 1 :])
        if (
            stride <= apart < stride * n
            and not apart % stride
            and not stride * n % (apart * examples)
        ):
            return ExamplePlace(axis, apart // stride)
    return MET

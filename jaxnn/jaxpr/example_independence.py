"""A proof, from the program of a reverse rule, that it keeps examples apart.

    Δ of what comes out, (B, …)  ->  a linear program  ->  Δ of what goes in, (B, …)

Of each value it is known that it is zero, or that it does not depend on Δ, or else along which axis
its examples lie. Where a program has other operations, such as a loop, nothing is known.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from ..arrays.compiled import Numbers
from ..arrays.rows import is_float
from .program import Flat


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

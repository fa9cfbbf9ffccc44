"""Pairs that nobody means: a column of outputs and a row of labels, of which a loss makes a square.

    output (n, 1), labels (n,)  ->  (n, n): each output with the labels of all examples

A loss is looked through by its program. Pairs that are meant are written with an axis for each
side, output[:, None] and ys[None], and are no such place.
"""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PyTree

from ..jaxpr.primitives import BROADCAST
from ..jaxpr.program import Flat, TracedStep
from .parameter_handover import is_array

Shape = tuple[int, ...]
FIXES = {1: "take ys[:, 0]", 2: "take ys[:, None], or output[:, 0]"}  # by axes of the output


def other_shape(output: Shape) -> Shape | None:
    """Return the shape of labels with which an output makes pairs; None if there is none."""
    n = output[0] if output else 1
    return {(n,): (n, 1), (n, 1): (n,)}.get(output) if n > 1 else None


def refusal(output: Shape, labels: Shape, where: str = "") -> ValueError:
    """Return the error of a loss that makes pairs."""
    n = output[0]
    return ValueError(
        f"loss: expected each output next to its own label, got an output of shape {output} and "
        f"labels of shape {labels}, which broadcast to all {n, n} pairs{where}; "
        f"{FIXES[len(output)]}; pairs that are meant are output[:, None] and ys[None]"
    )


def refuse_pairs(loss: Callable[[Any, Any], Any], output: PyTree, ys: PyTree) -> None:
    """Raise where a loss broadcasts a column of outputs and a row of labels, or the reverse."""
    arrays, structure = jax.tree.flatten((output, ys))
    counts = len(jax.tree.leaves(output)), sum(map(is_array, jax.tree.leaves(ys)))

    def loss_of_arrays(given: list[Any]) -> Any:
        rest = iter(given)
        leaves = [next(rest) if is_array(v) else v for v in arrays]
        return loss(*jax.tree.unflatten(structure, leaves))

    if all(counts):
        flat = Flat(jax.make_jaxpr(loss_of_arrays)([v for v in arrays if is_array(v)]))
        _check(flat, {*flat.inputs[: counts[0]]}, {*flat.inputs[counts[0] :]})


def _check(flat: Flat, of_output: set[int], of_labels: set[int]) -> None:
    """Raise at a step of a program that makes pairs; the values of both sides are added to."""
    unbroadcast: dict[int, int] = {}
    for step in flat.steps:
        inputs = [unbroadcast.get(v, v) for v in step.inputs]
        for v in {*inputs} & of_output - of_labels:
            shape = flat.types[v].shape
            other = other_shape(shape)
            labels = {flat.types[u].shape for u in {*inputs} & of_labels - of_output}
            if other is not None and other in labels and _is_square(step, flat, shape[0]):
                raise refusal(shape, other, f" at {step.location}")
        for values in (of_output, of_labels):
            values.update(() if values.isdisjoint(inputs) else step.outputs)
        if step.eqn.primitive.name == BROADCAST:
            unbroadcast[step.outputs[0]] = inputs[0]


def _is_square(step: TracedStep, flat: Flat, n: int) -> bool:
    return flat.types[step.outputs[0]].shape == (n, n) and not step.is_product

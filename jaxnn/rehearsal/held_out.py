"""Labels without information: what is learned from one half of the examples, tried on the other.

    half of the examples -> a copy learns them -> loss of the other half, with its labels in its own
    order and in many others

A network learns any labels by heart, so that tells nothing of them. But what it has learned helps
with other examples only if labels belong to their inputs: then the loss of the held-out half is
less with its own labels than with those of others, however large it is. Of few examples nothing can
be told.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from ..evidence.evidence import HeldOut
from .course import Batch, Trainee, rehearsed

FEWEST = 200  # held-out examples
PER_CLASS = 10  # of them
ORDERS = 100


def held_out_of(
    make: Callable[[Batch], Trainee], batches: Sequence[Batch], classes: int, steps: int
) -> HeldOut | None:
    """Return what a copy makes of examples that it has not learned; None if that tells nothing.

    Args:
        make: returns a copy of the network that can be trained.
        batches: the examples.
        classes: of the labels; 0 of others.
        steps: of the training.
    """
    count = examples_of(batches[0].ys) if len(batches) == 1 else 0
    if count // 2 < max(FEWEST, PER_CLASS * classes):
        return None
    learned, others = (rows_of(batches[0], count, half) for half in (0, 1))
    trainee = make(learned)
    if not rehearsed(trainee, [learned], steps).learns:
        return None
    return HeldOut(count // 2, _share_of_orders(trainee, others, count // 2))


def examples_of(ys: PyTree) -> int:
    """Return the number of examples of labels; 0 if that is not clear."""
    counts = {len(v) for v in jax.tree.leaves(ys) if hasattr(v, "shape") and len(v.shape)}
    return counts.pop() if len(counts) == 1 else 0


def rows_of(batch: Batch, count: int, half: int) -> Batch:
    """Return every other example of a batch, from the first or from the second on."""
    last = count // 2 * 2

    def rows(v: Any) -> Any:
        return v[half:last:2] if tuple(getattr(v, "shape", ()))[:1] == (count,) else v

    return Batch(*(jax.tree.map(rows, part) for part in batch))


def _share_of_orders(trainee: Trainee, batch: Batch, count: int) -> float:
    """Return the share of orders of the labels with a loss that is no larger than their own."""
    trial, rng = trainee.trial(batch), np.random.default_rng(0)
    output = trial.first
    if output is None:
        return np.nan
    orders = [np.arange(count), *(rng.permutation(count) for _ in range(ORDERS))]
    slopes = [trial.slope(output, order) for order in orders]
    in_order, *others = (np.nan if slope is None else slope.value for slope in slopes)
    return float(np.mean(np.array(others) <= in_order))

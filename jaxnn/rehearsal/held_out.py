"""Labels without information: what is learned from one half of the examples, tried on the other.

A network learns any labels by heart. But what it has learned helps with other examples only if
labels belong to their inputs: then their loss is less with their own labels than with others.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from ..evidence.evidence import HeldOut
from ..train.learner import Batch, Learner
from .course import rehearsed

FEWEST = 200  # held-out examples
PER_CLASS = 10  # of them
FEWEST_OF_BATCH = 4  # examples, half of which have another order
ORDERS = 100


def held_out_of(
    make: Callable[[Batch], Learner],
    batches: Sequence[Batch],
    classes: int,
    steps: int,
    constant: float,
    seconds: float = np.inf,
) -> HeldOut | None:
    """Return what a copy makes of examples that it has not learned, if that tells anything."""
    counts = [examples_of(batch.ys) for batch in batches]
    examples = sum(count // 2 for count in counts)
    if examples < max(FEWEST, PER_CLASS * classes) or min(counts) < FEWEST_OF_BATCH:
        return None
    pairs = [*zip(batches, counts, strict=True)]
    learned, others = ([rows_of(*pair, half) for pair in pairs] for half in (0, 1))
    learner = make(learned[0])
    if not rehearsed(learner, learned, steps, constant, seconds).learns:
        return None
    return HeldOut(examples, _share_of_orders(learner, others))


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


def _share_of_orders(learner: Learner, batches: Sequence[Batch]) -> float:
    """Return the share of orders of the labels, within batches, whose loss is no larger."""
    in_order, others = 0.0, np.zeros(ORDERS)
    for batch in batches:
        trial, rng, count = learner.trial(batch), np.random.default_rng(0), examples_of(batch.ys)
        output = trial.first
        if output is None:
            return np.nan
        orders = [np.arange(count), *(rng.permutation(count) for _ in range(ORDERS))]
        slopes = [trial.slope(output, order) for order in orders]
        values = np.array([np.nan if slope is None else slope.value for slope in slopes])
        in_order, others = in_order + values[0], others + values[1:]
    return float(np.mean(others <= in_order))

"""Alarms on the order of examples, which several batches show together."""

from collections.abc import Iterator

import numpy as np

from ...rules import Sight
from ..measurements import Measurements
from .table import ALARMS

FEWEST, RECENT = 3, 8  # measurements that tell, and those that are looked at
FEWEST_LABELS = 8  # of a batch


@ALARMS.rule(
    "order",
    says="in each of {count} batches all labels are of one class, or of two one after the other, "
    "and other batches have other ones: the examples are in the order of their classes",
    advises="shuffle examples and labels together before each epoch",
)
def sorted_batches(seen: Measurements) -> Iterator[Sight]:
    """Batches of one class each.

    In the last three to eight measurements the labels of a batch, eight or more, change at most
    once from one example to the next, and are not of the same class in all of them.

    The examples come in the order of their classes, so each step unlearns what others taught.
    """
    usual, changes, count, _ = seen.labels[-RECENT:].T
    is_told = len(count) >= FEWEST and count.min() >= FEWEST_LABELS
    if is_told and changes.max() <= 1 and np.ptp(usual) > 0:
        yield Sight(values={"count": len(count)})

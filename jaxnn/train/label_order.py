"""Order of the labels of a batch: whether a training takes its classes one after the other.

(B,), (B, 1) or rows of 0 and 1   ->   the middle one of them sorted, and how often they change
"""

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float


class LabelOrder(NamedTuple):
    """The labels of one batch, in their order; numbers of NumPy or JAX.

    usual: the middle one of all in the order of size.
    changes: how often one is unlike the one before.
    count: of the labels.
    """

    usual: Any
    changes: Any
    count: Any


def label_order(labels: Float[Any, "B ..."], xp: ModuleType = np) -> LabelOrder | None:
    """Return the order of labels; None of those that are not one class for each example.

    Args:
        labels: of NumPy or JAX; numbers that are no classes change at each example.
        xp: `numpy`, or `jax.numpy` inside of a compiled step.
    """
    if not labels.ndim or labels.ndim > 2 or not labels.size:
        return None
    if labels.ndim == 2 and labels.shape[1] > 1:
        is_one = (labels.max(axis=1) == 1) & (xp.abs(labels).sum(axis=1) == 1)
        classes = xp.where(is_one, labels.argmax(axis=1), xp.arange(len(labels)))
    else:
        classes = labels.reshape(-1)
    changes = (classes[1:] != classes[:-1]).sum()
    return LabelOrder(xp.sort(classes)[len(classes) // 2], changes, xp.asarray(len(classes)))

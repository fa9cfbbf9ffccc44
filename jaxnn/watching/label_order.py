"""Order of the labels of a batch: whether a training takes its classes one after the other.

(B,), (B, 1) or rows of 0 and 1   ->   the middle one of them sorted, and how often they change
"""

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

MOST = 1024  # labels that are compared with each other


class LabelOrder(NamedTuple):
    """The labels of one batch, in their order; numbers of NumPy or JAX."""

    usual: Any  # the middle one of all in the order of size
    changes: Any  # how often one is unlike the one before
    count: Any  # of the labels
    # the cross entropy of the best constant answer, the shares of the classes, without what the
    # shares of so few labels fit by chance; nan of labels most of which differ
    constant: Any


def label_order(labels: Float[Any, "B ..."], xp: ModuleType = np) -> LabelOrder | None:
    """Return the order of labels; None of those that are not one class for each example."""
    if not labels.ndim or labels.ndim > 2 or not labels.size:
        return None
    if labels.ndim == 2 and labels.shape[1] > 1:
        is_one = (labels.max(axis=1) == 1) & (xp.abs(labels).sum(axis=1) == 1)
        classes = xp.where(is_one, labels.argmax(axis=1), xp.arange(len(labels)))
    else:
        classes = labels.reshape(-1)
    changes = (classes[1:] != classes[:-1]).sum()
    some = classes[:: -(-len(classes) // MOST)]
    alike = (some[:, None] == some[None]).sum(axis=1)
    kinds, count = (1 / alike).sum(), len(some)
    # The entropy of shares, corrected by Miller and Madow 1955.
    entropy = xp.log(count / alike).mean() + (kinds - 1) / (2 * count)
    constant = xp.where(2 * kinds <= count, entropy, xp.nan)
    middle = xp.sort(classes)[len(classes) // 2]
    return LabelOrder(middle, changes, xp.asarray(len(classes)), constant)

"""Scores: what an output tells of its labels, whatever the loss, so that losses can be compared.

classes     accuracy above that of the most frequent class
yes or no   likewise, of a threshold at 0 or ½
numbers     R², 1 - squared error / variance
else        how far the loss is below that of a constant answer
"""

from typing import NamedTuple

import numpy as np

from ..evidence.loss_kinds import labels_of
from ..evidence.trial import as_wide

CLASSES, YES_NO, NUMBERS, OTHER = "classes", "yes or no", "numbers", "other"
MOST = 20  # classes that stand as numbers in one column
PER_CLASS = 3  # examples of each


class Aim(NamedTuple):
    """The kind of labels that an output is compared with; axis: of classes, None of others."""

    kind: str
    axis: int | None = None
    are_few: bool = False  # of numbers: they could be numbers of classes

    @classmethod
    def of(cls, output: np.ndarray | None, ys: np.ndarray | None) -> "Aim":
        """Return what labels are, given an output that they are compared with."""
        labels = None if output is None else labels_of(output.shape, ys)
        if labels is None or ys is None:
            return cls(OTHER)
        values, axis = labels
        are_shares = np.isin(values, (0, 1)).all()
        if axis is not None and are_shares and (values.sum(axis=axis) <= 1).all():
            return cls(CLASSES, axis)
        if are_shares and np.ptp(values):
            return cls(YES_NO)
        kinds = np.unique(values)
        are_whole = bool((kinds == np.round(kinds)).all())
        is_few = are_whole and 2 < len(kinds) <= MOST and values.size > PER_CLASS * len(kinds)
        return cls(NUMBERS, are_few=is_few and kinds[0] >= 0 and axis is None)


class Score(NamedTuple):
    """A number for what an output tells of its labels, at most 1, and its words."""

    value: float
    text: str


NOTHING = Score(-1.0, "a loss that is no number")


def score_of(output: np.ndarray | None, ys: np.ndarray | None) -> Score | None:
    """Return what an output tells of labels; None where that is not known."""
    aim = Aim.of(output, ys)
    if output is None or aim.kind == OTHER:
        return None
    if not np.isfinite(output).all():
        return NOTHING
    labels = labels_of(output.shape, ys)
    assert labels is not None
    y, v = labels.values, as_wide(output)
    if aim.kind == CLASSES:
        axis = -1 if aim.axis is None else aim.axis
        rows, best = np.moveaxis(y, axis, -1), v.argmax(axis=axis)
        has_class = rows.any(axis=-1)
        classes = rows.argmax(axis=-1)[has_class]
        if not len(classes):
            return Score(0.0, "no label that is a class of the output")
        shares = np.bincount(classes) / max(len(classes), 1)
        return _above(float((best[has_class] == classes).mean()), float(shares.max(initial=0)))
    if aim.kind == YES_NO:
        accuracy = max(float(((v > at) == (y > 0.5)).mean()) for at in (0.0, 0.5))
        return _above(accuracy, max(float(y.mean()), 1 - float(y.mean())))
    variance = np.square(y - y.mean(axis=0)).mean()
    with np.errstate(over="ignore"):
        r2 = 1 - float(np.square(v - y).mean() / max(variance, 1e-300))
    return Score(max(r2, -1.0), f"R² {r2:.2f}" if r2 > -10 else "R² below -10")


def _above(accuracy: float, usual: float) -> Score:
    """Return an accuracy as a share of the way from that of the most frequent class to 1."""
    return Score((accuracy - usual) / max(1 - usual, 1e-9), f"accuracy {accuracy:.2f}")

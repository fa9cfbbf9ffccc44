"""Kinds of losses, told by their slope: what a loss takes is seen in ∂loss/∂output alone.

At random outputs p, with labels y, the slope of each kind is a constant c times a form of its own:

    numbers                p - y, its sign, or cut at ±1      squared, absolute and Huber's error
    logits                 σ(p) - y                           binary cross-entropy of logits
    probabilities          (p - y) / (p (1 - p))              of probabilities
    class logits           Σy softmax(p) - y                  cross-entropy of logits
    class probabilities    -y / p                             of probabilities
    class shares           Σy - y / p                         of what it divides by its sum first
    softmax in proportion  s (⟨s, y⟩ - y), s = softmax(p)     of -⟨s, y⟩: logarithms are missing
    class logs             -y                                 of logarithms of probabilities
    over the batch         softmax(p), down the examples - y  a softmax along the wrong axis
    pairs                  p - mean(y)                        (B, 1) and (B,), broadcast
    margins                as |p - y|, and 0 beyond 1         a hinge, of labels ±1

c is below 0 if the loss rises as the fit improves. Weighted and unknown losses are of no kind.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .trial import as_wide

TOLERANCE = 1e-3  # of a slope, in float32
TOLERANCE_16 = 0.03

NUMBERS, LOGITS, PROBABILITIES = "numbers", "logits", "probabilities"
CLASS_LOGITS, CLASS_PROBABILITIES = "class logits", "class probabilities"
CLASS_SHARES, CLASS_LOGS = "class shares", "class logs"
IN_PROPORTION = "softmax in proportion"
OVER_BATCH, PAIRS, MARGINS = "over the batch", "pairs", "margins"


class Labels(NamedTuple):
    """Labels in the shape of the output; axis: along which they are classes, None of one output."""

    values: np.ndarray
    axis: int | None


class LossKind(NamedTuple):
    """What a loss takes, and the constant that its slope has; "" and nan if that is not known."""

    takes: str
    constant: float


class SlopeForm(NamedTuple):
    """The slope of one kind of loss: (p, y, axis of the classes) -> slope."""

    takes: str
    slope: Callable[[np.ndarray, np.ndarray, int], np.ndarray]
    of_classes: bool = False


def are_pairs(output: np.ndarray) -> bool:
    """Tell whether outputs may be of all pairs of examples, (B, B), as logits of a CLIP."""
    return output.ndim == 2 and output.shape[0] == output.shape[1]


def softmax(v: np.ndarray, axis: int) -> np.ndarray:
    """Return e^v over its sum along an axis."""
    powers = np.exp(v - v.max(axis=axis, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=axis, keepdims=True)
    return shares


def _in_proportion(p: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    shares = softmax(p, axis)
    return np.asarray(shares * ((shares * y).sum(axis=axis, keepdims=True) - y))


FORMS = (
    SlopeForm(NUMBERS, lambda p, y, _: p - y),
    SlopeForm(NUMBERS, lambda p, y, _: np.sign(p - y)),
    SlopeForm(NUMBERS, lambda p, y, _: np.clip(p - y, -1, 1)),
    SlopeForm(LOGITS, lambda p, y, _: 1 / (1 + np.exp(-p)) - y),
    SlopeForm(PROBABILITIES, lambda p, y, _: (p - y) / (p * (1 - p))),
    SlopeForm(
        CLASS_LOGITS,
        lambda p, y, axis: y.sum(axis=axis, keepdims=True) * softmax(p, axis) - y,
        of_classes=True,
    ),
    SlopeForm(CLASS_PROBABILITIES, lambda p, y, _: -y / p, of_classes=True),
    SlopeForm(
        CLASS_SHARES, lambda p, y, axis: y.sum(axis=axis, keepdims=True) - y / p, of_classes=True
    ),
    SlopeForm(IN_PROPORTION, _in_proportion, of_classes=True),
    SlopeForm(CLASS_LOGS, lambda p, y, _: -y, of_classes=True),
    SlopeForm(OVER_BATCH, lambda p, y, _: softmax(p, 0) * y.sum(axis=0) - y, of_classes=True),
    SlopeForm(PAIRS, lambda p, y, _: p - y.mean()),
)


def labels_of(shape: tuple[int, ...], ys: np.ndarray | None) -> Labels | None:
    """Return labels in the shape of an output, classes as rows of 0 and 1; None of others."""
    if ys is None or not shape:
        return None
    several = len(shape) > 1 and shape[-1] > 1
    if ys.shape == shape:
        return Labels(as_wide(ys), len(shape) - 1 if several else None)
    if not several and ys.size == np.prod(shape):
        return Labels(as_wide(ys).reshape(shape), None)
    for axis in dict.fromkeys((len(shape) - 1, 1)):
        rest = shape[:axis] + shape[axis + 1 :]
        if several and ys.dtype.kind in "iu" and ys.shape in (rest, (*rest, 1)):
            classes = np.arange(shape[axis]).reshape(-1, *[1] * (len(shape) - 1 - axis))
            # Classes below 0, which a loss leaves out, are rows of 0.
            return Labels(as_wide(np.expand_dims(ys.reshape(rest), axis) == classes), axis)
    return None


def trial_output(shape: tuple[int, ...], axis: int | None) -> np.ndarray:
    """Return outputs that every kind takes: from 0 to 1, along the classes with a sum of 1."""
    rng = np.random.default_rng(0)
    if axis is None:
        return rng.uniform(0.2, 0.8, shape)
    shares = softmax(rng.normal(size=shape), axis)
    one = rng.integers(0, shape[axis], np.delete(shape, axis))  # each row with a large entry
    np.put_along_axis(shares, np.expand_dims(one, axis), 0.5, axis)
    rows: np.ndarray = shares / shares.sum(axis=axis, keepdims=True)
    return rows


def kind_of(slope: np.ndarray, at: np.ndarray, labels: Labels, is_narrow: bool) -> LossKind:
    """Return the kind of the loss that has this slope at these outputs, those of `trial_output`."""
    size, best = np.linalg.norm(slope), LossKind("", np.nan)
    least = TOLERANCE_16 if is_narrow else TOLERANCE
    left_out = 1.0 if labels.axis is None else labels.values.any(axis=labels.axis, keepdims=True)
    for form in FORMS:
        if form.of_classes and labels.axis is None:
            continue
        if form.takes == OVER_BATCH and are_pairs(at):
            continue
        expected = form.slope(at, labels.values, labels.axis or 0)
        expected = expected * left_out if form.of_classes else expected
        constant = np.vdot(slope, expected) / max(np.vdot(expected, expected), 1e-300)
        missing = np.linalg.norm(slope - constant * expected) / size
        if missing < least:
            least, best = missing, LossKind(form.takes, float(constant))
    return best

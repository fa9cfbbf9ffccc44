"""The end of a network: its output, what the loss takes of it, and whether these fit the labels.

output as it is        rows or columns that sum to 1, one number for all examples
last layer × ±s        what the output can reach: a sigmoid stays within 0 and 1
slope at other outputs what the loss takes, see `loss_kinds`
slope, labels permuted whether the loss sees them
slope, outputs changed of squares the labels, however they are handed over
rows of the batch      whether examples act on each other, see `mixing`
inputs ± a change      whether the output is a linear function of them, or a chaotic one, see
                       `changes`
outputs that fit       whether the loss is least there, see `fit`
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from .changes import Changed, changed_outputs
from .class_labels import ClassLabels
from .fit import acts_elsewhere, is_ended_by_zeros, rises_with_fit
from .loss_kinds import (
    MARGINS,
    NUMBERS,
    Labels,
    LossKind,
    are_pairs,
    kind_of,
    labels_of,
    trial_output,
)
from .mixing import mixing_of
from .trial import Trial, as_wide

SCALES = (1e3, 1e6)  # of the last layer: what both reach is the end of what the output can reach
BETWEEN = (0.5, 1.0, 2.0, 4.0)  # sizes of the output at which a silu or gelu dips below its end
NEAR = 0.01  # of the range: ends at both scales that are the same
SUM = 1e-3  # that shares may differ from a sum of 1
SAME = 1e-6  # of a slope: two that are equal
AWAY, NEARBY = 10.0, 1.0  # times the size of the inputs; of an output that would saturate
BEYOND = 1.5  # added to outputs from 0 to 1: where a hinge has no slope for labels of 1
UNLIKE = 0.7  # of what differs between examples: all of it makes √2
LINEAR = 1e-3  # of a change: what a linear function bends by rounding alone


class Reach(NamedTuple):
    """The lowest and highest output whatever the last layer; infinite, or nan if not known."""

    low: float
    high: float


@dataclass(frozen=True)
class End:
    """The end of a network."""

    outputs: int  # of an example
    size: float  # their root mean square
    low: float  # of all outputs
    high: float  # likewise
    zeros: float  # share of outputs that are exactly 0
    # "rows" or "columns" of shares, "logs" if the rows are logarithms of shares; or ""
    sums_to_one: str
    reach: Reach
    loss: float  # nan without one
    kind: LossKind
    label_size: float  # root mean square of labels in the shape of the output
    # their lowest, highest, and the share of them outside of the reach
    labels: tuple[float, float, float]
    # of columns the least above 0, the largest, and its number from 0
    label_spreads: tuple[float, float, int]
    label_sums: tuple[float, float]  # the least and the largest of an example
    classes: ClassLabels | None  # None of labels that are no numbers of classes
    mixing: str  # see `mixing_of`
    sees_labels: bool | None  # the slope of the loss depends on their order; None if not known
    sees_all: bool  # it depends on which there are alone, as through their mean
    compares: bool  # blind to labels, the slope of an example depends on the outputs of others
    is_linear: bool | None  # the output, or its log-odds, in the inputs; None if not known
    label_share: float = 1.0  # of the variance of all columns of labels what the widest has
    rises: bool = False  # of an unknown loss of labels 0 and 1: it is larger where the output fits
    # blind to labels, it is less at outputs of zeros, and has no slope there
    ends_at_zeros: bool = False
    acts_elsewhere: bool = False  # the label of a position acts on outputs of several others
    is_chaotic: bool = False  # a thousandth of a change of the inputs acts as another example would

    @property
    def are_label_shares(self) -> bool:
        """Whether labels of each example sum to 1, as those of classes do."""
        return all(abs(v - 1) <= SUM for v in self.label_sums)

    @classmethod
    def of(cls, trial: Trial) -> "End | None":
        """Return what a trial shows of its end; None without an output that is one finite array."""
        if trial.first is None or not trial.first.ndim or not np.isfinite(trial.first).all():
            return None
        output = as_wide(trial.first)
        labels = labels_of(output.shape, trial.ys)
        axis = output.ndim - 1 if labels is None or labels.axis is None else labels.axis
        scaled, known = _scaled(trial, output), trial.slope(trial.first)
        reach = _with_dips(trial, output, _reach(output, scaled))
        kind = LossKind("", np.nan) if labels is None else _kind(trial, labels)
        sees_labels = bool(kind.takes) or _sees_labels(trial, output)
        is_blind = sees_labels is False
        values = np.zeros(0) if labels is None else labels.values
        shares = _shares(output, scaled, axis)
        is_squashed = _is_squashed(output, shares)
        changed = changed_outputs(trial, output, NEARBY if is_squashed else AWAY)
        straightened = partial(_log_odds, axis=axis, shares=shares) if is_squashed else as_wide
        if not kind.takes and not is_blind and (asked := _asked_by_squares(trial, output)):
            values, kind = asked
        return cls(
            outputs=int(np.prod(output.shape[1:])),
            size=float(np.sqrt(np.mean(np.square(output)))),
            low=float(output.min()),
            high=float(output.max()),
            zeros=float(np.mean(output == 0)),
            sums_to_one=shares,
            reach=reach,
            loss=np.nan if known is None else known.value,
            kind=kind,
            label_size=float(np.sqrt(np.mean(np.square(values)))) if values.size else np.nan,
            labels=_ends(values, reach),
            label_spreads=_spreads(values),
            label_share=_widest_share(values),
            label_sums=_sums(values, axis),
            classes=ClassLabels.of(trial),
            mixing="" if changed.are_apart else mixing_of(trial),
            sees_labels=sees_labels,
            sees_all=is_blind and _sees_all(trial),
            compares=is_blind and _compares(trial, output),
            is_linear=_is_linear(changed, straightened),
            rises=not kind.takes and rises_with_fit(trial, labels),
            ends_at_zeros=is_blind and is_ended_by_zeros(trial),
            acts_elsewhere=acts_elsewhere(trial, labels),
            is_chaotic=_is_chaotic(changed),
        )


def _is_squashed(output: np.ndarray, shares: str) -> bool:
    """Tell whether an output looks like probabilities."""
    return shares == "rows" or bool(output.min() > 0 and output.max() < 1)


def _shares(output: np.ndarray, scaled: list[np.ndarray], axis: int) -> str:
    """Return in what way outputs are shares with any last layer; "" if they are one constant."""
    sums = {_sums_to_one(v, axis) for v in (output, *scaled)}
    is_constant = not np.ptp(np.concatenate([output, *scaled]), axis=0).any()
    return sums.pop() if len(sums) == 1 and not (is_constant and np.ptp(output)) else ""


def _sums_to_one(output: np.ndarray, axis: int) -> str:
    def is_one(v: np.ndarray, axis: int) -> bool:
        return v.shape[axis] > 1 and bool(np.all(abs(v.sum(axis=axis) - 1) <= SUM))

    if output.min() >= 0 and output.ndim > 1 and is_one(output, axis):
        return "rows"
    if output.min() >= 0 and is_one(output, 0):
        return "" if are_pairs(output) else "columns"
    if output.max() > 0 or output.ndim < 2:
        return ""
    powers = np.exp(output)
    if is_one(powers, axis):
        return "logs"
    return "columns" if is_one(powers, 0) and not are_pairs(output) else ""


def _scaled(trial: Trial, output: np.ndarray) -> list[np.ndarray]:
    """Return the outputs with the last layer times ±each of `SCALES`; none if one is not finite."""
    if output.min() < -1 and output.max() > 1:
        # They go beyond 1 on both sides: no activation bounds them.
        return []
    outputs = [trial.output(factor=sign * scale) for scale in SCALES for sign in (1, -1)]
    known = [as_wide(v) for v in outputs if v is not None and np.isfinite(v).all()]
    return known if len(known) == len(outputs) else []


def _reach(output: np.ndarray, scaled: list[np.ndarray]) -> Reach:
    """Return what the output can reach."""
    if not scaled or (not np.ptp([output, *scaled[:2]], axis=0).any() and np.ptp(output)):
        return Reach(np.nan, np.nan)  # the last layer has no say
    (low, high), (lowest, highest) = ((np.min(v), np.max(v)) for v in (scaled[:2], scaled[2:]))
    near = NEAR * min(high - low, highest - lowest)
    return Reach(
        float(lowest) if abs(lowest - low) <= near else -np.inf,
        float(highest) if abs(highest - high) <= near else np.inf,
    )


def _with_dips(trial: Trial, output: np.ndarray, reach: Reach) -> Reach:
    """Return a reach with one end, and what lies beyond it at scales between, as of a silu."""
    if np.isfinite(reach.low) == np.isfinite(reach.high):
        return reach
    size = float(np.sqrt(np.mean(np.square(output)))) or 1.0
    outputs = [trial.output(factor=sign * to / size) for to in BETWEEN for sign in (1, -1)]
    known = [output, *(as_wide(v) for v in outputs if v is not None)]
    low, high = min(map(np.min, known)), max(map(np.max, known))
    return Reach(min(reach.low, float(low)) + 0.0, max(reach.high, float(high)) + 0.0)


def _kind(trial: Trial, labels: Labels) -> LossKind:
    """Return the kind of the loss."""
    at = trial_output(labels.values.shape, labels.axis)
    first = trial.first
    known = None if first is None else trial.slope(at.astype(first.dtype))
    if first is None or known is None or not known.of_output.any():
        return LossKind("", np.nan)
    kind = kind_of(as_wide(known.of_output), at, labels, first.dtype.itemsize < 4)
    if kind.takes == NUMBERS and np.isin(labels.values, (-1, 0, 1)).all():
        beyond = trial.slope((at + BEYOND).astype(first.dtype))
        of_ones = None if beyond is None else beyond.of_output[labels.values == 1]
        if of_ones is not None and of_ones.size and not of_ones.any():
            return LossKind(MARGINS, kind.constant)
    return kind


def _asked_by_squares(trial: Trial, output: np.ndarray) -> tuple[np.ndarray, LossKind] | None:
    """Return the outputs that a loss of squares is least at, and its kind, if it is one."""
    # Its slope at each output is k (p - y), k ≥ 0: it changes in proportion to two random changes
    # of all outputs. Where k is 0, as of actions that were not taken, nothing is asked.
    rng, first = np.random.default_rng(0), trial.slope(np.asarray(trial.first))
    size = max(float(np.sqrt(np.mean(np.square(output)))), 1.0)
    changes = [size * rng.choice((-1.0, 1.0, 2.0), output.shape) for _ in range(2)]
    slopes = [trial.slope((output + v).astype(np.asarray(trial.first).dtype)) for v in changes]
    if first is None or any(slope is None for slope in slopes):
        return None
    begin = as_wide(first.of_output)
    one, other = (as_wide(slope.of_output) - begin for slope in slopes if slope is not None)
    constants = one / changes[0]
    bent = np.linalg.norm(constants * changes[1] - other)
    is_asked = constants > SUM * constants.max(initial=0.0)
    if not is_asked.any() or not bent <= SUM * np.linalg.norm(other) or begin[~is_asked].any():
        return None
    values = output[is_asked] - begin[is_asked] / constants[is_asked]
    return values, LossKind(NUMBERS, float(np.median(constants[is_asked])))


def _spreads(values: np.ndarray) -> tuple[float, float, int]:
    """Return the smallest and largest spread of columns, and the place of the latter."""
    if values.ndim != 2 or values.shape[1] < 2:
        return np.nan, np.nan, 0
    spreads = values.std(axis=0)
    varying = spreads[spreads > SAME * np.abs(values).max(axis=0)]
    return float(varying.min(initial=np.inf)), float(spreads.max()), int(spreads.argmax())


def _widest_share(values: np.ndarray) -> float:
    """Return the share of the variance of columns that the widest has."""
    if values.ndim != 2 or values.shape[1] < 2:
        return np.nan
    variances = values.var(axis=0)
    return float(variances.max() / max(variances.sum(), 1e-300))


def _sums(values: np.ndarray, axis: int) -> tuple[float, float]:
    if values.ndim < 2 or not values.size:
        return np.nan, np.nan
    sums = values.sum(axis=axis)
    return float(sums.min()), float(sums.max())


def _ends(values: np.ndarray, reach: Reach) -> tuple[float, float, float]:
    """Return the lowest and highest label, and the share of those outside of a reach."""
    if not values.size or not np.isfinite(values).all():
        return np.nan, np.nan, 0.0
    low, high = reach
    near = SUM * (high - low if np.isfinite(high - low) else 1.0)
    outside = (values < low - near) | (values > high + near)
    return float(values.min()), float(values.max()), float(outside.mean())


def _sees_labels(trial: Trial, output: np.ndarray) -> bool | None:
    """Tell whether other labels make another slope; None if there are no others."""
    ys = trial.ys
    if ys is None or not ys.ndim or len(ys) != len(output):
        return None
    order = np.random.default_rng(0).permutation(len(ys))
    if np.array_equal(ys[order], ys):
        return None
    return _changes_slope(trial, order)


def _changes_slope(trial: Trial, order: np.ndarray) -> bool | None:
    """Tell whether the labels of other examples make another slope; None without a slope."""
    slopes = [trial.slope(np.asarray(trial.first), order) for order in (None, order)]
    if any(slope is None for slope in slopes):
        return None
    ours, other = (as_wide(slope.of_output) for slope in slopes if slope is not None)
    return bool(np.linalg.norm(ours - other) > SAME * np.linalg.norm(ours)) if ours.any() else None


def _sees_all(trial: Trial) -> bool:
    """Tell whether the slope is another one if all examples have the label of one of them."""
    rows = as_wide(np.asarray(trial.ys)).reshape(len(np.asarray(trial.ys)), -1)
    return _changes_slope(trial, np.full(len(rows), np.argmax(rows.sum(axis=1)))) is True


def _compares(trial: Trial, output: np.ndarray) -> bool:
    """Tell whether the slopes of other examples change with the output of the first one."""
    other = np.array(trial.first)
    other[0] = other[-1] if np.any(other[-1] != other[0]) else 2 * other[0] + 1
    slopes = [trial.slope(v) for v in (np.asarray(trial.first), other)]
    if len(output) < 2 or any(slope is None for slope in slopes):
        return False
    ours, theirs = (as_wide(slope.of_output)[1:] for slope in slopes if slope is not None)
    return bool(np.linalg.norm(ours - theirs) > SAME * np.linalg.norm(ours))


def _is_linear(changed: Changed, straightened: Callable[[np.ndarray], np.ndarray]) -> bool | None:
    """Tell whether f(x + d) + f(x - d) = 2 f(x), of the output or of its log-odds."""
    if changed.far is None:
        return None
    middle, up, down = map(straightened, (changed.as_is, *changed.far))
    far, bent = np.linalg.norm(up - down), np.linalg.norm(up + down - 2 * middle)
    return bool(bent <= LINEAR * far) if np.isfinite(bent) and far > 0 else None


def _is_chaotic(changed: Changed) -> bool:
    """Tell whether inputs that differ by a thousandth make outputs of examples that are unlike."""
    if changed.near is None:
        return False
    output = as_wide(changed.as_is)
    differs = np.linalg.norm(output - output.mean(axis=0))
    is_moved = np.linalg.norm(as_wide(changed.near) - output) > UNLIKE * differs
    return bool(is_moved and differs > SUM * np.linalg.norm(output))


def _log_odds(v: np.ndarray, axis: int, shares: str) -> np.ndarray:
    """Return what enters a sigmoid, or a softmax but for a constant of each example."""
    if shares != "rows":
        return np.asarray(np.log(as_wide(v)) - np.log1p(-as_wide(v)))
    logs = np.log(as_wide(v))
    return np.asarray(logs - logs.mean(axis=axis, keepdims=True))

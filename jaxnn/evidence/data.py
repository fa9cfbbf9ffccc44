"""Data of a batch: the sizes of its columns, and the order of its classes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .mixing import distance
from .trial import Trial, as_wide

MOST_CLASSES = 100  # more numbers than that are no classes
INVARIANT = 0.05  # of what differs between outputs: a network that scales its inputs itself
COUNTS = 0.5  # of it: more is missing without the narrow columns where a network levels them
EQUAL = 1e-6  # of the largest number: what differs by less is equal
FAR = 30.0  # times 1, or the inverse: sizes of columns for which that is tried


@dataclass(frozen=True)
class InputColumns:
    """Sizes of the columns of one input over the examples, (C,); an image or a sequence has one."""

    name: str
    mean: np.ndarray
    spread: np.ndarray  # standard deviation

    @classmethod
    def of(cls, name: str, v: np.ndarray) -> "InputColumns":
        """Return the sizes of the columns of an input."""
        rows = as_wide(v if v.ndim == 2 else v.reshape(-1, 1))
        return cls(name, rows.mean(axis=0), rows.std(axis=0))

    @property
    def size(self) -> np.ndarray:
        """The root mean square of each column."""
        return np.sqrt(np.square(self.mean) + np.square(self.spread))

    @property
    def usual(self) -> float:
        """The median spread of the columns that vary; 1 if none does."""
        return float(np.median(self.spread[self.varying])) if self.varying.any() else 1.0

    @property
    def varying(self) -> np.ndarray:
        """True for columns with more than one number in them."""
        return np.asarray(self.spread > EQUAL * self.size)


@dataclass(frozen=True)
class BatchData:
    """A batch."""

    count: int  # of examples
    columns: tuple[InputColumns, ...]  # of each array of floats that goes in
    scales_itself: bool | None  # like a norm, of large or small inputs; None if not tried
    # like a norm over the batch, of large, constant or uneven columns; None if not tried
    levels_itself: bool | None
    are_positions_alike: bool  # as pixels that are all the same
    classes: int  # how many; 0 of labels that are none
    sorted: bool  # all examples of a class follow each other
    are_labels: bool  # the inputs are the labels, as those of an autoencoder

    @classmethod
    def of(cls, trial: Trial) -> "BatchData":
        """Return what a trial's batch is like."""
        columns = tuple(InputColumns.of(name, v) for name, v in trial.xs.items() if v.size)
        varying = [v for v in columns if v.varying.any()]
        are_large = any(v.size.max() > FAR for v in varying)
        are_small = any(v.spread.max() < 1 / FAR for v in varying)
        levels = scales = None
        are_uneven = any(map(_is_uneven, varying))
        if are_large or are_uneven or not all(v.varying.all() for v in columns):
            levels = _makes_the_same(trial, columns, _standardised)
        if are_uneven and levels is False:  # a network may divide by numbers that it holds
            levels = not _makes_the_same(trial, columns, _wide_alone, COUNTS)
        if are_large or are_small:
            scales = (are_large and levels) or _makes_the_same(trial, columns, _scaled)
        classes = _classes(trial.ys)
        blocks = 0 if classes is None else 1 + int(np.count_nonzero(np.diff(classes)))
        count = 0 if classes is None else len(np.unique(classes))
        return cls(
            count=max((len(v) for v in (*trial.xs.values(), classes) if v is not None), default=0),
            columns=columns,
            scales_itself=scales,
            levels_itself=levels,
            are_positions_alike=_are_positions_alike(trial),
            classes=count,
            sorted=count > 1 and blocks == count,
            are_labels=trial.ys is not None
            and any(np.array_equal(v, trial.ys) for v in trial.xs.values()),
        )


def _is_uneven(columns: InputColumns) -> bool:
    return bool(columns.spread.max() > FAR * columns.usual)


def _scaled(sizes: InputColumns, v: np.ndarray) -> np.ndarray:
    """Return inputs divided by one number; a shift would show at the edges of an image."""
    return v / float(np.sqrt(np.mean(np.square(sizes.size))))


def _standardised(sizes: InputColumns, v: np.ndarray) -> np.ndarray:
    """Return inputs whose columns above 1 are standardised: a norm's epsilon stays small there."""
    least = min(1.0, sizes.usual)
    shift = np.where((sizes.size > 1) | ~sizes.varying, sizes.mean, 0.0)
    return np.asarray((v - shaped(shift, v)) / shaped(np.maximum(sizes.spread / least, 1.0), v))


def _wide_alone(sizes: InputColumns, v: np.ndarray) -> np.ndarray:
    """Return inputs without what differs in all but the widest columns."""
    is_wide = shaped(sizes.spread > FAR * sizes.usual, v)
    return np.where(is_wide, v, shaped(sizes.mean, v)) if _is_uneven(sizes) else v


def _makes_the_same(
    trial: Trial,
    columns: tuple[InputColumns, ...],
    changed: Callable[[InputColumns, np.ndarray], np.ndarray],
    most: float = INVARIANT,
) -> bool | None:
    """Tell whether changed inputs lead to the same output; None if that could not be tried."""
    others = {sizes.name: changed(sizes, trial.xs[sizes.name]) for sizes in columns}
    output = trial.first
    other = None if output is None else trial.output(others)
    if output is None or other is None or not np.isfinite(other).all():
        return None
    return distance(other, output) <= most


def shaped(of_columns: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return numbers of the columns of an input in a shape that broadcasts to it."""
    return of_columns if v.ndim == 2 else of_columns[0]


def _are_positions_alike(trial: Trial) -> bool:
    """Tell whether all inputs with positions have one number in each channel of an example."""

    def is_alike(v: np.ndarray, channels: int) -> bool:
        rows = np.moveaxis(v, channels, -1).reshape(len(v), -1, v.shape[channels])
        largest = np.abs(rows).max(initial=0)
        return rows.shape[1] > 1 and bool(np.ptp(rows, axis=1).max(initial=0) <= EQUAL * largest)

    placed = [as_wide(v) for v in trial.xs.values() if v.ndim > 2 and v.size]
    return bool(placed) and all(is_alike(v, 1) or is_alike(v, v.ndim - 1) for v in placed)


def _classes(ys: np.ndarray | None) -> np.ndarray | None:
    """Return the class of each example, of labels that are numbers of classes, or one-hot."""
    if ys is None or not ys.ndim:
        return None
    rows = as_wide(ys).reshape(len(ys), -1)
    if rows.shape[1] > 1:
        is_one_hot = np.isin(rows, (0, 1)).all() and (rows.sum(axis=1) == 1).all()
        return rows.argmax(axis=1) if is_one_hot else None
    values = rows[:, 0]
    is_whole = bool((values == np.round(values)).all())
    return values if is_whole and len(np.unique(values)) <= MOST_CLASSES else None

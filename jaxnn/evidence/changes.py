"""Outputs of inputs that are changed: far, along a line, and by a thousandth.

of some examples x, x + d, x - d, x + a little, in a random order   -> one run
x is among them as it was in the batch                              -> an example has its own output
x + d, then x - d, then x + a little, of all examples               -> a run each, where it has not
"""

from typing import NamedTuple

import numpy as np

from .data import InputColumns, shaped
from .mixing import ROUNDED, distance
from .trial import Arrays, Trial, as_wide

NEXT_TO = 1e-3  # of what differs between inputs
FEWEST = 8  # examples that tell
PARTS, CHANGES = 4, 3  # of a batch


class Changed(NamedTuple):
    """Outputs of the same examples."""

    as_is: np.ndarray  # of the inputs as they are
    # of inputs plus one random change, and minus it
    far: tuple[np.ndarray, np.ndarray] | None = None
    # of inputs that differ by a thousandth of what differs between examples
    near: np.ndarray | None = None
    are_apart: bool = False  # whether no example acts on another, as far as is known


def changed_outputs(trial: Trial, output: np.ndarray, times: float) -> Changed:
    """Return outputs of changed inputs; a far change is so many times their size."""
    if not trial.xs:
        return Changed(output)
    return _at_once(trial, output, times) or _one_by_one(trial, output, times)


def _at_once(trial: Trial, output: np.ndarray, times: float) -> Changed | None:
    """Return outputs of a part of the examples, by one run; None where that does not tell."""
    count, part = len(output), len(output) // PARTS
    if part < FEWEST or trial.counts != {count} or trial.is_random:
        return None
    rng = np.random.default_rng(0)
    order, some = rng.permutation(count), rng.permutation(count)[: count - CHANGES * part]
    rows = np.concatenate([some, *[some[:part]] * CHANGES])[order]
    moved = {}
    for name, changes in _drawn(trial.xs, part, times).items():
        stays = np.zeros((len(some), *changes[0].shape[1:]))
        moved[name] = trial.xs[name][rows] + np.concatenate([stays, *changes])[order]
    try:
        mixed = trial.output(moved, rows=rows)
    except Exception:  # of a network that takes no such inputs
        return None
    if mixed is None or mixed.shape != output.shape:
        return None
    outputs = np.empty_like(mixed)
    outputs[order] = mixed
    ends = len(some) + part * np.arange(CHANGES)
    as_is, up, down, near = np.split(outputs, ends)
    if not distance(as_is, output[some]) < ROUNDED:
        return None
    return Changed(as_wide(output[some[:part]]), (up, down), near, are_apart=True)


def _one_by_one(trial: Trial, output: np.ndarray, times: float) -> Changed:
    """Return outputs of all examples, by a run for each change."""
    changes = _drawn(trial.xs, len(output), times)

    def moved(i: int) -> np.ndarray | None:
        return trial.output({name: v + changes[name][i] for name, v in trial.xs.items()})

    try:
        up, down = moved(0), moved(1)
    except Exception:  # of a network that takes no such inputs
        up = down = None
    far = None if up is None or down is None else (up, down)
    is_told = not trial.is_random and len(output) >= FEWEST
    return Changed(output, far, moved(2) if is_told else None)


def _drawn(xs: Arrays, count: int, times: float) -> dict[str, list[np.ndarray]]:
    """Return random changes of so many rows of each input: far, its opposite, and a near one."""
    rng, changes = np.random.default_rng(0), dict[str, list[np.ndarray]]()
    for name, v in xs.items():
        columns, drawn = InputColumns.of(name, v), rng.normal(size=(count, *v.shape[1:]))
        # Each column is changed by its own size, and near by what differs in it.
        sizes = times * columns.size, -times * columns.size, NEXT_TO * columns.spread
        changes[name] = [shaped(size, v) * drawn for size in sizes]
    return changes

"""Tests of integer inputs, such as words: whether the output changes when they are exchanged.

all of them changed               an output that stays does not read them
all but the padding changed       an output that stays reads where the padding is, and no more
none beyond the rows of a table   an output that stays, or was nan, looks up what is not there
"""

from typing import NamedTuple

import numpy as np

from .trial import Trial, as_wide

FEWEST = 8  # examples that tell
SAME = 1e-5  # of what differs between outputs: rounding


class Unread(NamedTuple):
    """An input of integers of which the output depends on the places of the padding alone."""

    path: str
    padding: int | None  # the number that fills up its rows


class Beyond(NamedTuple):
    """An input of integers that reaches beyond the table in which it is looked up."""

    path: str
    highest: int
    rows: int
    read: str  # as what those beyond are read


def beyond_of(trial: Trial) -> Beyond | None:
    """Return the input whose numbers have no row; None if all do, or it is not known."""
    first = trial.first
    if first is None or trial.is_random:
        return None
    for path, tokens in trial.tokens.items():
        highest = int(tokens.max(initial=0))
        # The table has as many rows as one of these, or fewer; at one below nothing is the same.
        for rows in sorted((v for v in trial.lengths if 1 < v <= highest), reverse=True):
            inside = trial.output({path: tokens.clip(max=rows - 1)})
            if inside is None:
                break
            is_nan = bool(np.isfinite(inside).all() and np.isnan(first).any())
            if not is_nan and not np.array_equal(inside, first, equal_nan=True):
                break
            other = trial.output({path: np.where(tokens < rows, tokens, rows - 2)})
            if other is not None and not np.array_equal(inside, other, equal_nan=True):
                return Beyond(path, highest, rows, "nan" if is_nan else "its last row")
    return None


def unread_of(trial: Trial) -> Unread | None:
    """Return the input whose numbers are not read; None if they are, or it is not known."""
    output = trial.first
    if output is None or len(trial.tokens) != 1 or trial.xs or trial.is_random:
        return None
    (path, tokens) = next(iter(trial.tokens.items()))
    if tokens.ndim != 2 or len(tokens) < FEWEST or tokens.shape[1] < 2:
        return None
    padding = _padding_of(tokens)
    known = np.unique(tokens if padding is None else tokens[tokens != padding])
    if len(known) < 2:
        return None
    is_known = tokens != padding if padding is not None else np.ones(tokens.shape, bool)
    # Each number but the padding is exchanged for the next larger one.
    following = np.roll(known, -1)[np.searchsorted(known, tokens.clip(known[0], known[-1]))]
    other = trial.output({path: np.where(is_known, following, tokens).astype(tokens.dtype)})
    if other is None or other.shape != output.shape:
        return None
    size = max(float(np.abs(as_wide(output)).max(initial=0.0)), 1e-300)
    is_same = bool(np.abs(as_wide(other) - as_wide(output)).max(initial=0.0) <= SAME * size)
    return Unread(path, padding) if is_same else None


def _padding_of(tokens: np.ndarray) -> int | None:
    """Return the number that fills rows up to their end, or beginning, some further than others."""
    for rows in (tokens, tokens[:, ::-1]):
        values, counts = np.unique(rows[:, -1], return_counts=True)
        candidate = values[np.argmax(counts)]
        is_filled = rows == candidate
        fills_up = not (is_filled[:, :-1] & ~is_filled[:, 1:]).any()
        lengths = is_filled.sum(axis=1)
        if fills_up and np.ptp(lengths) and lengths.max() > 1:
            return int(candidate)
    return None

"""Runs with other examples, which tell whether examples act on each other inside of a network.

rows drawn with repeats  an output that is that of its own example has the same rows: none mixes
rows permuted            an output that depends on places in the batch, as after a wrong reshape
all rows twice           a sum over the batch; a mean or a variance, as in a norm, stays
"""

import numpy as np

from .loss_kinds import are_pairs
from .trial import Trial, as_wide

PLACES, SUMS, ALIKE = "places", "sums", "alike"
FEWEST = 16  # examples that tell
ROUNDED = 1e-3  # of what differs between outputs: of others that act on them more is left
SAME = 0.05  # of it: what rounding makes of it in a deep network with norms over the batch
OTHER = 0.1  # of it: more than a variance changes by that is divided by one example less


def mixing_of(trial: Trial) -> str:
    """Return how examples mix: by their places, as sums, or to one output for all; "" if not so."""
    output, ys = trial.first, trial.ys
    if output is None or output.ndim > 2 or ys is None or trial.is_random:
        return ""
    count = len(output)
    # A sequence whose first axis is time mixes along it by intention.
    if count < FEWEST or ys.shape[:1] != (count,) or trial.counts != {count}:
        return ""
    rng = np.random.default_rng(0)
    if _is_row_by_row(trial, output, rng.integers(0, count, count), ROUNDED):
        return ""
    if not _is_row_by_row(trial, output, rng.permutation(count), SAME):
        return PLACES
    every, v = np.arange(count), as_wide(output)
    if not np.ptp(v, axis=0).any():
        half = trial.output(rows=every // 2)
        return ALIKE if half is not None and not np.array_equal(half, output) else ""
    twice = trial.output(rows=np.concatenate([every, every]))
    if twice is None or len(twice) != 2 * count or twice.shape[1:] != output.shape[1:]:
        return ""
    return SUMS if distance(twice[:count], v) > OTHER else ""


def _is_row_by_row(trial: Trial, output: np.ndarray, rows: np.ndarray, least: float) -> bool:
    """Tell whether the output of some rows is those rows of the output, of pairs columns too."""
    other, expected = trial.output(rows=rows), output[rows]
    if other is None or other.shape != output.shape:
        return True
    is_alike = distance(other, expected) < least
    return is_alike or (are_pairs(output) and distance(other, expected[:, rows]) < least)


def distance(v: np.ndarray, other: np.ndarray) -> float:
    """Return by how much outputs differ, over what differs between examples."""
    v, other = as_wide(v), as_wide(other)
    differs = max(np.linalg.norm(other - other.mean(axis=0)), 1e-5 * np.linalg.norm(other))
    return float(np.linalg.norm(v - other) / max(differs, 1e-300))

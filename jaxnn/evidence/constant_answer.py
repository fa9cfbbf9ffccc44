"""The constant answer: the least loss of one output that is given to all examples.

    labels, loss -> a row of outputs, from the mean of the labels downhill -> its loss

Who does no better has learned nothing of an example, however far the loss has fallen.
"""

from collections.abc import Iterator

import numpy as np

from .end import End
from .trial import Trial, as_wide

MOST_STEPS = 50
INSET = 1e-6  # of the range of outputs, at whose very ends a logarithm has no number
FAR = 100.0  # times the way of the steps, where a loss without a least one is far lower


def constant_answer(trial: Trial, end: End | None = None) -> float:
    """Return the loss of the best constant output; -inf of a loss without end, or nan."""
    try:
        with np.errstate(all="ignore"):
            return _least(trial, end)
    except Exception:  # of a loss that takes more than the output
        return np.nan


def _least(trial: Trial, end: End | None) -> float:
    output = trial.first
    if output is None or not output.ndim or len(output) < 2:
        return np.nan
    shares, shape = "" if end is None else end.sums_to_one, output.shape[1:]
    best = np.inf, np.zeros(0)  # a loss and its row
    axis = _axis_of_shares(as_wide(output), shares)

    def loss(entries: np.ndarray) -> tuple[float, np.ndarray]:
        row = entries.reshape(shape)
        powers = np.exp(row - row.max(axis=axis, keepdims=True))
        parts = powers / powers.sum(axis=axis, keepdims=True)
        given = {"rows": parts, "logs": np.log(parts)}.get(shares, row)
        slope = trial.slope(np.broadcast_to(given, output.shape).astype(output.dtype))
        if slope is None:
            raise ValueError("no loss")
        nonlocal best
        best = (slope.value, entries.copy()) if slope.value < best[0] else best
        down = as_wide(slope.of_output).sum(axis=0)
        if shares == "rows":
            down = parts * (down - (parts * down).sum(axis=axis, keepdims=True))
        elif shares == "logs":
            down = down - parts * down.sum(axis=axis, keepdims=True)
        return slope.value, down.ravel()

    from scipy.optimize import minimize  # slow to import

    low, high = (-np.inf, np.inf) if shares or end is None else end.reach
    inset = INSET * (high - low) if np.isfinite(high - low) else 0.0
    low, high = (
        -np.inf if np.isnan(low) else low + inset,
        np.inf if np.isnan(high) else high - inset,
    )
    starts = [np.clip(row, low, high).ravel() for row in _starts(trial, output, shares)]
    start = min(starts, key=lambda row: np.nan_to_num(loss(row)[0], nan=np.inf))
    bounds = None if np.isinf([low, high]).all() else [(low, high)] * start.size
    minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": MOST_STEPS}
    )
    least, row = best
    if bounds is None:
        far = loss(start + FAR * (row - start))[0]
        least = -np.inf if far < min(0.0, least - 2 * abs(least)) else least
    return float(least) if least < np.inf else np.nan


def _axis_of_shares(output: np.ndarray, shares: str) -> int | None:
    """Return the axis of a row along which shares sum to 1; None of other outputs."""
    parts = np.exp(output) if shares == "logs" else output
    sums = (abs(parts.sum(axis=i) - 1).max() for i in range(1, output.ndim))
    return int(np.argmin([*sums])) if shares in ("rows", "logs") else None


def _starts(trial: Trial, output: np.ndarray, shares: str) -> Iterator[np.ndarray]:
    """Yield rows to begin with: even ones, the mean output, and the mean of labels like it."""
    yield np.zeros(output.shape[1:])
    mean = as_wide(output).mean(axis=0)
    yield np.log(np.maximum(mean, np.finfo(float).tiny)) if shares == "rows" else mean
    if trial.ys is not None and trial.ys.shape == output.shape and not shares:
        yield as_wide(trial.ys).mean(axis=0)

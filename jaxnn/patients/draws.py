"""Orthogonal and mirrored matrices, drawn in place of those of a network.

A kernel of a convolution has such a matrix in its centre, and is 0 elsewhere.
"""

import numpy as np

from ..graph.steps import Axes

MATRIX: Axes = (0, 1)
ONE_SIZE = 1.5  # times the smallest: weights that are drawn with one gain


class OddError(ValueError):
    """Widths that are odd, of which there are no pairs."""


def mirrored(rng: np.random.Generator, v: np.ndarray, axes: Axes = MATRIX) -> np.ndarray:
    """Return a mirrored orthogonal matrix or kernel, or half of a vector and its opposite."""
    along = (0,) if v.ndim == 1 else axes
    if any(v.shape[i] % 2 for i in along):
        raise OddError
    if not v.any():
        return v
    half = v[tuple(slice(n // 2) if i in along else slice(n) for i, n in enumerate(v.shape))]
    if v.ndim == 1:
        return np.concatenate([half, -half])
    w = delta_like(rng, half, axes, gain=1.0)
    into, out = axes
    rows = np.concatenate([w, -w], out)
    return np.concatenate([rows, -rows], into)


def delta_like(
    rng: np.random.Generator, v: np.ndarray, axes: Axes = MATRIX, gain: float | None = None
) -> np.ndarray:
    """Return a kernel with an orthogonal matrix in its centre; a matrix is all centre."""
    # What is 0, as biases of several heads are drawn, stays 0.
    if not v.any():
        return v
    at = tuple(slice(None) if i in axes else (n - 1) // 2 for i, n in enumerate(v.shape))
    centre = orthogonal(rng, *v[at].shape)
    # Without a gain the square norm is that of v.
    size = np.sqrt(np.sum(np.square(v)) / min(centre.shape)) if gain is None else gain
    drawn = np.zeros_like(v)
    drawn[at] = centre * size
    return drawn


def fan_in_gain(v: np.ndarray, axes: Axes = MATRIX) -> float:
    """Return √fan_in times the root mean square; nan unless inputs are as many as outputs."""
    into, out = axes
    if v.shape[into] != v.shape[out]:
        return np.nan
    return float(np.sqrt(np.sum(np.square(np.asarray(v, np.float64))) / v.shape[out]))


def orthogonal(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Return a random matrix (n, m) with orthonormal columns, or rows."""
    q, r = np.linalg.qr(rng.normal(size=(max(n, m), min(n, m))))
    q = q * np.sign(np.diag(r))
    return q if n >= m else q.T

"""Orthogonal and mirrored matrices, drawn in place of those of a network.

A kernel of a convolution has such a matrix in its centre, and is 0 elsewhere.
"""

import sys
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from ..graph.steps import Axes

MATRIX: Axes = (0, 1)
ONE_SIZE = 1.5  # times the smallest: weights that are drawn with one gain


class OddError(ValueError):
    """Widths that are odd, of which there are no pairs."""


class Source(Protocol):
    """A framework's random arrays; std: the deviation of the last normal one, to be noted."""

    std: float | None

    def orthogonal(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return a random matrix with orthonormal columns, or rows."""

    def normal(self, shape: tuple[int, ...], std: float) -> np.ndarray:
        """Return independent entries of mean 0."""


class Normal(NamedTuple):
    """An array that was drawn, and the standard deviation of its entries."""

    array: np.ndarray
    std: float


class JaxSource:
    """Arrays as `jax.nn.initializers` draws them, from a key each."""

    def __init__(self, seed: int, count: int):
        self.keys = iter(jax.random.split(jax.random.key(seed), count))
        self.std: float | None = None

    def orthogonal(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.asarray(jax.nn.initializers.orthogonal()(next(self.keys), shape), np.float64)

    def normal(self, shape: tuple[int, ...], std: float) -> np.ndarray:
        self.std = std
        return std * np.asarray(jax.random.normal(next(self.keys), shape), np.float64)


class TorchSource:
    """Arrays as `torch.nn.init` draws them, of the dtype and on the device of a tensor."""

    def __init__(self, seed: int, like: Any):
        self.torch, self.like = sys.modules["torch"], like.detach()
        self.std: float | None = None
        self.torch.manual_seed(seed)

    def orthogonal(self, shape: tuple[int, ...]) -> np.ndarray:
        return self._numbers(self.torch.nn.init.orthogonal_(self.like.new_empty(shape)))

    def normal(self, shape: tuple[int, ...], std: float) -> np.ndarray:
        self.std = std
        return self._numbers(self.torch.nn.init.normal_(self.like.new_empty(shape), std=std))

    def _numbers(self, v: Any) -> np.ndarray:
        return np.asarray(v.cpu().double().numpy())


def mirrored(source: Source, v: np.ndarray, axes: Axes = MATRIX) -> np.ndarray:
    """Return a mirrored orthogonal matrix or kernel, or half of a vector and its opposite."""
    along = (0,) if v.ndim == 1 else axes
    if any(v.shape[i] % 2 for i in along):
        raise OddError
    if not v.any():
        return v
    half = v[tuple(slice(n // 2) if i in along else slice(n) for i, n in enumerate(v.shape))]
    if v.ndim == 1:
        return np.concatenate([half, -half])
    w = delta_like(source, half, axes, gain=1.0)
    into, out = axes
    rows = np.concatenate([w, -w], out)
    return np.concatenate([rows, -rows], into)


def delta_like(
    source: Source, v: np.ndarray, axes: Axes = MATRIX, gain: float | None = None
) -> np.ndarray:
    """Return a kernel with an orthogonal matrix in its centre; a matrix is all centre."""
    # What is 0, as biases of several heads are drawn, stays 0.
    if not v.any():
        return v
    at = tuple(slice(None) if i in axes else (n - 1) // 2 for i, n in enumerate(v.shape))
    centre = source.orthogonal(v[at].shape)
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

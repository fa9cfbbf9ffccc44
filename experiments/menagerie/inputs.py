"""Batches for networks: four examples, drawn from a normal distribution or from a vocabulary."""

import numpy as np

Batch = np.ndarray
BATCH, UNITS, LENGTH, WORDS = 4, 8, 6, 20


def vectors(units: int = UNITS) -> Batch:
    """Return vectors, (BATCH, units)."""
    return _normal(units)


def sequences(length: int = LENGTH, units: int = UNITS) -> Batch:
    """Return sequences of vectors, (BATCH, length, units)."""
    return _normal(length, units)


def images(size: int = 16, channels: int = 3) -> Batch:
    """Return images with the channels last, (BATCH, size, size, channels)."""
    return _normal(size, size, channels)


def images_first(size: int = 16, channels: int = 3) -> Batch:
    """Return images with the channels first, (BATCH, channels, size, size)."""
    return _normal(channels, size, size)


def positive(batch: Batch) -> Batch:
    """Return a batch between 0 and 1."""
    return 1 / (1 + np.exp(-batch))


def tokens(length: int = LENGTH, words: int = WORDS) -> Batch:
    """Return numbers of words from 1, (BATCH, length)."""
    return np.random.default_rng(0).integers(1, words, (BATCH, length)).astype(np.int32)


def _normal(*shape: int) -> Batch:
    return np.random.default_rng(0).normal(size=(BATCH, *shape)).astype(np.float32)

"""Batches for networks: four examples, drawn from a normal distribution or from a vocabulary."""

import jax
import numpy as np

Batch = np.ndarray
BATCH, UNITS, LENGTH, WORDS = 4, 8, 6, 20
KEY = jax.random.key(0)
TIMES = np.array([1, 20, 300, 900])  # of a diffusion


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


def words() -> dict[str, Batch]:
    """Return what a language model of `transformers` takes, with labels for its loss."""
    return {"input_ids": tokens(), "labels": tokens()}


def texts() -> dict[str, Batch]:
    """Return what a classifier of texts takes, with labels."""
    return {"input_ids": tokens(), "labels": np.array([0, 1, 1, 0])}


def pictures() -> dict[str, Batch]:
    """Return what a classifier of images takes, with labels."""
    return {"pixel_values": images_first(), "labels": np.array([0, 1, 2, 0])}


def linked() -> tuple[Batch, Batch]:
    """Return a graph of twelve nodes on a ring, each linked to three."""
    edges = [[i, (i + step) % 12] for i in range(12) for step in (1, 3, 5)]
    return np.tile(vectors(), (3, 1)), np.array(edges).T


def _normal(*shape: int) -> Batch:
    return np.random.default_rng(0).normal(size=(BATCH, *shape)).astype(np.float32)

"""Data and weights that both sides of a comparison share, and results in few numbers.

NumPy alone, so that every peer may import it.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from experiments.learning import bundled

NAME = "inputs.npz"
Pairs = Sequence[tuple[np.ndarray, np.ndarray]]


def standardised(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a set of scikit-learn: float32 columns of mean 0 and variance 1, and labels."""
    x, y, _ = bundled.load(name)
    return bundled.standardised(x).astype(np.float32), y


def network(
    ends: list[int], layers: int, width: int, batch: int, sigma_w: float = 1.0
) -> tuple[Pairs, np.ndarray, np.ndarray]:
    """Draw the layers' (θ, b), examples, and labels of two or more classes."""
    rng, sizes = np.random.default_rng(0), [ends[0], *[width] * layers, ends[1]]

    def drawn(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    params = [
        (drawn(n, m, scale=sigma_w / n**0.5), drawn(m, scale=0.1)) for n, m in pairwise(sizes)
    ]
    y = rng.integers(0, max(2, ends[1]), batch)
    return params, drawn(batch, ends[0]), y.astype(np.float32) if ends[1] == 1 else y


def write(folder: Path, params: Iterable[Any], **more: Any) -> None:
    """Store the layers' (θ, b) and other arrays for the other side."""
    layers: dict[str, Any] = {}
    for i, (theta, b) in enumerate(params):
        layers[f"theta{i}"], layers[f"b{i}"] = np.asarray(theta), np.asarray(b)
    np.savez(folder / NAME, **layers, **more)


def read(folder: Path) -> tuple[Pairs, dict[str, np.ndarray]]:
    """Return the layers and arrays that `write` has stored."""
    with np.load(folder / NAME, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    count = sum(name.startswith("theta") for name in arrays)
    params = [(arrays.pop(f"theta{i}"), arrays.pop(f"b{i}")) for i in range(count)]
    return params, arrays


def in_short(arrays: Iterable[Any]) -> list[float]:
    """Return for each array v: ln ‖v‖, and (v/‖v‖)·c with c = √2 (cos 0, cos 1, …).

    Both depend on all entries, so that a wrong, missing or displaced one changes them.
    """
    short = []
    for array in arrays:
        v = np.asarray(array, np.float64).ravel()
        norm = np.linalg.norm(v)
        along = np.sqrt(2) * np.cos(np.arange(v.size))
        short += [float(np.log(norm)), float(v @ along / norm)]
    return short

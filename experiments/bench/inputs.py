"""Data, weights and batches that both sides of a comparison share, and results in few numbers.

NumPy alone, so that every peer may import it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.learning import bundled

# Adam's ε on all sides, so small that it does not matter where it is added: scikit-learn adds it
# before √v is corrected, so that with the usual 1e-8 its first steps of small entries would differ.
EPSILON = 1e-14
NAME = "inputs.npz"
Pairs = Sequence[tuple[np.ndarray, np.ndarray]]


def standardised(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a set of scikit-learn: float32 columns of mean 0 and variance 1, and labels."""
    _, x, y, _ = bundled.load(name)
    spread = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(spread > 1e-12, spread, np.inf)
    return x.astype(np.float32), y


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
    params: list[tuple[np.ndarray, np.ndarray]] = []
    while f"theta{len(params)}" in arrays:
        i = len(params)
        params.append((arrays.pop(f"theta{i}"), arrays.pop(f"b{i}")))
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

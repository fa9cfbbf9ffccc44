"""What both sides of a comparison share: data, weights and batches in a file, results in few words.

NumPy and scikit-learn alone, so that every peer may import it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Of Adam, for all: so small that nobody sees where it is added. scikit-learn adds it before √v is
# corrected, so that with the usual 1e-8 its first steps of small entries would be others.
EPSILON = 1e-14
NAME = "inputs.npz"
Pairs = Sequence[tuple[np.ndarray, np.ndarray]]


def standardised(name: str) -> tuple[np.ndarray, np.ndarray]:
    """One of scikit-learn's sets as float32, each column with mean 0 and variance 1; its labels."""
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    spread = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(spread > 1e-12, spread, np.inf)
    return x.astype(np.float32), y


def write(folder: Path, params: Iterable[Any], **more: Any) -> None:
    """Keeps the layers' (θ, b) and other arrays for the other side."""
    layers: dict[str, Any] = {}
    for i, (theta, b) in enumerate(params):
        layers[f"theta{i}"], layers[f"b{i}"] = np.asarray(theta), np.asarray(b)
    np.savez(folder / NAME, **layers, **more)


def read(folder: Path) -> tuple[Pairs, dict[str, np.ndarray]]:
    """What `write` has kept."""
    with np.load(folder / NAME, allow_pickle=False) as found:
        arrays = {name: found[name] for name in found.files}
    params: list[tuple[np.ndarray, np.ndarray]] = []
    while f"theta{len(params)}" in arrays:
        i = len(params)
        params.append((arrays.pop(f"theta{i}"), arrays.pop(f"b{i}")))
    return params, arrays


def in_short(arrays: Iterable[Any]) -> list[float]:
    """Of each array v the logarithm of its norm, and (v/‖v‖)·c with c = √2 (cos 0, cos 1, …).

    Two numbers that all entries enter into: a wrong, missing or displaced one shows in them.
    """
    short = []
    for array in arrays:
        v = np.asarray(array, np.float64).ravel()
        norm = np.linalg.norm(v)
        along = np.sqrt(2) * np.cos(np.arange(v.size))
        short += [float(np.log(norm)), float(v @ along / norm)]
    return short

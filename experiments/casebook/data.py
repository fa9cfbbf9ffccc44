"""Data of the programs: sets that scikit-learn bundles, and small ones that are drawn.

All are arrays of NumPy, float32 and int32, in the order of their set: wine and iris are sorted by
class. Without `scaled` columns have the sizes that they were measured in.
"""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from sklearn import datasets

Data = tuple[np.ndarray, np.ndarray]


def _set(xs: np.ndarray, ys: np.ndarray, is_scaled: bool) -> Data:
    xs = scaled(xs) if is_scaled else xs
    return xs.astype(np.float32), ys.astype(np.float32 if ys.dtype.kind == "f" else np.int32)


def scaled(columns: np.ndarray) -> np.ndarray:
    """Return columns with mean 0 and variance 1; constant ones are 0."""
    spread = columns.std(axis=0)
    return (columns - columns.mean(axis=0)) / np.where(spread == 0, 1, spread)


def digits(is_scaled: bool = True) -> Data:
    """Return 1797 images of 8 × 8 pixels from 0 to 16, here from -0.6 to 1.4, and 10 classes."""
    xs, ys = datasets.load_digits(return_X_y=True)
    return _set(xs / 8 - 0.6 if is_scaled else xs, ys, False)


def images(is_scaled: bool = True) -> Data:
    """Return the digits as images with one channel in front, (1797, 1, 8, 8)."""
    xs, ys = digits(is_scaled)
    return xs.reshape(-1, 1, 8, 8), ys


def wine(is_scaled: bool = True) -> Data:
    """Return 178 wines with 13 columns from 0.1 to 1680, and 3 classes."""
    xs, ys = datasets.load_wine(return_X_y=True)
    return _set(xs, ys, is_scaled)


def iris(is_scaled: bool = True) -> Data:
    """Return 150 flowers with 4 columns from 0.1 to 8, and 3 classes."""
    xs, ys = datasets.load_iris(return_X_y=True)
    return _set(xs, ys, is_scaled)


def tumours(is_scaled: bool = True) -> Data:
    """Return 569 tumours with 30 columns from 0 to 4254, and 2 classes."""
    xs, ys = datasets.load_breast_cancer(return_X_y=True)
    return _set(xs, ys, is_scaled)


def diabetes(is_scaled: bool = True) -> Data:
    """Return 442 patients with 10 columns of size 0.05, and a number from 25 to 346; or scaled."""
    xs, ys = datasets.load_diabetes(return_X_y=True)
    return _set(xs, scaled(ys) if is_scaled else ys, is_scaled)


def moons(count: int = 400) -> Data:
    """Return points of two half moons, and 2 classes."""
    xs, ys = datasets.make_moons(count, noise=0.1, random_state=0)
    return _set(xs, ys, False)


def circles(count: int = 400) -> Data:
    """Return points of two circles, and 2 classes."""
    xs, ys = datasets.make_circles(count, noise=0.05, factor=0.5, random_state=0)
    return _set(xs, ys, False)


def xor(count: int = 64) -> Data:
    """Return the four corners of a square over and over, and whether just one coordinate is 1."""
    xs = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * (count // 4), np.float32)
    return xs, (xs[:, 0] != xs[:, 1]).astype(np.int32)


def text(length: int = 16) -> tuple[np.ndarray, np.ndarray, int]:
    """Return windows of the licence's letters, the letters that follow, and how many there are."""
    known, numbers = _letters()
    windows = np.lib.stride_tricks.sliding_window_view(numbers.astype(np.int32), length + 1)
    return windows[:, :-1], windows[:, 1:], len(known)


def _letters() -> tuple[np.ndarray, np.ndarray]:
    """Return the letters of the licence in their order, and the number of each one in it."""
    letters = (Path(__file__).parents[2] / "LICENSE").read_text(encoding="utf-8")
    known, numbers = np.unique([*letters], return_inverse=True)
    return known, numbers


def letters_of(some: str) -> np.ndarray:
    """Return the numbers that some letters have in `text`."""
    return np.flatnonzero(np.isin(_letters()[0], [*some]))


def several_labels() -> Data:
    """Return 2000 rows of 20 counts, and three labels that may hold at once, as floats."""
    xs, ys = datasets.make_multilabel_classification(2000, 20, n_classes=3, random_state=0)
    return _set(xs, ys.astype(np.float32), False)


# Scores, the larger the better: (output, ys), arrays of any framework


def accuracy(output: ArrayLike, ys: ArrayLike) -> float:
    """Return the share of examples whose class has the largest output, or is on its side of 1/2."""
    output, ys = np.asarray(output, np.float64), np.asarray(ys)
    ys = ys.argmax(-1) if ys.ndim == output.ndim and output.shape[-1] > 1 else ys
    chosen = output.argmax(-1) if output.shape[-1] > 1 else output[..., 0] > 0.5
    return float(np.mean(chosen == ys.reshape(chosen.shape)))


def accuracy_of_logits(output: ArrayLike, ys: ArrayLike) -> float:
    """Return `accuracy` of one logit, whose sides meet at 0."""
    return accuracy(np.asarray(output, np.float64) + 0.5, ys)


def likelihood(output: ArrayLike, ys: ArrayLike) -> float:
    """Return the geometric mean of the probabilities that classes have in the output."""
    of_class = np.take_along_axis(np.asarray(output, np.float64), np.asarray(ys)[:, None], 1)
    return float(np.exp(np.mean(np.log(np.maximum(of_class, 1e-12)))))


def likelihood_of_logits(output: ArrayLike, ys: ArrayLike) -> float:
    """Return `likelihood` of the softmax of the output."""
    output = np.asarray(output, np.float64)
    largest = output.max(-1, keepdims=True)
    powers = np.exp(output - largest)
    return likelihood(powers / powers.sum(-1, keepdims=True), ys)


def accuracy_of_signs(output: ArrayLike, ys: ArrayLike) -> float:
    """Return the share of labels -1 and 1 that outputs have the sign of."""
    return float(np.mean((np.asarray(output) > 0) == (np.asarray(ys) > 0)))


def labels_right(output: ArrayLike, ys: ArrayLike) -> float:
    """Return the share of labels, several of an example, that are on their side of 1/2."""
    return float(np.mean((np.asarray(output) > 0.5) == (np.asarray(ys) > 0.5)))


def explained(output: ArrayLike, ys: ArrayLike) -> float:
    """Return the share of the variance of ys that the output explains, R²; at least -1."""
    output, ys = np.asarray(output, np.float64), np.asarray(ys, np.float64)
    rest = np.mean((output.reshape(ys.shape) - ys) ** 2)
    return float(max(1 - rest / ys.var(), -1.0)) if np.isfinite(rest) else -1.0

"""scikit-learn's small tables, read from the files of its package without importing it.

Its import takes longer than most commands take to start. The files have no names of features. NumPy
alone, so that a peer of the benchmark may read them too.
"""

import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Bundled(NamedTuple):
    """A table."""

    x: np.ndarray  # (N, n), float64
    y: np.ndarray  # (N,), classes from 0 or, for regression, numbers
    classes: tuple[str, ...]  # their names; none for regression


FILES = {  # and whether names of classes stand in the first line
    "breast_cancer": ("breast_cancer.csv", True),
    "digits": ("digits.csv.gz", False),
    "iris": ("iris.csv", True),
    "wine": ("wine_data.csv", True),
}


def load(name: str) -> Bundled:
    """Return a table by its name in scikit-learn: breast_cancer, digits, iris, wine, diabetes.

    As there, columns of diabetes have mean 0 and a sum of squares of 1.
    """
    if name == "diabetes":
        x, y = (np.loadtxt(_file(f"diabetes_{part}.csv.gz")) for part in ("data_raw", "target"))
        return Bundled((x - x.mean(axis=0)) / x.std(axis=0) / np.sqrt(len(x)), y, ())
    file, headed = FILES[name]
    path = _file(file)
    rows = np.loadtxt(path, delimiter=",", skiprows=int(headed))
    y = rows[:, -1].astype(np.int64)
    if headed:
        with path.open(encoding="utf-8") as lines:
            classes = tuple(lines.readline().strip().split(",")[2:])
    else:
        classes = tuple(map(str, np.unique(y)))
    return Bundled(rows[:, :-1], y, classes)


def standardised(values: np.ndarray, constant: float = 1e-12) -> np.ndarray:
    """Return rows, (N, n), whose columns have mean 0 and variance 1, or are 0 if constant.

    A column that varies by less than `constant` of its largest entry is constant but for rounding.
    """
    unit = np.max(np.abs(values), axis=0)  # squares of huge or tiny entries stay in range
    unit = np.where(unit > 0, unit, 1)
    mean, spread = (values / unit).mean(axis=0), (values / unit).std(axis=0)
    return (values - mean * unit) / np.where(spread > constant, spread * unit, np.inf)


def _file(name: str) -> Path:
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        from jaxnn.distribution import install_command

        needed = install_command("experiments")
        raise OSError(f"data: the bundled sets are scikit-learn's; {needed}")
    path = Path(package.origin).parent / "datasets" / "data" / name
    if not path.exists():
        raise OSError(f"data: expected {name} in scikit-learn's folder datasets/data, found none")
    return path

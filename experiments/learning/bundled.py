"""scikit-learn's small tables, read from the files of its package without importing it.

Its import takes longer than most commands take to start. The files have no names of features; those
below are scikit-learn's. NumPy alone, so that a peer of the benchmark may read them too.
"""

import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np

MEASURES = (
    *("radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity"),
    *("concave points", "symmetry", "fractal dimension"),
)


class Bundled(NamedTuple):
    """A table.

    features: the names of its columns.
    x: (N, n), float64.
    y: (N,), classes from 0 or, for regression, numbers.
    classes: their names; none for regression.
    """

    features: tuple[str, ...]
    x: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...]


class File(NamedTuple):
    """A file of classes: its name, whether names of classes stand in its first line, features."""

    name: str
    headed: bool
    features: tuple[str, ...]


CLASSES = {
    "breast_cancer": File(
        "breast_cancer.csv",
        True,
        (
            *(f"mean {measure}" for measure in MEASURES),
            *(f"{measure} error" for measure in MEASURES),
            *(f"worst {measure}" for measure in MEASURES),
        ),
    ),
    "digits": File(
        "digits.csv.gz", False, tuple(f"pixel_{i}_{j}" for i in range(8) for j in range(8))
    ),
    "iris": File(
        "iris.csv",
        True,
        tuple(f"{part} {side} (cm)" for part in ("sepal", "petal") for side in ("length", "width")),
    ),
    "wine": File(
        "wine_data.csv",
        True,
        (
            *("alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols"),
            *("flavanoids", "nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue"),
            *("od280/od315_of_diluted_wines", "proline"),
        ),
    ),
}
DIABETES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


def load(name: str) -> Bundled:
    """Return a table by its name in scikit-learn: breast_cancer, digits, iris, wine, diabetes.

    As there, columns of diabetes have mean 0 and a sum of squares of 1.

    Raises:
        OSError: the package is not installed, or has other files.
    """
    if name == "diabetes":
        x, y = (np.loadtxt(_file(f"diabetes_{part}.csv.gz")) for part in ("data_raw", "target"))
        x = (x - x.mean(axis=0)) / x.std(axis=0) / np.sqrt(len(x))
        return Bundled(DIABETES, x, y, ())
    file = CLASSES[name]
    path = _file(file.name)
    rows = np.loadtxt(path, delimiter=",", skiprows=int(file.headed))
    y = rows[:, -1].astype(np.int64)
    if file.headed:
        with path.open(encoding="utf-8") as lines:
            classes = tuple(lines.readline().strip().split(",")[2:])
    else:
        classes = tuple(map(str, np.unique(y)))
    return Bundled(file.features, rows[:, :-1], y, classes)


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

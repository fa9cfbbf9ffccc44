"""Datasets: scikit-learn's bundled ones, or the user's own CSV, Parquet or NPZ file.

`file or bundled set -> table of columns -> checked features and target -> Dataset`: features
standardised column by column, labels in the form that jaxnn takes. What is wrong with a table is
one sentence that names the column and counts the entries.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from sklearn import datasets

from jaxnn import find_task

BUNDLED = {
    "breast_cancer": ("binary", datasets.load_breast_cancer),
    "digits": ("multiclass", datasets.load_digits),
    "iris": ("multiclass", datasets.load_iris),
    "wine": ("multiclass", datasets.load_wine),
    "diabetes": ("regression", datasets.load_diabetes),
}
ENDINGS = (".csv", ".parquet", ".npz")
MOST_CLASSES = 20  # integer targets of more distinct values than this are taken for regression


@dataclass(frozen=True)
class Dataset:
    """A table ready for a network.

    Args:
        name: what charts call it.
        task: regression, binary or multiclass.
        x: features, (N, n[0]), each column with mean 0 and variance 1 (0 where it is constant).
        y: labels, (N,): floats (regression: mean 0, variance 1; binary: 0 and 1) or classes.
        n_out: outputs of a network for it: 1, or the number of classes.
    """

    name: str
    task: str
    x: np.ndarray
    y: np.ndarray
    n_out: int

    def __str__(self) -> str:
        return f"{self.name} ({self.x.shape[0]} × {self.x.shape[1]}, {self.task})"


def load(data: str, target: str | None = None, task: str | None = None) -> Dataset:
    """The dataset of that name or file.

    Args:
        data: a name in `BUNDLED`, or the path of a .csv, .parquet or .npz file.
        target: the column to predict; for files only, and required there.
        task: regression, binary or multiclass; by default read off the target: two distinct
            values 0 and 1, or two texts, are binary; other texts and classes 0, 1, 2, … are
            multiclass; all else is regression.

    Raises:
        ValueError: the sentence says what was expected, what came and what to do.
    """
    task = None if task is None else find_task(task).name
    if data in BUNDLED:
        if target is not None:
            raise ValueError(f"target: {data} brings its own; give --target with a file only")
        own_task, loader = BUNDLED[data]
        x, y = loader(return_X_y=True)
        table = pl.from_numpy(np.asarray(x), schema=[f"feature {j}" for j in range(x.shape[1])])
        return _dataset(
            data, table.with_columns(pl.Series("target", y)), "target", task or own_task
        )
    path = Path(data)
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(
            f"data: there is no {data!r}; choose one of {', '.join(BUNDLED)}, "
            f"or give a file that ends in {', '.join(ENDINGS)}"
        )
    table = _read(path)
    if target not in table.columns:
        what = "expected --target COLUMN" if target is None else f"there is no column {target!r}"
        raise ValueError(f"target: {what}; {path} holds {_listed(table.columns)}")
    return _dataset(path.name, table, target, task)


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise ValueError(f"data: there is no file {path}")
    try:
        if path.stat().st_size == 0:
            raise ValueError("it is empty")
        if path.suffix.lower() == ".csv":
            table = pl.read_csv(path, infer_schema_length=None)
        elif path.suffix.lower() == ".parquet":
            table = pl.read_parquet(path)
        else:
            table = _read_npz(path)
        if table.height == 0:
            raise ValueError("it holds no rows")
    except (ValueError, OSError, zipfile.BadZipFile, pl.exceptions.PolarsError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"data: cannot use {path}: {reason}") from None
    return table


def _read_npz(path: Path) -> pl.DataFrame:
    """Each one-dimensional array is a column, each two-dimensional one a column per entry."""
    columns: dict[str, np.ndarray] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            array = arrays[name]
            if array.ndim == 1:
                columns[name] = array
            elif array.ndim == 2:
                columns.update({f"{name}[{j}]": array[:, j] for j in range(array.shape[1])})
            else:
                raise ValueError(
                    f"array {name!r} has shape {array.shape}; expected (rows,) or (rows, columns)"
                )
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"its arrays have different lengths: {lengths}")
    return pl.DataFrame(columns)


def _dataset(name: str, table: pl.DataFrame, target: str, task: str | None) -> Dataset:
    features = table.drop(target)
    if features.width == 0:
        raise ValueError(f"data: {name} holds no column besides the target {target!r}")
    x = np.column_stack([_numbers(column) for column in features])
    task, y, n_out = _labels(table[target], task)
    return Dataset(name, task, _standardised(x), y, n_out)


def _numbers(column: pl.Series) -> np.ndarray:
    """A feature or a regression target as finite floats."""
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        hint = ""
        if column.dtype == pl.String:
            text = column.filter(column.cast(pl.Float64, strict=False).is_null()).drop_nulls()
            hint = (
                f", {len(text)} of {len(column)} entries such as {text[0]!r}" if len(text) else ""
            )
        raise ValueError(
            f"data: expected numbers in column {column.name!r}, got {column.dtype}{hint}; "
            "encode it as numbers or drop it"
        )
    values = column.cast(pl.Float64).to_numpy()
    bad = np.count_nonzero(~np.isfinite(values))  # a missing entry is nan here
    if bad:
        raise ValueError(
            f"data: column {column.name!r} holds {bad} missing, nan or infinite entries of "
            f"{len(values)}; fill them or drop those rows"
        )
    return values


def _labels(target: pl.Series, task: str | None) -> tuple[str, np.ndarray, int]:
    """The task, the labels in its form, and the number of outputs."""
    if target.dtype == pl.Boolean:
        target = target.cast(pl.Int8)
    if target.dtype.is_numeric():
        values = _numbers(target)
    elif target.null_count():
        raise ValueError(f"data: column {target.name!r} holds {target.null_count()} missing labels")
    else:
        values = target.cast(pl.String).to_numpy().astype(str)
    classes, codes = np.unique(values, return_inverse=True)
    is_text, whole = values.dtype.kind == "U", values.dtype.kind == "U" or np.all(values % 1 == 0)
    if task is None:
        task = _task_of(classes, is_text)
    if task == "regression" and not is_text:
        return task, _standardised(values[:, None])[:, 0], 1
    if task == "binary" and (len(classes) == 2 if is_text else np.isin(classes, (0, 1)).all()):
        return task, (codes if is_text else values).astype(np.float64), 1
    if task == "multiclass" and whole and len(classes) > 1:
        return task, codes.astype(np.int32), len(classes)
    expected = {
        "regression": "numbers",
        "binary": "labels 0 and 1, or two texts",
        "multiclass": "two or more classes, as integers or texts",
    }[task]
    raise ValueError(
        f"target: expected {expected} in column {target.name!r} for --task {task}, got "
        f"{_listed([f'{c:g}' if not is_text else str(c) for c in classes])}"
    )


def _task_of(classes: np.ndarray, is_text: bool) -> str:
    if is_text:
        return "binary" if len(classes) == 2 else "multiclass"
    if np.array_equal(classes, (0, 1)):
        return "binary"
    consecutive = np.array_equal(classes, np.arange(len(classes)))
    return "multiclass" if consecutive and 2 < len(classes) <= MOST_CLASSES else "regression"


def _standardised(x: np.ndarray) -> np.ndarray:
    """(x - mean) / standard deviation, column by column; a constant column becomes 0."""
    scale = np.max(np.abs(x), axis=0, initial=0)  # squares of huge or tiny entries stay in range
    x = x / np.where(scale > 0, scale, 1)
    centred = x - x.mean(axis=0)
    spread = x.std(axis=0)
    return centred / np.where(spread > 1e-12, spread, np.inf)


def _listed(names: list[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

"""Tables: scikit-learn's bundled sets, or the user's own CSV, Parquet or NPZ file.

`file or bundled set -> table of columns -> checked features and target -> Table -> Dataset`. A
Table has the names and units of its columns; its user decides on which rows to fit a Scaler. A
Dataset is a whole table standardised, labels in the form that jaxnn takes. A bad table raises a
one-line error that names the column and counts the entries.
"""

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from jaxnn import find_task

BUNDLED = {  # and their tasks
    "breast_cancer": "binary",
    "digits": "multiclass",
    "iris": "multiclass",
    "wine": "multiclass",
    "diabetes": "regression",
}
ENDINGS = (".csv", ".parquet", ".npz")
MOST_CLASSES = 20  # integer targets of more distinct values than this are taken for regression
CONSTANT = 1e-12  # of its largest entry: a column that varies by less is rounding


class Scaler(NamedTuple):
    """Standardisation fitted on some rows, for any rows: (v - mean) / spread, column by column.

    mean, spread: (n,), in the units of the columns; a spread of 0 stands for a constant column,
        which becomes 0 in any rows.
    """

    mean: np.ndarray
    spread: np.ndarray

    @classmethod
    def fitted(cls, values: np.ndarray) -> "Scaler":
        """Return the scaler that gives these rows, (N, n), mean 0 and variance 1."""
        unit = np.max(np.abs(values), axis=0)  # squares of huge or tiny entries stay in range
        unit = np.where(unit > 0, unit, 1)
        mean, spread = (values / unit).mean(axis=0), (values / unit).std(axis=0)
        return cls(mean * unit, np.where(spread > CONSTANT, spread * unit, 0))

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Return standardised rows, (N, n)."""
        rows: np.ndarray = (values - self.mean) / np.where(self.spread > 0, self.spread, np.inf)
        return rows

    def restored(self, values: np.ndarray) -> np.ndarray:
        """Return standardised rows in the units of the columns."""
        rows: np.ndarray = self.mean + self.spread * values
        return rows


@dataclass(frozen=True)
class Table:
    """A checked table, in the units of its columns.

    Args:
        name: in charts and messages.
        task: regression, binary or multiclass.
        features: the names of the columns of x.
        target: the name of the column of y.
        classes: the names of the labels 0, 1, …; none for regression.
        x: features, (N, n[0]).
        y: labels, (N,): floats (regression; binary: 0 and 1) or integers (multiclass).
    """

    name: str
    task: str
    features: tuple[str, ...]
    target: str
    classes: tuple[str, ...]
    x: np.ndarray
    y: np.ndarray

    @property
    def n_out(self) -> int:
        """The outputs of a network for it: 1, or the number of classes."""
        return len(self.classes) if self.task == "multiclass" else 1

    def __str__(self) -> str:
        return f"{self.name} ({self.x.shape[0]} × {self.x.shape[1]}, {self.task})"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A whole table ready for a network; nothing of it is held out. Equal to itself alone.

    Args:
        name: in charts and messages.
        task: regression, binary or multiclass.
        x: features, (N, n[0]), each column with mean 0 and variance 1 (0 if it is constant).
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
    """Return the `table` of that name or file, standardised by all of its rows.

    Raises:
        ValueError: as `table`.
    """
    raw = table(data, target, task)
    x, y = Scaler.fitted(raw.x).scaled(raw.x), raw.y
    if raw.task == "regression":
        y = Scaler.fitted(y[:, None]).scaled(y[:, None])[:, 0]
    return Dataset(raw.name, raw.task, x, y, raw.n_out)


def table(data: str, target: str | None = None, task: str | None = None) -> Table:
    """Return the table of that name or file.

    Args:
        data: a name in `BUNDLED`, or the path of a .csv, .parquet or .npz file.
        target: the column to predict; for files only, and required for them.
        task: regression, binary or multiclass; by default read off the target: two distinct
            values 0 and 1, or two texts, are binary; other texts and classes 0, 1, 2, … are
            multiclass; all else is regression.

    Raises:
        ValueError: a one-line error: what was expected, what came and what to do.
    """
    task = None if task is None else find_task(task).name
    if data in BUNDLED:
        if target is not None:
            raise ValueError(f"target: {data} brings its own; give --target with a file only")
        return _bundled(data, task)
    path = Path(data)
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(
            f"data: there is no {data!r}; choose one of {', '.join(BUNDLED)}, "
            f"or give a file that ends in {', '.join(ENDINGS)}"
        )
    frame = read(path)
    if target is None or target not in frame.columns:
        what = "expected --target COLUMN" if target is None else f"there is no column {target!r}"
        raise ValueError(f"target: {what}; {path} holds {listed(frame.columns)}")
    return _table(path.name, frame, target, task)


def _bundled(name: str, task: str | None) -> Table:
    """Return a table bundled with scikit-learn, with its names of features and classes."""
    from sklearn import datasets  # here, for it takes longer to import than most commands to start

    bunch = getattr(datasets, f"load_{name}")()
    frame = pl.from_numpy(np.asarray(bunch.data), schema=[str(n) for n in bunch.feature_names])
    frame = frame.with_columns(pl.Series("target", bunch.target))
    table = _table(name, frame, "target", task or BUNDLED[name])
    if table.classes and "target_names" in bunch:
        table = replace(table, classes=tuple(str(n) for n in bunch.target_names))
    return table


def read(path: Path) -> pl.DataFrame:
    """Return the columns of a file.

    Raises:
        ValueError: the file does not exist, or it holds no table.
    """
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
    """Return each one-dimensional array as a column, each two-dimensional one as several."""
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


def _table(name: str, frame: pl.DataFrame, target: str, task: str | None) -> Table:
    features = frame.drop(target)
    if features.width == 0:
        raise ValueError(f"data: {name} holds no column besides the target {target!r}")
    x = np.column_stack([numbers(column) for column in features])
    task, classes, y = _labels(frame[target], task)
    return Table(name, task, tuple(features.columns), target, classes, x, y)


def numbers(column: pl.Series) -> np.ndarray:
    """Return a feature or a regression target as finite floats.

    Raises:
        ValueError: it holds something else.
    """
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


def codes(target: pl.Series, classes: tuple[str, ...]) -> np.ndarray:
    """Return the labels 0, 1, … of a column that holds the names of known classes.

    Raises:
        ValueError: an entry is not among them, or missing.
    """
    values = _values(target)
    names = [_named(value) for value in values]
    known = {name: code for code, name in enumerate(classes)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"target: expected {listed(list(classes))} in column {target.name!r}, got "
            f"{unknown[0]!r} ({len(unknown)} of {len(names)} entries are not among them)"
        )
    return np.array([known[name] for name in names])


def _values(target: pl.Series) -> np.ndarray:
    """Return a column as numbers or texts; truth values are 0 and 1."""
    if target.dtype == pl.Boolean:
        target = target.cast(pl.Int8)
    if target.dtype.is_numeric():
        return numbers(target)
    if target.null_count():
        raise ValueError(f"data: column {target.name!r} holds {target.null_count()} missing labels")
    return target.cast(pl.String).to_numpy().astype(str)


def _named(value: float | str) -> str:
    """Return the name of a class: its text, or its number as a reader writes it."""
    if isinstance(value, str):
        return str(value)
    return str(int(value)) if value == int(value) else str(value)


def _labels(target: pl.Series, task: str | None) -> tuple[str, tuple[str, ...], np.ndarray]:
    """Return the task, the names of the classes, and the labels in the form of the task."""
    values = _values(target)
    classes, codes = np.unique(values, return_inverse=True)
    is_text = values.dtype.kind == "U"
    is_class = is_text or np.all(values % 1 == 0)
    names = tuple(map(_named, classes))
    if task is None:
        task = _task_of(classes, is_text)
    if task == "regression" and not is_text:
        return task, (), values
    if task == "binary" and (len(classes) == 2 if is_text else np.isin(classes, (0, 1)).all()):
        return task, names if is_text else ("0", "1"), (codes if is_text else values).astype(float)
    if task == "multiclass" and is_class and len(classes) > 1:
        return task, names, codes.astype(np.int32)
    expected = {
        "regression": "numbers",
        "binary": "labels 0 and 1, or two texts",
        "multiclass": "two or more classes, as integers or texts",
    }[task]
    raise ValueError(
        f"target: expected {expected} in column {target.name!r} for --task {task}, got "
        f"{listed([f'{c:g}' if not is_text else str(c) for c in classes])}"
    )


def _task_of(classes: np.ndarray, is_text: bool) -> str:
    if is_text:
        return "binary" if len(classes) == 2 else "multiclass"
    if np.array_equal(classes, (0, 1)):
        return "binary"
    consecutive = np.array_equal(classes, np.arange(len(classes)))
    return "multiclass" if consecutive and 2 < len(classes) <= MOST_CLASSES else "regression"


def listed(names: list[str], most: int = 12) -> str:
    """Return names for a sentence; only the first of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

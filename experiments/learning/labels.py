"""Labels of a target: numbers, or the codes of classes; and the task that they are for."""

import numpy as np
import polars as pl

from experiments.learning.encoding import example
from experiments.learning.features import check_length, check_mixed, checked_column
from experiments.learning.words import counted, listed, quoted

MOST_CLASSES = 20  # integer targets of more distinct values than this are taken for regression
MOST_TEXTS = 50  # texts of more distinct values than this are classes only if the user says so


def labelled(target: pl.Series, task: str | None) -> tuple[str, tuple[str, ...], np.ndarray]:
    """Return the task, the names of the classes, and the labels in the form of the task."""
    values = labels_of(target)
    if task is None and values.dtype == object:
        check_mixed(target, "target", "or say --task multiclass")
    classes, codes = np.unique(values, return_inverse=True)
    is_text = values.dtype == object
    names = tuple(map(_named, classes))
    column = quoted(target.name)
    if len(classes) == 1:
        raise ValueError(
            f"target: column {column} holds one value, {quoted(names[0])}, in all of "
            f"{counted(len(values), 'row')}; there is nothing to learn"
        )
    _check_classes(column, names, len(values), is_text, task)
    if task is None:
        task = _task_of(classes, len(values), is_text)
    if task == "regression" and not is_text:
        return task, (), values
    if task == "binary" and len(classes) == 2:
        return task, names, codes.astype(float)
    if task == "multiclass" and (is_text or np.all(classes % 1 == 0)):
        return task, names, codes.astype(np.int32)
    expected = {
        "regression": "numbers",
        "binary": "two different values",
        "multiclass": "integers or texts",
    }[task]
    raise ValueError(
        f"target: expected {expected} in column {column} for --task {task}, got {listed(names)}"
    )


def _check_classes(
    column: str, names: tuple[str, ...], rows: int, is_text: bool, task: str | None
) -> None:
    if not is_text and task != "multiclass":
        return
    count, example = len(names), quoted(names[0])
    different = count > MOST_CLASSES and count > rows / 2
    if different or (task is None and count > MOST_TEXTS):
        hint = "" if different else ", or say --task multiclass"
        raise ValueError(
            f"target: {count} different {'texts' if is_text else 'numbers'} such as {example} in "
            f"{rows} rows of column {column}: not classes? name another --target{hint}"
        )


def _task_of(classes: np.ndarray, rows: int, is_text: bool) -> str:
    count = len(classes)
    if is_text:
        return "binary" if count == 2 else "multiclass"
    if np.any(classes % 1 != 0):
        return "regression"
    if count == 2:
        return "binary"
    first = 1 if classes[0] == 1 else -1 if count == 3 and classes[0] == -1 else 0
    follow = np.array_equal(classes, np.arange(first, first + count))
    return "multiclass" if follow and count <= MOST_CLASSES and count < rows else "regression"


def few_integers(values: np.ndarray) -> bool:
    """Tell whether numbers might be classes."""
    count = len(np.unique(values))
    return bool(np.all(values % 1 == 0) and count <= MOST_CLASSES and count <= len(values) / 2)


def codes(target: pl.Series, classes: tuple[str, ...]) -> np.ndarray:
    """Return the labels 0, 1, … of a column that holds the names of known classes.

    Raises:
        ValueError: an entry is not among them, or missing.
    """
    names = [_named(value) for value in labels_of(target)]
    known = {name: code for code, name in enumerate(classes)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"target: expected {listed(classes)} in column {quoted(target.name)}, got "
            f"{quoted(unknown[0])} ({len(unknown)} of {len(names)} entries are not among them)"
        )
    return np.array([known[name] for name in names])


def labels_of(target: pl.Series) -> np.ndarray:
    """Return a column without missing values as numbers or texts.

    Raises:
        ValueError: dates, or missing values.
    """
    target = checked_column(target)
    if target.null_count():
        raise ValueError(
            f"data: column {quoted(target.name)} holds "
            f"{counted(target.null_count(), 'missing label')}"
        )
    if target.dtype.is_temporal():
        raise ValueError(f"target: expected numbers or classes, got {example(target)}")
    if target.dtype.is_numeric():
        return target.cast(pl.Float64).to_numpy()
    texts = target.cast(pl.String)
    check_length(texts)
    return texts.to_numpy().astype(object)


def numbers_of(target: pl.Series) -> np.ndarray:
    """Return a column as the labels of a regression.

    Raises:
        ValueError: as `labels_of`, or texts.
    """
    values = labels_of(target)
    if values.dtype == object:
        raise ValueError(f"target: expected numbers, got {example(target)}")
    return values


def _named(value: float | str) -> str:
    """Return the name of a class: its text, or its number as a reader writes it."""
    if isinstance(value, str):
        return str(value)
    return str(int(value)) if value == int(value) else str(value)

"""Columns that tell too much or nothing: the target once more, an index, a target in one-hot form.

None of these is an error, and each makes the accuracy of a network worth nothing. So they are said;
an index without a name, which programs add by themselves, is left out.
"""

import re
from collections.abc import Sequence

import numpy as np
import polars as pl

from experiments.learning.words import argument, listed, quoted

UNNAMED = re.compile(r"column 1|Unnamed: \d+|__index_level_\d+__|index|")  # as programs call it
LEAST = 20  # rows; among fewer one column may agree with another by chance
SAMPLE = 200  # rows that are compared first
PART = re.compile(r"^(.+?)(?:\[\d+\]|[_.=:-][^_.=:-]+)$")  # of the columns of one array or one text


def is_index(column: pl.Series) -> bool:
    """Tell whether a column of whole numbers counts the rows, or those of a larger table."""
    if not column.dtype.is_integer() or column.null_count() or len(column) < 3:
        return False
    if column.n_unique() < len(column):
        return False
    from_zero = int(column.max()) - int(column.min()) == len(column) - 1  # type: ignore[arg-type]
    return from_zero or bool(column.is_sorted() and UNNAMED.fullmatch(column.name))


def one_hot(frame: pl.DataFrame, name: str) -> list[str]:
    """Return the columns of an array of this name if together they are one-hot, else none."""
    columns = [c for c in frame.columns if re.fullmatch(rf"{re.escape(name)}\[\d+\]", c)]
    return columns if len(columns) > 1 and _is_one_hot(frame.select(columns)) else []


def with_target(frame: pl.DataFrame, target: str | None) -> tuple[pl.DataFrame, list[str]]:
    """Return a table whose target, if it is an array of one column or one-hot, is one column."""
    if target is None or target in frame.columns:
        return frame, []
    if f"{target}[0]" in frame.columns and f"{target}[1]" not in frame.columns:
        return frame.rename({f"{target}[0]": target}), []
    parts = one_hot(frame, target)
    if not parts:
        return frame, []
    classes = frame.select(parts).to_numpy().argmax(axis=1)
    frame = frame.drop(parts).with_columns(pl.Series(target, classes))
    return frame, [f"{quoted(target)} is one-hot: its {len(parts)} columns are read as classes"]


def _is_one_hot(frame: pl.DataFrame) -> bool:
    if not all(dtype.is_numeric() or dtype == pl.Boolean for dtype in frame.dtypes):
        return False
    values = frame.select(pl.all().cast(pl.Float64)).to_numpy()
    return bool(np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all())


def given_away(features: pl.DataFrame, labels: pl.Series) -> list[str]:
    """Say which features determine the target."""
    if len(labels) < LEAST or labels.null_count():
        return []
    y = labels.rank("dense").to_numpy()
    some = np.unique(np.linspace(0, len(y) - 1, SAMPLE).astype(int))
    found = [
        column.name
        for column in features
        if not column.null_count() and _determines(column[some], y[some]) and _determines(column, y)
    ]
    notes = []
    if found:
        names = " ".join(map(argument, found[:12]))
        one = "column" if len(found) == 1 else "each of the columns"
        notes.append(
            f"{one} {listed(list(map(quoted, found)), 6)} determines the target "
            f"{quoted(labels.name)} alone; if it is known only with the target, leave it out with "
            f"--drop {names}"
        )
    others, are_one = _siblings(features, labels)
    if others and not are_one:
        notes.append(
            f"{listed(list(map(quoted, others)), 6)} of the same array as the target are features; "
            "if they are known only with it, leave them out with --drop "
            f"{' '.join(map(argument, others))}"
        )
    elif others:
        notes.append(
            f"the target {quoted(labels.name)} and {listed(list(map(quoted, others)), 6)} are one "
            "class in one-hot form, so that they determine it; leave them out with --drop "
            f"{' '.join(map(argument, others))}"
        )
    return notes


def _determines(column: pl.Series, y: np.ndarray) -> bool:
    """Tell whether the values of a column are each of one label, or ascend or fall with it."""
    values = column.rank("dense").to_numpy()
    count, labels = int(values.max()), int(y.max())
    if count == 1 or labels == 1:
        return False
    # Sorted by value, then label: a value with two labels has them next to each other.
    order = np.lexsort((y, values))
    v, sorted_y = values[order], y[order]
    same = v[1:] == v[:-1]
    if np.any(same & (sorted_y[1:] != sorted_y[:-1])):
        return False
    if count <= len(y) / 2:  # several rows of most values
        return True
    steps = np.diff(sorted_y.astype(float))
    return bool(np.all(steps >= 0) or np.all(steps <= 0))


def _siblings(features: pl.DataFrame, labels: pl.Series) -> tuple[list[str], bool]:
    """Return the features of the target's array or class, and whether all are one-hot together."""
    part = PART.match(labels.name)
    if part is None:
        return [], False
    names = [n for n in features.columns if (p := PART.match(n)) is not None and p[1] == part[1]]
    are_one = bool(names) and _is_one_hot(pl.DataFrame([labels, *features.select(names)]))
    of_array = labels.name.endswith("]")
    return (names, are_one) if are_one or of_array else ([], False)


def index_columns(frame: pl.DataFrame, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the columns, among these, that count the rows: those without a name, and others."""
    counting = [name for name in names if is_index(frame[name])]
    unnamed = [name for name in counting if UNNAMED.fullmatch(name)]
    named = [] if frame.height < LEAST else counting
    return unnamed, [name for name in named if name not in unnamed]

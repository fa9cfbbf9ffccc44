"""Tables: scikit-learn's bundled sets, or the user's own CSV, Parquet or NPZ file.

`file or bundled set -> columns -> chosen, checked columns and labels -> Table -> Dataset`. A Table
has its columns as they are in the file; its user decides on which rows to fit an Encoder and a
Scaler. A Dataset is a whole table encoded and standardised, labels in the form that jaxnn takes. A
bad table raises a one-line error that names the column and counts the entries.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import polars as pl

from experiments.learning import bundled, leaks
from experiments.learning.encoding import FILLING, MISSING, Encoder, as_texts, floats
from experiments.learning.features import (
    check_categories,
    check_length,
    checked_column,
    checked_feature,
    chosen,
    in_digits,
    remarks,
    usable_rows,
)
from experiments.learning.header import NO_HEADER
from experiments.learning.labels import few_integers, labelled
from experiments.learning.limits import MOST_BYTES, MOST_COLUMNS
from experiments.learning.reading import OF_TEXT, Reading, check_kind, read
from experiments.learning.words import counted, listed, quoted
from jaxnn.network import find_task

log = logging.getLogger("jaxnn.experiments")

BUNDLED = {  # and their tasks
    "breast_cancer": "binary",
    "digits": "multiclass",
    "iris": "multiclass",
    "wine": "multiclass",
    "diabetes": "regression",
}
CONSTANT = 1e-12  # of its largest entry: a column that varies by less is rounding


@dataclass(frozen=True)
class Options(Reading):
    """Options of reading a table and making features of it, common to experiments on tables."""

    target: str | None = None
    """The column to predict, for a file."""
    task: str | None = None
    """regression, binary or multiclass; read off the target by default."""
    encode: str | None = None
    """onehot: a feature for each value of a column of texts; the default for at most 20 values."""
    missing: str | None = None
    """Missing values: drop their rows, or fill in mean or median (texts: the most frequent)."""
    drop: tuple[str, ...] = ()
    """Columns to leave out."""
    texts: tuple[str, ...] = ()
    """Columns to take as texts, whatever they hold, such as codes of digits."""
    features: tuple[str, ...] = ()
    """Columns to take; by default all but the target."""


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
        return (values - self.mean) / np.where(self.spread > 0, self.spread, np.inf)

    def restored(self, values: np.ndarray) -> np.ndarray:
        """Return standardised rows in the units of the columns."""
        return self.mean + self.spread * values


@dataclass(frozen=True, eq=False)
class Table:
    """A checked table, in the units of its columns.

    Args:
        name: in charts and messages; of a file its name without its folder.
        task: regression, binary or multiclass.
        frame: the columns of numbers, truth values, dates and texts that become features.
        target: the name of the column of y.
        classes: the names of the labels 0, 1, …; none for regression.
        y: labels, (N,): floats (regression; binary: 0 and 1) or integers (multiclass).
        rows: the places of the rows in the file, from 0, (N,).
        missing: mean or median, if missing values in `frame` are to be filled in.
        notes: what is unusual about it, in a few words each.
    """

    name: str
    task: str
    frame: pl.DataFrame
    target: str
    classes: tuple[str, ...]
    y: np.ndarray
    rows: np.ndarray
    missing: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def n_out(self) -> int:
        """The outputs of a network for it: 1, or the number of classes."""
        return len(self.classes) if self.task == "multiclass" else 1

    @property
    def purpose(self) -> str:
        """The task and the target in a sentence."""
        many = f"one of {len(self.classes)} classes, {listed(self.classes, 4)}"
        return f"{self}: {quoted(self.target)} is {many if self.classes else 'a number'}"

    @property
    def checksum(self) -> str:
        """A checksum of its content."""
        digest = hashlib.sha256(self.y.tobytes())
        for column in self.frame:
            digest.update(column.name.encode())
            is_text = column.dtype == pl.String
            values = "\0".join(column.fill_null("\1")).encode() if is_text else _bytes(column)
            digest.update(np.int64(len(values)).tobytes() + values)
        return digest.hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.name} ({self.frame.height} × {self.frame.width}, {self.task})"


def _bytes(column: pl.Series) -> bytes:
    return floats(column).fill_null(np.nan).to_numpy().tobytes()


@dataclass(frozen=True, eq=False)
class Dataset:
    """A whole table ready for a network; nothing of it is held out. Equal to itself alone.

    Args:
        table: in the units of its columns.
        x: features, (N, n[0]), each column with mean 0 and variance 1 (0 if it is constant).
        y: labels, (N,): floats (regression: mean 0, variance 1; binary: 0 and 1) or classes.
    """

    table: Table
    x: np.ndarray
    y: np.ndarray

    @property
    def name(self) -> str:
        """In charts and messages."""
        return self.table.name

    @property
    def task(self) -> str:
        """regression, binary or multiclass."""
        return self.table.task

    @property
    def n_out(self) -> int:
        """The outputs of a network for it: 1, or the number of classes."""
        return self.table.n_out

    def __str__(self) -> str:
        return f"{self.name} ({self.x.shape[0]} × {self.x.shape[1]}, {self.task})"


Data = TypeVar("Data", Table, Dataset)


def load(data: str, options: Options | None = None) -> Dataset:
    """Return the `table` of that name or file, encoded and standardised by all of its rows."""
    raw = table(data, options)
    x = Encoder.fitted(raw.frame, raw.missing).encoded(raw.frame)
    x, y = Scaler.fitted(x).scaled(x), raw.y
    if raw.task == "regression":
        y = Scaler.fitted(y[:, None]).scaled(y[:, None])[:, 0]
    return Dataset(raw, x, y)


def load_classes(data: str, options: Options) -> Dataset:
    """Return `load` of a table whose target is classes.

    Raises:
        ValueError: as `table`, or a regression.
    """
    dataset = load(data, options)
    if dataset.task == "regression":
        raise ValueError(f"data: expected classes to tell apart, got {dataset}")
    return dataset


def source(tables: Iterable[Table]) -> dict[str, object]:
    """Return the shape, task and checksum of tables, by name, as entries of run.json."""
    named = {table.name: table for table in tables}
    return {
        "data": {name: str(table) for name, table in named.items()},
        "data_sha256": {name: table.checksum for name, table in named.items()},
    }


def say(tables: Iterable[Table]) -> None:
    """Say what is to be learnt of each table, and what is unusual about it."""
    for table in tables:
        log.info("%s", table.purpose)
        for note in table.notes:
            log.warning("%s: %s", table.name, note)


def by_name(
    get: Callable[[str, Options], Data], data: Sequence[str], options: Options
) -> dict[str, Data]:
    """Return what `table` or `load` gets of each set or file, each once, by its own name.

    Raises:
        ValueError: two files of one name, besides what `get` raises.
    """
    named: dict[str, Data] = {}
    for each in dict.fromkeys(data):
        got = get(each, options)
        if got.name in named:
            raise ValueError(f"data: two files are called {quoted(got.name)}; rename one of them")
        named[got.name] = got
    return named


def table(data: str, options: Options | None = None) -> Table:
    """Return the table of that name or file.

    Args:
        data: a name in `BUNDLED`, or the path of a .csv, .tsv, .parquet or .npz file.
        options: of a file the target is required. The task is by default read off the target: two
            texts or two integers are binary, more texts, and integers that follow on one another
            from 0 or 1, multiclass; all else is regression.

    Raises:
        ValueError: a one-line error: what was expected, what came and what to do.
    """
    o = options or Options()
    task = None if o.task is None else find_task(o.task).name
    for name, known in (("encode", ("onehot",)), ("missing", MISSING)):
        if getattr(o, name) not in (None, *known):
            got = quoted(getattr(o, name))
            raise ValueError(f"{name}: expected {listed(known)}, got {got}")
    if data in BUNDLED:
        for name in ("target", *OF_TEXT):
            if getattr(o, name) is not None:
                raise ValueError(f"{name}: {data} brings its own; give --{name} with a file only")
        return _bundled(data, task, o)
    path = Path(data)
    check_kind(path, "data", f"choose one of {', '.join(BUNDLED)}, or ")

    def wanted(column: str) -> bool:
        array = column.partition("[")[0]
        named = (*o.features, o.target)
        if column != o.target and (column in o.drop or array in o.drop):
            return False
        return (
            not o.features or column in named or column in {str(n).partition("[")[0] for n in named}
        )

    frame, notes, left_out = read(path, o, o.texts, wanted)
    frame, of_target = leaks.with_target(frame, o.target)
    frame, notes = _with_texts(path.name, frame, o.texts), [*notes, *of_target]
    if o.target is None or o.target not in frame.columns:
        missing = f"there is no column {quoted(o.target)}"
        what = "expected --target COLUMN" if o.target is None else missing
        said = "".join(f"; {note}" for note in notes)
        raise ValueError(
            f"target: {what}; {path.name} holds {listed([*frame.columns, *left_out])}{said}"
        )
    made = _table(path.name, frame, o.target, task, o, left_out)
    return replace(made, notes=(*notes, *made.notes))


def _with_texts(name: str, frame: pl.DataFrame, texts: Sequence[str]) -> pl.DataFrame:
    """Return a table with some columns as texts."""
    for column in texts:
        if column not in frame.columns:
            raise ValueError(
                f"texts: there is no column {quoted(column)}; {name} holds {listed(frame.columns)}"
            )
    return frame.with_columns(as_texts(frame[column]) for column in texts)


def _bundled(name: str, task: str | None, options: Options) -> Table:
    """Return a table bundled with scikit-learn, with its names of features and classes."""
    read = bundled.load(name)
    frame = pl.from_numpy(read.x, schema=list(read.features))
    frame = frame.with_columns(pl.Series("target", read.y))
    made = _table(name, frame, "target", task or BUNDLED[name], options)
    classes = read.classes if made.classes and read.classes else made.classes
    return replace(made, classes=classes, notes=())  # constant pixels are well known


def _table(
    name: str,
    frame: pl.DataFrame,
    target: str,
    task: str | None,
    options: Options,
    left_out: Sequence[str] = (),
) -> Table:
    taken = chosen(name, [*frame.columns, *left_out], target, options.drop, options.features)
    names = [column for column in taken if column in frame.columns]
    unnamed, counting = _indices(frame, names, options)
    columns = [checked_feature(c) for c in frame.select(n for n in names if n not in unnamed)]
    empty = [column.name for column in columns if column.null_count() == len(column)]
    columns = [column for column in columns if column.name not in empty]
    if not columns:
        raise ValueError(f"data: {name} holds no column besides the target {quoted(target)}")
    _check_texts(columns, options)
    features, labels = pl.DataFrame(columns), checked_column(frame[target])
    if labels.null_count() == len(labels):
        raise ValueError(f"target: column {quoted(target)} has no values; name another --target")
    rows = usable_rows(features, labels, options.missing)
    features, labels = features[rows], labels[rows]
    _check_room(features)
    notes = remarks(features, empty, unnamed, counting)
    notes += in_digits([c for c in (*features, labels) if c.name not in options.texts])
    notes += leaks.given_away(features, labels)
    if len(rows) < frame.height:
        lack = "a value" if options.missing == "drop" else "a label"
        out = frame.height - len(rows)
        notes.append(f"left out: {out} of {counted(frame.height, 'row')}, without {lack}")
    guessed, classes, y = labelled(labels, task)
    if guessed == "regression" and task is None and few_integers(y):
        notes.append(
            f"the few integers in {quoted(target)} are taken for numbers; if they are classes, say "
            "--task multiclass"
        )
    filling = options.missing if options.missing in FILLING else None
    return Table(name, guessed, features, target, classes, y, rows, filling, tuple(notes))


def _indices(
    frame: pl.DataFrame, names: list[str], options: Options
) -> tuple[list[str], list[str]]:
    """Return the columns that count the rows: those to leave out unasked, and others."""
    unnamed, counting = leaks.index_columns(frame, names)
    if options.features or options.header == NO_HEADER:
        return [], [*unnamed, *counting]
    return ([] if len(unnamed) == len(names) else unnamed), counting


def _check_texts(columns: list[pl.Series], options: Options) -> None:
    texts = [column for column in columns if column.dtype == pl.String]
    for column in texts:
        check_length(column)
    if options.encode is None:
        check_categories([column for column in texts if column.name not in options.texts])


def _check_room(features: pl.DataFrame) -> None:
    """Check that columns fit into memory as features, of texts one for each value."""
    count = sum(c.n_unique() if c.dtype == pl.String else 1 for c in features)
    size = 8 * count * features.height
    if count > MOST_COLUMNS or size > MOST_BYTES:
        raise ValueError(
            f"data: {count} features of {features.height} rows are {size / 1e9:.3g} GB; expected "
            f"at most {MOST_COLUMNS} and {MOST_BYTES / 1e9:.3g}; leave out columns with --drop"
        )

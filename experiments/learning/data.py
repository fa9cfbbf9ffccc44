"""Tables: scikit-learn's bundled sets, or the user's own CSV or Parquet file, read by polars.

`file or bundled set -> columns -> Table -> features and labels -> Dataset`. The types that polars
sees decide: numbers, truth values and dates are numbers, texts become a feature for each value.
Missing numbers are filled in by the median, missing texts by the most frequent one, and features
are standardised, by a Pipeline of scikit-learn that its user fits on the rows of his choice. Each
run says what was filled in; what cannot be is refused, with its line and column.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import polars as pl

from experiments.learning import bundled
from experiments.learning.bundled import standardised
from experiments.learning.words import listed, quoted
from experiments.runs import experiment, runtime
from jaxnn.network import find_task
from jaxnn.texts import counted

log = logging.getLogger("jaxnn.experiments")

BUNDLED = {  # and their tasks
    "breast_cancer": "binary",
    "digits": "multiclass",
    "iris": "multiclass",
    "wine": "multiclass",
    "diabetes": "regression",
}
METRIC = {"regression": "R²", "binary": "accuracy", "multiclass": "accuracy"}
FILES = (".csv", ".parquet")
NAN = ["nan", "NaN", "NAN"]  # of a .csv file, where polars would make all of a column texts
MOST_CLASSES = 20  # integers of more distinct values than this are numbers
MOST_BYTES = 4e9  # of features
EXACT = 2**53  # up to here every integer is a float


@dataclass(frozen=True)
class DataOptions:
    """The columns of a table."""

    target: Annotated[str | None, runtime.called(metavar="COLUMN")] = None
    """The column to predict, of a file."""
    task: Annotated[str | None, runtime.called(metavar="TASK")] = None
    """regression, binary or multiclass; by default the target tells."""
    drop: runtime.Names = ()
    """Columns to leave out."""
    separator: str = ","
    """The separator of the fields of a .csv file."""


@dataclass(frozen=True, eq=False)
class DataTable:
    """A table, in the units of its columns."""

    name: str  # of a file without its folder
    task: str  # regression, binary or multiclass
    frame: pl.DataFrame  # the columns that become features, floats and texts
    target: str  # the name of the column of y
    classes: tuple[str, ...]  # the names of the labels 0, 1, …; none for regression
    y: np.ndarray  # labels, (N,): floats (regression; binary: 0 and 1) or integers (multiclass)
    notes: tuple[str, ...] = ()  # what was filled in or is no number, a sentence a column of a file

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
            digest.update(f"{column.name}\0{column.to_list()}".encode())
        return digest.hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.name} ({self.frame.height} × {self.frame.width}, {self.task})"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A whole table ready for a network; nothing of it is held out. Equal to itself alone."""

    table: DataTable
    x: np.ndarray  # (N, n[0]), each column with mean 0 and variance 1 (0 if it is constant)
    y: np.ndarray  # of regression with mean 0 and variance 1

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


Data = TypeVar("Data", DataTable, Dataset)


def load(data: str, options: DataOptions | None = None) -> Dataset:
    """Return the `table` of that name or file with features and labels made of all of its rows."""
    made = table(data, options)
    if any(dtype == pl.String for dtype in made.frame.dtypes) or any(
        made.frame.null_count().row(0)
    ):
        x = np.asarray(pipeline(made.frame).fit_transform(made.frame))
    else:  # the same without scikit-learn, whose import takes longer than most commands
        x = standardised(np.ascontiguousarray(made.frame.to_numpy()))
    y = standardised(made.y[:, None])[:, 0] if made.task == "regression" else made.y
    return Dataset(made, x, y)


def base_rate(truth: np.ndarray) -> float:
    """Return the accuracy of always naming the most frequent class."""
    return float(np.unique(truth, return_counts=True)[1].max() / len(truth))


def source(tables: Iterable[DataTable]) -> dict[str, object]:
    """Return the shape, task, checksum and notes of tables, by name, as entries of run.json."""
    named = {table.name: table for table in tables}
    notes = {name: table.notes for name, table in named.items() if table.notes}
    return {
        "data": {name: str(table) for name, table in named.items()},
        "data_sha256": {name: table.checksum for name, table in named.items()},
        **({experiment.DATA_NOTES: notes} if notes else {}),
    }


def say(tables: Iterable[DataTable]) -> None:
    """Say what is to be learnt of each table."""
    for table in tables:
        for sentence in (table.purpose, *table.notes):
            log.info("%s", sentence)


def by_name(
    get: Callable[[str, DataOptions], Data], data: Sequence[str], options: DataOptions
) -> dict[str, Data]:
    """Return what `table` or `load` gets of each set or file, each once, by its own name."""
    named: dict[str, Data] = {}
    for each in dict.fromkeys(data):
        got = get(each, options)
        if got.name in named:
            raise ValueError(f"data: two files are called {quoted(got.name)}; rename one of them")
        named[got.name] = got
    return named


def table(data: str, options: DataOptions | None = None) -> DataTable:
    """Return the table of a name in `BUNDLED`, or of a .csv or .parquet file, which needs a target.

    The task is by default read off the target: two texts or two integers are binary, more texts,
    and integers that follow on one another from 0 or 1, or -1 to 1, multiclass; all else is
    regression. What a file breaks is a ValueError of one sentence.
    """
    o = options or DataOptions()
    task = None if o.task is None else find_task(o.task).name
    if data in BUNDLED:
        if o.target is not None:
            raise ValueError(f"target: {data} brings its own; give --target with a file only")
        known = bundled.load(data)
        names = [f"x{i}" for i in range(1, known.x.shape[1] + 1)]
        frame = pl.from_numpy(known.x, schema=names)
        frame = frame.with_columns(pl.Series("target", known.y))
        made = _table(data, frame, "target", task or BUNDLED[data], o.drop)
        return replace(made, classes=known.classes) if made.classes and known.classes else made
    path = Path(data)
    if path.suffix.lower() not in FILES:
        kinds = f"choose one of {', '.join(BUNDLED)}, or a file that ends in {listed(FILES)}"
        raise ValueError(f"data: there is no {quoted(data)}; {kinds}")
    frame = read(path, o.separator)
    if o.target is None or o.target not in frame.columns:
        missing = f"there is no column {quoted(o.target)}"
        what = "expected --target COLUMN" if o.target is None else missing
        raise ValueError(f"target: {what}; {path.name} holds {listed(frame.columns)}")
    return _table(path.name, frame, o.target, task, o.drop)


def read(path: Path, separator: str = ",", option: str = "data") -> pl.DataFrame:
    """Return a file as polars reads it; what it cannot read is one sentence."""
    if not path.is_file():
        raise ValueError(f"{option}: there is no file {path}")
    try:
        if path.suffix.lower() == ".parquet":
            frame = pl.read_parquet(path, glob=False)
        else:  # whose types are those of all its lines
            typed = partial(pl.read_csv, try_parse_dates=True, infer_schema_length=None)
            frame = typed(path, separator=separator, glob=False, null_values=NAN)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, TypeError) as error:
        reason = quoted(" ".join(str(error).strip().partition("\n")[0].split()))
        raise ValueError(
            f"{option}: polars cannot read {path.name}: {reason}; expected Parquet, or CSV in "
            "UTF-8 with names in its first line and as many fields in all others, see --separator"
        ) from None
    if not (frame.height and frame.width):
        raise ValueError(f"{option}: expected rows and columns in {path.name}, got none")
    return frame


def _table(
    name: str, frame: pl.DataFrame, target: str, task: str | None, drop: Sequence[str]
) -> DataTable:
    for column in drop:
        if column not in frame.columns or column == target:
            others = [each for each in frame.columns if each != target]
            raise ValueError(f"drop: expected some of {listed(others)}, got {quoted(column)}")
    frame = frame.with_columns(tidy(frame[target]))
    if without := frame[target].null_count():
        if without == frame.height:
            raise ValueError(f"target: {quoted(target)} has no values; name another --target")
        raise ValueError(
            f"target: column {quoted(target)} has no value in {_at(frame[target].is_null(), name)}"
            f", {counted(without, 'row')} in all; write one, or take such rows out of {name}"
        )
    columns = [feature(column, name) for column in frame if column.name not in (target, *drop)]
    if not columns:
        raise ValueError(f"data: {name} holds no column besides the target {quoted(target)}")
    features = pl.DataFrame(columns)
    count = sum(c.n_unique() if c.dtype == pl.String else 1 for c in features)
    if 8 * count * frame.height > MOST_BYTES:
        raise ValueError(
            f"data: {count} features of {frame.height} rows are {8e-9 * count * frame.height:.3g} "
            f"GB; expected at most {MOST_BYTES / 1e9:.3g}; leave out columns of texts with --drop"
        )
    guessed, classes, y = labelled(frame[target], task, name)
    notes = () if name in BUNDLED else tuple(f"{name}: {note}" for note in notes_on(features))
    return DataTable(name, guessed, features, target, classes, y, notes)


def notes_on(features: pl.DataFrame) -> Iterator[str]:
    """Yield a sentence on each column in which something is filled in, constant, or no number."""
    for column in features:
        is_text, begin = column.dtype == pl.String, f"column {quoted(column.name)}: "
        if count := column.null_count():
            what, by = ("text", "most frequent one") if is_text else ("number", "median")
            yield f"{begin}{counted(count, f'missing {what}')} filled in by the {by}"
        known = column.drop_nulls()
        if known.n_unique() == 1 and len(column) > 1:
            value = quoted(known[0]) if is_text else f"{known[0]:g}"
            yield f"{begin}{value} alone, so nothing is learnt from it"
        elif is_text and (words := _words_between_numbers(known)) is not None:
            yield f"{begin}{quoted(known.filter(words)[0])} is no number, so all are taken as texts"


def _words_between_numbers(column: pl.Series) -> pl.Series | None:
    """Return which texts of a column are no numbers, if half or more of them are numbers."""
    words = column.str.strip_chars().cast(pl.Float64, strict=False).is_null()
    return words if 0 < words.sum() <= len(words) / 2 else None


def _at(chosen: pl.Series, name: str) -> str:
    """Return the first of the chosen rows in words: its line in a .csv file, its row in others."""
    row = int(chosen.arg_max() or 0)
    return f"line {row + 2}" if name.lower().endswith(".csv") else f"row {row + 1}"


def feature(column: pl.Series, name: str = "") -> pl.Series:
    """Return a column of the file `name` as floats, nulls where values are missing, or texts."""
    if isinstance(column.dtype, pl.String | pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    elif isinstance(column.dtype, pl.Date | pl.Datetime):  # in days
        column = column.dt.epoch("us") / 86_400e6
    elif column.dtype.is_numeric() or column.dtype == pl.Boolean:
        column = column.cast(pl.Float64).fill_nan(None)
    out = f"leave it out with --drop {quoted(column.name)}"
    if column.null_count() == len(column):
        raise ValueError(f"data: column {quoted(column.name)} has no values; {out}")
    if column.dtype not in (pl.String, pl.Float64):
        raise ValueError(
            f"data: expected numbers, truth values, dates or texts in column "
            f"{quoted(column.name)}, got {column.dtype}; {out}"
        )
    if column.dtype == pl.Float64 and (infinite := column.is_infinite().fill_null(False)).any():
        raise ValueError(
            f"data: column {quoted(column.name)} holds an infinite number in {_at(infinite, name)}"
            f"; write a number or nothing there, or {out}"
        )
    if column.dtype == pl.String and column.n_unique() > MOST_CLASSES:
        words = _words_between_numbers(column.fill_null("0"))
        if words is not None:
            text = f"{quoted(column.filter(words)[0])} in {_at(words, name)}"
            raise ValueError(
                f"data: column {quoted(column.name)} holds numbers, but {text}; write a number or "
                f"nothing there, or {out}"
            )
    return column


def tidy(target: pl.Series) -> pl.Series:
    """Return a target whose nan are missing, and whose floats are integers if all are whole."""
    if target.dtype.is_float():
        target = target.fill_nan(None)
        whole = target.drop_nulls()
        if len(whole) and (whole % 1 == 0).all() and (whole.abs() < EXACT).all():
            return target.cast(pl.Int64)
    return target.cast(pl.String) if isinstance(target.dtype, pl.Categorical | pl.Enum) else target


def labelled(
    target: pl.Series, task: str | None, file: str = ""
) -> tuple[str, tuple[str, ...], np.ndarray]:
    """Return the task, the names of the classes, and the labels in the form of the task."""
    name, is_number = quoted(target.name), target.dtype.is_numeric()
    if not (is_number or target.dtype in (pl.String, pl.Boolean)):
        raise ValueError(
            f"target: expected numbers, texts or truth values in column {name}, got {target.dtype}"
        )
    values, codes = np.unique(target.to_numpy(), return_inverse=True)
    count, classes = len(values), tuple(pl.Series(values.tolist()).cast(pl.String))
    if count == 1:
        raise ValueError(f"target: column {name} holds {quoted(values[0])} alone; nothing to learn")
    if task is None:
        first = 1 if values[0] == 1 else -1 if count == 3 and values[0] == -1 else 0
        follow = np.array_equal(values, np.arange(first, first + count))
        follow &= count <= MOST_CLASSES and count < len(target)
        if is_number and not (target.dtype.is_integer() and (follow or count == 2)):
            task = "regression"
        else:
            task = "binary" if count == 2 else "multiclass"
    fits, expected = {
        "regression": (is_number, "numbers"),
        "binary": (count == 2, "two different values"),
        "multiclass": (count <= max(MOST_CLASSES, len(target) / 2), "few different values"),
    }[task]
    if not fits:
        raise ValueError(
            f"task: expected {expected} in column {name} for {task}, got {count} different "
            f"values of {target.dtype} in {counted(len(target), 'row')}, such as "
            f"{quoted(classes[0])}; name another --target, or another --task"
        )
    if task == "regression":
        return task, (), feature(target, file).to_numpy()
    return task, classes, codes.astype(float if task == "binary" else np.int32)


def pipeline(frame: pl.DataFrame) -> Any:
    """Return an unfitted Pipeline of scikit-learn from such columns to standardised features."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler, OneHotEncoder, StandardScaler

    texts = [column.name for column in frame if column.dtype == pl.String]
    numbers = [name for name in frame.columns if name not in texts]
    of_texts = make_pipeline(
        SimpleImputer(missing_values=None, strategy="most_frequent", keep_empty_features=True),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    of_numbers = SimpleImputer(strategy="median", keep_empty_features=True)
    columns = ColumnTransformer([("numbers", of_numbers, numbers), ("texts", of_texts, texts)])
    # Squares of huge entries stay in range.
    return make_pipeline(columns, MaxAbsScaler(), StandardScaler())

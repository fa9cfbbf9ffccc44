"""Features from typed columns: missing values filled in, texts as one feature for each value.

`columns of the training rows -> scikit-learn's ColumnTransformer, fitted -> its numbers and names,
as plain data -> features of any rows`. The fitted data are written into a model file as JSON, and
applied by plain code: SimpleImputer fills (numbers with mean or median, texts with the most
frequent one), OneHotEncoder makes `island=Biscoe` a feature that is 1 or 0; a text that it has not
seen makes them all 0. Truth values are 0 and 1, dates the days since 1970-01-01.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from experiments.learning.words import counted, listed, quoted

FILLING = ("mean", "median")
MISSING = ("drop", *FILLING)
DAY = 86_400_000_000  # in microseconds
FAR = 1.0  # times the width of the range of the training rows: farther outside than that is said


class Numbers(NamedTuple):
    """A column of numbers, truth values or dates, and one feature of that name.

    kind: number or date.
    low, high: the range in the training rows.
    fill: stands for a missing value; None if rows with one have no features.
    """

    name: str
    kind: str
    low: float
    high: float
    fill: float | None

    @property
    def features(self) -> tuple[str, ...]:
        """Their names."""
        return (self.name,)

    def encoded(self, column: pl.Series) -> np.ndarray:
        """Return the feature, (N, 1); nan for a missing value that nothing stands for."""
        other = (self.kind == "date") != column.dtype.is_temporal() or column.dtype == pl.String
        if other and column.dtype != pl.Null:
            wanted = "dates" if self.kind == "date" else "numbers"
            raise ValueError(
                f"data: expected {wanted} in column {quoted(self.name)}, got {example(column)}"
            )
        filled = floats(column) if self.fill is None else floats(column).fill_null(self.fill)
        return filled.fill_null(np.nan).to_numpy()[:, None]

    def strange(self, column: pl.Series) -> tuple[int, str]:
        """Count the rows far outside of the range of the training rows; say what they hold."""
        values = floats(column).drop_nulls().to_numpy()
        reach = FAR * (self.high - self.low)
        far = values[(values < self.low - reach) | (values > self.high + reach)]
        trained = f"the model was trained on {self.low:.6g} to {self.high:.6g}"
        return len(far), f"lie far outside, such as {far[0]:.6g}; {trained}" if len(far) else ""

    def __str__(self) -> str:
        words = ["days since 1970-01-01"] if self.kind == "date" else []
        words += [] if self.fill is None else [f"missing values are {self.fill:.6g}"]
        return ", ".join(words)


class Texts(NamedTuple):
    """A column of texts, and one feature for each that is in the training rows.

    values: those texts, ascending.
    fill: as in Numbers.
    """

    name: str
    values: tuple[str, ...]
    fill: str | None

    @property
    def features(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(f"{self.name}={value}" for value in self.values)

    def encoded(self, column: pl.Series) -> np.ndarray:
        """Return the features, (N, values): 1 where the text is that value, else 0."""
        texts = as_texts(column) if self.fill is None else as_texts(column).fill_null(self.fill)
        codes = texts.replace_strict(list(self.values), range(len(self.values)), default=-1)
        is_value = codes.to_numpy()[:, None] == np.arange(len(self.values))
        return np.where(texts.is_null().to_numpy()[:, None], np.nan, is_value)

    def strange(self, column: pl.Series) -> tuple[int, str]:
        """Count the rows with a text that no training row has; say what they hold."""
        texts = as_texts(column).drop_nulls()
        other = texts.filter(~texts.is_in(self.values))
        trained = f"the model was trained on {listed(self.values, 4)}"
        return len(other), f"are unknown, such as {quoted(other[0])}; {trained}" if len(
            other
        ) else ""

    def __str__(self) -> str:
        fill = "" if self.fill is None else f", missing values are {quoted(self.fill)}"
        return f"one feature each for {listed(self.values, 20)}{fill}"


Column = Numbers | Texts


@dataclass(frozen=True)
class Encoder:
    """The columns of a table as features, fitted on some of its rows."""

    columns: tuple[Column, ...]

    @classmethod
    def fitted(cls, frame: pl.DataFrame, missing: str | None = None) -> "Encoder":
        """Return the encoder of these rows.

        Args:
            frame: numbers, truth values, dates and texts; without missing values, unless they are
                filled in.
            missing: mean or median to fill in missing values.

        Raises:
            ValueError: a column without any value in these rows, or two features of one name.
        """
        fills: Mapping[str, Any] = {}
        values: Mapping[str, list[str]] = {}
        empty = [column.name for column in frame if column.null_count() == len(column)]
        if empty:
            raise ValueError(
                f"data: no training row has a value in {listed(empty)}; leave out such columns "
                "with --drop"
            )
        if missing in FILLING or pl.String in frame.dtypes:
            fills, values = _by_sklearn(frame, missing if missing in FILLING else None)
        encoder = cls(tuple(_column(c, fills.get(c.name), values.get(c.name)) for c in frame))
        (name, count), *_ = Counter(encoder.features).most_common(1)
        if count > 1:
            raise ValueError(f"data: two features are called {quoted(name)}; rename a column")
        return encoder

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features, in their order."""
        return tuple(name for column in self.columns for name in column.features)

    def encoded(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the features of rows, (N, n), from the columns of these names.

        Raises:
            ValueError: a column of another kind, or infinite numbers.
        """
        return np.concatenate([c.encoded(frame[c.name]) for c in self.columns], axis=1)

    def filled(self, frame: pl.DataFrame) -> dict[str, int]:
        """Count the missing values of each column that something stands for."""
        counts = {c.name: frame[c.name].null_count() for c in self.columns if c.fill is not None}
        return {name: count for name, count in counts.items() if count}

    def words(self) -> dict[str, str]:
        """Return how columns become features, by name, of those that are not plain numbers."""
        return {column.name: str(column) for column in self.columns if str(column)}


def _column(column: pl.Series, fill: Any, values: list[str] | None) -> Column:
    if values is not None:
        return Texts(column.name, tuple(values), fill)
    numbers = floats(column).drop_nulls().to_numpy()
    kind = "date" if column.dtype.is_temporal() else "number"
    return Numbers(column.name, kind, float(numbers.min()), float(numbers.max()), fill)


def _by_sklearn(
    frame: pl.DataFrame, missing: str | None
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Return what stands for missing values in each column, and the values of each text column."""
    texts = [column.name for column in frame if column.dtype == pl.String]
    numbers = [name for name in frame.columns if name not in texts]
    transformer = column_transformer(numbers, texts, missing or "mean")
    transformer.fit(frame.select(*(floats(frame[n]) for n in numbers), *texts))
    fills: dict[str, Any] = {}
    values: dict[str, list[str]] = {}
    if missing is not None and numbers:
        statistics = transformer.named_transformers_["numbers"].statistics_
        fills |= dict(zip(numbers, map(float, statistics), strict=True))
    if texts:
        imputer, encoder = transformer.named_transformers_["texts"]
        if missing is not None:
            fills |= dict(zip(texts, map(str, imputer.statistics_), strict=True))
        values = {n: list(map(str, v)) for n, v in zip(texts, encoder.categories_, strict=True)}
    return fills, values


def column_transformer(numbers: list[str], texts: list[str], missing: str) -> Any:
    """Return scikit-learn's transformer of such columns, not yet fitted."""
    from sklearn.compose import ColumnTransformer  # here, for it takes long to import
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    fill = SimpleImputer(missing_values=None, strategy="most_frequent")
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return ColumnTransformer(
        [
            ("numbers", SimpleImputer(strategy=missing), numbers),
            ("texts", make_pipeline(fill, one_hot), texts),
        ]
    )


def floats(column: pl.Series) -> pl.Series:
    """Return numbers, truth values or dates as floats; what is missing or nan is null.

    Raises:
        ValueError: infinite numbers, or a column of something else.
    """
    dtype = column.dtype
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        return column.dt.epoch("us") / DAY  # of a time with a zone in UTC
    if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
        raise ValueError(
            f"data: expected numbers in column {quoted(column.name)}, got {example(column)}"
        )
    values = column.cast(pl.Float64).fill_nan(None)
    count = int(values.is_infinite().sum())
    if count:
        raise ValueError(
            f"data: column {quoted(column.name)} holds {counted(count, 'infinite number')} "
            f"in {counted(len(column), 'row')}"
        )
    return values


def as_texts(column: pl.Series) -> pl.Series:
    """Return a column as texts; numbers and truth values as a file of text would have them."""
    return column.cast(pl.String)


def example(column: pl.Series) -> str:
    """Return what a column holds in a few words: its type and one entry."""
    values = column.drop_nulls()
    kind = "texts" if column.dtype == pl.String else str(column.dtype)
    return f"{kind} such as {quoted(values[0])}" if len(values) else "nothing"

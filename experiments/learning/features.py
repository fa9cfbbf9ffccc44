"""The columns and rows of a file that become features, checked."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from experiments.learning.encoding import floats
from experiments.learning.words import counted, listed, quoted, short

MOST_LENGTH = 200  # characters of a text
MOST_VALUES = 20  # of a column of texts that is encoded unasked
EXACT = 2**53  # up to here every integer is a float


def chosen(
    name: str, columns: list[str], target: str, drop: Sequence[str], features: Sequence[str]
) -> list[str]:
    """Return the names of the columns that become features."""
    for option, named in (("drop", drop), ("features", features)):
        for column in named:
            if column not in columns:
                raise ValueError(
                    f"{option}: there is no column {quoted(column)}; {name} holds {listed(columns)}"
                )
            if column == target:
                raise ValueError(
                    f"{option}: expected other columns than the target {quoted(column)}"
                )
    taken = features or columns
    return [c for c in columns if c != target and c in taken and c not in drop]


def checked_column(column: pl.Series) -> pl.Series:
    """Return a column as numbers, truth values, dates or texts, missing values as nulls.

    Raises:
        ValueError: it holds something else, or infinite numbers.
    """
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        return column.cast(pl.String)
    if column.dtype == pl.String:
        return column
    values = floats(column)
    return values if column.dtype.is_float() or column.dtype == pl.Null else column


def check_length(column: pl.Series) -> None:
    """Check that texts are short enough to be names of features or classes."""
    long = column.filter(column.str.len_chars() > MOST_LENGTH)
    if len(long):
        raise ValueError(
            f"data: column {quoted(column.name)} holds a text of {len(long[0])} characters; "
            f"expected at most {MOST_LENGTH}; leave it out with --drop"
        )


def check_categories(columns: list[pl.Series]) -> None:
    """Check that columns of texts are categories."""
    many = []
    for column in columns:
        texts = column.drop_nulls()
        is_number = texts.cast(pl.Float64, strict=False).is_not_null()
        if is_number.mean() > 0.5:  # type: ignore[operator]
            other = texts.filter(~is_number)
            raise ValueError(
                f"data: column {quoted(column.name)} holds {counted(len(other), 'text')} such as "
                f"{quoted(other[0])} among {int(is_number.sum())} numbers; mend them, leave the "
                "column out with --drop, or take all of it as texts with --encode onehot"
            )
        if texts.n_unique() > MOST_VALUES:
            many.append((texts.n_unique(), column))
    if many:
        count, column = many[0]
        kind = "an identifier?" if count > len(column) / 2 else "too many for one feature each?"
        names = " ".join(quoted(c.name) if " " in c.name else short(c.name) for _, c in many[:12])
        more = f" (so do {len(many) - 1} more)" if len(many) > 1 else ""
        raise ValueError(
            f"data: column {quoted(column.name)} holds {count} different texts in {len(column)} "
            f"rows{more}: {kind} leave it out with --drop {names}, or say --encode onehot"
        )


def usable_rows(features: pl.DataFrame, labels: pl.Series, missing: str | None) -> np.ndarray:
    """Return the places of the rows to use."""
    counts = {c.name: c.null_count() for c in (*features, labels) if c.null_count()}
    if counts and missing is None:
        words = listed([f"{quoted(name)} {count}" for name, count in counts.items()])
        raise ValueError(
            f"data: missing values in {len(labels)} rows: {words}; say --missing drop, mean or "
            "median, or leave out columns with --drop"
        )
    usable = labels.is_not_null().to_numpy()
    if missing == "drop":
        usable &= ~features.select(pl.any_horizontal(pl.all().is_null())).to_series().to_numpy()
    if not usable.any():
        raise ValueError("data: no row is without missing values; say --missing mean or median")
    return np.flatnonzero(usable)


def remarks(features: pl.DataFrame, empty: list[str]) -> list[str]:
    """Point out columns from which nothing can be learnt, or not what they hold."""
    single = [column.name for column in features if column.n_unique() == 1]
    # As Int128, for an unsigned column cannot be compared with a negative number.
    integers = [column.cast(pl.Int128) for column in features if column.dtype.is_integer()]
    huge = [column.name for column in integers if not column.is_between(-EXACT, EXACT).all()]
    words = {
        "without any value, left out": empty,
        "with one value in all rows, which tell nothing": single,
        "of integers beyond 2^53, which are rounded; identifiers? leave them out with --drop": huge,
    }
    return [f"columns {what}: {listed(names)}" for what, names in words.items() if names]

"""The columns and rows of a file that become features, checked."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from experiments.learning.encoding import floats
from experiments.learning.words import argument, counted, listed, quoted
from experiments.learning.written import parts

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


def checked_feature(column: pl.Series) -> pl.Series:
    """Like `checked_column`; the error message says how to go on without the column."""
    try:
        return checked_column(column)
    except ValueError as error:
        name = argument(column.name)
        raise ValueError(f"{error}; leave it out with --drop {name}") from None


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


def check_mixed(column: pl.Series, option: str, remedy: str) -> None:
    """Check that texts are not numbers among others, or numbers with and without a unit."""
    texts = column.drop_nulls()
    is_number = texts.cast(pl.Float64, strict=False).is_not_null()
    share = float(is_number.mean() or 0)  # type: ignore[arg-type]
    if share == 1 or not (share > 0.5 or (share > 0 and parts(texts) is not None)):
        return
    other = texts.filter(~is_number)
    raise ValueError(
        f"{option}: column {quoted(column.name)} holds {counted(len(other), 'text')} such as "
        f"{quoted(other[0])} among {counted(int(is_number.sum()), 'number')}; mend them, {remedy}"
    )


def check_categories(columns: list[pl.Series]) -> None:
    """Check that columns of texts are categories."""
    many = []
    for column in columns:
        name = argument(column.name)
        remedy = f"leave the column out with --drop {name}, or take it as texts with --texts {name}"
        check_mixed(column, "data", remedy)
        texts = column.drop_nulls()
        if texts.n_unique() > MOST_VALUES:
            many.append((texts.n_unique(), column))
    if many:
        count, column = many[0]
        kind = "an identifier?" if count > len(column) / 2 else "too many for one feature each?"
        names = " ".join(argument(c.name) for _, c in many[:12])
        more = f" (so do {len(many) - 1} more)" if len(many) > 1 else ""
        raise ValueError(
            f"data: column {quoted(column.name)} holds {count} different texts such as "
            f"{quoted(column.drop_nulls()[0])} in {len(column)} rows{more}: {kind} leave it out "
            f"with --drop {names}, or say --encode onehot"
        )


def in_digits(columns: Sequence[pl.Series]) -> list[str]:
    """Point out texts that begin with numbers, such as 5 kg among 300 g, and are no numbers."""
    words = []
    for column in columns:
        if column.dtype == pl.String:
            texts = column.drop_nulls()
            digits = texts.filter(texts.str.contains(r"^[^\p{L}\d]{0,3}\d"))
            if len(digits) > len(texts) / 2:
                words.append(f"{quoted(column.name)} such as {quoted(digits[0])}")
    return [f"taken as texts, though numbers are in them: {listed(words, 6)}"] if words else []


def usable_rows(features: pl.DataFrame, labels: pl.Series, missing: str | None) -> np.ndarray:
    """Return the places of the rows to use."""
    counts = {c.name: c.null_count() for c in (*features, labels) if c.null_count()}
    if counts and missing is None:
        have = {name: "has" if count == 1 else "have" for name, count in counts.items()}
        words = listed([f"{n} {have[name]} no {quoted(name)}" for name, n in counts.items()])
        raise ValueError(
            f"data: of {counted(len(labels), 'row')} {words}; say --missing drop, mean or median, "
            "or leave out columns with --drop"
        )
    usable = labels.is_not_null().to_numpy()
    if missing == "drop":
        usable &= ~features.select(pl.any_horizontal(pl.all().is_null())).to_series().to_numpy()
    if not usable.any():
        raise ValueError("data: no row is without missing values; say --missing mean or median")
    return np.flatnonzero(usable)


def remarks(
    features: pl.DataFrame, empty: list[str], index: list[str], counting: list[str]
) -> list[str]:
    """Point out columns from which nothing can be learnt, or not what they hold."""
    single = [column.name for column in features if column.n_unique() == 1]
    # As Int128, for an unsigned column cannot be compared with a negative number.
    integers = [column.cast(pl.Int128) for column in features if column.dtype.is_integer()]
    huge = [column.name for column in integers if not column.is_between(-EXACT, EXACT).all()]
    compact = [c.name for c in integers if c.is_between(19000101, 21001231).all() and _is_day(c)]
    words = {
        "of dates without separators, taken for numbers; write them as 2020-01-31": compact,
        "without a name that count the rows, left out": index,
        "that count the rows; identifiers? leave them out with --drop": counting,
        "without any value, left out": empty,
        "with one value in all rows, which tell nothing": single,
        "of integers beyond 2^53, which are rounded; identifiers? leave them out with --drop": huge,
    }
    return [f"columns {what}: {listed(names)}" for what, names in words.items() if names]


def _is_day(column: pl.Series) -> bool:
    """Tell whether integers such as 20200131 end in a month and a day."""
    days = column.cast(pl.Int64)  # polars has no remainder of an Int128
    month, day = days // 100 % 100, days % 100
    return bool(month.is_between(1, 12).all() and day.is_between(1, 31).all())

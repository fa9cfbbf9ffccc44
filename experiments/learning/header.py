"""A header that is missing: names that could be entries of their own columns."""

import itertools

import polars as pl

from experiments.learning.dates import dated
from experiments.learning.entries import MISSING, plain
from experiments.learning.words import listed, quoted
from experiments.learning.written import written

NO_HEADER = "none"
HEADERS = ("first", NO_HEADER)


def check_header(names: list[str], columns: list[pl.Series]) -> list[str]:
    """Return a remark on names that are numbers, as pandas and tables of years have them.

    Raises:
        ValueError: the first line is a row, it seems.
    """
    named = [(n, c) for n, c in zip(names, columns, strict=True) if n not in MISSING]
    alike = [name for name, column in named if _is_entry(name, column)]
    if not alike or any(c.dtype.is_numeric() and name not in alike for name, c in named):
        return []
    if _count_up(alike):
        return [
            f"names of columns are numbers, {listed(list(map(quoted, alike)), 4)}; if the first "
            "line is a row, say --header none"
        ]
    words = f"{quoted(alike[0])}, which could be an entry of its column"
    raise ValueError(
        f"its first line has {words}; say --header none if that line is a row, or --header first "
        "if it has the names of the columns"
    )


def _is_entry(name: str, column: pl.Series) -> bool:
    """Tell whether a name could stand among the entries of its column."""
    one = pl.Series("name", [name])
    if column.dtype != pl.String:
        kind = plain(one).dtype
        return (
            kind.is_numeric() if column.dtype.is_numeric() else kind == column.dtype == pl.Boolean
        )
    some = column.drop_nulls().head(50)
    if not len(some):
        return False
    if bool((some == name).any()) or bool((column == name).any()):
        return True
    if written(one, None, None) is not None:
        return written(some, None, None) is not None
    try:
        return dated(one, None) is not None and dated(some, None) is not None
    except ValueError:  # of which nobody knows the month
        return True


def _count_up(names: list[str]) -> bool:
    """Tell whether names are integers in even steps, such as 0, 1, 2 or 2019, 2020, 2021."""
    if not all(name.isascii() and name.isdigit() and str(int(name)) == name for name in names):
        return False
    numbers = list(map(int, names))
    steps = {b - a for a, b in itertools.pairwise(numbers)}
    return numbers == [0] or (len(steps) == 1 and min(steps) > 0)

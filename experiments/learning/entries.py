"""Entries of records as columns: numbers, truth values, dates or texts, if all of a column are."""

import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl

from experiments.learning.dates import dated
from experiments.learning.words import listed, quoted
from experiments.learning.written import Form, Written, remark, resolved, written

FIRST = 1000  # rows that types are first read off
MISSING = (
    *("", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "-NaN", "NULL", "null"),
)
LONG = r"^[+-]?\d{17,}$"  # an integer that no float holds
COMMA = Form(",", None)


@dataclass(frozen=True)
class Signs:
    """Signs of numbers and the order of dates in a .csv file, if the user says them."""

    decimal: str | None = None
    """Decimal sign in a .csv file, a point or a comma; recognised by default."""
    thousands: str | None = None
    """Between thousands in a .csv file: , . ' _ or space; recognised by default."""
    dates: str | None = None
    """Order of dates such as 03/04/2020 in a .csv file: day-first or month-first."""


def columns_of(
    body: bytes, names: list[str], separator: str, texts: Sequence[str]
) -> list[pl.Series]:
    """Return the columns of records: numbers and truth values where polars sees them, or texts."""
    header = separator.join(map(str, range(len(names)))).encode() + b"\n"
    read_csv = partial(
        pl.read_csv,
        header + body,
        separator=separator,
        null_values=list(MISSING),
        schema_overrides={str(i): pl.String for i, name in enumerate(names) if name in texts},
    )
    for rows in (FIRST, None, 0):  # a later row holds something else; an integer is too long
        with contextlib.suppress(pl.exceptions.ComputeError):
            frame = read_csv(infer_schema_length=rows)
            break
    else:
        raise ValueError("its lines cannot be split into fields")
    frame.columns = names
    stripped = (c.str.strip_chars() if c.dtype == pl.String else c for c in frame)
    return [
        c.set(c.is_in(MISSING).fill_null(False), None) if c.dtype == pl.String else c
        for c in stripped
    ]


Texts = Callable[[Sequence[str]], list[pl.Series]]  # columns of these names as they are written


def typed(
    columns: list[pl.Series],
    raw: Texts,
    texts: Sequence[str],
    how: Signs,
    zeros_first: bool = False,
) -> tuple[list[pl.Series], list[str]]:
    """Return texts as numbers, truth values or dates, if all of a column are; and what is unusual.

    Columns come as `columns_of` returns them; those named in `texts` stay as they are. Integers may
    begin with 0 (`zeros_first`), as postcodes do.

    Raises:
        ValueError: entries that may be read in two ways.
    """
    done, notes = {column.name: column for column in columns}, list[str]()
    as_written: dict[str, Written] = {}
    for column in columns:
        if column.dtype == pl.String and column.name not in texts:
            values, said = _typed(column, how)
            notes += said
            if isinstance(values, Written):
                as_written[column.name] = values
            else:
                done[column.name] = values
    floats = [n for n, c in done.items() if c.dtype.is_float() and n not in texts]
    signs = {how.decimal, *(column.certain for column in as_written.values())} - {None}
    if "," in signs or how.thousands == ".":  # 1.500 may be 1500 then
        as_written |= _in_thousands(raw(floats), how.thousands)
    if set(floats) - as_written.keys():
        signs.add(".")
    values_of, said = _numbers(as_written.values(), signs)
    done |= values_of
    notes += said
    if zeros_first:
        notes += _zeros_first(raw, done, texts)
    return list(done.values()), notes


def _numbers(
    columns: Iterable[Written], signs: Collection[str | None]
) -> tuple[dict[str, pl.Series], list[str]]:
    """Return columns as numbers, in the reading that agrees with decimal signs of others."""
    read = [(c, form := resolved(c, signs), c.numbers(form)) for c in columns]
    numbers = {column.name: values for column, _, values in read}
    if read and "." not in signs and all(c.usual and form == COMMA for c, form, _ in read):
        return numbers, ["numbers have decimal commas"]
    return numbers, remark([(column, values) for column, _, values in read])


def _typed(text: pl.Series, how: Signs) -> tuple[pl.Series | Written, list[str]]:
    """Return a column of texts as what it holds, or as numbers that are still to be read."""
    values = plain(text)
    if values.dtype != pl.String:
        rounded = values.dtype == pl.Float64 and text.str.contains(LONG).fill_null(True).all()
        note = (
            f"integers of many digits in {quoted(text.name)}, such as "
            f"{quoted(text.drop_nulls()[0])}, are rounded; identifiers? say --drop"
            if rounded
            else ""
        )
        return values, [note] if note else []
    numbers = written(text, how.decimal, how.thousands)
    if numbers is not None:
        return numbers, []
    values, note = dated(text, how.dates) or (text, "")
    return values, [note] if note else []


def _in_thousands(columns: list[pl.Series], thousands: str | None) -> dict[str, Written]:
    """Return those columns of which one reading has a thousands separator."""
    read = {column.name: written(column, None, thousands) for column in columns}
    return {n: c for n, c in read.items() if c is not None and any(f.thousands for f in c.forms)}


def _zeros_first(raw: Texts, done: dict[str, pl.Series], texts: Sequence[str]) -> list[str]:
    """Say of which integers the first digit is 0, as in postcodes."""
    integers = [n for n, c in done.items() if c.dtype.is_integer() and n not in texts]
    words = []
    for column in raw(integers):
        zeros = column.filter(column.str.contains(r"^0\d"))
        if len(zeros):
            words.append(f"{quoted(column.name)} {quoted(zeros[0])} as {int(zeros[0])}")
    many = listed(words, 6)
    return (
        [f"integers that begin with 0 are read as numbers: {many}; codes? say --texts"]
        if words
        else []
    )


def plain(text: pl.Series) -> pl.Series:
    """Return texts as numbers or truth values as programs write them, if all of them are."""
    if text.null_count() == len(text):
        return text.cast(pl.Null)

    def complete(column: pl.Series) -> bool:
        return column.null_count() == text.null_count()

    numbers = text.cast(pl.Float64, strict=False)
    if complete(numbers):
        for dtype in (pl.Int64, pl.Int128):
            integers = text.cast(dtype, strict=False)
            if complete(integers):
                return integers
        return numbers
    lower = text.str.to_lowercase()
    if lower.drop_nulls().is_in(("true", "false")).all():
        return (lower == "true").alias(text.name)
    return text

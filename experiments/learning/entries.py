"""Entries of records as columns: numbers, truth values, dates or texts, if all of a column are."""

import contextlib
from collections.abc import Callable, Sequence
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


def typed(
    columns: list[pl.Series],
    raw: Callable[[Sequence[str]], list[pl.Series]],
    texts: Sequence[str],
    how: Signs,
    zeros_first: bool = False,
) -> tuple[list[pl.Series], list[str]]:
    """Return texts as numbers, truth values or dates, if all of a column are; and what is unusual.

    Args:
        columns: as `columns_of` returns them.
        raw: returns columns of these names as texts.
        texts: the names of those to leave as they are.
        how: the signs that the user says.
        zeros_first: whether integers may begin with 0, as postcodes do.

    Raises:
        ValueError: entries that may be read in two ways.
    """
    done, notes = {column.name: column for column in columns}, []
    as_written: dict[str, Written] = {}
    for column in columns:
        if column.dtype != pl.String or column.name in texts:
            continue
        value = done[column.name] = plain(column)
        if value.dtype == pl.Float64 and column.str.contains(LONG).fill_null(True).all():
            notes.append(
                f"integers of many digits in {quoted(column.name)}, such as "
                f"{quoted(column.drop_nulls()[0])}, are rounded; identifiers? say --drop"
            )
        if value.dtype != pl.String:
            continue
        numbers = written(column, how.decimal, how.thousands)
        if numbers is not None:
            as_written[column.name] = numbers
        elif (moments := dated(column, how.dates)) is not None:
            done[column.name], said = moments
            notes += [said] if said else []
    told = (how.decimal, *(column.certain for column in as_written.values()))
    signs = {sign for sign in told if sign is not None}
    floats = [n for n, c in done.items() if c.dtype.is_float() and n not in texts]
    if "," in signs or how.thousands == ".":  # 1.500 may be 1500 then
        for column in raw(floats):
            numbers = written(column, None, how.thousands)
            if numbers is not None and any(form.thousands for form in numbers.forms):
                as_written[column.name] = numbers
    signs |= {"."} if any(name not in as_written for name in floats) else set()
    read = [(c, form := resolved(c, signs), c.numbers(form)) for c in as_written.values()]
    done |= {column.name: values for column, _, values in read}
    if read and "." not in signs and all(c.usual and form == COMMA for c, form, _ in read):
        notes.append("numbers have decimal commas")
    else:
        notes += remark([(column, values) for column, _, values in read])
    if zeros_first:
        notes += _zeros_first(raw, done, texts)
    return list(done.values()), notes


def _zeros_first(
    raw: Callable[[Sequence[str]], list[pl.Series]],
    done: dict[str, pl.Series],
    texts: Sequence[str],
) -> list[str]:
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

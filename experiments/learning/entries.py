"""Entries of records as columns: numbers, truth values, dates or texts, if all of a column are."""

from collections.abc import Sequence
from functools import partial

import polars as pl

from experiments.learning.words import quoted

FIRST = 1000  # rows that types are first read off
MISSING = (
    *("", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "-NaN", "NULL", "null"),
)
COMMA_NUMBER = r"^[+-]?(\d+(,\d*)?|,\d+)([eE][+-]?\d+)?$"
THOUSANDS = r"^[+-]?[1-9]\d{0,2}(,\d{3})+$"
DATES = ("%Y-%m-%d", "%Y/%m/%d")
TIMES = (
    *("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"),
    *("%Y-%m-%dT%H:%M:%S%.fZ", "%Y-%m-%d %H:%M:%S%.fZ"),
)


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
    try:
        frame = read_csv(infer_schema_length=FIRST)
    except pl.exceptions.ComputeError:  # a later row holds something else
        frame = read_csv(infer_schema_length=None)
    frame.columns = names
    stripped = (c.str.strip_chars() if c.dtype == pl.String else c for c in frame)
    return [
        c.set(c.is_in(MISSING).fill_null(False), None) if c.dtype == pl.String else c
        for c in stripped
    ]


def decimal_sign(columns: list[pl.Series]) -> str:
    """Return the decimal sign of texts.

    Raises:
        ValueError: some columns have points and others commas, or 1,500 may be 1500 or 1.5.
    """
    commas, points, thousands = [], [], True
    for column in columns:
        if column.dtype.is_float():
            points.append(column.name)
        if column.dtype != pl.String or column.null_count() == len(column):
            continue
        if column.str.contains(COMMA_NUMBER).all():
            with_comma = column.filter(column.str.contains(",", literal=True))
            if len(with_comma):
                commas.append(column.name)
                thousands = thousands and bool(with_comma.str.contains(THOUSANDS).all())
                example = with_comma.drop_nulls()[0]
        elif column.cast(pl.Float64, strict=False).null_count() == column.null_count():
            points.append(column.name)
    if not commas:
        return "."
    if points or thousands:
        other = f" and points in {quoted(points[0])}" if points else ""
        raise ValueError(
            f"column {quoted(commas[0])} has numbers such as {quoted(example)}{other}; say "
            "--decimal , or --decimal ."
        )
    return ","


def typed_column(text: pl.Series, decimal: str) -> pl.Series:
    """Return texts as integers, floats, truth values or dates, if all of them are."""
    if text.dtype != pl.String:
        return text
    if text.null_count() == len(text):
        return text.cast(pl.Null)

    def complete(column: pl.Series) -> bool:
        return column.null_count() == text.null_count()

    plain = text
    if decimal == ",":
        is_number = text.str.contains(COMMA_NUMBER).fill_null(False)
        plain = text.str.replace(",", ".", literal=True).set(~is_number, None)
    numbers = plain.cast(pl.Float64, strict=False)
    if complete(numbers):
        for dtype in (pl.Int64, pl.Int128):
            integers = plain.cast(dtype, strict=False)
            if complete(integers):
                return integers
        return numbers
    lower = text.str.to_lowercase()
    if lower.drop_nulls().is_in(("true", "false")).all():
        return (lower == "true").alias(text.name)
    for form in DATES:  # year first: of 03/04/2020 nobody knows the month
        days = text.str.to_date(form, strict=False)
        if complete(days):
            return days
    for form in TIMES:
        times = text.str.to_datetime(form, strict=False, time_unit="us")
        if complete(times):
            return times
    return text

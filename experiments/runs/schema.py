"""Columns of stored tables: their types, units and meanings, and a check of a table that is read.

Each experiment declares its own in `columns.py`. Logarithms and fractions say so in their names:
`log10_…` is that of a number without a unit.
"""

from typing import NamedTuple

import polars as pl


class Column(NamedTuple):
    """A column; `optional` ones may have gaps, `known` are all texts that it may hold."""

    dtype: pl.DataType
    unit: str
    meaning: str
    optional: bool = False
    known: tuple[str, ...] = ()


TEXT, COUNT, REAL, FLAG = pl.String(), pl.Int64(), pl.Float64(), pl.Boolean()


def check(rows: pl.DataFrame, expected: dict[str, Column]) -> None:
    """Check that a table has rows with the columns of an experiment, of their types."""
    missing, more = set(expected) - set(rows.columns), set(rows.columns) - set(expected)
    if missing or more:
        words = (("without ", missing), ("with ", more))
        got = " and ".join(f"{word}{', '.join(sorted(names))}" for word, names in words if names)
        raise ValueError(f"expected the columns {', '.join(expected)}, got them {got}")
    if rows.is_empty():
        raise ValueError("expected rows, got none")
    for name, column in expected.items():
        if rows[name].dtype != column.dtype:
            raise ValueError(f"column {name}: expected {column.dtype}, got {rows[name].dtype}")

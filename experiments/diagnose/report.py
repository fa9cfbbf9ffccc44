"""A diagnosis as tables: of its layers in a terminal, and of two of them side by side."""

import numpy as np
import polars as pl
from rich.table import Table
from rich.text import Text

from experiments.diagnose.columns import COLUMNS
from experiments.pages import tables
from experiments.runs.comparison import comparison
from experiments.runs.missing import NOTHING, Missing
from jaxnn.cli import diagnosis
from jaxnn.cli.diagnosis import HEADS, MOST_ROWS, SHORT, TITLE, WIDTH
from jaxnn.flow.record.flow import Flow


def rows_of(flow: Flow) -> pl.DataFrame:
    """Return `flow.table()` with all `COLUMNS`."""
    return pl.DataFrame(flow.table(), {name: column.dtype for name, column in COLUMNS.items()})


def table(rows: pl.DataFrame, _: Missing = NOTHING) -> Table:
    """Return the layers, narrow enough for 80 characters; a diagnosis has them all or none."""
    layers = rows.to_dicts()
    columns = diagnosis.known(layers, SHORT)
    shown = tables.table(TITLE, "layer", *(HEADS[name] for name in columns), width=WIDTH)
    for name, *numbers in diagnosis.lines(layers, columns, MOST_ROWS):
        shown.add_row(Text(name), *numbers)
    return shown


def compare(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return for each run its quantities by layer; of many layers some, evenly spread."""
    deepest = max(int(rows["layer"].to_numpy().max()) for rows in runs)
    few = {round(v) for v in np.linspace(1, deepest, tables.MOST_COLUMNS)}
    return [
        comparison(
            rows.filter(pl.col("layer").is_in(few))
            .unpivot(_shown(rows), index="layer")
            .with_columns(pl.col("variable").replace_strict(HEADS, default=None)),
            ("variable",),
            "layer",
            "value",
        )
        for rows in runs
    ]


def _shown(rows: pl.DataFrame) -> list[str]:
    """Return the columns that are compared; theory only where it was asked for."""
    theory = "log10_delta_theory"
    has = theory in rows.columns and rows[theory].null_count() < rows.height
    return [name for name in SHORT if has or name != theory]

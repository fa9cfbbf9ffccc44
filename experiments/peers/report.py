"""The comparison with scikit-learn in words: medians, verdicts, a table."""

from typing import Any

import numpy as np
import polars as pl
from rich.table import Table
from rich.text import Text

from experiments.pages import tables
from experiments.runs.experiment import comparison

OURS, THEIRS = "jaxnn", "scikit-learn"
LIBRARIES = (OURS, THEIRS)
TITLE = "held-out rows, medians over seeds; s: seconds of training"


def medians(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a row a table: data, metric, seeds, the median of each library, ours less theirs."""
    value, library = pl.col("value"), pl.col("library")
    by_table = rows.group_by("data", "metric", maintain_order=True).agg(
        pl.col("seed").n_unique().alias("seeds"),
        *(value.filter(library == name).median().alias(name) for name in LIBRARIES),
    )
    return by_table.with_columns(difference=pl.col(OURS) - pl.col(THEIRS))


def sentence(row: dict[str, Any]) -> str:
    """Return the verdict on one table, a row of `medians`."""
    word = "at least as good" if row["difference"] >= 0 else "lower"
    return (
        f"{row['data']}: {word}, median {row['metric']} {row[OURS]:.4f} of {OURS}, "
        f"{row[THEIRS]:.4f} of {THEIRS} ({row['difference']:+.4f}), "
        f"{row['seeds']} seed{'s' * (row['seeds'] > 1)}"
    )


def table(rows: pl.DataFrame) -> Table:
    """Return a line a table of data, the libraries side by side; it fits into 80 characters."""
    comparisons = tables.table(TITLE, "data, metric", *LIBRARIES, "difference", "s", "s", width=26)
    for row in medians(rows).rows(named=True):
        seconds = [
            np.median(rows.filter(data=row["data"], library=name)["seconds"].to_numpy())
            for name in LIBRARIES
        ]
        comparisons.add_row(
            Text(f"{row['data']}, {row['metric']}"),
            *(f"{row[name]:.4f}" for name in LIBRARIES),
            f"{row['difference']:+.4f}",
            *(f"{value:.2f}" for value in seconds),
        )
    return comparisons


def compare(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return the medians of each run, by library."""
    long = [medians(rows).unpivot(LIBRARIES, index="data", variable_name="at") for rows in runs]
    return [comparison(frame, ("data",), "at", "value") for frame in long]

"""The comparison with scikit-learn in words: medians, paired differences, verdicts, a table."""

from typing import Any

import numpy as np
import polars as pl
from rich.table import Table
from rich.text import Text

from experiments.learning.measures import fixed
from experiments.learning.words import counted
from experiments.pages import tables
from experiments.runs.comparison import comparison
from experiments.runs.missing import NOTHING, Missing

OURS, THEIRS = "jaxnn", "scikit-learn"
LIBRARIES = (OURS, THEIRS)
TITLE = "held-out rows: medians over seeds, mean difference ± standard error; s: of training"
ERRORS = 2  # standard errors that tell two libraries apart


def summary(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a row a table of data: both libraries over the seeds, and how far they differ.

    Columns: data, metric, seeds, those in which both networks have a value; lost OURS and lost
    THEIRS, the networks without one; the median of each library; difference, the mean over seeds of
    ours less theirs, for both train and test on the same rows of a seed; error, its standard error,
    null of one seed.
    """
    values = rows.with_columns(pl.col("value").fill_nan(None))
    paired = values.pivot("library", index=("data", "metric", "seed"), values="value")
    difference = pl.col(OURS) - pl.col(THEIRS)
    return paired.group_by("data", "metric", maintain_order=True).agg(
        difference.count().alias("seeds"),
        *(pl.col(name).null_count().alias(f"lost {name}") for name in LIBRARIES),
        *(pl.col(name).median() for name in LIBRARIES),
        difference.mean().alias("difference"),
        (difference.std() / difference.count().sqrt()).alias("error"),
    )


def is_lower(row: dict[str, Any]) -> bool:
    """Tell whether ours is lower by more than the seeds explain, given a row of `summary`."""
    return bool(row["error"] is not None and row["difference"] < -ERRORS * row["error"])


def sentence(row: dict[str, Any]) -> str:
    """Return the verdict on one table, a row of `summary`."""
    lost = [
        f"{counted(row[f'lost {name}'], 'network')} of {name} left the range of floats"
        for name in LIBRARIES
        if row[f"lost {name}"]
    ]
    if row["seeds"] == 0:
        return f"{row['data']}: no comparison, {' and '.join(lost)}; try a smaller --rate"
    return "; ".join([_compared(row), *lost])


def verdicts(rows: pl.DataFrame, missing: Missing) -> list[str]:
    """Return a sentence a table of data; of one whose seeds are not all measured it says so."""
    seeds, more = seeds_by_data(rows, missing)
    sentences = []
    for row in summary(rows).rows(named=True):
        measured, unmeasured = seeds[row["data"]], more.pop(row["data"], 0)
        planned = counted(measured + unmeasured, "seed")
        of_all = f"; {measured} of {planned} measured" if unmeasured else ""
        sentences.append(f"{sentence(row)}{of_all}")
    return [*sentences, *(f"{data}: not measured" for data in more)]


def seeds_by_data(rows: pl.DataFrame, missing: Missing) -> tuple[dict[str, int], dict[str, int]]:
    """Return the numbers of seeds of each table of data: the measured ones, and the missing."""
    gaps = missing.rows(rows, "data", "seed")
    measured, unmeasured = (
        dict(frame.group_by("data", maintain_order=True).agg(pl.col("seed").n_unique()).iter_rows())
        for frame in (rows, gaps)
    )
    return measured, unmeasured


def _compared(row: dict[str, Any]) -> str:
    """Return the verdict on the seeds in which both networks have a value."""
    medians = (f"{fixed(row[name], 4)} of {name}" for name in LIBRARIES)
    words = f"median {row['metric']} {', '.join(medians)}"
    if row["error"] is None:
        return f"{row['data']}: {words}; one seed does not tell them apart"
    if is_lower(row):
        word = "lower"
    else:
        word = "higher" if row["difference"] > ERRORS * row["error"] else "no difference"
    return (
        f"{row['data']}: {word}, {words}; {difference(row)} over {counted(row['seeds'], 'seed')}, "
        f"{ERRORS} standard errors count"
    )


def difference(row: dict[str, Any]) -> str:
    """Return the difference with its standard error; a dash if there is none."""
    if row["difference"] is None:
        return "–"
    error = "" if row["error"] is None else f" ± {fixed(row['error'], 4)}"
    sign = "-" if row["difference"] < 0 else "+"
    return f"{sign}{fixed(abs(row['difference']), 4)}{error}"


def table(rows: pl.DataFrame, missing: Missing = NOTHING) -> Table:
    """Return a line a table of data, the libraries side by side; it fits into 80 characters."""
    comparisons = tables.table(TITLE, "data, metric", *LIBRARIES, "difference", "s", "s", width=24)
    for row in summary(rows).rows(named=True):
        seconds = [
            np.median(rows.filter(data=row["data"], library=name)["seconds"].to_numpy())
            for name in LIBRARIES
        ]
        comparisons.add_row(
            Text(f"{row['data']}, {row['metric']}"),
            *("–" if row[name] is None else fixed(row[name], 4) for name in LIBRARIES),
            difference(row),
            *(f"{value:.2f}" for value in seconds),
        )
    measured, unmeasured = seeds_by_data(rows, missing)
    for name in unmeasured.keys() - measured.keys():
        comparisons.add_row(Text(name), *5 * (tables.NOT_MEASURED,))
    return comparisons


def compare(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return the medians of each run, by library."""
    return [
        comparison(
            summary(rows).unpivot(LIBRARIES, index="data", variable_name="library"),
            ("data",),
            "library",
            "value",
            rows.filter(pl.col("value").is_not_nan()),
        )
        for rows in runs
    ]

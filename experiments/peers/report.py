"""What is said of the comparison with scikit-learn: medians, verdicts, a table, a chart."""

from typing import Any

import altair as alt
import numpy as np
import polars as pl
from rich import box
from rich.table import Table
from rich.text import Text

from experiments.pages import charts

OURS, THEIRS = "jaxnn", "scikit-learn"
LIBRARIES = (OURS, THEIRS)
TITLE = "held-out rows, medians over seeds; s: seconds of training, in the same order"
WIDTH, STEP = 360, 26


def medians(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a table: data, metric, seeds, the median of each library, ours less theirs."""
    of = [
        pl.col("value").filter(pl.col("library") == name).median().alias(name) for name in LIBRARIES
    ]
    found = rows.group_by("data", "metric", maintain_order=True).agg(
        pl.col("seed").n_unique().alias("seeds"), *of
    )
    return found.with_columns(difference=pl.col(OURS) - pl.col(THEIRS))


def sentence(row: dict[str, Any]) -> str:
    """The verdict on one table, a row of `medians`."""
    word = "at least as good" if row["difference"] >= 0 else "lower"
    return (
        f"{row['data']}: {word}, median {row['metric']} {row[OURS]:.4f} of {OURS}, "
        f"{row[THEIRS]:.4f} of {THEIRS} ({row['difference']:+.4f}), {row['seeds']} seeds"
    )


def table(rows: pl.DataFrame) -> Table:
    """A line a table of data, the libraries side by side; it fits into 80 characters."""
    shown = Table(title=TITLE, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    shown.add_column("data, metric", no_wrap=True, overflow="ellipsis", max_width=26)
    for name in (*LIBRARIES, "difference", "s", "s"):
        shown.add_column(name, justify="right", no_wrap=True)
    for row in medians(rows).rows(named=True):
        of_data = rows.filter(pl.col("data") == row["data"])
        seconds = [
            np.median(of_data.filter(pl.col("library") == name)["seconds"].to_numpy())
            for name in LIBRARIES
        ]
        values = (f"{row[OURS]:.4f}", f"{row[THEIRS]:.4f}", f"{row['difference']:+.4f}")
        cells = (*values, *(f"{value:.2f}" for value in seconds))
        shown.add_row(Text(f"{row['data']}, {row['metric']}"), *cells)
    return shown


def draw(rows: pl.DataFrame, what: str) -> charts.Chart:
    """A panel a table of data: every seed a point, medians as strokes."""
    scale = alt.Scale(domain=list(LIBRARIES), range=["#1b7fb0", "#d95f02"])
    colour = alt.Color("library:N", scale=scale, legend=None)
    panels = []
    for of_data in rows.partition_by("data", maintain_order=True):
        name, metric = of_data["data"][0], of_data["metric"][0]
        tips = ["library", "seed", alt.Tooltip("value", title=metric, format=".4f")]
        y = alt.Y("library:N", title=None, sort=list(LIBRARIES))
        x = alt.X("value:Q", title=metric, scale=alt.Scale(zero=False, padding=8))
        base = alt.Chart(of_data).encode(x, y, colour)
        points = base.mark_circle(size=52, opacity=0.55).encode(tooltip=tips)
        median = base.mark_tick(thickness=3, size=22).encode(alt.X("median(value):Q", title=metric))
        layers = alt.layer(points, median)
        panels.append(layers.properties(width=WIDTH, height=alt.Step(STEP), title=name))
    lines = [what, "Points: seeds. Strokes: medians."]
    title = alt.Title(
        "Held-out rows, the same networks in two libraries", subtitle=lines, offset=12
    )
    return charts.styled(alt.concat(*panels, columns=2, title=title, spacing=24))

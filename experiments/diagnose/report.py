"""A diagnosis in words: the sentences of its verdict, and a table of its layers."""

import math
from typing import Any

import numpy as np
import polars as pl
from rich.table import Table
from rich.text import Text

import jaxnn
from experiments.diagnose.columns import COLUMNS
from experiments.diagnose.network import Flow
from experiments.pages import tables
from experiments.runs.experiment import comparison

TITLE = "Layer by layer"
WIDTH = 34  # most characters of a layer's name in a terminal
MOST_ROWS = 12  # in a terminal; those in the middle are left out
SHORT = ("log10_delta_rms", "gain", "log10_theta", "log10_spread")
HEADS = {
    "log10_delta_rms": "log₁₀ ‖Δ‖",
    "gain": "factor",
    "log10_theta": "log₁₀ ‖Δθ‖",
    "log10_mean_square": "log₁₀ state²",
    "log10_spread": "log₁₀ spread",
    "log10_spread_within": "within",
    "cosine": "cosine",
    "rank": "rank",
    "saturated": "saturated",
    "dead": "dead",
}


def rows_of(flow: Flow) -> pl.DataFrame:
    """Return `flow.table()` with all `COLUMNS`."""
    return pl.DataFrame(flow.table(), {name: column.dtype for name, column in COLUMNS.items()})


def sentences(flow: Flow, note: str = "") -> list[str]:
    """Return the verdict, one finding after the other; a note comes first."""
    verdict = jaxnn.verdict(flow)
    remedies = verdict.remedies if isinstance(verdict, jaxnn.Verdict) else ()
    return [*([note] if note else []), *verdict.sentences, *map(str, remedies)]


def text(column: str, value: float | None) -> str:
    """Return a number of a column as a reader sees it: of a size also that it is none."""
    if value is None or (math.isnan(value) and not column.startswith("log10_delta")):
        return "–"
    if math.isnan(value):
        return "no number"
    if math.isinf(value):
        return "infinite" if value > 0 else "zero"
    return f"{value:.3f}" if column.startswith(("log10", "gain")) else f"{value:.4g}"


def lines(rows: pl.DataFrame, columns: tuple[str, ...], most: int) -> list[tuple[str, ...]]:
    """Return the name and the numbers of each layer; of many the first ones and the last."""
    found = [
        (row["name"], *(text(column, row[column]) for column in columns))
        for row in rows.rows(named=True)
    ]
    if len(found) <= most + 1:  # a gap takes a line too
        return found
    gap = (f"… {len(found) - 2 * (most // 2)} more", *("…" for _ in columns))
    return [*found[: most // 2], gap, *found[-(most // 2) :]]


def known(rows: pl.DataFrame, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns that this kind of network has; that there is no Δ is worth a column."""
    return tuple(
        c
        for c in columns
        if c == "log10_delta_rms" or not (rows[c].is_null() | rows[c].is_nan()).all()
    )


def table(rows: pl.DataFrame) -> Table:
    """Return the layers, narrow enough for 80 characters."""
    columns = known(rows, SHORT)
    shown = tables.table(TITLE, "layer", *(HEADS[name] for name in columns), width=WIDTH)
    for name, *numbers in lines(rows, columns, MOST_ROWS):
        shown.add_row(Text(name), *numbers)
    return shown


def compare(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return for each run its quantities by layer; of many layers some, evenly spread."""
    deepest = max(int(rows["layer"].to_numpy().max()) for rows in runs)
    few = {round(v) for v in np.linspace(1, deepest, tables.MOST_COLUMNS)}
    return [
        comparison(
            rows.filter(pl.col("layer").is_in(few))
            .unpivot(list(SHORT), index="layer")
            .with_columns(pl.col("variable").replace_strict(HEADS, default=None)),
            ("variable",),
            "layer",
            "value",
        )
        for rows in runs
    ]


def formats(flow: Flow) -> list[tuple[str, str, str]]:
    """Return for each number format from which layer down it loses Δ, and up it loses examples."""
    verdict = jaxnn.verdict(flow)
    names = [row["name"] for row in flow.table()]
    apart: dict[str, Any] = getattr(verdict, "indistinguishable", {})
    return [
        (
            name,
            "nowhere" if lost is None else f"from {names[lost - 1]} down",
            "–" if name not in apart else _up(names, apart[name]),
        )
        for name, lost in verdict.lost.items()
    ]


def _up(names: list[str], layer: int | None) -> str:
    return "nowhere" if layer is None else f"from {names[layer - 1]} up"

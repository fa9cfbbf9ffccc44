"""The map of trainability in words: its columns, a row a network, the ridge, and a table."""

import math

import polars as pl
from rich.table import Table

from experiments.pages import tables
from experiments.runs.comparison import comparison
from experiments.runs.missing import NOTHING, Missing
from experiments.runs.schema import COUNT, REAL, Column

COLUMNS = {
    "depth": Column(COUNT, "hidden layers", "of the network"),
    "sigma_w_squared": Column(REAL, "1", "σ_w², the variance of the weights times fan_in"),
    "seed": Column(COUNT, "1", "draws weights and batches"),
    "accuracy": Column(REAL, "of examples", "fraction that is told right, of all the data"),
    "loss": Column(REAL, "nats", "mean over all the data"),
}
TRAINED = 0.5  # of the way from chance to a perfect accuracy
TITLE = "training accuracy in per cent, hidden layers against σ_w²"
POINT = ("sigma_w_squared", "depth")
MOST_COLUMNS = 14  # of per cent


def map_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Return accuracy and loss of each point of the map, means over seeds."""
    means = pl.col("accuracy", "loss").mean()
    return rows.group_by(POINT, maintain_order=True).agg(means)


def gaps(rows: pl.DataFrame, missing: Missing) -> pl.DataFrame:
    """Return the points of the map of which no seed was measured."""
    return missing.rows(rows, *POINT).join(rows, on=POINT, how="anti")


def trained_depths(rows: pl.DataFrame, chance: float) -> pl.DataFrame:
    """Return for each σ_w² the largest depth up to which every network trains; 0 if none does."""
    enough = pl.col("accuracy").mean() >= chance + TRAINED * (1 - chance)
    points = rows.group_by(POINT).agg(enough.alias("trained"))
    return (
        points.sort("depth")
        .with_columns(pl.col("trained").cum_min().over("sigma_w_squared"))
        .group_by("sigma_w_squared")
        .agg((pl.col("depth") * pl.col("trained")).max().alias("depth"))
        .sort("sigma_w_squared")
    )


def ridge(rows: pl.DataFrame, chance: float, missing: Missing = NOTHING) -> str:
    """Say where the deepest networks train.

    "Up to" a depth takes every one below it: of a stopped run, what lies above a depth that was not
    measured does not count, and a ridge that ends there may go on.
    """
    unmeasured = gaps(rows, missing)["depth"].unique().sort().to_list()
    first = unmeasured[0] if unmeasured else math.inf
    below = rows.filter(pl.col("depth") < first)
    if below.is_empty():
        return f"up to which depth it trains is not known, for depth {first} is not measured"
    deepest = trained_depths(below, chance)
    top = int(deepest["depth"].to_numpy().max())
    if not top:
        return "trains nowhere"
    squares = deepest.filter(pl.col("depth") == top)["sigma_w_squared"].to_list()
    at = ", ".join(f"{v:g}" for v in squares)
    ends = top < int(below["depth"].to_numpy().max()) or not unmeasured
    if ends:
        return f"trains up to depth {top} at σ_w² = {at}"
    return f"trains at least up to depth {top} at σ_w² = {at}, for depth {first} is not measured"


def sentence(name: str, sigma_b_squared: float, trains: str, theory: str = "") -> str:
    """Return the verdict: the `ridge`, and what theory says."""
    said = f"; {theory}" if theory else ""
    return f"{name}, σ_b² = {sigma_b_squared:g}: {trains}{said}"


def critical(value: float | None) -> str:
    """Return the critical σ_w² in words."""
    return f"critical σ_w² by theory {value:.3g}" if value else "no critical σ_w by theory"


def table(rows: pl.DataFrame, missing: Missing = NOTHING) -> Table:
    """Return the training accuracy in per cent, depth against σ_w²."""
    squares = tables.fitting(rows["sigma_w_squared"].unique().sort().to_list(), MOST_COLUMNS)
    printed = tables.table(TITLE, "layers", *(f"{v:g}" for v in squares))
    texts = {(d, s): tables.NOT_MEASURED for s, d in gaps(rows, missing).iter_rows()}
    texts |= {(d, s): f"{100 * a:.0f}" for s, d, a, _ in map_of(rows).iter_rows()}
    for depth in sorted({depth for depth, _ in texts}, reverse=True):
        printed.add_row(str(depth), *(texts.get((depth, v), "") for v in squares))
    return printed


def compare(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return the accuracies of each run, by depth and σ_w²."""
    of = (("depth",), "sigma_w_squared", "accuracy")
    return [comparison(map_of(rows), *of, rows, average="mean") for rows in runs]

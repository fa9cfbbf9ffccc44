"""The map of trainability in words: the ridge, measured and predicted, and a table."""

import polars as pl
from rich.table import Table

from experiments.pages import tables
from experiments.runs.experiment import comparison

TRAINED = 0.5  # of the way from chance to a perfect accuracy
TITLE = "training accuracy in per cent, hidden layers against σ_w²"
POINT = ("sigma_w_squared", "depth")
MOST_COLUMNS = 14  # of per cent


def map_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Return accuracy and loss of each point of the map, means over seeds."""
    means = pl.col("accuracy", "loss").mean()
    return rows.group_by(POINT, maintain_order=True).agg(means)


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


def ridge(rows: pl.DataFrame, chance: float) -> str:
    """Say where the deepest networks train."""
    deepest = trained_depths(rows, chance)
    top = int(deepest["depth"].to_numpy().max())
    squares = deepest.filter(pl.col("depth") == top)["sigma_w_squared"].to_list()
    return (
        f"up to depth {top} at σ_w² = {', '.join(f'{v:g}' for v in squares)}" if top else "nowhere"
    )


def sentence(name: str, sigma_b_squared: float, trains: str, theory: str = "") -> str:
    """Return the verdict: the `ridge`, and what theory says."""
    said = f"; {theory}" if theory else ""
    return f"{name}, σ_b² = {sigma_b_squared:g}: trains {trains}{said}"


def critical(value: float | None) -> str:
    """Return the critical σ_w² in words."""
    return f"critical σ_w² by theory {value:.3g}" if value else "no critical σ_w by theory"


def table(rows: pl.DataFrame) -> Table:
    """Return the training accuracy in per cent, depth against σ_w²."""
    squares = tables.fitting(rows["sigma_w_squared"].unique().sort().to_list(), MOST_COLUMNS)
    printed = tables.table(TITLE, "layers", *(f"{v:g}" for v in squares))
    accuracy = {(d, s): a for s, d, a, _ in map_of(rows).iter_rows()}
    for depth in rows["depth"].unique().sort(descending=True):
        cells = (accuracy.get((depth, v)) for v in squares)
        printed.add_row(str(depth), *("" if a is None else f"{100 * a:.0f}" for a in cells))
    return printed


def compare(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return the accuracies of each run, by depth and σ_w²."""
    return [comparison(map_of(rows), ("depth",), "sigma_w_squared", "accuracy") for rows in runs]

"""The search for a step size: each network is trained with some, and counts with its best one.

`trainings of a network, one for each step size -> mean over seeds of what each reaches -> the best`
"""

import math

import numpy as np
import polars as pl

from experiments.remedies.columns import ACCURACY, LOSS
from experiments.runs import grid
from experiments.runs.missing import Missing

NETWORK = ["remedy", "depth"]  # the columns that name one


def check(texts: tuple[str, ...]) -> tuple[float, ...]:
    """Return step sizes."""
    rates = grid.numbers("rates", texts)
    for rate in rates:
        if not 0 < rate < np.inf:
            raise ValueError(f"rates: expected finite numbers > 0, got {rate:g}")
    return rates


def ends(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the last loss and accuracy of each training."""
    trained = rows.filter(pl.col("step").is_not_null())
    return trained.filter(pl.col("step") == pl.col("step").max())


def aim(rows: pl.DataFrame) -> str:
    """Return what step sizes are chosen by: accuracy, or loss where there is none."""
    return ACCURACY if ACCURACY in rows["quantity"].to_list() else LOSS


def best(rows: pl.DataFrame) -> pl.DataFrame:
    """Return remedy, depth and the step size that reaches most, on the mean over seeds.

    A training without a finite number at its end is worse than any other; of equal step sizes the
    smallest is taken.
    """
    what = aim(rows)
    sign = 1 if what == ACCURACY else -1
    value = pl.when(pl.col("value").is_finite()).then(sign * pl.col("value")).otherwise(-math.inf)
    means = (
        ends(rows)
        .filter(pl.col("quantity") == what)
        .group_by(*NETWORK, "rate")
        .agg(value.mean().alias("value"))
        .sort("value", "rate", descending=[True, False])
    )
    return means.unique(NETWORK, keep="first", maintain_order=True).select(*NETWORK, "rate")


def at_best(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of the trainings with the best step size of each network."""
    trained = rows.filter(pl.col("step").is_not_null())
    return trained.join(best(rows), on=[*NETWORK, "rate"], how="semi")


def searched(rows: pl.DataFrame, missing: Missing) -> pl.DataFrame:
    """Return the flows, and of the trainings those with the best step size, if all were tried."""
    flows = rows.filter(pl.col("quantity") != ACCURACY)
    left = missing.rows(rows, *NETWORK, "quantity").filter(pl.col("quantity") == ACCURACY)
    return pl.concat([flows, at_best(rows).join(left, on=NETWORK, how="anti")])

"""Numbers of two runs and their differences, with standard errors where numbers are of seeds.

A number that is a mean or a median over seeds m[s] comes with those. If both runs have the same
seeds, the difference is the mean or median of m₂[s] - m₁[s], else that of the two numbers. Its
standard error is that of the mean, s / √n, s² the variance over seeds, and of both runs together
√(s₁²/n₁ + s₂²/n₂); that of a median is √(π/2) of it, as for many normal numbers.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

Average = Literal["mean", "median"]
CLEAR = 2  # standard errors: a difference beyond them is marked
FACTORS = {"mean": 1.0, "median": math.sqrt(math.pi / 2)}


class Number(NamedTuple):
    """A number of a run; seeds are those that it is the average of, none if it is no average."""

    value: float | None
    seeds: Mapping[int, float]
    average: Average | None = None


class Difference(NamedTuple):
    """A difference of two numbers; None if one of them is missing or not finite."""

    value: float | None
    error: float | None = None  # the standard error, if there is one
    paired: bool = False  # it is an average of differences seed by seed

    @property
    def is_clear(self) -> bool:
        """Tell whether it is beyond `CLEAR` standard errors."""
        known = self.value is not None and self.error is not None
        return known and abs(self.value or 0) > CLEAR * (self.error or 0)


def comparison(
    rows: pl.DataFrame,
    names: tuple[str, ...],
    at: str,
    value: str,
    by_seed: pl.DataFrame | None = None,
    average: Average = "median",
) -> pl.DataFrame:
    """Return the numbers of a run that are compared with another's.

    Args:
        rows: one a number.
        names: columns that together name a line.
        at: the column whose values become columns.
        value: the column of the numbers.
        by_seed: if numbers are averages over seeds, rows with a `seed` and else these columns;
            several of a seed stand for their mean.
        average: what the numbers are of `by_seed`.
    """

    def named(rows: pl.DataFrame, *more: str) -> pl.DataFrame:
        name = pl.concat_str([pl.col(n).cast(pl.String) for n in names], separator=", ")
        return rows.select(*more, name=name, at=at, value=value)

    numbers = named(rows)
    if by_seed is None:
        return numbers
    seeds = (
        named(by_seed, "seed")
        .group_by("name", "at", "seed", maintain_order=True)
        .agg(pl.col("value").mean())
        .group_by("name", "at", maintain_order=True)
        .agg(pl.col("seed").alias("seeds"), pl.col("value").alias("by_seed"))
        .with_columns(average=pl.lit(average))
    )
    return numbers.join(seeds, on=["name", "at"], how="left", maintain_order="left")


def numbers(frame: pl.DataFrame) -> dict[tuple[str, Any], Number]:
    """Return the numbers of a `comparison` by name and place."""
    return {
        (row["name"], row["at"]): Number(
            row["value"],
            dict(zip(row.get("seeds") or (), row.get("by_seed") or (), strict=True)),
            row.get("average"),
        )
        for row in frame.iter_rows(named=True)
    }


def difference(one: Number, other: Number) -> Difference:
    """Return the second number less the first."""
    if one.value is None or other.value is None:
        return Difference(None)
    if not math.isfinite(one.value - other.value):
        return Difference(None)
    plain = other.value - one.value
    seeds = [np.array([*number.seeds.values()], float) for number in (one, other)]
    if one.average is None or not all(len(s) > 1 and np.isfinite(s).all() for s in seeds):
        return Difference(plain)
    factor = FACTORS[one.average]
    if one.seeds.keys() == other.seeds.keys():
        apart = np.array([other.seeds[seed] - one.seeds[seed] for seed in one.seeds])
        middle = np.mean(apart) if one.average == "mean" else np.median(apart)
        return Difference(float(middle), factor * _error(apart), True)
    return Difference(plain, factor * math.hypot(*map(_error, seeds)))


def _error(values: np.ndarray) -> float:
    """The standard error of a mean."""
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))


def in_words(differences: list[Difference], average: Average | None) -> list[str]:
    """Return how the errors of differences are to be read; nothing if there are none."""
    kinds = {d.paired for d in differences if d.error is not None}
    words = {
        True: f"± standard error of 2 - 1, the {average} of the differences seed by seed",
        False: "± standard error of 2 - 1, over the seeds of both runs",
    }
    said = [words[kind] for kind in (True, False) if kind in kinds]
    return [f"{line}; * beyond {CLEAR} of them." for line in said]

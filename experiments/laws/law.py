"""A law: what it predicts, what is measured of it, and when the two agree.

`setup -> predict -> Prediction;  setup, key -> measure -> Measurement;  both -> compare -> rows`

A prediction never sees the measurement, nor the measurement the prediction. They agree where

    |measured - predicted| <= tolerance = allowed + errors · (standard error of the measured)

and of a bound (≥, ≤) only the one side counts. `allowed` is what theory says of a finite width, a
finite step or rounding; nothing in it is fitted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import jax
import numpy as np
import polars as pl
from numpy.typing import ArrayLike

S = TypeVar("S")  # the set-up of a law: a NamedTuple of widths, layers, seeds, …
Relation = Literal["=", "≥", "≤"]
ERRORS = 4.0  # standard errors: in the noise of 100 comparisons, one is outside once in 160 runs

ROWS = {
    "law": pl.String,
    "case": pl.String,
    "source": pl.String,
    "relation": pl.String,
    "predicted": pl.Float64,
    "measured": pl.Float64,
    "standard_error": pl.Float64,
    "tolerance": pl.Float64,
    "reason": pl.String,
    "holds": pl.Boolean,
}
POINT = {"panel": pl.String, "series": pl.String, "x": pl.Float64}
CURVES = {**POINT, "predicted": pl.Float64}
POINTS = {**POINT, "measured": pl.Float64, "error": pl.Float64}


class Expected(NamedTuple):
    """One number of a law: what it is, and how far from it a measurement may be.

    case: what is compared; the measurement gives it the same name.
    allowed: the part of the tolerance that is known beforehand.
    reason: where the tolerance comes from, for the table.
    errors: how many standard errors of the measurement the tolerance holds beside.
    relation: whether the value is itself predicted (=), or a lower (≥) or upper bound (≤).
    """

    case: str
    value: float
    allowed: float
    reason: str
    errors: float = ERRORS
    relation: Relation = "="


class Found(NamedTuple):
    """One measured number; the standard error is None where nothing was repeated."""

    value: float
    error: float | None = None


class Prediction(NamedTuple):
    """What a law says: numbers to compare, and curves for the chart, with columns `CURVES`."""

    expected: tuple[Expected, ...]
    curves: pl.DataFrame


class Measurement(NamedTuple):
    """What was measured: the numbers by case, and points for the chart, with columns `POINTS`."""

    found: dict[str, Found]
    points: pl.DataFrame


@dataclass(frozen=True)
class Panel:
    """A panel of a law's chart."""

    title: str
    x: str
    y: str
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Law(Generic[S]):
    """A published law with the pair of functions that test it."""

    number: int
    name: str
    source: str
    statement: str
    predict: Callable[[S], Prediction]
    measure: Callable[[S, jax.Array], Measurement]
    full: S
    quick: S
    panels: tuple[Panel, ...]

    @property
    def key(self) -> str:
        """Its name among the cells of a run."""
        return self.name

    @property
    def shown(self) -> str:
        """For the view."""
        return f"{self.number} {self.name}".ljust(24)

    def setup(self, quick: bool) -> S:
        """The set-up of the full run or of the quick one."""
        return self.quick if quick else self.full


class Outcome(NamedTuple):
    """A law as it came out.

    rows: one a comparison, with the columns of `ROWS`.
    points: law, panel, series, x, measured, error (standard), predicted; of points on a curve
        alone, measured is null.
    """

    law: Law[Any]
    rows: pl.DataFrame
    points: pl.DataFrame

    @property
    def holds(self) -> bool:
        """Whether every comparison does."""
        return bool(self.rows["holds"].all())


def examine(law: Law[Any], quick: bool, seed: int) -> Outcome:
    """Predicts in float64, measures in the user's float, compares."""
    setup = law.setup(quick)
    with jax.enable_x64(True):
        prediction = law.predict(setup)
    key = jax.random.fold_in(jax.random.key(seed), law.number)
    measurement = law.measure(setup, key)
    return Outcome(
        law, compare(law, prediction, measurement), _points(law, prediction, measurement)
    )


def compare(law: Law[Any], prediction: Prediction, measurement: Measurement) -> pl.DataFrame:
    """One row a comparison, with the columns of `ROWS`."""
    rows = []
    for e in prediction.expected:
        found = measurement.found[e.case]
        tolerance = e.allowed + e.errors * (found.error or 0.0)
        excess = found.value - e.value
        low = e.relation == "≤" or excess >= -tolerance  # a measured nan is on neither side
        high = e.relation == "≥" or excess <= tolerance
        holds = bool(low and high and np.isfinite(found.value))
        numbers = (e.value, found.value, found.error, tolerance)
        rows.append((law.name, e.case, law.source, e.relation, *numbers, e.reason, holds))
    return pl.DataFrame(rows, ROWS, orient="row")


def _points(law: Law[Any], prediction: Prediction, measurement: Measurement) -> pl.DataFrame:
    order = pl.concat([prediction.curves["series"], measurement.points["series"]])
    series = pl.Enum(order.unique(maintain_order=True))  # sorted as they are named, curves first
    both = measurement.points.join(prediction.curves, on=list(POINT), how="full", coalesce=True)
    both = both.sort("panel", pl.col("series").cast(series), "x", maintain_order=True)
    return both.select(pl.lit(law.name).alias("law"), *POINT, "measured", "error", "predicted")


def found(samples: ArrayLike) -> Found:
    """The mean of repetitions and its standard error."""
    values = np.asarray(samples, np.float64).ravel()
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return Found(float(np.mean(values)), error)


def curve(panel: Panel, series: str, x: ArrayLike, predicted: ArrayLike) -> pl.DataFrame:
    """A predicted curve of a panel."""
    x, y = (
        np.atleast_1d(np.asarray(x, np.float64)),
        np.atleast_1d(np.asarray(predicted, np.float64)),
    )
    labels = {"panel": [panel.title] * len(x), "series": [series] * len(x)}
    return pl.DataFrame({**labels, "x": x, "predicted": y}, CURVES)


def points(panel: Panel, series: str, x: ArrayLike, samples: ArrayLike) -> pl.DataFrame:
    """Measured points of a panel; samples are (repetitions, points)."""
    values = np.asarray(samples, np.float64)
    places = np.atleast_1d(np.asarray(x, np.float64))
    return together(
        [point(panel, series, float(at), found(values[:, j])) for j, at in enumerate(places)]
    )


def point(panel: Panel, series: str, x: float, of: Found) -> pl.DataFrame:
    """One measured point of a panel."""
    return pl.DataFrame([(panel.title, series, x, *of)], POINTS, orient="row")


def together(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The curves, or the points, of several series."""
    return pl.concat(frames)

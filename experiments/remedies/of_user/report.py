"""A network of the user's own in words: what each change does to its gradient and its training."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from rich.table import Table

from experiments.pages import tables
from experiments.remedies import rates
from experiments.remedies.columns import ACCURACY, BEFORE, DELTA, LOSS
from experiments.runs.comparison import comparison
from experiments.runs.missing import NOTHING, Missing
from jaxnn.texts import counted

TITLE = "log₁₀ ‖Δ[1]‖/‖Δ[L]‖, and what training reaches with the best step size"


@dataclass(frozen=True)
class Average:
    """The mean over seeds of what a training reaches, and its standard error; nan of one seed."""

    mean: float
    error: float

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return "no number"
        error = "" if math.isnan(self.error) else f" ± {self.error:.2g}"
        return f"{self.mean:.3g}{error}"


@dataclass(frozen=True)
class Case:
    """A change in numbers.

    layers: of the network.
    decades: log₁₀ ‖Δ[1]‖ / ‖Δ[L]‖, the median over seeds; nan if not measured.
    rate: the best step size; None if it was not trained.
    reached: loss and, of classes, accuracy with it.
    missing: whether some of its cells were not measured.
    """

    name: str
    layers: int
    decades: float
    rate: float | None
    reached: Mapping[str, Average]
    missing: bool


def is_own(rows: pl.DataFrame) -> bool:
    """Tell whether rows are of a network of the user's own."""
    return not rows.filter(pl.col("quantity").is_in([DELTA, LOSS])).is_empty()


def shapes(rows: pl.DataFrame) -> pl.DataFrame:
    """Return for each change and layer log₁₀ ‖Δ[l]‖ / ‖Δ[L]‖, the median over seeds."""
    value = pl.col("value") - pl.col("value").sort_by("layer").last().over("remedy", "seed")
    flows = rows.filter(pl.col("quantity") == DELTA).with_columns(value.alias("value"))
    of_layers = flows.group_by("remedy", "depth", "layer", maintain_order=True)
    return of_layers.agg(pl.col("value").median())


def cases(rows: pl.DataFrame, missing: Missing = NOTHING) -> list[Case]:
    """Return the changes of a run in numbers, the network as it is first."""
    unmeasured = set(missing.rows(rows, "remedy")["remedy"])
    names = list(dict.fromkeys([*rows["remedy"], *sorted(unmeasured)]))
    flows, last = shapes(rows), rates.ends(rates.at_best(rows))
    found = []
    for name in sorted(names, key=lambda name: name != BEFORE):
        flow = flows.filter(pl.col("remedy") == name, pl.col("layer") == 1)
        own, reached = last.filter(pl.col("remedy") == name), {}
        for quantity in (LOSS, ACCURACY):
            of = own.filter(pl.col("quantity") == quantity)["value"]
            if of.len():
                values = of.to_numpy()
                spread = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
                error = spread / math.sqrt(len(values))
                reached[quantity] = Average(float(np.mean(values)), error)
        found.append(
            Case(
                name,
                int(flow["depth"][0]) if flow.height else 0,
                float(flow["value"][0]) if flow.height else math.nan,
                float(own["rate"][0]) if own.height else None,
                reached,
                name in unmeasured,
            )
        )
    return found


def sentences(found: list[Case], advice: Mapping[str, str]) -> list[str]:
    """Return what each change does, with the advice that makes it, and which trains best."""
    said = []
    for case in found:
        parts = []
        if case.layers:
            parts.append(
                f"the gradient changes by {_decades(case.decades)} over "
                f"{counted(case.layers, 'layer')}"
            )
        if case.rate is not None:
            of = ", ".join(
                f"{what} {case.reached[what]}" for what in (ACCURACY, LOSS) if what in case.reached
            )
            parts.append(f"training reaches {of} with step size {case.rate:g}")
        if case.missing:
            parts.append("not all of it is measured")
        how = advice.get(case.name, "")
        said.append(f"{case.name}: {'; '.join(parts)}.{' ' if how else ''}{how}")
    return said + summary(found)


def summary(found: list[Case]) -> list[str]:
    """Return one sentence on the change that trains best against the network as it is."""
    what = ACCURACY if any(ACCURACY in case.reached for case in found) else LOSS
    there = {case.name: case.reached[what] for case in found if what in case.reached}
    if BEFORE not in there or len(there) == 1:
        return []
    before = there.pop(BEFORE)
    sign = 1 if what == ACCURACY else -1
    best = max(
        there,
        key=lambda name: sign * there[name].mean if math.isfinite(there[name].mean) else -math.inf,
    )
    return [f"After training, {what} {there[best]} cured by {best}, {before} as it is."]


def _decades(value: float) -> str:
    if math.isnan(value):
        return "no number"
    if math.isinf(value):
        return "more than any number" if value > 0 else "all that there is: it is zero"
    return f"{value:+.1f} decades"


def table(rows: pl.DataFrame, missing: Missing = NOTHING) -> Table:
    """Return a line a change; it fits into 80 characters."""
    heads = ("change", "decades", "step size", "loss", "accuracy")
    shown = tables.table(TITLE, *heads, width=20)
    for line in lines(cases(rows, missing)):
        shown.add_row(*line)
    return shown


def lines(found: list[Case]) -> list[tuple[str, ...]]:
    """Return the cells of the table."""
    made = []
    for case in found:
        sign = tables.NOT_MEASURED if case.missing else "–"
        reached = (str(case.reached[q]) if q in case.reached else sign for q in (LOSS, ACCURACY))
        decades = sign if math.isnan(case.decades) else f"{case.decades:+.1f}"
        rate = sign if case.rate is None else f"{case.rate:g}"
        made.append((case.name, decades, rate, *reached))
    return made


def compare(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return for each run what its changes reach with their best step sizes."""
    made = []
    for rows in runs:
        last = rates.ends(rates.at_best(rows))
        of = ("remedy", "quantity", "step")
        means = last.group_by(*of, maintain_order=True).agg(pl.col("value").mean())
        made.append(comparison(means, of[:2], "step", "value", last, "mean"))
    return made

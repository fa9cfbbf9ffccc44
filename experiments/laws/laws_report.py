"""The laws in words: a table of comparisons, a verdict on each law, and the closing sentence."""

import math
from collections.abc import Sequence

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.laws.law import Outcome
from experiments.pages import tables
from experiments.runs.missing import NOTHING, Missing
from jaxnn.texts import percent

MOST = 8  # comparisons of a law in the table; those that do not hold are all there
HEAD = ("predicted", "measured", "± error", "tolerance", "holds")


def table(outcomes: Sequence[Outcome], unmeasured: Sequence[str] = ()) -> Group:
    """Return a table a law, in which comparisons that use most of their tolerance come first."""
    parts: list[RenderableType] = []
    for outcome in outcomes:
        parts.append(_comparisons(outcome))
        reasons = outcome.rows["reason"].unique(maintain_order=True)
        parts += [Text(f" tolerance: {reason}", style="dim") for reason in reasons]
        parts.append(Text(f" {together(outcome)}"))
        if seen := powers(outcome):
            parts.append(Text(f" sees an error of {seen}"))
        parts.append(Text())
    return Group(*parts, *(Text(f"{name}: not measured") for name in unmeasured))


def _comparisons(outcome: Outcome) -> Table:
    law, rows = outcome
    verdict = "holds" if outcome.holds else "does not hold"
    comparisons = tables.table(f"{law.number} {law.name}, {law.source}: {verdict}", "", *HEAD)
    comparisons.columns[0].no_wrap = False  # names wrap before numbers are cut
    broken = int((~rows["holds"]).sum())
    for row in nearest(rows).head(max(MOST, broken)).rows(named=True):
        comparisons.add_row(
            Text(row["case"]),
            f"{_sign(row['relation'])}{number(row['predicted'])}",
            number(row["measured"]),
            number(row["standard_error"], 2),
            number(row["tolerance"], 2),
            Text("yes", style="green") if row["holds"] else Text("NO", style="bold red"),
        )
    more = rows.height - max(MOST, broken)
    if more > 0:
        comparisons.add_row(Text(f"and {more} more, further from their tolerance", style="dim"))
    return comparisons


def together(outcome: Outcome) -> str:
    """Say what the joint test of the comparisons comes to."""
    chi_square, freedom, chance = outcome.together
    if math.isnan(chance):
        return "together: no standard errors, so no χ²"
    return f"together: χ² {chi_square:.3g}, {freedom:.3g} degrees of freedom, chance {chance:.2g}"


def powers(outcome: Outcome) -> str:
    """Return the smallest error of each factor that the run sees, in words."""
    factors = (
        outcome.rows.filter(pl.col("factor") != "")
        .select("factor", "power")
        .unique(maintain_order=True)
    )
    return "; ".join(f"{size(power)} of {factor}" for factor, power in factors.rows())


def size(power: float | None) -> str:
    """Return the size of an error in per cent; `any` size is what a law that does not hold has."""
    return "any size" if power is None else percent(power)


def nearest(rows: pl.DataFrame) -> pl.DataFrame:
    """Sort comparisons: first those that do not hold, then by the part of the tolerance used."""
    return rows.with_columns(used=used()).sort(
        "holds", "used", descending=[False, True], maintain_order=True
    )


def used() -> pl.Expr:
    """Return the part of its tolerance that a comparison uses; 0 on the right side of a bound."""
    excess = pl.col("measured") - pl.col("predicted")
    beyond = (
        pl.when(pl.col("relation") == "≥")
        .then((-excess).clip(0))
        .when(pl.col("relation") == "≤")
        .then(excess.clip(0))
        .otherwise(excess.abs())
    )
    return pl.when(beyond == 0).then(0.0).otherwise(beyond / pl.col("tolerance"))


def sentence(outcome: Outcome) -> str:
    """Return the verdict on one law."""
    law, rows = outcome.law, nearest(outcome.rows)
    name = f"{law.number} {law.name}"
    if outcome.holds:
        return f"{name} holds: {rows.height} of {rows.height} comparisons"
    if rows["holds"].all():
        of = f"{rows.height} of {rows.height} comparisons"
        return f"{name} does not hold: {of}, but {together(outcome)}"
    row = rows.row(0, named=True)
    return (
        f"{name} does not hold: {int(rows['holds'].sum())} of {rows.height} comparisons; "
        f"{row['case']}: {number(row['measured'])} measured, "
        f"{_sign(row['relation'])}{number(row['predicted'])} ± {number(row['tolerance'], 2)} "
        "predicted"
    )


def closing(outcomes: Sequence[Outcome], missing: Missing = NOTHING) -> str:
    """Say how many laws hold, and which do not, and how many were not measured."""
    broken = [outcome for outcome in outcomes if not outcome.holds]
    verb = "holds" if len(outcomes) == 1 else "hold"
    noun = "law" if len(outcomes) == 1 else "laws"
    measured = "measured " if missing else ""
    count = f"{len(outcomes) - len(broken)} of {len(outcomes)} {measured}{noun} {verb}"
    if missing:
        count += f", {missing.planned - missing.measured} of {missing.planned} not measured"
    return "; ".join([count, *map(sentence, broken)])


def number(value: float | None, digits: int = 4) -> str:
    """Return a number in ten characters at most; 0 for what is only rounding."""
    if value is None:
        return "-"
    if abs(value) < 1e-9:
        return "0"
    return f"{value:.{digits}g}"


def _sign(relation: str) -> str:
    return "" if relation == "=" else f"{relation} "

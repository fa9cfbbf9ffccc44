"""What is said of the laws: a table of comparisons, a sentence a law, and the closing one."""

from collections.abc import Sequence

import polars as pl
from rich.console import Group
from rich.table import Table
from rich.text import Text

from experiments.laws.law import Outcome

MOST = 8  # comparisons of a law in the table; those that do not hold are all there
NUMBERS = ("predicted", "measured", "± error", "tolerance")


def table(outcomes: Sequence[Outcome]) -> Group:
    """Every law with its comparisons, those first that use most of their tolerance."""
    head = _columns()
    head.add_row(*(Text(word, style="dim") for word in ("", *NUMBERS, "holds")))
    parts: list[Text | Table] = [head]
    for outcome in outcomes:
        law = outcome.law
        title = Text(f"{law.number} {law.name}, {law.source}: ", style="bold")
        parts += [title.append(_holds(outcome.holds)), _comparisons(outcome.rows)]
        reasons = outcome.rows["reason"].unique(maintain_order=True)
        parts += [Text(f"  tolerance: {reason}", style="dim") for reason in reasons]
        parts.append(Text())
    return Group(*parts)


def _columns() -> Table:
    """The same for every law."""
    shown = Table(box=None, show_header=False, padding=(0, 1, 0, 0), pad_edge=False)
    shown.add_column(width=48, no_wrap=True)
    for _ in NUMBERS:
        shown.add_column(width=10, justify="right", no_wrap=True)
    shown.add_column(width=5)
    return shown


def _comparisons(rows: pl.DataFrame) -> Table:
    shown, sorted_rows = _columns(), nearest(rows)
    broken = int((~rows["holds"]).sum())
    for row in sorted_rows.head(max(MOST, broken)).rows(named=True):
        relation = "" if row["relation"] == "=" else f"{row['relation']} "
        shown.add_row(
            Text(f"  {row['case']}"),
            relation + number(row["predicted"]),
            number(row["measured"]),
            number(row["standard_error"], 2),
            number(row["tolerance"], 2),
            _holds(row["holds"]),
        )
    more = rows.height - max(MOST, broken)
    if more > 0:
        shown.add_row(Text(f"  and {more} that use less of their tolerance", style="dim"))
    return shown


def nearest(rows: pl.DataFrame) -> pl.DataFrame:
    """The comparisons, what does not hold first, then by the part of the tolerance that is used."""
    return rows.with_columns(used=used()).sort(
        "holds", "used", descending=[False, True], maintain_order=True
    )


def used() -> pl.Expr:
    """The part of its tolerance that a comparison uses; 0 on the right side of a bound."""
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
    """The verdict on one law."""
    law, rows = outcome.law, nearest(outcome.rows)
    name = f"{law.number} {law.name}"
    if outcome.holds:
        return f"{name} holds: {rows.height} of {rows.height} comparisons"
    row = rows.row(0, named=True)
    relation = "" if row["relation"] == "=" else f"{row['relation']} "
    return (
        f"{name} does not hold: {int(rows['holds'].sum())} of {rows.height} comparisons; "
        f"{row['case']}: {number(row['measured'])} measured, "
        f"{relation}{number(row['predicted'])} ± {number(row['tolerance'], 2)} predicted"
    )


def verdicts(outcomes: Sequence[Outcome]) -> list[str]:
    """The verdict on each law."""
    return [sentence(outcome) for outcome in outcomes]


def closing(outcomes: Sequence[Outcome]) -> str:
    """How many laws hold, and which do not."""
    broken = [outcome for outcome in outcomes if not outcome.holds]
    verb = "holds" if len(outcomes) == 1 else "hold"
    noun = "law" if len(outcomes) == 1 else "laws"
    count = f"{len(outcomes) - len(broken)} of {len(outcomes)} {noun} {verb}"
    return "; ".join([count, *map(sentence, broken)])


def number(value: float | None, digits: int = 4) -> str:
    """Ten characters at most; what rounds to nothing is 0."""
    if value is None:
        return "-"
    if abs(value) < 1e-9:
        return "0"
    return f"{value:.{digits}g}"


def _holds(holds: bool) -> Text:
    return Text("yes", style="green") if holds else Text("NO", style="bold red")

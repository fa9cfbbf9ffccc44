"""What is said of a benchmark: a table of its cases, a verdict a row, and the table in Markdown."""

import math
from collections.abc import Sequence

import polars as pl
from rich.table import Table
from rich.text import Text

from experiments.bench.rows import Row

HEAD = ("case", "ours", "theirs", "ratio", "quartiles", "goal", "/ floor", "")
SECONDS = ((1.0, 1.0, "s"), (1e-3, 1e3, "ms"), (0.0, 1e6, "µs"))


def table(rows: pl.DataFrame) -> Table:
    """Every case under the name of its row."""
    shown = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for i, name in enumerate(HEAD):
        shown.add_column(name, justify="right" if i else "left", no_wrap=True)
    before = None
    for row in rows.rows(named=True):
        if row["row"] != before:
            before = row["row"]
            title = f"{row['row']}: {row['workload']} / {row['against']}"
            shown.add_row(Text(title, style="bold"))
        met = Text("yes", style="green") if row["holds"] else Text("NO", style="bold red")
        shown.add_row(Text(f"  {row['case']}"), *_cells(row), met)
    return shown


def _cells(row: dict[str, object]) -> tuple[str, ...]:
    return (
        seconds(row["ours_seconds"]),
        seconds(row["theirs_seconds"]),
        number(row["ratio"]),
        f"{number(row['ratio_low'])} … {number(row['ratio_high'])}",
        f"≤ {number(row['goal'])}",
        number(row["over_floor"]),
    )


def number(value: object) -> str:
    """Three digits; nothing where there is none."""
    return f"{value:.3g}" if isinstance(value, float) and math.isfinite(value) else "–"


def seconds(value: object) -> str:
    """With the unit that suits it."""
    if not isinstance(value, float):
        return "–"
    _, factor, unit = next(s for s in SECONDS if value >= s[0])
    return f"{value * factor:.3g} {unit}"


def overall(of_row: pl.DataFrame) -> float:
    """The geometric mean of the ratios of a row's cases."""
    return float(math.exp(of_row["ratio"].log().mean()))  # type: ignore[arg-type]


def verdicts(rows: pl.DataFrame, known: Sequence[Row]) -> list[str]:
    """A sentence a row, and how many goals are met."""
    sentences, met = [], 0
    by_name = {row.name: row for row in known}
    for of_row in rows.partition_by("row", maintain_order=True):
        row = by_name[of_row["row"][0]]
        holds, said = _verdict(of_row, row)
        met += holds
        sentences.append(said)
    return [*sentences, f"{met} of {len(sentences)} rows meet their goals"]


def _verdict(of_row: pl.DataFrame, row: Row) -> tuple[bool, str]:
    name = f"{row.name} ({row.workload} / {row.against})"
    missed = of_row.filter(~pl.col("holds"))
    words = [
        f"{case}: {number(ratio)} in the place of {number(goal)}"
        for case, ratio, goal in missed.select("case", "ratio", "goal").iter_rows()
    ]
    if row.overall is not None and overall(of_row) > row.overall:
        words.append(f"overall {number(overall(of_row))} in the place of {number(row.overall)}")
    if words:
        return False, f"{name} misses its goal: {'; '.join(words)}"
    worst = of_row.sort(pl.col("ratio") / pl.col("goal")).row(-1, named=True)
    return True, f"{name} meets its goal: {number(worst['ratio'])} of {number(worst['goal'])}"


def markdown(rows: pl.DataFrame, known: Sequence[Row]) -> str:
    """The table for a page of Markdown, with a line below a row that has a goal for all cases."""
    lines = ["| workload | against | case | ours | theirs | ratio | goal | over floor |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    by_name = {row.name: row for row in known}
    for of_row in rows.partition_by("row", maintain_order=True):
        for row in of_row.rows(named=True):
            ours, theirs, ratio, _, goal, floor = _cells(row)
            ratio = ratio if row["holds"] else f"**{ratio}**"
            cells = (row["workload"], row["against"], row["case"], ours, theirs, ratio, goal, floor)
            lines.append(f"| {' | '.join(cells)} |")
        known_row = by_name[of_row["row"][0]]
        if known_row.overall is not None:
            start = f"| {known_row.workload} | {known_row.against} | overall |  |  |"
            lines.append(f"{start} {number(overall(of_row))} | ≤ {number(known_row.overall)} | |")
    return "\n".join(lines) + "\n"

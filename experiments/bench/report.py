"""A benchmark in words: a table of its cases, a verdict a row, and the table in Markdown."""

import math
from collections.abc import Sequence

import polars as pl
from rich.console import Group
from rich.table import Table
from rich.text import Text

from experiments.bench.rows import Row
from experiments.pages import tables
from experiments.runs.experiment import comparison

TITLE = "ratio, ours / theirs, by row and case"
HEAD = ("ours", "theirs", "ratio", "quartiles", "goal", "floor", "met")
MARKDOWN = ("workload", "against", "case", *HEAD[:-1])
SECONDS = ((1.0, 1.0, "s"), (1e-3, 1e3, "ms"), (0.0, 1e6, "µs"))


def table(rows: pl.DataFrame) -> Group:
    """Return a table a row, with a line a case."""
    return Group(*map(_cases, rows.partition_by("row", maintain_order=True)))


def _cases(cases: pl.DataFrame) -> Table:
    first = cases.row(0, named=True)
    title = f"{first['row']}: {first['workload']} / {first['against']}"
    lines = tables.table(title, "", *HEAD)
    lines.columns[0].no_wrap = False  # names wrap before numbers are cut
    for case in cases.rows(named=True):
        met = Text("yes", style="green") if case["holds"] else Text("NO", style="bold red")
        lines.add_row(Text(case["case"]), *_cells(case), met)
    return lines


def _cells(case: dict[str, object]) -> tuple[str, ...]:
    return (
        seconds(case["ours_seconds"]),
        seconds(case["theirs_seconds"]),
        number(case["ratio"]),
        f"{number(case['ratio_low'])}–{number(case['ratio_high'])}",
        number(case["goal"]),
        number(case["over_floor"]),
    )


def number(value: object, digits: int = 3) -> str:
    """Return a finite number in a few digits; a dash for anything else."""
    return f"{value:.{digits}g}" if isinstance(value, float) and math.isfinite(value) else "–"


def seconds(value: object) -> str:
    """Return a time in a unit that suits it; a dash for none."""
    if not isinstance(value, float):
        return "–"
    _, factor, unit = next(s for s in SECONDS if value >= s[0])
    return f"{value * factor:.3g} {unit}"


def overall(cases: pl.DataFrame) -> float:
    """Return the geometric mean of the ratios of a row's cases."""
    return float(math.exp(cases["ratio"].log().mean()))  # type: ignore[arg-type]


def verdicts(rows: pl.DataFrame, known: Sequence[Row]) -> list[str]:
    """Return a sentence a row, and how many rows meet their goals."""
    by_name = {row.name: row for row in known}
    frames = rows.partition_by("row", maintain_order=True)
    outcomes = [_verdict(cases, by_name[cases["row"][0]]) for cases in frames]
    met = sum(holds for holds, _ in outcomes)
    return [*(words for _, words in outcomes), f"{met} of {len(outcomes)} rows meet their goals"]


def _verdict(cases: pl.DataFrame, row: Row) -> tuple[bool, str]:
    name = f"{row.name} ({row.workload} / {row.against})"
    missed = cases.filter(~pl.col("holds"))
    words = [
        f"{case}: {number(ratio)} instead of {number(goal)}"
        for case, ratio, goal in missed.select("case", "ratio", "goal").iter_rows()
    ]
    if row.overall is not None and overall(cases) > row.overall:
        words.append(f"overall {number(overall(cases))} instead of {number(row.overall)}")
    if words:
        return False, f"{name} misses its goal: {'; '.join(words)}"
    worst = cases.sort(pl.col("ratio") / pl.col("goal")).row(-1, named=True)
    return True, f"{name} meets its goal: {number(worst['ratio'])} of {number(worst['goal'])}"


def markdown(rows: pl.DataFrame, known: Sequence[Row]) -> str:
    """Return the table for a page of Markdown; a ratio that misses its goal is bold."""
    lines = [_line(MARKDOWN), "|---" * len(MARKDOWN) + "|"]
    by_name = {row.name: row for row in known}
    for cases in rows.partition_by("row", maintain_order=True):
        for case in cases.rows(named=True):
            ours, theirs, ratio, *more = _cells(case)
            cells = (ours, theirs, ratio if case["holds"] else f"**{ratio}**", *more)
            lines.append(_line((case["workload"], case["against"], case["case"], *cells)))
        row = by_name[cases["row"][0]]
        if row.overall is not None:
            mean = overall(cases)
            ratio = number(mean) if mean <= row.overall else f"**{number(mean)}**"
            cells = ("", "", ratio, "", number(row.overall), "")
            lines.append(_line((row.workload, row.against, "all, geometric mean", *cells)))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def compare(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return the ratios of each run, by kind."""
    return [comparison(rows, ("row", "case"), "kind", "ratio") for rows in runs]

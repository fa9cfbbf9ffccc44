"""A benchmark in words: its columns, a table a row, and a verdict a row."""

import math
from collections.abc import Sequence

import polars as pl
from rich.console import Group, RenderableType
from rich.text import Text

from experiments.bench.rows import Row
from experiments.pages import tables
from experiments.runs.missing import NOTHING, Missing
from experiments.runs.schema import COUNT, FLAG, REAL, TEXT, Column

COLUMNS = {
    "row": Column(TEXT, "name", "of the goal"),
    "workload": Column(TEXT, "words", "what is done"),
    "against": Column(TEXT, "words", "what it is compared with"),
    "kind": Column(TEXT, "word", "of the ratio", known=("warm", "first", "cold")),
    "case": Column(TEXT, "name", "sizes"),
    "goal": Column(REAL, "1", "largest ratio that meets it"),
    "ratio": Column(REAL, "1", "ours / theirs, median of pairs"),
    "ratio_low": Column(REAL, "1", "lower quartile of the pairs"),
    "ratio_high": Column(REAL, "1", "upper quartile of the pairs"),
    "holds": Column(FLAG, "yes or no", "whether the goal is met"),
    "pairs": Column(COUNT, "pairs", "that were timed"),
    "ours": Column(REAL, "s", "a repetition of ours, median"),
    "theirs": Column(REAL, "s", "a repetition of theirs, median"),
    "difference": Column(REAL, "1", "of the numbers that both compute, largest"),
}
TITLE = "ratio, ours / theirs, by row and case"
HEAD = ("ours", "theirs", "ratio", "quartiles", "goal")
UNITS = ((1.0, "s"), (1e-3, "ms"), (0.0, "µs"))


def table(rows: pl.DataFrame, missing: Missing = NOTHING) -> Group:
    """Return a table a row, with a line a case, and the cases that were not measured."""
    parts: list[RenderableType] = []
    for cases in rows.partition_by("row", maintain_order=True):
        of = cases.row(0, named=True)
        lines = tables.table(f"{of['row']}: {of['workload']} / {of['against']}", "", *HEAD, "met")
        lines.columns[0].no_wrap = False  # names wrap before numbers are cut
        for case in cases.rows(named=True):
            met = Text("yes", style="green") if case["holds"] else Text("NO", style="bold red")
            lines.add_row(Text(case["case"]), *cells(case), met)
        parts.append(lines)
    without = missing.rows(rows, "row", "case").rows()
    return Group(*parts, *(Text(f"{row}, {case}: not measured") for row, case in without))


def cells(case: dict[str, object]) -> tuple[str, ...]:
    """Return the numbers of a case as `HEAD` has them."""
    ours, theirs = (amount(case[side]) for side in ("ours", "theirs"))
    quartiles = f"{case['ratio_low']:.3g}–{case['ratio_high']:.3g}"
    return ours, theirs, f"{case['ratio']:.3g}", quartiles, f"{case['goal']:.3g}"


def amount(value: object) -> str:
    """Return seconds in a unit that suits them; a dash for none."""
    if not isinstance(value, float):
        return "–"
    unit, name = next(unit for unit in UNITS if value >= unit[0])
    return f"{value / (unit or 1e-6):.3g} {name}"


def overall(cases: pl.DataFrame) -> float:
    """Return the geometric mean of the ratios of a row's cases."""
    return math.exp(cases.select(pl.col("ratio").log().mean()).item())


def verdicts(rows: pl.DataFrame, known: Sequence[Row]) -> list[str]:
    """Return a sentence a row, and how many rows meet their goals.

    A row meets its goal if all its cases do; of one with a case that was not measured this is open,
    unless another misses its goal.
    """
    outcomes = [_verdict(rows.filter(row=row.name), row) for row in known]
    met, unknown = (sum(holds is what for holds, _ in outcomes) for what in (True, None))
    count = f"{met} of {len(outcomes)} rows meet their goals"
    count += f", {unknown} not measured in full" if unknown else ""
    return [*(words for _, words in outcomes), count]


def _verdict(cases: pl.DataFrame, row: Row) -> tuple[bool | None, str]:
    """Return whether a row meets its goal (None: not known), and one sentence that says so."""
    name = f"{row.name} ({row.workload} / {row.against})"
    if cases.is_empty():
        return None, f"{name}: not measured"
    in_full = cases.height == len(row.cases)
    of_all = "" if in_full else f" ({cases.height} of {len(row.cases)} cases measured)"
    missed = cases.filter(~pl.col("holds")).select("case", "ratio", "goal").iter_rows()
    words = [f"{case}: {ratio:.3g} instead of {goal:.3g}" for case, ratio, goal in missed]
    if row.overall is not None and in_full and (mean := overall(cases)) > row.overall:
        words.append(f"overall {mean:.3g} instead of {row.overall:.3g}")
    if words:
        return False, f"{name} misses its goal: {'; '.join(words)}{of_all}"
    worst = cases.sort(pl.col("ratio") / pl.col("goal")).row(-1, named=True)
    ratio = f"{worst['ratio']:.3g} of {worst['goal']:.3g}"
    if not in_full:
        return None, f"{name} has not missed its goal so far: {ratio}{of_all}"
    return True, f"{name} meets its goal: {ratio}"

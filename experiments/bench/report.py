"""A benchmark in words: a table of its cases, a verdict a row, and the table in Markdown."""

import math
from collections.abc import Sequence

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.bench.rows import Row
from experiments.pages import tables
from experiments.runs.comparison import comparison
from experiments.runs.missing import NOTHING, Missing

TITLE = "ratio, ours / theirs, by row and case"
HEAD = ("ours", "theirs", "ratio", "quartiles", "goal", "floor", "met")
MARKDOWN = ("workload", "against", "case", *HEAD[:-1])
SECONDS = ((1.0, 1.0, "s"), (1e-3, 1e3, "ms"), (0.0, 1e6, "µs"))


def gaps(rows: pl.DataFrame, missing: Missing) -> dict[str, list[str]]:
    """Return the names of the cases that were not measured, by row."""
    by_row: dict[str, list[str]] = {}
    for row, case in missing.rows(rows, "row", "case").iter_rows():
        by_row.setdefault(row, []).append(case)
    return by_row


def table(rows: pl.DataFrame, missing: Missing = NOTHING) -> Group:
    """Return a table a row, with a line a case."""
    without = gaps(rows, missing)
    parts: list[RenderableType] = [
        _cases(cases, without.pop(cases["row"][0], []))
        for cases in rows.partition_by("row", maintain_order=True)
    ]
    return Group(*parts, *(Text(f"{name}: not measured") for name in without))


def _cases(cases: pl.DataFrame, unmeasured: Sequence[str]) -> Table:
    first = cases.row(0, named=True)
    title = f"{first['row']}: {first['workload']} / {first['against']}"
    lines = tables.table(title, "", *HEAD)
    lines.columns[0].no_wrap = False  # names wrap before numbers are cut
    for case in cases.rows(named=True):
        met = Text("yes", style="green") if case["holds"] else Text("NO", style="bold red")
        lines.add_row(Text(case["case"]), *_cells(case), met)
    for name in unmeasured:
        lines.add_row(Text(name), *len(HEAD) * (tables.NOT_MEASURED,))
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


def verdicts(rows: pl.DataFrame, known: Sequence[Row], missing: Missing = NOTHING) -> list[str]:
    """Return a sentence a row, and how many rows meet their goals.

    A row meets its goal if all its cases do; of one with a case that was not measured this is open,
    unless another misses its goal.
    """
    by_name = {row.name: row for row in known}
    without = gaps(rows, missing)
    frames = rows.partition_by("row", maintain_order=True)
    outcomes = [
        _verdict(cases, by_name[cases["row"][0]], len(without.pop(cases["row"][0], [])))
        for cases in frames
    ]
    outcomes += [(None, f"{_name(by_name[name])}: not measured") for name in without]
    met, unknown = (sum(holds is what for holds, _ in outcomes) for what in (True, None))
    count = f"{met} of {len(outcomes)} rows meet their goals"
    count += f", {unknown} not measured in full" if unknown else ""
    return [*(words for _, words in outcomes), count]


def _name(row: Row) -> str:
    return f"{row.name} ({row.workload} / {row.against})"


def _verdict(cases: pl.DataFrame, row: Row, unmeasured: int) -> tuple[bool | None, str]:
    """Return whether a row meets its goal (None: not known), and one sentence that says so."""
    name, of_all = _name(row), ""
    if unmeasured:
        of_all = f" ({cases.height} of {cases.height + unmeasured} cases measured)"
    missed = cases.filter(~pl.col("holds"))
    words = [
        f"{case}: {number(ratio)} instead of {number(goal)}"
        for case, ratio, goal in missed.select("case", "ratio", "goal").iter_rows()
    ]
    if row.overall is not None and not unmeasured and overall(cases) > row.overall:
        words.append(f"overall {number(overall(cases))} instead of {number(row.overall)}")
    if words:
        return False, f"{name} misses its goal: {'; '.join(words)}{of_all}"
    worst = cases.sort(pl.col("ratio") / pl.col("goal")).row(-1, named=True)
    ratio = f"{number(worst['ratio'])} of {number(worst['goal'])}"
    if unmeasured:
        return None, f"{name} has not missed its goal so far: {ratio}{of_all}"
    return True, f"{name} meets its goal: {ratio}"


def markdown(rows: pl.DataFrame, known: Sequence[Row], missing: Missing = NOTHING) -> str:
    """Return the table for a page of Markdown; a ratio that misses its goal is bold.

    What was not measured comes last, with a sentence below.
    """
    lines = [_line(MARKDOWN), "|---" * len(MARKDOWN) + "|"]
    by_name, without = {row.name: row for row in known}, gaps(rows, missing)
    for cases in rows.partition_by("row", maintain_order=True):
        for case in cases.rows(named=True):
            ours, theirs, ratio, *more = _cells(case)
            cells = (ours, theirs, ratio if case["holds"] else f"**{ratio}**", *more)
            lines.append(_line((case["workload"], case["against"], case["case"], *cells)))
        row = by_name[cases["row"][0]]
        if row.overall is not None and row.name not in without:
            mean = overall(cases)
            ratio = number(mean) if mean <= row.overall else f"**{number(mean)}**"
            cells = ("", "", ratio, "", number(row.overall), "")
            lines.append(_line((row.workload, row.against, "all, geometric mean", *cells)))
    for name, unmeasured in without.items():
        row, none = by_name[name], len(MARKDOWN[3:]) * (tables.NOT_MEASURED,)
        lines += [_line((row.workload, row.against, each, *none)) for each in unmeasured]
    lines += ["", missing.sentence] if missing else []
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def compare(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return the ratios of each run, by kind."""
    return [comparison(rows, ("row", "case"), "kind", "ratio") for rows in runs]

"""What is said of a benchmark: a table of its cases, a verdict a row, and the table in Markdown."""

import math
from collections.abc import Sequence

import polars as pl
from rich.console import Group
from rich.table import Table
from rich.text import Text

from experiments.bench.rows import Row

HEAD = ("ours", "theirs", "ratio", "quartiles", "goal", "floor", "met")
SECONDS = ((1.0, 1.0, "s"), (1e-3, 1e3, "ms"), (0.0, 1e6, "µs"))


def table(rows: pl.DataFrame) -> Group:
    """Every case under the name of its row."""
    parts: list[Text | Table] = []
    for of_row in rows.partition_by("row", maintain_order=True):
        first = of_row.row(0, named=True)
        title = Text(f"{first['row']}: ", style="bold")
        parts += [title.append(f"{first['workload']} / {first['against']}", style="not bold")]
        parts += [_cases(of_row), Text()]
    return Group(*parts)


def _cases(of_row: pl.DataFrame) -> Table:
    shown = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    shown.add_column("", width=28, no_wrap=True)
    for name in HEAD:
        shown.add_column(name, justify="right", no_wrap=True, header_style="dim")
    for row in of_row.rows(named=True):
        met = Text("yes", style="green") if row["holds"] else Text("NO", style="bold red")
        shown.add_row(Text(row["case"]), *_cells(row), met)
    return shown


def _cells(row: dict[str, object]) -> tuple[str, ...]:
    return (
        seconds(row["ours_seconds"]),
        seconds(row["theirs_seconds"]),
        number(row["ratio"]),
        f"{number(row['ratio_low'])}–{number(row['ratio_high'])}",
        number(row["goal"]),
        number(row["over_floor"]),
    )


def number(value: object, digits: int = 3) -> str:
    """So many digits; nothing where there is none."""
    return f"{value:.{digits}g}" if isinstance(value, float) and math.isfinite(value) else "–"


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


MARKDOWN = ("workload", "against", "case", *HEAD[:-1])


def markdown(rows: pl.DataFrame, known: Sequence[Row]) -> str:
    """The table for a page of Markdown; a ratio that misses its goal is bold."""
    lines = [_line(MARKDOWN), "|---" * len(MARKDOWN) + "|"]
    by_name = {row.name: row for row in known}
    for of_row in rows.partition_by("row", maintain_order=True):
        for row in of_row.rows(named=True):
            ours, theirs, ratio, *more = _cells(row)
            cells = (ours, theirs, ratio if row["holds"] else f"**{ratio}**", *more)
            lines.append(_line((row["workload"], row["against"], row["case"], *cells)))
        of = by_name[of_row["row"][0]]
        if of.overall is not None:
            mean = overall(of_row)
            shown = number(mean) if mean <= of.overall else f"**{number(mean)}**"
            cells = ("", "", shown, "", number(of.overall), "")
            lines.append(_line((of.workload, of.against, "all, geometric mean", *cells)))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

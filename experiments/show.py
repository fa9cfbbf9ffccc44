"""What is in a run's folder: its tables, or those of two runs side by side.

`folders -> run.json, rows.parquet -> checked -> tables`. A folder may come from anywhere, so what
it says is checked before it is believed, and printed without the power to steer a terminal.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import tyro
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.kinds import KINDS, Kind
from experiments.pages import report
from experiments.runs import columns, store

MOST_COLUMNS = 8  # that fit into 80 characters
ABOUT = {
    "verdicts": list,
    "versions": dict,
    "devices": list,
    "started": str,
    "seconds": int | float,
}


@dataclass(frozen=True)
class Settings:
    """The tables of a run that is in a folder, or of two runs side by side."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """The folder of the run; and of a second one, to compare."""


class Run(NamedTuple):
    """A folder's run, checked: what its run.json says, and its rows."""

    folder: Path
    kind: Kind
    says: dict[str, Any]
    rows: pl.DataFrame


def prepare(settings: Settings) -> tuple[Run, ...]:
    """Reads and checks the folders.

    Raises:
        ValueError: one sentence.
    """
    if len(settings.runs) not in (1, 2):
        raise ValueError(f"runs: expected one folder or two, got {len(settings.runs) or 'none'}")
    runs = tuple(read(folder) for folder in settings.runs)
    kinds = [run.says["what"]["experiment"] for run in runs]
    if len(set(kinds)) > 1:
        raise ValueError(f"runs: expected two of one experiment, got {' and '.join(kinds)}")
    return runs


def read(folder: Path) -> Run:
    """The run in a folder.

    Raises:
        ValueError: there is none, or a file of it is not what this program writes.
    """
    where = folder / store.RUN
    try:
        says = store.read_run(folder)
    except OSError:
        raise ValueError(f"runs: {where} is not what a run says of itself") from None
    if says is None:
        raise ValueError(f"runs: {folder} holds no run, for it has no {store.RUN}")
    kind = KINDS[_experiment(where, says)]
    path = folder / store.ROWS
    if not path.exists():
        raise ValueError(f"runs: {folder} has no {store.ROWS} yet; its command again goes on")
    try:
        rows = pl.read_parquet(path)
        columns.check(rows, kind.columns)
    except (OSError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = clean(str(error).strip().partition("\n")[0])
        raise ValueError(f"runs: cannot use {path}: {reason}") from None
    return Run(
        folder, kind, says, rows.with_columns(pl.col(pl.String).str.replace_all(r"\p{C}", "�"))
    )


def _experiment(where: Path, says: dict[str, Any]) -> str:
    """The name of the experiment; all else that is printed has the type that it should have."""
    what = says["what"]
    if what.get("schema") != store.SCHEMA_VERSION:
        raise ValueError(
            f"runs: {where} is of schema {what.get('schema')!r}, and this program reads "
            f"{store.SCHEMA_VERSION}; measure again, or take the version that made it"
        )
    name = what.get("experiment")
    if not isinstance(name, str) or name not in KINDS:
        raise ValueError(f"runs: {where} is of {name!r}, which is not one of {', '.join(KINDS)}")
    members = ((says[n], kind) for n, kind in ABOUT.items() if n in says)
    right = isinstance(what.get("settings"), dict) and all(isinstance(v, k) for v, k in members)
    if not right or not all(isinstance(verdict, str) for verdict in says.get("verdicts", [])):
        raise ValueError(f"runs: {where} is not what a run says of itself")
    return name


def run(runs: tuple[Run, ...], console: Console | None = None) -> None:
    """Prints the tables."""
    console = console or Console(markup=False, emoji=False, highlight=False)
    if len(runs) == 2:
        console.print(differences(runs[0], runs[1]))
        console.print(beside(runs[0], runs[1]))
        return
    (only,) = runs
    console.print(only.kind.table(only.rows))
    verdicts = [Text(clean(verdict)) for verdict in only.says.get("verdicts", [])]
    console.print(*verdicts, sep="\n", soft_wrap=True)
    if not only.says["finished"]:
        console.print("The run was stopped; this is what it had measured.")
    for table in (report.settings(only.says), report.made(only.says)):
        console.print(_rich(table.caption, table.head, table.rows))


def beside(one: Run, other: Run) -> RenderableType:
    """The numbers of both runs, and the second less the first."""
    frames = one.kind.values([one.rows, other.rows])
    at = [{(n, a): v for n, a, v in frame.iter_rows()} for frame in frames]
    names = list(dict.fromkeys(n for found in at for n, _ in found))
    heads = sorted({a for found in at for _, a in found})
    heads = heads if len(heads) <= MOST_COLUMNS else heads[::-1][::2][::-1]
    rows = []
    for name in names:
        pairs = [[found.get((name, head)) for found in at] for head in heads]
        rows.append((name, *("" for _ in heads)))
        rows += [(f"  {i + 1}", *(_number(pair[i]) for pair in pairs)) for i in (0, 1)]
        rows.append(("  2 - 1", *(_number(_less(*pair)) for pair in pairs)))
    title = f"{one.kind.title}: 1 is {one.folder}, 2 is {other.folder}"
    return _rich(title, ("", *(f"{h:g}" if isinstance(h, float) else str(h) for h in heads)), rows)


def differences(one: Run, other: Run) -> RenderableType:
    """Settings, versions and devices that are not the same."""
    both = [
        {(t.caption, row[0]): row[1] for t in (report.settings(r.says), report.made(r.says))
         for row in t.rows}
        for r in (one, other)
    ]  # fmt: skip
    rows = []
    for key in dict.fromkeys((*both[0], *both[1])):
        values = [found.get(key, "–") for found in both]
        if values[0] != values[1] and key[1] not in ("started", "seconds"):
            rows.append((key[1], *values))
    if not rows:
        return Text("Settings, versions and devices are the same.\n")
    return _rich("What differs", ("", "1", "2"), rows)


def clean(text: str) -> str:
    """Without characters that a terminal would obey."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _rich(title: str, head: tuple[str, ...], rows: Any) -> RenderableType:
    shown = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for i, name in enumerate(head):
        shown.add_column(Text(clean(name)), justify="right" if i and len(head) > 3 else "left")
    for row in rows:
        shown.add_row(*(Text(clean(cell)) for cell in row))
    return Group(Text(clean(title)), shown)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _less(one: float | None, other: float | None) -> float | None:
    if one is None or other is None or not math.isfinite(one - other):
        return None
    return other - one

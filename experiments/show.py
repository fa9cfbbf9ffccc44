"""The tables of a run's folder, or those of two runs side by side.

`folders -> run.json, rows.parquet -> checked -> tables`. A folder may come from anywhere, so its
content is checked before it is believed, and printed without the power to steer a terminal.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import polars as pl
import tyro
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments import EXPERIMENTS, find
from experiments.pages import report, tables
from experiments.runs import comparison, missing, own, schema, store
from experiments.runs.experiment import Experiment
from experiments.runs.missing import Missing
from jaxnn.texts import clean, cleaned

ABOUT = {
    "verdicts": list,
    "versions": dict,
    "devices": list,
    "git": dict,
    "started": str,
    "seconds": int | float,
    store.DIGESTS: dict,
}


@dataclass(frozen=True)
class Settings:
    """The tables of a run that is in a folder, or of two runs side by side."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """The folder of the run; and of a second one, to compare."""
    experiment: Annotated[str | None, tyro.conf.arg(metavar="FILE.py:NAME")] = None
    """The experiment of a run that is one of your own."""


class ShownRun(NamedTuple):
    """The checked run of a folder: the content of its run.json, its rows, and what is missing.

    changed: the names of its other files that are not as the run wrote them.
    """

    folder: Path
    experiment: Experiment[Any, Any]
    says: dict[str, Any]
    rows: pl.DataFrame
    missing: Missing
    changed: tuple[str, ...] = ()

    @property
    def stopped(self) -> str:
        """A sentence on a run that was stopped; empty for a finished one."""
        if self.says["finished"]:
            return ""
        return self.missing.sentence or "The run was stopped; this is what it had measured."

    @property
    def notes(self) -> list[str]:
        """Sentences on what is to be known of it before its numbers."""
        changed = (store.not_as_written(self.folder / name) for name in self.changed)
        others = (f"{sentence}." for sentence in changed)
        return [*filter(None, (self.stopped, own.changed(self.experiment, self.says))), *others]


def prepare(settings: Settings) -> tuple[ShownRun, ...]:
    """Read and check the folders."""
    if len(settings.runs) not in (1, 2):
        raise ValueError(f"runs: expected one folder or two, got {len(settings.runs) or 'none'}")
    runs = tuple(read(folder, settings.experiment) for folder in settings.runs)
    names = [run.experiment.name for run in runs]
    if len(set(names)) > 1:
        raise ValueError(f"runs: expected two of one experiment, got {' and '.join(names)}")
    return runs


def read(folder: Path, named: str | None = None) -> ShownRun:
    """Return the run of a folder.

    Raises:
        ValueError: there is none, or a file of it is not one that this program writes.
    """
    if folder.name == store.RUN and folder.is_file():
        folder = folder.parent
    where = folder / store.RUN
    try:
        says = store.read_run(folder)
    except OSError:
        raise ValueError(f"runs: {where} does not describe a run") from None
    if says is None:
        raise ValueError(f"runs: {folder} holds no run, for it has no {store.RUN}")
    experiment = _experiment(where, says, named)
    path = folder / store.ROWS
    if not path.exists():
        raise ValueError(f"runs: {folder} has no {store.ROWS} yet; its command again goes on")
    changed = store.changed(folder, says)
    if store.ROWS in changed or store.ROWS not in says.get(store.DIGESTS, {}):
        raise ValueError(
            f"runs: {store.not_as_written(path)}; its command again writes it anew, from its parts"
        )
    try:
        rows = pl.read_parquet(path, glob=False)
        schema.check(rows, experiment.columns)
    except (OSError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = clean(str(error).strip().partition("\n")[0])
        raise ValueError(f"runs: cannot use {path}: {reason}") from None
    try:
        unmeasured = missing.read(
            says.get("missing", missing.NOTHING.as_dict()), experiment.columns
        )
    except ValueError:
        raise ValueError(f"runs: {where} does not describe a run") from None
    texts = cleaned(rows.select(pl.col(pl.String)).to_dict(as_series=False))
    shown = (pl.Series(name, column, pl.String) for name, column in texts.items())
    rows = rows.with_columns(shown)
    return ShownRun(folder, experiment, says, rows, unmeasured, tuple(changed))


def _experiment(where: Path, says: dict[str, Any], named: str | None) -> Experiment[Any, Any]:
    """Return the experiment, and check the types of all else that is printed."""
    what = says["what"]
    if what.get("schema") != store.SCHEMA_VERSION:
        raise ValueError(
            f"runs: {where} is of schema {what.get('schema')!r}, and this program reads "
            f"{store.SCHEMA_VERSION}; measure again, or take the version that made it"
        )
    name = what.get("experiment")
    if name not in [*EXPERIMENTS] and not own.is_named(name):
        known = ", ".join(EXPERIMENTS)
        raise ValueError(f"runs: {where} is of {name!r}, which is not one of {known}")
    members = ((says[n], kind) for n, kind in ABOUT.items() if n in says)
    right = isinstance(what.get("settings"), dict) and all(isinstance(v, k) for v, k in members)
    if not right or not all(isinstance(verdict, str) for verdict in says.get("verdicts", [])):
        raise ValueError(f"runs: {where} does not describe a run")
    if name in EXPERIMENTS:
        if named is not None:
            raise ValueError(f"experiment: {where} is of {name}, which is in no file of your own")
        return find(name)
    if named is None:
        raise ValueError(
            f"runs: {where} is of {name}, in a file of your own; say where with --experiment "
            "FILE.py:NAME, and its code is run"
        )
    return find(named)


def run(runs: tuple[ShownRun, ...], console: Console | None = None) -> None:
    """Print the tables."""
    console = console or tables.console()
    if len(runs) == 2:
        tables.printed(differences(runs[0], runs[1]), console)
        numbers, key = beside(runs[0], runs[1])
        tables.printed(numbers, console)
        tables.sentences(key, console)
        of_each = (f"{i + 1}: {note}" for i, run in enumerate(runs) for note in run.notes)
        tables.sentences(of_each, console)
        return
    (only,) = runs
    tables.printed(only.experiment.table(only.rows, only.missing), console)
    tables.sentences(map(clean, [*only.notes, *only.says.get("verdicts", [])]), console)
    for table in (report.settings(only.says), report.made(only.says)):
        tables.printed(_rich(table.caption, table.head, table.rows), console)


def beside(one: ShownRun, other: ShownRun) -> tuple[RenderableType, list[str]]:
    """Return a table with the numbers of both runs and the second minus the first, and its key.

    A difference of averages over seeds has its standard error, and a mark if it is clear.
    """
    runs = [comparison.numbers(f) for f in one.experiment.compare([one.rows, other.rows])]
    absent = comparison.Number(None, {})
    heads = tables.fitting(sorted({at for of_run in runs for _, at in of_run}))
    signs = [tables.NOT_MEASURED if run.stopped else "" for run in (one, other)]
    rows, apart = [], []
    for name in dict.fromkeys(name for of_run in runs for name, _ in of_run):
        pairs = [[of_run.get((name, head), absent) for of_run in runs] for head in heads]
        less = [comparison.difference(*pair) for pair in pairs]
        rows += [(name, *("" for _ in heads)), *_lines(pairs, less, signs)]
        apart += less
    title = f"{one.experiment.title}: 1 is {one.folder}, 2 is {other.folder}"
    head = ("", *(f"{h:g}" if isinstance(h, float) else str(h) for h in heads))
    average = next((n.average for of_run in runs for n in of_run.values() if n.average), None)
    return _rich(title, head, rows), comparison.in_words(apart, average)


def _lines(
    pairs: list[list[comparison.Number]], less: list[comparison.Difference], signs: list[str]
) -> list[tuple[str, ...]]:
    """Return a line of each run, of what differs, and of its standard errors if there are any."""
    lines = [
        (f"  {i + 1}", *(_number(pair[i].value) or sign for pair in pairs))
        for i, sign in enumerate(signs)
    ]
    lines.append(("  2 - 1", *(f"{_number(d.value)}{' *' if d.is_clear else ''}" for d in less)))
    if any(d.error is not None for d in less):
        lines.append(("  ±", *(_number(d.error, 2) for d in less)))
    return lines


def differences(one: ShownRun, other: ShownRun) -> RenderableType:
    """Return a table of the settings, versions and devices that differ."""
    both = [
        {(t.caption, row[0]): row[1] for t in (report.settings(r.says), report.made(r.says))
         for row in t.rows}
        for r in (one, other)
    ]  # fmt: skip
    rows = []
    for key in dict.fromkeys((*both[0], *both[1])):
        values = [entries.get(key, "–") for entries in both]
        if values[0] != values[1] and key[1] not in ("started", "seconds"):
            rows.append((key[1], *values))
    if not rows:
        return Text("Settings, versions and devices are the same.\n")
    return _rich("What differs", ("", "1", "2"), rows)


def _rich(title: str, head: tuple[str, ...], rows: Iterable[Sequence[str]]) -> RenderableType:
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for i, name in enumerate(head):
        table.add_column(Text(clean(name)), justify="right" if i and len(head) > 3 else "left")
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    return Group(Text(clean(title)), table)


def _number(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}g}"

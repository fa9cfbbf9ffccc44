"""The tables of a run's folder.

`folder -> run.json, rows.parquet -> checked -> tables`. A folder may come from anywhere, so its
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
from experiments.pages import run_page, tables
from experiments.runs import missing, own, runtime, schema, store
from experiments.runs.experiment import Experiment
from experiments.runs.missing import Missing
from jaxnn.texts import clean, cleaned

ABOUT = {
    "verdicts": list,
    "versions": dict,
    "devices": list,
    "started": str,
    "seconds": int | float,
    store.DIGESTS: dict,
}


@dataclass(frozen=True)
class Settings:
    """The tables of a run that is in a folder."""

    runs: tyro.conf.Positional[Annotated[tuple[Path, ...], runtime.called(metavar="FOLDER")]] = ()
    """The folder of the run."""
    experiment: Annotated[str | None, runtime.called(metavar="FILE.py:NAME")] = None
    """The experiment of a run that is one of your own."""


class ShownRun(NamedTuple):
    """The checked run of a folder: the content of its run.json, its rows, and what is missing."""

    folder: Path
    experiment: Experiment[Any, Any]
    says: dict[str, Any]
    rows: pl.DataFrame
    missing: Missing

    @property
    def stopped(self) -> str:
        """A sentence on a run that was stopped; empty for a finished one."""
        if self.says["finished"]:
            return ""
        return self.missing.sentence or "The run was stopped; this is what it had measured."

    @property
    def notes(self) -> list[str]:
        """Sentences on what is to be known of it before its numbers."""
        return [*filter(None, (self.stopped, own.changed(self.experiment, self.says)))]


def prepare(settings: Settings) -> ShownRun:
    """Read and check the folder."""
    if len(settings.runs) != 1:
        raise ValueError(f"runs: expected one folder, got {len(settings.runs) or 'none'}")
    return read(settings.runs[0], settings.experiment)


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
    if store.ROWS in store.changed(folder, says) or store.ROWS not in says.get(store.DIGESTS, {}):
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
    return ShownRun(folder, experiment, says, rows, unmeasured)


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


def run(only: ShownRun, console: Console | None = None) -> None:
    """Print the tables."""
    console = console or tables.console()
    tables.printed(only.experiment.table(only.rows, only.missing), console)
    tables.sentences(map(clean, [*only.notes, *only.says.get("verdicts", [])]), console)
    for table in (run_page.settings(only.says), run_page.made(only.says)):
        tables.printed(_rich(table.caption, table.head, table.rows), console)


def _rich(title: str, head: tuple[str, ...], rows: Iterable[Sequence[str]]) -> RenderableType:
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for i, name in enumerate(head):
        table.add_column(Text(clean(name)), justify="right" if i and len(head) > 3 else "left")
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    return Group(Text(clean(title)), table)

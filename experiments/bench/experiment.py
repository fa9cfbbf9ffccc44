"""Is it faster than what people would use instead?

Every row compares one workload of ours with a peer: what a user of PyTorch, scikit-learn, Flax,
Equinox or plain JAX would write for it, in their own idiom. Both run in processes of their own,
with as many threads; before they are timed they show that they compute the same numbers. Then they
take turns. `warm` is the second and later runs of a process, `cold` a fresh process from its start
to its last result, without programs that were compiled before.

`settings -> rows of goals -> cases, one after the other -> ratios -> table, chart, verdicts`
"""

import importlib.util
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import polars as pl
from rich.console import Console

from experiments.bench import chart, machine, pairs, report
from experiments.bench.process import SideError
from experiments.bench.rows import Case, Row, rows
from experiments.pages import charts
from experiments.runs import columns, grid, runtime, store, sweep

CHART, TABLE = "bench", "bench.md"
FILES = (TABLE, *charts.names(CHART))


@dataclass(frozen=True)
class Settings(runtime.Options):
    """How long our workloads take, beside what people would use instead."""

    row: tuple[str, ...] = ()
    """Only these rows, by name; all of them without any choice."""
    pairs: int = 7
    """How often each side is timed, in turns."""
    quick: runtime.Flag = False
    """Tiny sizes, to see that everything runs: the ratios mean nothing."""
    seed: int = field(default=0, metadata=runtime.HOW)
    """Not used: weights and data are always the same."""
    out: Path = field(default=Path("runs/bench"), metadata=runtime.HOW)
    """The folder for the results. The same command again goes on with a run that was stopped."""


@dataclass(frozen=True)
class Compared:
    """A case of a row: a cell of the run."""

    row: Row
    case: Case

    @property
    def key(self) -> str:
        """A name of its own among the cells of a run."""
        return f"{self.row.name}-{self.case.name}"

    @property
    def shown(self) -> str:
        """For the view."""
        return f"{self.row.name}, {self.case.name}".ljust(48)


@dataclass(frozen=True)
class Plan:
    """Checked settings with the rows that they name."""

    settings: Settings
    rows: tuple[Row, ...]

    @property
    def what(self) -> dict[str, object]:
        """What the run is: one with other settings is another run."""
        return {"experiment": "bench", "settings": grid.as_dict(self.settings)}

    @property
    def cells(self) -> tuple[Compared, ...]:
        """All cases."""
        return tuple(Compared(row, case) for row in self.rows for case in row.cases)

    def estimate(self) -> str:
        """What the run takes, in words."""
        return f"{len(self.cells)} cases, each {self.settings.pairs} times; all take about an hour"


def prepare(settings: Settings) -> Plan:
    """Checks the settings, and that the peers are installed.

    Raises:
        ValueError: one sentence; nothing has been written then.
    """
    runtime.check(settings, several=(), counts=("pairs",))
    table = rows(settings.quick)
    names = [row.name for row in table]
    for name in settings.row:
        if name not in names:
            raise ValueError(f"row: there is no {name!r}; choose some of {', '.join(names)}")
    chosen = tuple(row for row in table if row.name in (settings.row or names))
    needed = dict.fromkeys(package for row in chosen for package in row.needs)
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    if missing:
        raise ValueError(
            f"row: the peers need {', '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed; pip install -e "
            '".[bench]", or choose rows without them by --row'
        )
    return Plan(settings, chosen)


def run(plan: Plan, kept: store.Store | None) -> bool:
    """Measures the cases that are missing, prints the table, fills the folder.

    Returns:
        Whether it finished.

    Raises:
        OSError: the disk, or a process that failed; what was measured before is kept.
    """
    started, on = datetime.now(UTC), machine.describe()
    cell = partial(measure, plan.settings)
    frames, finished = sweep.measure(kept, plan.cells, cell, plan.settings.quiet)
    if kept is None or not frames:
        return finished
    table = pl.concat(frames)
    verdicts = report.verdicts(table, plan.rows)
    kept.write_rows(table)
    charts.save(chart.draw(table, subtitle(plan, on)), kept.folder, CHART)
    text = report.markdown(table, plan.rows)
    store.write_file(kept.folder / TABLE, lambda path: path.write_text(text, encoding="utf-8"))
    kept.write_run(runtime.provenance(started, finished=finished, verdicts=verdicts, machine=on))
    Console().print(report.table(table))
    print(*verdicts, f"in {kept.folder}: {', '.join((store.ROWS, store.RUN, *FILES))}", sep="\n")
    return finished


def measure(settings: Settings, cell: Compared) -> pl.DataFrame:
    """One row, with the columns of `columns.BENCH`.

    Raises:
        OSError: a process failed, or both sides do not compute the same.
    """
    row, case = cell.row, cell.case
    try:
        found = pairs.measure(row, case, settings.pairs, settings.quick)
    except SideError as error:
        raise OSError(f"bench: {row.name}: {error}") from None
    about = {
        "row": row.name,
        "workload": row.workload,
        "against": row.against,
        "kind": row.kind,
        "case": case.name,
        "goal": case.goal,
        "holds": found["ratio"] <= case.goal,
    }
    schema = {name: column.dtype for name, column in columns.BENCH.items()}
    values = {**about, **found}
    return pl.DataFrame({name: [values.get(name)] for name in schema}, schema)


def subtitle(plan: Plan, on: dict[str, object]) -> str:
    """How it was measured, on what."""
    how = "tiny sizes, ratios without meaning; " if plan.settings.quick else ""
    return (
        f"{how}medians of {plan.settings.pairs} pairs in turns, bars between the quartiles; "
        f"{on['processor']}, {on['cores']} cores"
    )

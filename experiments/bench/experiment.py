"""Is it faster than what people would use instead?

Every row compares one workload of ours with a peer: what a user of PyTorch, scikit-learn, Flax,
Equinox or plain JAX would write for it, in their own idiom. Both run in processes of their own,
with equally many threads, and must compute the same numbers before they are timed. Then they take
turns. `warm` is the second and later runs of a process, `first` the first one, with compiling and
without imports, `cold` a fresh process from its start to its last result. Both of these find no
programs that were compiled before.

`settings -> rows of goals -> cases, one after the other -> ratios -> table, chart, verdicts`
"""

import importlib.util
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import polars as pl

from experiments.bench import machine, pairs, report
from experiments.bench.columns import COLUMNS
from experiments.bench.process import SideError
from experiments.bench.rows import DEFAULT, Case, Row, Sizes, rows
from experiments.bench.transformer import HEADS
from experiments.runs import experiment, runtime, sweep
from experiments.runs.experiment import Conclusion, Experiment
from experiments.runs.store import Store
from experiments.runs.work import Work
from jaxnn.distribution import install_command
from jaxnn.texts import counted

log = logging.getLogger("jaxnn.experiments")

CHART, TABLE = "bench", "bench.md"
START = 10  # seconds that both sides of a case take to start and to show their numbers
PROCESS = 0.8e9  # bytes of the largest process, libraries and all, as measured
PROCESSES = {
    "warm": 2,
    "first": 2,
    "bytes": 2,
    "floor": 1,
    "cold": 3,
    "growth": 3,
    "memory": 3,
}  # at a time


@dataclass(frozen=True)
class Settings(runtime.Options):
    """Seconds that our workloads take, compared with what people would use instead."""

    row: tuple[str, ...] = ()
    """Only these rows, by name; all of them by default."""
    pairs: int = 7
    """How often each side is timed, in turns."""
    quick: runtime.Flag = False
    """Tiny sizes, to see that everything runs: the ratios mean nothing."""
    blocks: int = DEFAULT.blocks
    """Blocks of the transformer of the rows verdict-…."""
    width: int = DEFAULT.width
    """Its channels, a multiple of its four heads."""
    tokens: int = DEFAULT.tokens
    """Its tokens of an example."""
    batch: int = DEFAULT.batch
    """Its examples."""
    words: int = DEFAULT.words
    """Its vocabulary."""
    seed: int = field(default=0, metadata=runtime.HOW)
    """Not used: weights and data are always the same."""


@dataclass(frozen=True)
class Cell:
    """A case of a row."""

    row: Row
    case: Case

    @property
    def key(self) -> str:
        """A name of its own among the cells of a run."""
        return f"{self.row.name}-{self.case.name}"

    @property
    def place(self) -> dict[str, Any]:
        """The columns of its rows in which cells differ."""
        return {"row": self.row.name, "case": self.case.name}

    @property
    def label(self) -> str:
        """A few words for the view."""
        return f"{self.row.name}, {self.case.name}"


@dataclass(frozen=True)
class Plan(experiment.Plan):
    """Checked settings with the rows that they name, and the machine as the run starts."""

    settings: Settings
    rows: tuple[Row, ...]
    machine: dict[str, Any]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cases of all rows."""
        return tuple(Cell(row, case) for row in self.rows for case in row.cases)

    @property
    def work(self) -> Work:
        """The memory of the processes of a case: libraries more than networks."""
        most = max(PROCESSES[row.kind] for row in self.rows)
        return Work(bytes=most * PROCESS, smaller="the run (--row)")

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        cases = f"{counted(len(self.cells), 'case')}, each {counted(self.settings.pairs, 'time')}"
        return f"{cases}: {self.duration}, {self.work}"

    @property
    def duration(self) -> str:
        """The expected time of the run in words, with the options that shorten it."""
        if self.settings.quick:
            return "some seconds a case"
        words = f"about {_minutes(self.rows, self.settings.pairs)} on two cores"
        longest = max(self.rows, key=lambda row: row.seconds)
        if len(self.rows) > 1:
            words += f", {_minutes([longest], self.settings.pairs)} of them for {longest.name}"
        if self.settings.pairs > 1:
            words += f"; {_minutes(self.rows, 1)} with --pairs 1"
        return words + ("; --row measures some rows" if len(self.rows) > 1 else "")


def _minutes(rows: Iterable[Row], pairs: int) -> str:
    """Return how long rows take: both sides start, show their numbers, and are timed in turns."""
    seconds = sum(len(row.cases) * START + (pairs + 1) * row.seconds for row in rows)
    return counted(max(1, round(seconds / 60)), "minute")


def prepare(settings: Settings) -> Plan:
    """Check the settings, and that the peers are installed."""
    runtime.check(settings)
    if settings.width % HEADS:
        raise ValueError(f"width: expected a multiple of {HEADS}, got {settings.width}")
    table = rows(settings.quick, Sizes(*(getattr(settings, name) for name in Sizes._fields)))
    names = [row.name for row in table]
    runtime.check_known("row", settings.row, names)
    chosen = tuple(row for row in table if row.name in (settings.row or names))
    needed = dict.fromkeys(package for row in chosen for package in row.needs)
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    if missing:
        raise ValueError(
            f"row: the peers need {', '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed; {install_command('bench')}, or "
            "choose rows without them by --row"
        )
    return Plan(settings, chosen, machine.describe())


def measure(plan: Plan, store: Store | None) -> tuple[list[pl.DataFrame | None], bool]:
    """Measure the cases that are missing."""
    log.info("%s", plan.duration)
    return sweep.measure(plan, store, partial(measure_case, plan.settings))


def measure_case(settings: Settings, cell: Cell) -> pl.DataFrame:
    """Return one row, with the columns of `bench.columns`.

    Raises:
        OSError: a process failed, or both sides do not compute the same.
    """
    row, case = cell.row, cell.case
    try:
        measured = pairs.measure(row, case, settings.pairs, settings.quick)
    except SideError as error:
        raise OSError(f"bench: {row.name}: {error}") from None
    values = {
        "row": row.name,
        "workload": row.workload,
        "against": row.against,
        "kind": row.kind,
        "case": case.name,
        "goal": case.goal,
        "holds": measured["ratio"] <= case.goal,
        **measured,
    }
    schema = {name: column.dtype for name, column in COLUMNS.items()}
    return pl.DataFrame({name: [values.get(name)] for name in schema}, schema)


def conclude(plan: Plan, frames: list[pl.DataFrame | None]) -> Conclusion:
    """Compare the ratios with their goals, in words, a picture and Markdown."""
    from experiments.bench import picture  # here, for it imports Altair

    table, missing = sweep.gathered(plan, frames)
    return Conclusion(
        table,
        verdicts=report.verdicts(table, plan.rows, missing),
        figures={CHART: picture.figure(table, subtitle(plan), missing)},
        files={TABLE: report.markdown(table, plan.rows, missing).encode("utf-8")},
        about={"machine": plan.machine},
        missing=missing,
    )


def subtitle(plan: Plan) -> str:
    """Say in one line how it was measured, on which machine."""
    how = "tiny sizes, ratios without meaning; " if plan.settings.quick else ""
    return (
        f"{how}medians of {counted(plan.settings.pairs, 'pair')} in turns, bars between the "
        "quartiles; "
        f"{plan.machine['processor']}, {plan.machine['cores']} cores"
    )


EXPERIMENT = Experiment(
    name="bench",
    settings=Settings,
    columns=COLUMNS,
    figures=(CHART,),
    files=(TABLE,),
    prepare=prepare,
    measure=measure,
    conclude=conclude,
    table=report.table,
    title=report.TITLE,
    compare=report.compare,
)

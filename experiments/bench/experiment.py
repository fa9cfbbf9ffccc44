"""Is it faster than what people would use instead?

Every row compares one workload of ours with a peer: what a user of PyTorch or plain JAX would write
for it, in their own idiom. Both run in processes of their own, with equally many threads, and must
compute the same numbers before they are timed. Then they take turns. `warm` is the second and
later runs of a process, `first` the first one, with compiling and without imports, `cold` a fresh
process from its start to its last result. Both of these find no programs that were compiled before.

`settings -> rows of goals -> cases, one after the other -> ratios -> table, verdicts`
"""

import importlib.util
import os
import platform
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl

from experiments.bench import bench_report, pairs
from experiments.bench.bench_report import COLUMNS
from experiments.bench.rows import ROWS, Case, Row
from experiments.runs import cell_sweep, experiment, runtime
from experiments.runs.experiment import Conclusion, Experiment, Work
from experiments.runs.store import Store
from jaxnn.arrays.memory import cores
from jaxnn.distribution import install_command
from jaxnn.texts import counted

PROCESSES = 2 * 0.8e9  # bytes of both processes, libraries and all, as measured
PEERS = ("optax", "torch", "equinox", "flax")


@dataclass(frozen=True)
class Settings(runtime.Options):
    """Seconds that our workloads take, compared with what people would use instead."""

    row: runtime.Names = ()
    """Only these rows, by name; all of them by default, which takes an hour on two cores."""
    pairs: int = 7
    """How often each side is timed, in turns."""
    quick: runtime.Flag = False
    """Tiny sizes, to see that everything runs: the ratios mean nothing."""
    seed: int = field(default=0, metadata=runtime.HOW)
    """Not used: weights and data are always the same."""


@dataclass(frozen=True)
class Cell(cell_sweep.Point):
    """A case of a row, by their names."""

    row: str
    case: str

    @property
    def comparison(self) -> tuple[Row, Case]:
        """The row and the case."""
        row = next(row for row in ROWS if row.name == self.row)
        return row, next(case for case in row.cases if case.name == self.case)


@dataclass(frozen=True)
class Plan(experiment.Plan):
    """Checked settings with the rows that they name."""

    settings: Settings
    rows: tuple[Row, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cases of all rows."""
        return tuple(Cell(row.name, case.name) for row in self.rows for case in row.cases)

    @property
    def work(self) -> Work:
        """The memory of the processes of a case: libraries more than networks."""
        return Work(bytes=PROCESSES, smaller="the run (--row)")

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        times = counted(self.settings.pairs, "time")
        return f"{counted(len(self.cells), 'case')}, each {times}: {self.work}"


def prepare(settings: Settings) -> Plan:
    """Check the settings, and that the peers are installed."""
    runtime.check(settings)
    names = [row.name for row in ROWS]
    runtime.check_known("row", settings.row, names)
    chosen = tuple(row for row in ROWS if row.name in (settings.row or names))
    needed = dict.fromkeys(package for row in chosen for package in row.needs)
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    if missing:
        raise ValueError(
            f"row: the peers need {', '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed; {install_command('bench')}, or "
            "choose rows without them by --row"
        )
    return Plan(settings, chosen)


def measure(plan: Plan, store: Store) -> tuple[list[pl.DataFrame | None], bool]:
    """Measure the cases that are missing."""
    return cell_sweep.measure(plan, store, partial(measure_case, plan.settings))


def measure_case(settings: Settings, cell: Cell) -> pl.DataFrame:
    """Return one row, with `COLUMNS`.

    Raises:
        OSError: a process failed, or both sides do not compute the same.
    """
    row, case = cell.comparison
    try:
        measured = pairs.measure(row, case, settings.pairs, settings.quick)
    except pairs.SideError as error:
        raise OSError(f"bench: {row.name}: {error}") from None
    about = {"workload": row.workload, "against": row.against, "kind": row.kind}
    goal = {"goal": case.goal, "holds": measured["ratio"] <= case.goal}
    values = {**cell.place, **about, **goal, **measured}
    schema = {name: column.dtype for name, column in COLUMNS.items()}
    return pl.DataFrame({name: [values[name]] for name in schema}, schema)


def conclude(plan: Plan, frames: list[pl.DataFrame | None]) -> Conclusion:
    """Compare the ratios with their goals in words."""
    table, missing = cell_sweep.gathered(plan, frames)
    verdicts = bench_report.verdicts(table, plan.rows)
    return Conclusion(table, verdicts, about={"machine": machine()}, missing=missing)


def machine() -> dict[str, Any]:
    """Return processor and cores of this machine, and the versions of the peers."""
    cpu = Path("/proc/cpuinfo")  # of Linux; elsewhere Python cannot read the model
    lines = cpu.read_text(encoding="utf-8").splitlines() if cpu.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    there = [name for name in PEERS if importlib.util.find_spec(name) is not None]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": cores(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "peers": {name: metadata.version(name) for name in there},
    }


EXPERIMENT = Experiment(
    name="bench",
    settings=Settings,
    columns=COLUMNS,
    prepare=prepare,
    measure=measure,
    conclude=conclude,
    table=bench_report.table,
)

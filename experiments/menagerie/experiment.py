"""Are networks that packages on the index ship measured as they are, and right?

Each network is a line of a table: it is built with random weights, given to jaxnn without an edit,
and its numbers are compared with plain gradients of the same function: Δ of every parameter array
by `jax.grad` or `torch.autograd`, Δx, and Δ of every state. In float64, or in float32 where the
package's own code does not take float64. What is refused is reported with the error message, and a
network whose package is not installed as absent. A difference beyond the tolerance is reported with
exit code 1.

`settings -> cells (package, network) -> flow and plain gradients -> a row each -> table, verdicts`
"""

import importlib
import time
import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np
import polars as pl

from experiments.menagerie import menagerie_report
from experiments.menagerie.catalogue import ENTRIES, OF_TORCH, PACKAGES, CatalogueEntry, versions
from experiments.menagerie.menagerie_report import ABSENT, COLUMNS, DIFFERS, MEASURED, REFUSED
from experiments.runs import cell_sweep, experiment, runtime
from experiments.runs.experiment import Conclusion, Experiment
from experiments.runs.schema import COUNT, REAL, TEXT
from experiments.runs.store import Store

TOLERANCE = {"float64": 1e-5, "float32": 1e-3}  # relative, of a norm
MOST = 600  # characters of an error message
NOTHING = {COUNT: 0, REAL: np.nan, TEXT: ""}  # in a column of a network that was not measured


@dataclass(frozen=True)
class Settings(runtime.Options):
    """Networks of packages on the index, measured as they are and compared with plain gradients."""

    packages: tuple[str, ...] = tuple(PACKAGES)
    """Packages of the tables."""
    networks: runtime.Names = ()
    """Networks of these packages; all of them if none is named."""
    seed: int = 0
    """Draws the random loss."""


@dataclass(frozen=True)
class Cell(cell_sweep.Point):
    """One network."""

    package: str
    network: str


@dataclass(frozen=True)
class Plan(experiment.Plan):
    """Checked settings with the cells that they name."""

    settings: Settings
    cells: tuple[Cell, ...]

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        return f"{len(self.cells)} networks, each built and compiled, some seconds to a minute each"


def prepare(settings: Settings) -> Plan:
    """Check the settings."""
    runtime.check(settings, ("packages",))
    packages = tuple(dict.fromkeys(settings.packages))
    runtime.check_known("packages", packages, PACKAGES)
    listed = [entry for name in packages for entry in ENTRIES.values() if entry.package == name]
    runtime.check_known("networks", settings.networks, (entry.network for entry in listed))
    cells = tuple(
        Cell(entry.package, entry.network)
        for entry in listed
        if not settings.networks or entry.network in settings.networks
    )
    return Plan(replace(settings, packages=packages), cells)


def measure(plan: Plan, store: Store) -> tuple[list[pl.DataFrame | None], bool]:
    """Measure the networks that are missing."""
    return cell_sweep.measure(plan, store, partial(measured, seed=plan.settings.seed))


def measured(cell: Cell, seed: int = 0) -> pl.DataFrame:
    """Return the row of a network; what it ends in is part of it."""
    entry = ENTRIES[cell.package, cell.network]
    row: dict[str, Any] = {name: NOTHING[column.dtype] for name, column in COLUMNS.items()}
    row |= {**vars(cell), "title": entry.title, "result": ABSENT, "seconds": 0.0}
    started = time.perf_counter()
    if entry.is_installed:
        with warnings.catch_warnings(), jax.enable_x64(True):
            warnings.simplefilter("ignore")  # of the packages
            row |= _compared(entry, seed)
        row["seconds"] = time.perf_counter() - started
        jax.clear_caches()  # type: ignore[no-untyped-call]
    else:
        row["message"] = f"{PACKAGES[entry.package]} is not installed"
    return pl.DataFrame([row], {name: column.dtype for name, column in COLUMNS.items()})


def _compared(entry: CatalogueEntry, seed: int) -> dict[str, Any]:
    try:
        arguments = entry.arguments()
        module = f"experiments.menagerie.of_{'torch' if entry.package in OF_TORCH else 'jax'}"
        comparison = importlib.import_module(module).compared(arguments, seed)
    except Exception as error:  # whatever code of others ends in
        return {"result": REFUSED, "message": f"{type(error).__name__}: {error}"[:MOST]}
    right = comparison.difference <= TOLERANCE[comparison.dtype]
    return {"result": MEASURED if right else DIFFERS, **comparison._asdict()}


def conclude(plan: Plan, frames: list[pl.DataFrame | None]) -> Conclusion:
    """Count what was measured, in words."""
    rows, missing = cell_sweep.gathered(plan, frames)
    differ = [
        f"{r['package']} {r['network']}" for r in rows.filter(result=DIFFERS).rows(named=True)
    ]
    return Conclusion(
        rows,
        verdicts=menagerie_report.verdicts(rows),
        about=runtime.frameworks() | {"packages": versions()},
        failure=f"not equal to plain gradients: {', '.join(differ)}" if differ else None,
        missing=missing,
    )


EXPERIMENT = Experiment(
    name="menagerie",
    settings=Settings,
    columns=COLUMNS,
    prepare=prepare,
    measure=measure,
    conclude=conclude,
    table=menagerie_report.table,
)

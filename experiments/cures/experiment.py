"""Changes that keep the gradient of networks with default weights, each made and measured.

Plain networks of five activations, residual and normed ones, transformers, convolutions and an
LSTM are built in Flax, Equinox and PyTorch, drawn as PyTorch draws by default, and given to
`jaxnn.diagnose`, whose cures are tried. Of a module of PyTorch stands beside what anyinit, LSUV and
GradInit make of it, where their packages are installed.

`settings -> cells (network, framework) -> changes tried -> a row each -> table, verdicts`
"""

import importlib
import importlib.util
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np
import polars as pl
from jaxtyping import PyTree

import jaxnn
from experiments.cures import recipes, report
from experiments.cures.columns import BEFORE, COLUMNS, FRAMEWORKS
from experiments.runs import experiment, runtime, sweep
from experiments.runs.experiment import Conclusion, Experiment
from experiments.runs.store import Store
from jaxnn.curing.changes import Change
from jaxnn.curing.cures import judged


@dataclass(frozen=True)
class Settings(runtime.Options):
    """Ill networks as people draw them, and what each change does to their gradients."""

    networks: tuple[str, ...] = recipes.NETWORKS
    """Names of the networks."""
    frameworks: tuple[str, ...] = ()
    """Some of flax, equinox and torch; by default those that are installed."""
    depth: int | None = None
    """Their layers; by default 24, of attention alone 50, of residual layers 96; of an LSTM its
    steps, by default 500."""
    width: int = 64
    """Their units, a multiple of 4."""
    seed: int = 0
    """Draws weights, data and cotangent."""


@dataclass(frozen=True)
class Cell(sweep.Point):
    """One network in one framework."""

    network: str
    framework: str


@dataclass(frozen=True)
class Plan(experiment.Plan):
    """Checked settings with the cells that they name."""

    settings: Settings
    cells: tuple[Cell, ...]

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        return f"{len(self.cells)} networks, each measured some 40 times, 5 to 30 seconds each"


def prepare(settings: Settings) -> Plan:
    """Check the settings."""
    runtime.check(settings, ("networks",), alone="a network is cured by one process")
    names = tuple(dict.fromkeys(settings.networks))
    runtime.check_known("networks", names, recipes.NETWORKS)
    runtime.check_known("frameworks", settings.frameworks, FRAMEWORKS)
    there = [name for name in FRAMEWORKS if importlib.util.find_spec(name) is not None]
    frameworks = tuple(dict.fromkeys(settings.frameworks or there))
    missing = [name for name in frameworks if name not in there]
    if missing or not frameworks:
        lacking = ", ".join(missing) or "neither flax nor equinox nor torch"
        raise ValueError(
            f"frameworks: {lacking} {'is not' if missing else 'is'} installed; install it, or name "
            f"others of {', '.join(FRAMEWORKS)}"
        )
    if settings.depth is not None and settings.depth < 4:
        raise ValueError(f"depth: expected at least 4 layers, got {settings.depth}")
    if settings.width % recipes.HEADS:
        raise ValueError(f"width: expected a multiple of 4, got {settings.width}")
    cells = tuple(Cell(network, framework) for network in names for framework in frameworks)
    return Plan(replace(settings, networks=names, frameworks=frameworks), cells)


def measure(plan: Plan, store: Store | None) -> tuple[list[pl.DataFrame | None], bool]:
    """Measure the networks that are missing."""
    return sweep.measure(plan, store, partial(measured, settings=plan.settings))


def measured(cell: Cell, settings: Settings) -> pl.DataFrame:
    """Return the rows of a network: before, each change that was tried, and the rivals'."""
    made = recipes.recipe(cell.network, settings.depth, settings.width)
    built = importlib.import_module(f"experiments.cures.{FRAMEWORKS[cell.framework]}")
    arguments = built.arguments(made, settings.seed)
    started = time.process_time()
    diagnosis = jaxnn.diagnose(**arguments)
    tried = diagnosis.cures
    seconds = time.process_time() - started
    assert diagnosis.patient is not None
    patient = diagnosis.patient()
    before = judged(patient, BEFORE, "", Change(patient.params, flow=patient.flow))
    ours = [(cure.kind, cure) for cure in (before, *tried)]
    own = _structure(before.params)
    rows = [
        vars(cell)
        | {"layers": len(diagnosis.flow.names), "seconds": seconds}
        | _row(change, cure)
        | {"own": not isinstance(cure, str) and _structure(cure.params) == own}
        for change, cure in (*ours, *_rivals(cell, made, settings))
    ]
    rows[0]["works"] = not len(tried)
    jax.clear_caches()  # type: ignore[no-untyped-call]
    return pl.DataFrame(rows, {name: column.dtype for name, column in COLUMNS.items()})


def _rivals(cell: Cell, made: recipes.Recipe, settings: Settings) -> Iterator[tuple[str, Any]]:
    """Yield each rival's name with what it makes of a module of PyTorch, or its error message."""
    if cell.framework == "torch":
        from experiments.cures import rivals_torch  # here, for torch need not be installed

        yield from rivals_torch.measured(made, settings.seed)


def _structure(params: PyTree) -> Any:
    """Return the structure of a pytree or state dict, with the shapes of its arrays."""
    return jax.tree.structure(params), [np.shape(v) for v in jax.tree.leaves(params)]


def _row(change: str, cure: jaxnn.Cure | str) -> dict[str, Any]:
    if isinstance(cure, str):
        none = dict.fromkeys(("decades", "total", "signal", "log10_spread"), np.nan)
        return {"change": change, "advice": cure, "works": False, **none}
    return {
        "change": change,
        "advice": cure.advice,
        "decades": cure.decades,
        "total": cure.total,
        "signal": cure.signal,
        "log10_spread": cure.spread,
        "works": cure.works,
    }


def conclude(plan: Plan, frames: list[pl.DataFrame | None]) -> Conclusion:
    """Count what was cured, in words."""
    rows, missing = sweep.gathered(plan, frames)
    return Conclusion(
        rows,
        verdicts=report.verdicts(rows),
        about=runtime.frameworks(),
        missing=missing,
    )


EXPERIMENT = Experiment(
    name="cures",
    settings=Settings,
    columns=COLUMNS,
    prepare=prepare,
    measure=measure,
    conclude=conclude,
    table=report.table,
    title=report.TITLE,
    compare=report.compare,
)

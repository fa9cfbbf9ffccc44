"""Changes that keep the gradient of networks with default weights, each made and measured.

Plain networks of five activations, residual and normed ones, transformers, convolutions and an
LSTM, drawn as PyTorch draws by default, are given to `jaxnn.cures`; of the plain ones what LSUV
makes of them stands beside, and anyinit of the same module of PyTorch, where both are installed.

`settings -> cells (network) -> changes tried -> a row each -> table, verdicts`
"""

import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl

import jaxnn
from experiments.cures import networks, report, rivals
from experiments.cures.columns import BEFORE, COLUMNS
from experiments.runs import experiment, runtime, sweep
from experiments.runs.experiment import Conclusion, Experiment
from experiments.runs.store import Store

STEPS = 20  # times as many of a recurrent network as layers of others


@dataclass(frozen=True)
class Settings(runtime.Options):
    """Ill networks as people draw them, and what each change does to their gradients."""

    networks: tuple[str, ...] = tuple(networks.NETWORKS)
    """Names of the networks."""
    depth: int = 24
    """Their layers; an LSTM has 20 times as many steps."""
    width: int = 64
    """Their units, a multiple of 4."""
    seed: int = 0
    """Draws weights, data and cotangent."""
    out: Path = field(default=Path("runs/cures"), metadata=runtime.HOW)
    """The folder for the results. The same command again goes on with a run that was stopped."""


@dataclass(frozen=True)
class Cell(sweep.Point):
    """One network."""

    network: str


@dataclass(frozen=True)
class Plan(experiment.Plan):
    """Checked settings with the cells that they name."""

    settings: Settings
    cells: tuple[Cell, ...]

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        return f"{len(self.cells)} networks, each measured some 40 times, 5 to 30 seconds each"


def prepare(settings: Settings) -> Plan:
    """Check the settings.

    Raises:
        ValueError: one sentence; nothing has been written then.
    """
    runtime.check(settings, several=("networks",))
    if settings.distributed:
        raise ValueError("distributed: a network is cured by one process; leave it out")
    names = tuple(dict.fromkeys(settings.networks))
    runtime.check_known("networks", names, networks.NETWORKS)
    if settings.depth < 4:
        raise ValueError(f"depth: expected at least 4 layers, got {settings.depth}")
    if settings.width % networks.HEADS:
        raise ValueError(f"width: expected a multiple of 4, got {settings.width}")
    return Plan(replace(settings, networks=names), tuple(map(Cell, names)))


def measure(plan: Plan, store: Store | None) -> tuple[list[pl.DataFrame | None], bool]:
    """Measure the networks that are missing."""
    return sweep.measure(plan, store, partial(measured, settings=plan.settings))


def measured(cell: Cell, settings: Settings) -> pl.DataFrame:
    """Return the rows of a network: before, each change that was tried, and the rivals'."""
    key = jax.random.key(settings.seed)
    depth = settings.depth * (STEPS if cell.network == "lstm" else 1)
    made = networks.NETWORKS[cell.network](depth, settings.width, key)
    if made.layers is not None:
        net, params = jaxnn.from_layers(made.layers)
    else:
        net, params = jaxnn.from_function(made.f, made.params, made.xs)
    shape = made.xs.shape if made.layers is not None else (len(made.xs), settings.width)
    cotangent = jax.random.normal(jax.random.fold_in(key, 2), shape)
    started = time.perf_counter()
    found = jaxnn.cures(net, params, made.xs, cotangent=cotangent)
    before = {
        "network": cell.network,
        "change": BEFORE,
        "advice": "",
        "layers": len(net.names),
        "decades": found.verdict.decades,
        "total": found.verdict.total,
        "signal": np.nan,
        "log10_spread": np.nan,
        "works": not found.tried,
        "seconds": time.perf_counter() - started,
    }
    changes = [(cure.kind, cure) for cure in found]
    changes += rivals.measured(cell.network, settings)
    rows = [before, *(before | _row(change, cure) for change, cure in changes)]
    jax.clear_caches()  # type: ignore[no-untyped-call]
    return pl.DataFrame(rows, {name: column.dtype for name, column in COLUMNS.items()})


def _row(change: str, cure: jaxnn.Cure) -> dict[str, Any]:
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
        figures={},
        about=runtime.frameworks(),
        failure=None,
        missing=missing,
    )


EXPERIMENT = Experiment(
    name="cures",
    settings=Settings,
    columns=COLUMNS,
    figures=(),
    prepare=prepare,
    measure=measure,
    conclude=conclude,
    table=report.table,
    title=report.TITLE,
    compare=report.compare,
)

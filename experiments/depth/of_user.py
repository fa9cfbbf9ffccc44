"""The depth sweep over networks of the user's own: build(depth, width, seed) in a file.

`FILE.py:build -> for each width and depth a cell -> for each seed a network, measured by
jaxnn.diagnose -> rows like those of our networks`

What the sweep of our networks knows and this one does not is missing there: σ_w, σ_b, and the units
of layers whose activation is not known. z[l] stands for what layer l returns.
"""

import dataclasses
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl

from experiments.depth.columns import ITS_OWN, rows_of
from experiments.runs import experiment, grid, own, runtime, sweep
from experiments.runs.store import Store
from jaxnn.cli import allocation, source
from jaxnn.flow.record.flow import Flow
from jaxnn.flow.view.table import LN10
from jaxnn.sweeps.points import Point
from jaxnn.texts import counted

ARGUMENTS = ("depth", "width", "seed")
# Columns of the rows, and of `flow.table()`; which of those a flow lacks are missing in the rows.
FROM_TABLE = {
    "layer": "layer",
    "log10_delta_z": "log10_delta",
    "log10_delta_theta": "log10_theta",
    "log10_gain": "log10_gain",
    "log10_mean_square_z": "log10_mean_square",
    "log10_spread": "log10_spread",
    "cosine": "cosine",
    "rank": "rank",
    "saturated_fraction": "saturated",
    "dead_fraction": "dead",
}

log = logging.getLogger("jaxnn.experiments")


@dataclass(frozen=True)
class Settings(runtime.Options):
    """The settings of the depth sweep that apply to networks of the user's own."""

    network: str = ""
    axes: tuple[str, ...] = ()
    theory: bool = False
    depths: tuple[str, ...] = ()
    width: tuple[str, ...] = ()
    seeds: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Cell(sweep.Point):
    """Networks of one width, depth and point of the user's own axes, one a seed.

    weights: the point in words, or "its own" without axes.
    """

    width: int
    depth: int
    weights: str = ITS_OWN

    @property
    def label(self) -> str:
        """A few words for the view."""
        own = "" if self.weights == ITS_OWN else f", {self.weights}"
        return f"width {self.width}, depth {self.depth}{own}"


@dataclass(frozen=True)
class Plan(experiment.Plan):
    """The checked settings of a sweep over networks of the user's own.

    points: of the user's own axes, the arguments of their functions by the words for them.
    build: the user's function, and the module that it is in; None of a dry run.
    """

    settings: Settings
    code: source.UserCode
    cells: tuple[Cell, ...]
    points: Mapping[str, Point]
    build: tuple[Callable[..., Any], ModuleType] | None = None

    @property
    def source(self) -> Mapping[str, object]:
        """The checksum of the file; not of what it imports."""
        return {"file_sha256": self.code.checksum}

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        seeds = counted(self.settings.seeds, "seed")
        cells = counted(len(self.cells), "cell")
        return f"{cells} of {seeds}; {self.code.name}() of {self.code.path.name} has the costs"

    @property
    def subtitle(self) -> str:
        """One line on what was measured."""
        of = self.settings
        return (
            f"{self.code}, whose code was run; z[l] is what layer l returns; width "
            f"{' '.join(of.width)}; {counted(of.seeds, 'seed')} from {of.seed}"
        )


def prepare(settings: Any) -> Plan:
    """Check the settings, run the file, and build the smallest network."""
    names = [each.name for each in dataclasses.fields(Settings)]
    runtime.check_only(settings, names, ONLY)
    if settings.distributed:
        raise ValueError("distributed: networks of your own are measured by one process")
    runtime.check(settings, several=("depths", "width"))
    depths, widths = (sorted(grid.integers(n, getattr(settings, n))) for n in ("depths", "width"))
    points = _points(settings.axes)
    grid.check_cells(len(depths), len(widths), len(points))
    cells = tuple(itertools.starmap(Cell, itertools.product(widths, depths, points)))
    code = own.read(settings.network, source.NETWORK, "a function in a file", _MORE)
    values = {name: getattr(settings, name) for name in names} | {"network": str(code)}
    plan = Plan(Settings(**values), code, cells, points)
    if settings.dry_run:
        return plan
    from jaxnn.returned import arguments  # here, since it imports the diagnosis and its cures

    log.info("running %s() of %s", code.name, code.path)
    with source.imported(code) as module, source.running(code, module):
        own_axes = next(iter(points.values()))
        build = code.function(*ARGUMENTS, *own_axes)
        plan = dataclasses.replace(plan, build=(build, module))
        arguments(_built(plan, cells[0], settings.seed), f"{code}()")
    return plan


ONLY = (
    "with --network expected only axes, theory, depths, width, seeds and seed; the rest is in the "
    "network itself"
)
_MORE = "; it is called with depth, width and seed, see depth --help"


def _points(axes: Sequence[str]) -> dict[str, Point]:
    """Return the points of axes such as share=1,0.5 by the words for them; one without axes."""
    values: dict[str, list[int | float | str]] = {}
    for text in axes:
        name, is_one, listed = map(str.strip, text.partition("="))
        if not (name.isidentifier() and is_one and listed) or name in (*ARGUMENTS, *values):
            raise ValueError(
                "axes: expected arguments of build other than depth, width and seed, each once, "
                f"with their values, such as share=1,0.5, got {text!r}"
            )
        values[name] = [_value(part.strip()) for part in listed.split(",")]
    rows = [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]
    return {", ".join(f"{n} {v}" for n, v in point.items()) or ITS_OWN: point for point in rows}


def _value(text: str) -> int | float | str:
    """Return the number that a text stands for, or the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _built(plan: Plan, cell: Cell, seed: int) -> Any:
    assert plan.build is not None
    point = plan.points[cell.weights]
    return plan.build[0](depth=cell.depth, width=cell.width, seed=seed, **point)


def measure(plan: Plan, store: Store | None) -> tuple[list[pl.DataFrame | None], bool]:
    """Measure the cells that are missing."""
    try:
        return sweep.measure(plan, store, partial(_rows_of, plan))
    except (ValueError, TypeError) as mistake:
        raise runtime.FailedError(str(mistake)) from None


def _rows_of(plan: Plan, cell: Cell) -> pl.DataFrame:
    of = plan.settings
    frames = [_measured(plan, cell, seed) for seed in range(of.seed, of.seed + of.seeds)]
    counts = sorted({frame.height for frame in frames})
    if len(counts) > 1:
        raise ValueError(
            f"network: expected {plan.code}() to return as many layers for every seed, got "
            f"{' and '.join(map(str, counts))} for depth {cell.depth}"
        )
    return pl.concat(frames)


def _measured(plan: Plan, cell: Cell, seed: int) -> pl.DataFrame:
    """Return the rows of a network, one a layer."""
    from jaxnn.returned import diagnosis_of  # here, likewise

    assert plan.build is not None
    code, failure = plan.code, None
    with source.running(code, plan.build[1]):
        try:
            returned, theory = _built(plan, cell, seed), plan.settings.theory
            found = diagnosis_of(returned, f"{code}()", "all", seed, theory=theory)
        except (MemoryError, RuntimeError) as error:
            if not allocation.exhausted(error):
                raise
            failure = error
    if failure is not None:
        raise failure
    flow = found.flow
    if plan.settings.theory and flow.theory is None:
        raise ValueError(
            f"theory: expected {code}() to return a network, got a diagnosis that was made without "
            "theory; make it with theory=True"
        )
    table = pl.DataFrame(flow.table())
    values: dict[str, Any] = {
        "activation": str(code),
        "weights": cell.weights,
        "hidden": ITS_OWN,
        "width": cell.width,
        "depth": cell.depth,
        "batch": flow.log_delta_example.shape[1],
        "dtype": str(np.dtype(flow.dtype)),
        "data": ITS_OWN,
        "seed": seed,
    }
    values |= {n: table[column] for n, column in FROM_TABLE.items() if column in table.columns}
    values |= _of_theory(flow.theory)
    return rows_of(values, table["log10_delta"].to_numpy(), table["lost"].to_numpy())


def _of_theory(theory: Flow | None) -> dict[str, Any]:
    """Return the columns of a wide twin; none without it."""
    if theory is None or theory.errors is None:
        return {}
    logs = {
        "log10_delta_z_theory": theory.log_delta,
        "log10_delta_z_theory_error": theory.errors.log_delta,
        "log10_gain_theory": theory.log_gain,
        "log10_mean_square_z_theory": theory.log_mean_square,
        "log10_spread_theory": theory.log_spread,
    }
    values = {k: np.asarray(v, float) / LN10 for k, v in logs.items() if v is not None}
    sd = values["log10_delta_z_theory_error"] * theory.replicas**0.5
    return values | {"log10_delta_z_theory_sd": sd}

"""Up to which depth does a network train, for each σ_w?

A deep network learns as long as two inputs can still be told apart at its top, and a gradient at
its bottom: up to a few ξ_c layers, the depth scale of correlations, which diverges at the critical
σ_w (Schoenholz et al. 2017, arXiv:1611.01232, figure 5). For every depth and σ_w² a network is
drawn, trained for some steps of SGD with momentum, and its training accuracy recorded; over the map
lie the curves of 1, 3 and 6 ξ_c.

`settings -> rows of the map -> networks, trained side by side -> accuracy; ξ_c -> chart, verdict`
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import polars as pl

import jaxnn
from experiments.learning import data, descent
from experiments.learning.data import base_rate
from experiments.learning.descent import DescentRule
from experiments.learning.kinds import BlockKind, kinds
from experiments.runs import experiment, grid, progress, runtime, sweep
from experiments.runs.experiment import Conclusion, Experiment
from experiments.runs.store import Store
from experiments.runs.work import Work
from experiments.trainability import report, theory
from experiments.trainability.report import COLUMNS
from jaxnn.texts import counted

CHART, THEORY = "trainability", "theory of infinite width"


@dataclass(frozen=True)
class Settings(runtime.Options, data.DataOptions):
    """Training accuracy over depth and σ_w², with the depth scale of mean-field theory over it."""

    depths: tuple[str, ...] = ("10:120:10",)
    """Numbers of hidden layers; a number or start:stop:step."""
    sigma_w_squared: tuple[str, ...] = ("1:3.75:0.25",)
    """Variances σ_w² of the Gaussian weights, times fan_in."""
    sigma_b_squared: float = 0.05
    """Variance σ_b² of the biases."""
    activation: str = "tanh"
    """Activation of the hidden layers, by name."""
    hidden: str = "dense"
    """Kind of block between hidden layers: dense, residual, rms_norm, layer_norm, batch_norm,
    post_norm, or one in another, such as "residual(rms_norm)"."""
    scale: str = "1"
    """Scale of a residual block: a number, or 1/sqrt(L), L hidden layers."""
    data: str = "digits"
    """digits, breast_cancer, iris, wine, or a .csv or .parquet file with classes."""
    width: int = 100
    """Units in every hidden layer."""
    steps: int = 600
    """Steps of training."""
    rate: float = 1e-3
    """Step size of SGD."""
    momentum: float = 0.9
    """Momentum of SGD."""
    batch: int = 128
    """Examples in a batch."""
    seeds: int = 1
    """Number of seeds; each draws its own weights and batches."""
    seed: int = 0
    """The first seed."""


@dataclass(frozen=True)
class Cell(sweep.Point):
    """A row of the map: one depth and seed, all σ_w²."""

    depth: int
    seed: int


@dataclass(frozen=True)
class Plan(experiment.Plan):
    """Checked settings with the data that they name; σ_w ascending."""

    settings: Settings
    dataset: data.Dataset
    hidden: BlockKind
    sigma_w: tuple[float, ...]
    cells: tuple[Cell, ...]

    @property
    def source(self) -> dict[str, object]:
        """The shape and task of the data, and a checksum."""
        return data.source([self.dataset.table])

    @property
    def work(self) -> Work:
        """The cost of the run: three products a layer and step; θ, Δθ and its momentum."""
        s = self.settings
        layers = sum(cell.depth for cell in self.cells) * len(self.sigma_w)
        most = max(cell.depth for cell in self.cells)
        flops = 6.0 * s.batch * s.width**2 * s.steps * layers
        return Work(flops, 12.0 * s.width**2 * most + 4.0 * s.batch * s.steps, "width or depths")

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        networks = counted(len(self.sigma_w), "network")
        return f"{counted(len(self.cells), 'cell')} of {networks}, {self.work}"


def prepare(settings: Settings) -> Plan:
    """Check the settings and load the data."""
    runtime.check(settings, several=("depths", "sigma_w_squared"))
    runtime.check_sizes(settings, ("sigma_b_squared", "rate", "momentum"))
    squares = grid.numbers("sigma_w_squared", settings.sigma_w_squared)
    if min(squares) <= 0:
        raise ValueError(f"sigma_w_squared: expected numbers > 0, got {min(squares):g}")
    jaxnn.network.find_activation(settings.activation)
    dataset = data.load_classes(settings.data, settings)
    depths = sorted(grid.integers("depths", settings.depths))
    seeds = runtime.seeds_of(settings)
    grid.check_cells(len(seeds), len(depths))
    cells = tuple(Cell(depth, seed) for seed in seeds for depth in depths)
    sigma_w = tuple(float(v) ** 0.5 for v in sorted(squares))
    (hidden,) = kinds([settings.hidden], [settings.scale])
    return Plan(replace(settings, data=dataset.name), dataset, hidden, sigma_w, cells)


def measure(plan: Plan, store: Store | None) -> tuple[list[pl.DataFrame | None], bool]:
    """Train the networks of the cells that are missing."""
    data.say([plan.dataset.table])
    return sweep.measure(plan, store, partial(measure_cell, plan))


def measure_cell(plan: Plan, cell: Cell) -> pl.DataFrame:
    """Return one row a network, with `COLUMNS`."""
    s, count = plan.settings, len(plan.sigma_w)
    hidden = plan.hidden.of(cell.depth)
    net = descent.roomy(plan.dataset, s.width, s.activation, cell.depth, hidden)
    params = descent.drawn(net, cell.seed, plan.sigma_w, s.sigma_b_squared**0.5)
    rule = DescentRule(s.rate, s.momentum, s.batch)
    seeds = (cell.seed,) * count
    loss, accuracy = descent.trained(plan.dataset, net, params, cell.depth, seeds, rule, s.steps)
    return pl.DataFrame(
        {
            "depth": [cell.depth] * count,
            "sigma_w_squared": [round(v**2, 12) for v in plan.sigma_w],
            "seed": seeds,
            "accuracy": accuracy.astype(np.float64),
            "loss": loss.astype(np.float64),
        }
    )


def conclude(plan: Plan, frames: list[pl.DataFrame | None]) -> Conclusion:
    """Compare the map with theory, in words and a picture."""
    from experiments.trainability import picture  # here, for it imports Altair

    rows, missing = sweep.gathered(plan, frames)
    kind = (plan.settings.activation, plan.settings.sigma_b_squared)
    trains = report.ridge(rows, base_rate(plan.dataset.y), missing)
    with progress.view(THEORY, plan.settings.quiet):
        depth_scale = theory.depth_scale(*kind, plan.sigma_w[0] ** 2, plan.sigma_w[-1] ** 2)
        critical = theory.critical(*kind)
    if plan.hidden.name == "dense":
        verdict = report.sentence(*kind, trains, report.critical(critical))
    else:  # the depth scale is that of plain networks
        depth_scale = depth_scale.clear()
        name = f"{plan.settings.activation}, {plan.hidden.text}"
        verdict = report.sentence(name, plan.settings.sigma_b_squared, trains)
    figure = picture.figure(rows, depth_scale, verdict, subtitle(plan), missing)
    return Conclusion(rows, [verdict], {CHART: figure}, missing=missing)


def subtitle(plan: Plan) -> str:
    """Say in one line what was trained, on what, for how long."""
    s = plan.settings
    seeds = f"{counted(s.seeds, 'seed')} from {s.seed}"
    return (
        f"{plan.dataset}, width {s.width}, σ_b² = {s.sigma_b_squared:g}, SGD {s.rate:g} with "
        f"momentum {s.momentum:g}, batch {s.batch}, {counted(s.steps, 'step')}; {seeds}"
    )


EXPERIMENT = Experiment(
    name="trainability",
    settings=Settings,
    columns=COLUMNS,
    figures=(CHART,),
    prepare=prepare,
    measure=measure,
    conclude=conclude,
    table=report.table,
    title="training accuracy, hidden layers against σ_w²",
    compare=report.compare,
)

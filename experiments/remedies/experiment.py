"""Remedies against vanishing and exploding gradients: which of them work, and what do they cost?

Plain networks, and those with a remedy (a skip connection, a norm, a tailored activation, weights
at the edge of chaos) are drawn at many depths. Recorded is by how much the gradient shrinks or
grows from the last hidden layer to the first, and how alike all examples have become at the top: a
network trains only while both are right. Networks of some depths are then trained for a fixed
number of steps, each with the best of some step sizes, which shows what cures what; next to it all
stands mean-field theory.

`settings -> cells (remedy, depth, step size) -> flows, trainings -> rows
rows -> the best step size of each network; with theory -> verdicts, picture`

With FILE.py:NAME the network is the user's own, and the remedies are its cures (`of_user.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Annotated

import numpy as np
import polars as pl
import tyro

from experiments.learning import data
from experiments.learning.measures import base_rate
from experiments.learning.networks import work
from experiments.remedies import rates, report, theory
from experiments.remedies.cells import FLOW, TRAINING, Cell, Sizes, Sweep, distance, networks_of
from experiments.remedies.columns import CHART, COLUMNS
from experiments.remedies.of_user import plan as of_user
from experiments.remedies.table import REMEDIES
from experiments.runs import experiment, grid, progress, runtime, sweep
from experiments.runs.experiment import Conclusion, Experiment
from experiments.runs.store import Store
from experiments.runs.work import Work
from jaxnn.texts import counted


@dataclass(frozen=True)
class Settings(runtime.Options, data.Options):
    """Remedies against vanishing and exploding gradients: skips, norms, units and weights.

    Or with FILE.py:NAME, a function without arguments, or with a seed that has a default, which is
    run here, with all of its file: name only code that you trust. It returns what jaxnn.diagnose
    takes: (model, xs), or a dict with model, xs, ys, loss, each and cuts. The network is trained as
    it is and as its best cures make it, each with the best of some step sizes: by your data and
    loss, or without a loss by `data`, if it fits. Then apply data, optimizer, rates, batch, steps,
    cures, seeds and seed alone.
    """

    network: tyro.conf.Positional[Annotated[str | None, tyro.conf.arg(metavar="FILE.py:NAME")]] = (
        None
    )
    """FILE.py:NAME, the function that returns a network of your own."""
    remedies: tuple[str, ...] = tuple(REMEDIES)
    """Some of sigmoid, relu, layer_norm, batch_norm, residual, residual_sqrt, pre_norm, tailored,
    orthogonal."""
    depths: tuple[str, ...] = ("1:1024:*2",)
    """Numbers of hidden layers whose gradient is measured; numbers or ranges."""
    train_depths: tuple[str, ...] = ("10", "20", "50", "100")
    """Numbers of hidden layers of the networks that are trained."""
    data: str = "digits"
    """digits, breast_cancer, iris, wine, or a .csv or .parquet file with classes."""
    width: int = 64
    """Units in every hidden layer."""
    batch: int = 128
    """Examples in a batch."""
    steps: int = 600
    """Steps of training."""
    rates: tuple[str, ...] = ("0.0003:0.3:*10",)
    """Step sizes that are tried on each network, which counts with its best; numbers or ranges."""
    optimizer: str = "adam"
    """adam or sgd, of a network of your own; the others are trained by sgd."""
    cures: int = field(default=2, metadata={"least": 0})
    """Number of the best cures that are trained, of a network of your own; of 0 none are tried."""
    seeds: int = 2
    """Number of seeds; each draws its own weights and batches."""
    seed: int = 0
    """The first seed."""


@dataclass(frozen=True)
class Plan(experiment.Plan):
    """Checked settings with the data and cells that they name."""

    settings: Settings
    dataset: data.Dataset
    sizes: Sizes
    cells: tuple[Cell, ...]

    @property
    def source(self) -> dict[str, object]:
        """The shape and task of the data, and a checksum."""
        return data.source([self.dataset.table])

    @property
    def work(self) -> Work:
        """The cost of all cells, which come one after the other."""
        flops, most = 0.0, 0.0
        for cell in self.cells:
            once = work(networks_of(self.dataset, self.sizes, cell))
            trained = cell.what == TRAINING
            flops += once.flops * (self.sizes.steps if trained else 1)
            most = max(most, once.bytes * (2 if trained else 1))  # θ and Δθ
        return Work(flops, most, "width, depths, train-depths, batch or seeds")

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        seeds = counted(self.settings.seeds, "seed")
        return f"{counted(len(self.cells), 'cell')} of {seeds}, {self.work}"


def prepare(settings: Settings) -> Plan | of_user.Plan:
    """Check the settings and load the data, or run the user's code."""
    if settings.network is not None:
        return of_user.prepare(settings, EXPERIMENT.check)
    given = {each.name for each in fields(Settings)} - {"optimizer", "cures"}
    runtime.check_only(settings, given, "expected with FILE.py:NAME alone, a network of your own")
    runtime.check(settings, several=("remedies", "depths", "train_depths", "rates"))
    runtime.check_known("remedies", settings.remedies, REMEDIES)
    tried = rates.check(settings.rates)
    dataset = data.load_classes(settings.data, settings)
    depths = {
        FLOW: sorted(grid.integers("depths", settings.depths)),
        TRAINING: sorted(grid.integers("train_depths", settings.train_depths)),
    }
    each = {FLOW: (0.0,), TRAINING: tried}
    grid.check_cells(len(REMEDIES), sum(len(depths[what]) * len(each[what]) for what in depths))
    sizes = Sizes(
        width=settings.width,
        batch=min(settings.batch, len(dataset.x)),
        seeds=runtime.seeds_of(settings),
        rooms={what: max(of_kind) for what, of_kind in depths.items()},
        steps=settings.steps,
    )
    cells = tuple(_cells(settings.remedies, depths, each))
    if not cells:
        raise ValueError("depths: expected some at which the remedies exist; tailored needs 13")
    return Plan(replace(settings, data=dataset.name), dataset, sizes, cells)


def _cells(
    remedies: tuple[str, ...], depths: dict[str, list[int]], each: dict[str, tuple[float, ...]]
) -> Iterator[Cell]:
    """Yield the cells, for each step size of a kind: those that share a program come together."""
    for what, of_kind in depths.items():
        for remedy in dict.fromkeys(remedies):
            for depth in of_kind:
                if depth >= REMEDIES[remedy].least:
                    yield from (Cell(what, remedy, depth, rate) for rate in each[what])


def measure(
    plan: Plan | of_user.Plan, store: Store | None
) -> tuple[list[pl.DataFrame | None], bool]:
    """Measure and train the networks of the cells that are missing."""
    if isinstance(plan, of_user.Plan):
        return of_user.measure(plan, store)
    data.say([plan.dataset.table])
    cells = Sweep(plan.dataset, plan.sizes)
    return sweep.measure(plan, store, cells.measure, cells.prepare)


def conclude(plan: Plan | of_user.Plan, frames: list[pl.DataFrame | None]) -> Conclusion:
    """Compare the measurements with theory, in words and a picture."""
    from experiments.remedies import page, picture  # here, for they import Altair

    if isinstance(plan, of_user.Plan):
        return of_user.conclude(plan, frames)
    rows, missing = sweep.gathered(plan, frames)
    found = report.cases(rows, predictions(plan, rows), missing)
    verdicts = [report.sentence(case) for case in found]
    summary = report.summary(found, base_rate(plan.dataset.y))
    verdicts += [summary] if summary else []
    drawn = picture.Drawn.of(rows, found, subtitle(plan), plan.settings.steps)
    figures = {CHART: picture.figure(drawn)}
    return Conclusion(
        rows,
        verdicts,
        figures,
        page=partial(page.page, drawn, found, tuple(verdicts)),
        missing=missing,
    )


def predictions(plan: Plan, rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return for each remedy of the rows what theory predicts at every depth of the sweep."""
    x, depths = plan.dataset.x, [cell.depth for cell in plan.cells if cell.what == FLOW]
    inputs = theory.Inputs(
        width=plan.sizes.width,
        batch=plan.sizes.batch,
        q0=float(np.mean(np.square(x))),
        c0=1 - float(distance(np.asarray(x, np.float32))),
    )
    predicted, names = {}, report.remedies_of(rows)
    with progress.view("theory of infinite width", plan.settings.quiet) as tell:
        for i, name in enumerate(names, 1):
            tell(f"{REMEDIES[name].name}, {i} of {len(names)}")
            predicted[name] = theory.predict(REMEDIES[name], depths, inputs)
    return predicted


def subtitle(plan: Plan) -> str:
    """Say in one line what was measured and trained."""
    s = plan.settings
    tried = rates.check(s.rates)
    best = f"the best of {len(tried)} step sizes" if len(tried) > 1 else f"step size {tried[0]:g}"
    return (
        f"{plan.dataset}, width {s.width}, batch {plan.sizes.batch}, no biases; "
        f"{counted(s.seeds, 'seed')} from {s.seed}; {counted(s.steps, 'step')} of SGD with {best}"
    )


EXPERIMENT = Experiment(
    name="remedies",
    settings=Settings,
    columns=COLUMNS,
    figures=(CHART,),
    report=True,
    prepare=prepare,
    measure=measure,
    conclude=conclude,
    table=report.table,
    title="gradient in decades, 1 - correlation, and accuracy, by hidden layers",
    compare=report.compare,
)

"""The first cure of ill networks against the best remedy known, each trained on the digits.

    python -m experiments experiments/remedies/rivals/experiment.py:EXPERIMENT

Twenty dense networks, in Flax, Equinox, plain JAX and PyTorch, none of which is on a page of this
project, are given to `jaxnn.cures`, with a loss and some examples. The first cure is trained, and
every remedy of `rivals.py`: other weights, a norm, a skip with a norm, two packages. Each has the
best of the same step sizes, on the mean over seeds, which draw weights and batches.

`settings -> cells (network, remedy) -> rows (seed, step size, steps) -> table, verdicts`
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from sklearn.datasets import load_digits

from experiments.remedies.rivals import report, training
from experiments.remedies.rivals.columns import COLUMNS
from experiments.remedies.rivals.networks import NETWORKS
from experiments.remedies.rivals.rivals import CURE, PACKAGES, REMEDIES
from experiments.runs import experiment, grid, runtime, sweep
from experiments.runs.experiment import Conclusion, Experiment
from experiments.runs.store import Store


@dataclass(frozen=True)
class Settings(runtime.Options):
    """Ill networks, their first cure, and the remedies known, trained."""

    networks: int = 20
    """Number of networks, from the top of the table."""
    remedies: tuple[str, ...] = (CURE, *REMEDIES)
    """Names of remedies."""
    steps: tuple[str, ...] = ("300", "3000")
    """Numbers of steps after which they are compared."""
    seeds: int = 3
    """Number of seeds."""
    seed: int = 0
    """The first seed."""
    seconds: int = 30
    """Seconds that `jaxnn.cures` may train changes, for each network."""


@dataclass(frozen=True)
class Cell(sweep.Point):
    """A network with a remedy."""

    network: str
    remedy: str


@dataclass(frozen=True)
class Plan(experiment.Plan):
    """Checked settings with the cells that they name."""

    settings: Settings
    cells: tuple[Cell, ...]

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        of = self.settings
        lanes = of.seeds * len(training.RATES)
        return f"{len(self.cells)} times {lanes} trainings of {max(map(int, of.steps))} steps"


def prepare(settings: Settings) -> Plan:
    """Check the settings."""
    runtime.check(settings, ("remedies", "steps"), alone="a network is cured by one process")
    runtime.check_known("remedies", settings.remedies, (CURE, *REMEDIES))
    grid.integers("steps", settings.steps)
    named = NETWORKS[: settings.networks]
    return Plan(settings, tuple(Cell(of.name, name) for of in named for name in settings.remedies))


def measure(plan: Plan, store: Store | None) -> tuple[list[pl.DataFrame | None], bool]:
    """Train what is missing."""
    return sweep.measure(plan, store, partial(measured, settings=plan.settings))


def measured(cell: Cell, settings: Settings) -> pl.DataFrame:
    """Return the rows of a network with a remedy."""
    of = next(one for one in NETWORKS if one.name == cell.network)
    seeds = range(settings.seed, settings.seed + settings.seeds)
    points = tuple(sorted(grid.integers("steps", settings.steps)))
    x, y = load_digits(return_X_y=True)
    data = np.asarray((x - x.mean()) / x.std(), np.float32), y.astype(np.int32)
    try:
        outcome = training.reached(of, cell.remedy, seeds, data, points, float(settings.seconds))
    except Exception as error:
        if cell.remedy not in PACKAGES:  # whose code may end in whatever it does
            raise
        told = f"{type(error).__name__}: {error}".partition("\n")[0]
        none = np.full((len(seeds), len(training.RATES), len(points)), np.nan)
        outcome = training.Outcome(told, none)
    rows = [
        vars(cell)
        | {"framework": of.framework, "change": outcome.change, "advice": outcome.advice}
        | {"seed": seed, "rate": rate}
        | {"step": step, "accuracy": float(outcome.accuracies[k, i, j])}
        for k, seed in enumerate(seeds)
        for i, rate in enumerate(training.RATES)
        for j, step in enumerate(points)
    ]
    frame = pl.DataFrame(rows, {name: column.dtype for name, column in COLUMNS.items()})
    return frame.select(*COLUMNS)


def conclude(plan: Plan, frames: list[pl.DataFrame | None]) -> Conclusion:
    """Count on how many networks the first cure is as good as the best remedy known."""
    rows, missing = sweep.gathered(plan, frames)
    about = runtime.frameworks()
    return Conclusion(rows, verdicts=report.verdicts(rows), about=about, missing=missing)


EXPERIMENT = Experiment(
    name="rivals",
    settings=Settings,
    columns=COLUMNS,
    prepare=prepare,
    measure=measure,
    conclude=conclude,
    table=report.table,
    title=report.TITLE,
    compare=report.compare,
)

"""Does a network that is trained here predict unseen rows as well as scikit-learn's?

For each table and seed the rows are split, and standardised by the training rows, once for both. A
network of jaxnn and one of scikit-learn (`MLPClassifier`, `MLPRegressor`) are trained on the same
rows: the same layers, activation, loss, optimiser (adam), step size, batches and number of epochs;
no penalty of the weights (alpha 0), no early stopping, weights and biases drawn from the same
distribution. Each has its own draws and batches. The medians over the seeds of accuracy or R² on
the held-out rows are compared. A lower median of ours is reported, with exit code 1.

`settings -> cells (table, seed) -> two networks -> rows -> medians -> table, chart, verdicts`
"""

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any

import jax
import numpy as np
import polars as pl

import jaxnn
from experiments.learning import data, model, optimizers, splits
from experiments.learning.measures import METRIC
from experiments.peers import report
from experiments.peers.columns import COLUMNS
from experiments.peers.report import OURS, THEIRS
from experiments.runs import experiment, grid, runtime, sweep
from experiments.runs.experiment import Conclusion, Experiment
from experiments.runs.store import Store
from experiments.runs.work import Work
from jaxnn.texts import counted

CHART = "peers"
# scikit-learn's names by ours.
ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "sigmoid": "logistic", "identity": "identity"}


@dataclass(frozen=True)
class Settings(runtime.Options, data.Options):
    """Held-out accuracy and R² compared with scikit-learn's networks of the same kind."""

    data: tuple[str, ...] = ("digits", "breast_cancer", "wine", "diabetes")
    """breast_cancer, digits, iris, wine, diabetes, or .csv, .parquet or .npz files."""
    hidden: tuple[int, ...] = (100,)
    """Units of each hidden layer."""
    activation: str = "relu"
    """relu, tanh, sigmoid or identity."""
    rate: float = 1e-3
    """Step size of adam."""
    epochs: int = 200
    """Epochs of training."""
    batch: int = 200
    """Examples in a batch; all rows if there are fewer."""
    test: float = 0.25
    """Fraction of the rows that is held out."""
    seeds: int = 10
    """Number of seeds; each draws its own split, weights and batches."""
    seed: int = 0
    """The first seed."""


@dataclass(frozen=True)
class Cell(sweep.Point):
    """Both networks of one table and seed."""

    data: str
    seed: int


@dataclass(frozen=True)
class Plan(experiment.Plan):
    """Checked settings with the tables and cells that they name."""

    settings: Settings
    tables: dict[str, data.Table]
    cells: tuple[Cell, ...]

    @property
    def source(self) -> dict[str, object]:
        """The shape and task of each table, by name, and a checksum."""
        return data.source(self.tables.values())

    @property
    def work(self) -> Work:
        """The cost of one network after the other: θ, Δθ and adam's two moments."""
        widths = self.settings.hidden
        inputs = max(table.frame.width for table in self.tables.values())
        weights = float(sum(n * m for n, m in pairwise((inputs, *widths))))
        rows = max(len(table.y) for table in self.tables.values())
        flops = 6 * weights * rows * self.settings.epochs * 2 * len(self.cells)
        return Work(flops, 16 * weights, "hidden")

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        epochs = counted(self.settings.epochs, "epoch")
        return f"{2 * len(self.cells)} networks of {epochs}, {self.work}"


def prepare(settings: Settings) -> Plan:
    """Check the settings and load the data."""
    runtime.check(settings, several=("data", "hidden"))
    runtime.check_sizes(settings, ("rate",), positive=True)
    runtime.check_known("activation", (settings.activation,), ACTIVATIONS)
    if settings.test == 0:
        raise ValueError("test: expected a fraction above 0, got 0")
    tables = data.by_name(data.table, settings.data, settings)
    for table in tables.values():
        splits.split(table, 0, settings.test, settings.seed)
    seeds = runtime.seeds_of(settings)
    grid.check_cells(len(seeds), len(tables))
    cells = tuple(Cell(name, seed) for name in tables for seed in seeds)
    return Plan(replace(settings, data=tuple(tables)), tables, cells)


def measure(plan: Plan, store: Store | None) -> tuple[list[pl.DataFrame | None], bool]:
    """Train the networks that are missing; each table first once without a clock, to compile."""

    @cache
    def compile_for(name: str) -> None:
        parts = _split(plan, name, plan.settings.seed)
        jaxnn_predictions(plan.settings, plan.tables[name], parts, plan.settings.seed)

    def measured(cell: Cell) -> pl.DataFrame:
        compile_for(cell.data)
        return train_both(plan, cell)

    data.say(plan.tables.values())
    return sweep.measure(plan, store, measured)


def _split(plan: Plan, name: str, seed: int) -> splits.Split:
    return splits.split(plan.tables[name], 0, plan.settings.test, seed)


def train_both(plan: Plan, cell: Cell) -> pl.DataFrame:
    """Return one row a network: data, seed, library, metric, value, seconds.

    The value of a network whose training leaves the range of its numbers is nan.
    """
    from sklearn import metrics

    table = plan.tables[cell.data]
    parts = _split(plan, cell.data, cell.seed)
    # One function scores both: in float32 an accuracy is another number.
    score = metrics.r2_score if table.task == "regression" else metrics.accuracy_score
    rows = []
    for library, predictions in ((OURS, jaxnn_predictions), (THEIRS, sklearn_predictions)):
        started = time.perf_counter()
        predicted = predictions(plan.settings, table, parts, cell.seed)
        value = math.nan if predicted is None else float(score(_held_out(parts).y, predicted))
        seconds = time.perf_counter() - started
        rows.append((cell.data, cell.seed, library, METRIC[table.task], value, seconds))
    return pl.DataFrame(rows, schema=list(COLUMNS), orient="row")


@jax.jit
def start(net: jaxnn.Network, key: jax.Array) -> tuple[jaxnn.network.Layer, ...]:
    """Draw θ and b as scikit-learn does: both uniform in ±√(6/(fan_in + fan_out)), sigmoid ±√(2/…).

    Biases of zero are no small matter: all kinks of relu then meet in the mean of the rows, and
    after 200 epochs the loss of 7 features and 100 units is 15 % higher.
    """
    factor = 2.0 if net.activation_name == "sigmoid" else 6.0
    layers = []
    for i, (n, m) in enumerate(pairwise(net.sizes)):
        key_theta, key_b = jax.random.split(jax.random.fold_in(key, i))
        most = math.sqrt(factor / (n + m))
        theta = jax.random.uniform(key_theta, (n, m), minval=-most, maxval=most)
        b = jax.random.uniform(key_b, (m,), minval=-most, maxval=most)
        layers.append(jaxnn.network.Layer(theta, b))
    return tuple(layers)


def jaxnn_predictions(
    settings: Settings, table: data.Table, parts: splits.Split, seed: int
) -> np.ndarray | None:
    """Train a network of jaxnn; return classes or standardised values of the held-out rows.

    None if the training, or an output, leaves the range of float32.
    """
    sizes = (parts.training.x.shape[1], *settings.hidden, table.n_out)
    net = jaxnn.Network(sizes, settings.activation, table.task)
    key_params, key_batches = jax.random.split(jax.random.key(seed))
    try:
        fitted = jaxnn.fit(
            net,
            start(net, key_params),
            parts.training.x,
            parts.training.y,
            optimizers.make("adam", settings.rate),
            epochs=settings.epochs,
            batch=min(settings.batch, len(parts.training.x)),
            key=key_batches,
        )
    except jaxnn.errors.NonFiniteError:
        return None
    y_hat = model.outputs(net, fitted.params, _held_out(parts).x)
    if not np.isfinite(y_hat).all():
        return None
    return y_hat[:, 0] if table.task == "regression" else model.decided(y_hat)


def sklearn_predictions(
    settings: Settings, table: data.Table, parts: splits.Split, seed: int
) -> np.ndarray | None:
    """Train a network of scikit-learn; return what `jaxnn_predictions` does of jaxnn's."""
    from sklearn import exceptions, neural_network

    regression = table.task == "regression"
    kind: Callable[..., Any] = (
        neural_network.MLPRegressor if regression else neural_network.MLPClassifier
    )
    network = kind(
        hidden_layer_sizes=settings.hidden,
        activation=ACTIVATIONS[settings.activation],
        solver="adam",
        alpha=0.0,
        learning_rate_init=settings.rate,
        batch_size=min(settings.batch, len(parts.training.x)),
        max_iter=settings.epochs,
        n_iter_no_change=settings.epochs + 1,  # that is, never stop before
        tol=0.0,
        random_state=seed,
    )
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", exceptions.ConvergenceWarning)  # all epochs were done
            network.fit(parts.training.x, parts.training.y)
            predicted: np.ndarray = network.predict(_held_out(parts).x)
    except ValueError as error:
        if "non-finite" not in str(error):
            raise
        return None
    return predicted if table.classes or np.isfinite(predicted).all() else None


def _held_out(parts: splits.Split) -> splits.Part:
    assert parts.test is not None  # `prepare` asks for one
    return parts.test


def conclude(plan: Plan, frames: list[pl.DataFrame | None]) -> Conclusion:
    """Compare the libraries, in words and a picture."""
    from experiments.peers import picture  # here, for it imports Altair

    rows, missing = sweep.gathered(plan, frames)
    tables = report.summary(rows).rows(named=True)
    lower = [report.sentence(row) for row in tables if report.is_lower(row)]
    return Conclusion(
        rows,
        verdicts=report.verdicts(rows, missing),
        figures={CHART: picture.figure(rows, subtitle(plan.settings))},
        failure="; ".join(lower) if lower and not missing else None,
        missing=missing,
    )


def subtitle(settings: Settings) -> str:
    """Say in one line what was compared."""
    s = settings
    return (
        f"hidden layers {' '.join(map(str, s.hidden))}, {s.activation}, adam {s.rate:g}, batch "
        f"{s.batch}, {counted(s.epochs, 'epoch')}, {100 * s.test:g} % held out; "
        f"{counted(s.seeds, 'seed')} from {s.seed}"
    )


EXPERIMENT = Experiment(
    name="peers",
    settings=Settings,
    columns=COLUMNS,
    figures=(CHART,),
    prepare=prepare,
    measure=measure,
    conclude=conclude,
    table=report.table,
    title=report.TITLE,
    compare=report.compare,
)

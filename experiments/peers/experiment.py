"""Does a network that is trained here tell as much of unseen rows as scikit-learn's?

For each table and seed the rows are split, and standardised by the training rows, once for both. A
network of jaxnn and one of scikit-learn (`MLPClassifier`, `MLPRegressor`) are trained on the same
rows: the same layers, activation, loss, optimiser (adam), step size, batches and number of epochs;
no penalty of the weights (alpha 0), no early stopping. Each draws weights and batches as it does by
itself. Compared are the medians over the seeds of accuracy or R² of the rows held out. Where ours
is lower, that is said, with exit code 1.

`settings -> cells (table, seed) -> two networks -> rows -> medians -> table, chart, verdicts`
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl
from rich.console import Console
from sklearn import exceptions, metrics, neural_network

import jaxnn
from experiments.learning import data, model, optimizers, splits
from experiments.learning.measures import METRIC
from experiments.pages import charts
from experiments.peers import report as peers_report
from experiments.peers.report import OURS, THEIRS
from experiments.runs import grid, runtime, store, sweep

CHART = "peers"
FILES = charts.names(CHART)
# By our names, those of scikit-learn.
ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "sigmoid": "logistic", "identity": "identity"}


@dataclass(frozen=True)
class Settings(runtime.Options):
    """Held-out accuracy and R² beside those of scikit-learn's networks of the same kind."""

    data: tuple[str, ...] = ("digits", "breast_cancer", "wine", "diabetes")
    """breast_cancer, digits, iris, wine, diabetes, or .csv, .parquet or .npz files."""
    target: str | None = None
    """The column to predict, for files."""
    hidden: tuple[int, ...] = (100,)
    """Units of each hidden layer."""
    activation: str = "relu"
    """relu, tanh, sigmoid or identity."""
    rate: float = 1e-3
    """Step size of adam."""
    epochs: int = 200
    """Epochs of training."""
    batch: int = 200
    """Examples in a batch; all there are, where there are fewer."""
    test: float = 0.25
    """Fraction of the rows that is held out."""
    seeds: int = 10
    """How many seeds; each draws its own split, weights and batches."""
    seed: int = 0
    """The first seed."""
    out: Path = field(default=Path("runs/peers"), metadata=runtime.HOW)
    """The folder for the results. The same command again goes on with a run that was stopped."""


@dataclass(frozen=True)
class Cell:
    """Both networks of one table and seed."""

    data: str
    seed: int

    @property
    def key(self) -> str:
        """A name of its own among the cells of a run."""
        return f"{self.data}-{self.seed}"

    @property
    def shown(self) -> str:
        """For the view."""
        return f"{self.data}, seed {self.seed}".ljust(24)


@dataclass(frozen=True)
class Plan:
    """Checked settings with everything that they name."""

    settings: Settings
    tables: dict[str, data.Table]
    cells: tuple[Cell, ...]

    @property
    def what(self) -> dict[str, object]:
        """What the run is: one with other settings is another run."""
        tables = {name: str(table) for name, table in self.tables.items()}
        return {"experiment": "peers", "settings": grid.as_dict(self.settings), "data": tables}

    def estimate(self) -> str:
        """What the run takes, in words."""
        return f"{2 * len(self.cells)} networks of {self.settings.epochs} epochs"


def prepare(settings: Settings) -> Plan:
    """Checks the settings and loads the data.

    Raises:
        ValueError, TypeError, OSError: one sentence; nothing has been written then.
    """
    counts = ("hidden", "epochs", "batch", "seeds")
    runtime.check(settings, several=("data", "hidden"), counts=counts)
    if not 0 < settings.rate < float("inf"):
        raise ValueError(f"rate: expected a finite number > 0, got {settings.rate:g}")
    if settings.activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"activation: expected one of {known}, got {settings.activation!r}")
    if settings.test == 0:
        raise ValueError("test: expected a fraction above 0, got 0")
    tables = {name: data.table(name, settings.target) for name in dict.fromkeys(settings.data)}
    for table in tables.values():
        splits.split(table, 0, settings.test, settings.seed)
    seeds = range(settings.seed, settings.seed + settings.seeds)
    return Plan(settings, tables, tuple(Cell(name, seed) for name in tables for seed in seeds))


def run(plan: Plan, kept: store.Store | None) -> bool:
    """Trains the networks of the cells that are missing, prints the table, fills the folder.

    Returns:
        Whether it finished.

    Raises:
        FailedError: the median of ours is lower somewhere; the folder is filled nevertheless.
        OSError: the disk; the sentence names the file.
    """
    started = datetime.now(UTC)
    frames, finished = sweep.measure(kept, plan.cells, partial(measure, plan), plan.settings.quiet)
    if kept is None or not frames:
        return finished
    rows = pl.concat(frames)
    found = peers_report.medians(rows)
    verdicts = [peers_report.sentence(row) for row in found.rows(named=True)]
    kept.write_rows(rows)
    charts.save(peers_report.draw(rows, subtitle(plan)), kept.folder, CHART)
    kept.write_run(runtime.provenance(started, finished=finished, verdicts=verdicts))
    Console().print(peers_report.table(rows))
    print(*verdicts, f"in {kept.folder}: {', '.join((store.ROWS, store.RUN, *FILES))}", sep="\n")
    lower = found.filter(pl.col("difference") < 0)
    if finished and lower.height:
        raise runtime.FailedError("; ".join(map(peers_report.sentence, lower.rows(named=True))))
    return finished


def measure(plan: Plan, cell: Cell) -> pl.DataFrame:
    """One row a network: data, seed, library, metric, value, seconds."""
    table = plan.tables[cell.data]
    parts = splits.split(table, 0, plan.settings.test, cell.seed)
    # One and the same function for both: in float32 an accuracy is another number.
    score = metrics.r2_score if table.task == "regression" else metrics.accuracy_score
    rows = []
    for library, train in ((OURS, ours), (THEIRS, theirs)):
        begun = time.perf_counter()
        predicted = train(plan.settings, table, parts, cell.seed)
        value = float(score(_held_out(parts).y, predicted))
        seconds = time.perf_counter() - begun
        rows.append((cell.data, cell.seed, library, METRIC[table.task], value, seconds))
    names = ("data", "seed", "library", "metric", "value", "seconds")
    return pl.DataFrame(rows, schema=names, orient="row")


_init = jax.jit(jaxnn.init)


def ours(settings: Settings, table: data.Table, parts: splits.Split, seed: int) -> np.ndarray:
    """What a network of jaxnn predicts of the rows held out: classes, or standardised values."""
    sizes = (table.x.shape[1], *settings.hidden, table.n_out)
    net = jaxnn.Network(sizes, settings.activation, table.task)
    of_params, of_batches = jax.random.split(jax.random.key(seed))
    fitted = jaxnn.fit(
        net,
        _init(net, of_params),
        parts.training.x,
        parts.training.y,
        optimizers.make("adam", settings.rate),
        epochs=settings.epochs,
        batch=min(settings.batch, len(parts.training.x)),
        key=of_batches,
    )
    y_hat = model.outputs(net, fitted.params, _held_out(parts).x)
    return y_hat[:, 0] if table.task == "regression" else model.decided(y_hat)


def theirs(settings: Settings, table: data.Table, parts: splits.Split, seed: int) -> np.ndarray:
    """The same of scikit-learn's."""
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
    with warnings.catch_warnings():  # that all epochs were done
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        network.fit(parts.training.x, parts.training.y)
    predicted: np.ndarray = network.predict(_held_out(parts).x)
    return predicted


def _held_out(parts: splits.Split) -> splits.Part:
    assert parts.test is not None  # `prepare` asks for one
    return parts.test


def subtitle(plan: Plan) -> str:
    """What was compared."""
    s = plan.settings
    return (
        f"hidden layers {' '.join(map(str, s.hidden))}, {s.activation}, adam {s.rate:g}, batch "
        f"{s.batch}, {s.epochs} epochs, {100 * s.test:g} % held out; {s.seeds} seeds from {s.seed}"
    )

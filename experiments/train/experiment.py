"""Does this network learn this table, and what happens to its gradient on the way?

A network is trained with an optimiser of optax along the hand-written gradient; loss and metric of
the training and the validation rows are recorded after each epoch, and at some epochs how large
Δz[l] is in every layer. The parameters of the lowest validation loss are kept, tested on rows that
nothing else has seen, and written as a file that PyTorch, Flax and `predict` read.

`settings -> table -> split -> network, optimiser -> epochs -> history, flows -> test -> model,
charts, verdicts`
"""

import hashlib
import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

import jaxnn
from experiments.learning import data, model, optimizers, splits
from experiments.pages import charts, report
from experiments.runs import grid, runtime, signals, store
from experiments.train import chart as train_chart
from experiments.train import loop as train_loop
from experiments.train import page as train_page
from experiments.train import report as train_report
from experiments.train import view as train_view
from experiments.train.checkpoints import Checkpoints
from experiments.train.loop import Kept, Progress, Run
from jaxnn.initializers import find_weights
from jaxnn.training import Optimizer

log = logging.getLogger("jaxnn.experiments")

CHART, FLOW, TEST = "training", "flow.parquet", "test.parquet"
FILES = (FLOW, TEST, *model.FILES.values(), *charts.names(CHART), report.NAME)
LAYERS = re.compile(r"(?:([0-9]+)[x×])?([0-9]+)")
MOST_LAYERS = 100_000
STOPPING = "stopping when this epoch is done; again to stop now"


@dataclass(frozen=True)
class Settings(runtime.Options):
    """Trains a network on a table, tests it on rows held out, and exports it."""

    data: str = "digits"
    """breast_cancer, digits, iris, wine, diabetes, or a .csv, .parquet or .npz file."""
    target: str | None = None
    """The column to predict, for a file."""
    task: str | None = None
    """regression, binary or multiclass; read off the target by default."""
    hidden: tuple[str, ...] = ("3x256",)
    """Hidden layers: 3x256 are three of 256 units, 64 32 are two; none make a linear model."""
    activation: str = "tanh"
    """Activation of the hidden layers, by name."""
    weights: str | None = None
    """Initialiser of the weights, by its name in jax.nn.initializers; glorot_uniform by default."""
    sigma_w: float | None = None
    """In the place of weights: Gaussian ones of variance σ_w²/fan_in."""
    sigma_b: float = 0.0
    """Standard deviation of the biases, which are normal."""
    optimizer: str = "adam"
    """Optimiser, by its name in optax: adam, adamw, sgd, momentum, rmsprop, lion and others."""
    rate: float = 1e-3
    """Step size of the optimiser."""
    momentum: float | None = None
    """Momentum of sgd, momentum (0.9 by default) or rmsprop."""
    epochs: int = 50
    """How many epochs at most."""
    batch: int = 64
    """Examples in a batch."""
    patience: int | None = None
    """Stop after so many epochs in a row without a lower validation loss."""
    validation: float = 0.15
    """Fraction of the rows to validate on; the parameters of the lowest loss on them are kept."""
    test: float = 0.2
    """Fraction of the rows that is held out until the end."""
    seed: int = 0
    """What split, weights and batches follow from."""
    looks: int | None = None
    """How often to look at the gradient; by default before and after training, and between as often
    as all looks take less than 5 % of the time."""
    checkpoint: float = field(default=10.0, metadata=runtime.HOW)
    """Seconds between checkpoints; 0 makes one after each epoch."""
    out: Path = field(default=Path("runs/train"), metadata=runtime.HOW)
    """The folder for the results. The same command again goes on with a run that was stopped."""


@dataclass(frozen=True)
class Plan:
    """Checked settings with everything that they name."""

    settings: Settings
    table: data.Table
    split: splits.Split
    net: jaxnn.Network
    optimizer: Optimizer

    @property
    def what(self) -> dict[str, object]:
        """What the run is: one with other settings, or another table, is another run."""
        content = self.table.x.tobytes() + self.table.y.tobytes()
        return {
            "experiment": "train",
            "settings": grid.as_dict(self.settings),
            "data": str(self.table),
            "data_sha256": hashlib.sha256(content).hexdigest()[:16],
        }

    @property
    def run(self) -> Run:
        """What is trained."""
        s, parts = self.settings, self.split
        sets = tuple((p.x, p.y) for p in (parts.training, parts.validation) if p is not None)
        batch = min(s.batch, len(parts.training.x))
        return Run(self.net, self.optimizer, sets, s.epochs, batch, s.patience, s.looks)

    def estimate(self) -> str:
        """What the run takes, in words: three products a layer and example."""
        products = float(sum(n * m for n, m in pairwise(self.net.sizes)))
        rows = {name: len(part.x) for name, part in self.split.parts.items()}
        return (
            f"{self.net.sizes[0]} features, {len(self.net.sizes) - 2} hidden layers, "
            f"{products:.3g} weights; rows: {', '.join(f'{n} {k}' for k, n in rows.items())}; "
            f"{6 * products * rows['training'] * self.settings.epochs:.2g} floating-point "
            "operations at most"
        )


def prepare(settings: Settings) -> Plan:
    """Checks the settings, loads and splits the data.

    Raises:
        ValueError, TypeError, OSError: one sentence; nothing has been written then.
    """
    runtime.check(settings, several=(), counts=("epochs", "batch"))
    for name in ("patience", "looks"):
        value, least = getattr(settings, name), 1 if name == "patience" else 2
        if value is not None and value < least:
            raise ValueError(f"{name}: expected an integer from {least}, got {value}")
    if settings.patience is not None and settings.validation == 0:
        raise ValueError("patience: expected --validation above 0 with it, got 0")
    for name, most in (("rate", math.inf), ("sigma_b", math.inf), ("checkpoint", math.inf),
                       ("sigma_w", math.inf), ("momentum", 1.0)):  # fmt: skip
        value = getattr(settings, name)
        if value is not None and not 0 <= value < most:
            below = "" if most == math.inf else f" and below {most:g}"
            raise ValueError(f"{name}: expected a finite number >= 0{below}, got {value:g}")
    if settings.weights is not None and settings.sigma_w is not None:
        raise ValueError("sigma_w: expected it or weights, got both")
    if settings.distributed:
        raise ValueError("distributed: one network is trained by one process; leave it out")
    find_weights(settings.weights or "glorot_uniform")
    optimizer = optimizers.make(settings.optimizer, settings.rate, settings.momentum)
    table = data.table(settings.data, settings.target, settings.task)
    sizes = (table.x.shape[1], *hidden(settings.hidden), table.n_out)
    net = jaxnn.Network(sizes, settings.activation, table.task)
    parts = splits.split(table, settings.validation, settings.test, settings.seed)
    return Plan(settings, table, parts, net, optimizer)


def hidden(texts: tuple[str, ...]) -> tuple[int, ...]:
    """The widths that texts stand for.

    Raises:
        ValueError: a text that is neither a width nor count x width.

    Example:
        >>> hidden(("2x64", "10"))
        (64, 64, 10)
    """
    widths: list[int] = []
    for text in texts:
        found = LAYERS.fullmatch(text)
        count, width = (int(found[1] or 1), int(found[2])) if found else (0, 0)
        if not (count and width) or len(widths) + count > MOST_LAYERS:
            raise ValueError(
                "hidden: expected widths such as 64 or layers such as 3x256, at most "
                f"{MOST_LAYERS} in all, got {text!r}"
            )
        widths += [width] * count
    return tuple(widths)


def begin(plan: Plan) -> jaxnn.State:
    """The network before the first step: equal layers as a run, so that depth compiles for free."""
    s = plan.settings
    draw = find_weights(s.weights or "glorot_uniform")
    draw = draw if s.sigma_w is None else jaxnn.gaussian(s.sigma_w)
    key = jax.random.split(jax.random.key(s.seed), 3)[2]  # the first two draw the split
    state: jaxnn.State = _begin(plan.net, key, plan.optimizer, draw, s.sigma_b)
    return state


@partial(jax.jit, static_argnames=("optimizer", "draw", "sigma_b"))
def _begin(
    net: jaxnn.Network, key: jax.Array, optimizer: Optimizer, draw: Any, sigma_b: float
) -> jaxnn.State:
    of_params, of_batches = jax.random.split(key)
    params = jaxnn.init(net, of_params, draw, sigma_b, stacked=True)
    return jaxnn.start(net, optimizer, params, of_batches)


def run(plan: Plan, kept: store.Store | None) -> bool:
    """Trains, from where a run in the folder stopped; tests; prints verdicts; fills the folder.

    Returns:
        Whether it finished.

    Raises:
        FailedError: the loss is no longer finite; what was done before is kept.
        OSError: the disk; the sentence names the file.
    """
    assert kept is not None  # there is one process
    started, of = datetime.now(UTC), plan.run
    progress = Progress.begun(of, begin(plan))
    checkpoints = Checkpoints(kept.folder / store.PARTS)
    found = checkpoints.latest(progress.tree())
    if checkpoints.broken:
        names = ", ".join(checkpoints.broken)
        log.warning("gone on from the one before, for a checkpoint was broken: %s", names)
    if found is not None:
        progress.load(found)
        log.info("%d of %d epochs are there already", progress.epoch, of.epochs)
    try:
        finished, failure = _train(plan, of, progress, checkpoints.save), None
    except jaxnn.NonFiniteError as error:
        finished, failure = False, error
    _write(plan, kept, progress, started, finished, failure)
    if failure is not None:
        raise runtime.FailedError(f"epoch {progress.epoch + 1}, {failure}") from None
    return finished


def _train(plan: Plan, of: Run, progress: Progress, save: Callable[[int, Any], None]) -> bool:
    s = plan.settings
    view = train_view.view(of, progress.epoch, s.quiet)
    with signals.interruptible(STOPPING) as stopped, view as seen:
        return train_loop.go_on(of, progress, Kept(save, s.checkpoint), stopped, seen)
    return False  # Ctrl-C where the loop does not listen; the last epoch is kept


def _write(
    plan: Plan,
    kept: store.Store,
    progress: Progress,
    started: datetime,
    finished: bool,
    failure: Exception | None,
) -> None:
    """The model, the rows, the charts, the report, and what is said."""
    of = plan.run
    outcome = train_report.outcome(plan.table, plan.split, of, progress)
    verdicts = train_report.verdicts(plan.table, plan.split, of, outcome)
    verdicts += [f"epoch {progress.epoch + 1}, {failure}"] if failure is not None else []
    layers = jaxnn.unstack(progress.params)
    model.write(
        model.Model(
            plan.net, layers, plan.table.features, plan.table.target, plan.table.classes,
            plan.split.of_x, plan.split.of_y,
        ),
        kept.folder,
    )  # fmt: skip
    kept.write_rows(outcome.rows)
    store.write_parquet(kept.folder / FLOW, outcome.flow)
    if outcome.test is not None:
        store.write_parquet(kept.folder / TEST, outcome.test)
    what = (plan.table, outcome, verdicts, subtitle(plan))
    charts.save(train_chart.draw(*what), kept.folder, CHART)
    about = runtime.provenance(
        started, finished=finished, verdicts=verdicts, looks=train_report.cost(outcome)
    )
    report.write(kept.folder, train_page.page(*what), {"what": kept.what, **about})
    kept.write_run(about)
    Console().print(train_report.table(outcome.rows))
    print(*verdicts, f"in {kept.folder}: {', '.join((store.ROWS, store.RUN, *FILES))}", sep="\n")


def subtitle(plan: Plan) -> str:
    """What was trained, on what, how."""
    s = plan.settings
    layers = " ".join(s.hidden) or "no hidden layers"
    drawn = f"σ_w = {s.sigma_w:g}" if s.sigma_w is not None else s.weights or "glorot_uniform"
    rows = ", ".join(f"{len(part.x)} {name}" for name, part in plan.split.parts.items())
    momentum = "" if s.momentum is None else f", momentum {s.momentum:g}"
    return (
        f"{plan.table}: {rows}; {layers}, {s.activation}, {drawn}; {s.optimizer} {s.rate:g}"
        f"{momentum}, batch {s.batch}, {runtime.dtype_name()}, seed {s.seed}"
    )

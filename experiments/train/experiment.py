"""Does this network learn this table, and what happens to its gradient on the way?

A network is trained with an optimiser of optax along the hand-written gradient; loss and metric of
the training and the validation rows are recorded after each epoch, and at some epochs how large
Δz[l] is in every layer. The parameters of the lowest validation loss are tested on rows that
nothing else has seen, and written as a file that PyTorch, Flax and `predict` read.

`settings -> table -> split -> network, optimiser -> epochs -> outcome -> model, charts, verdicts`
"""

import logging
import re
import shlex
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxnn
from experiments.learning import data, model, optimizers, splits
from experiments.runs import ahead, experiment, files, runtime, signals
from experiments.runs.experiment import Conclusion, Experiment
from experiments.runs.store import PARTS, Store
from experiments.runs.work import Work
from experiments.train import loop, report, view
from experiments.train.checkpoints import Checkpoints
from experiments.train.columns import COLUMNS
from experiments.train.loop import Outcome, Progress, Recipe, Saver
from jaxnn.initializers import find_weights
from jaxnn.train.journal import FILE
from jaxnn.train.recorder import Options, Recorder
from jaxnn.train.steps import Optimizer

log = logging.getLogger("jaxnn.experiments")

CHART, FLOW, TEST = "training", "flow.parquet", "test.parquet"
LAYERS = re.compile(r"(?:([0-9]+)[x×])?([0-9]+)")
MOST_LAYERS = 100_000
STOPPING = "stopping when this epoch is done; again to stop now"


@dataclass(frozen=True)
class Settings(runtime.Options, data.Options):
    """Train a network on a table, test it on rows held out, and export it."""

    data: str = "digits"
    """breast_cancer, digits, iris, wine, diabetes, or a .csv, .parquet or .npz file."""
    hidden: tuple[str, ...] = ("3x256",)
    """Hidden layers: 3x256 are three of 256 units, 64 32 are two; none make a linear model."""
    activation: str = "tanh"
    """Activation of the hidden layers, by name."""
    weights: str | None = None
    """Initialiser of the weights, by its name in jax.nn.initializers; glorot_uniform by default."""
    sigma_w: float | None = None
    """Instead of weights: Gaussian ones of variance σ_w²/fan_in."""
    sigma_b: float = 0.0
    """Standard deviation of the biases, which are normal."""
    optimizer: str = "adam"
    """Optimiser, by its name in optax: adam, adamw, sgd, momentum, rmsprop, lion and others."""
    rate: float = 1e-3
    """Step size of the optimiser."""
    momentum: float | None = None
    """Momentum of sgd, momentum (0.9 by default) or rmsprop."""
    epochs: int = 50
    """The number of epochs at most."""
    batch: int = 64
    """Examples in a batch."""
    patience: int | None = None
    """Stop after so many epochs in a row without a lower validation loss."""
    validation: float = 0.15
    """Fraction of the rows to validate on; the parameters of lowest loss on them are exported."""
    test: float = 0.2
    """Fraction of the rows that is held out until the end."""
    seed: int = 0
    """Seed of the split, the weights and the batches."""
    looks: int | None = field(default=None, metadata={"least": 2})
    """The number of looks at the gradient, evenly spaced; by default as many as should take 5 % of
    the time, two at least."""
    watch: runtime.Flag = field(default=False, metadata=runtime.HOW)
    """Record each look for a live page, which `python -m experiments watch FOLDER` shows."""
    checkpoint: float = field(default=10.0, metadata=runtime.HOW)
    """Seconds between checkpoints; 0 makes one after each epoch."""


@dataclass(frozen=True)
class Plan(experiment.Plan):
    """The checked settings of a run, with the table, network and optimiser that they name."""

    settings: Settings
    table: data.Table
    split: splits.Split
    net: jaxnn.Network
    optimizer: Optimizer

    @property
    def source(self) -> dict[str, object]:
        """The shape and task of the table, and a checksum."""
        return data.source([self.table])

    @property
    def recipe(self) -> Recipe:
        """The part of the plan that the training loop takes."""
        s, parts = self.settings, self.split
        sets = tuple((p.x, p.y) for p in (parts.training, parts.validation) if p is not None)
        test = None if parts.test is None else (parts.test.x, parts.test.y)
        batch = min(s.batch, len(parts.training.x))
        return Recipe(self.net, self.optimizer, sets, test, s.epochs, batch, s.patience, s.looks)

    @property
    def products(self) -> float:
        """The number of weights: of products for each example."""
        return float(sum(n * m for n, m in pairwise(self.net.sizes)))

    @property
    def work(self) -> Work:
        """The cost of the run: three products a layer and example.

        In memory are the parameters, those of the best epoch, the gradient and what the optimiser
        adds; a batch's z and a in every layer; and the measures after each epoch.
        """
        epochs, sizes = self.settings.epochs, self.net.sizes
        added = jax.tree.leaves(jax.eval_shape(self.optimizer.init, np.zeros(1, np.float32)))
        moments = sum(leaf.shape == (1,) for leaf in added)
        rows = min(self.settings.batch, len(self.split.training.x))
        most = 4 * (3 + moments) * self.products + 8.0 * rows * sum(sizes) + 48.0 * epochs
        flops = 6 * self.products * len(self.split.training.x) * epochs
        return Work(flops, most, "hidden, batch or epochs")

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        rows = {name: len(part.x) for name, part in self.split.parts.items()}
        return (
            f"{self.table}; {self.net.sizes[0]} features, {len(self.net.sizes) - 2} hidden layers, "
            f"{self.products:.3g} weights; rows: {', '.join(f'{n} {k}' for n, k in rows.items())}; "
            f"{self.work}"
        )


def prepare(settings: Settings) -> Plan:
    """Check the settings, load and split the data."""
    runtime.check(settings, alone="one network is trained by one process")
    if settings.patience is not None and settings.validation == 0:
        raise ValueError("patience: expected --validation above 0 with it, got 0")
    runtime.check_sizes(settings, ("rate", "sigma_b", "checkpoint", "sigma_w"))
    runtime.check_sizes(settings, ("momentum",), most=1.0)
    if settings.weights is not None and settings.sigma_w is not None:
        raise ValueError("sigma_w: expected it or weights, got both")
    find_weights(settings.weights or "glorot_uniform")
    optimizer = optimizers.make(settings.optimizer, settings.rate, settings.momentum)
    widths = hidden(settings.hidden)
    jaxnn.network.find_activation(settings.activation)
    table = data.table(settings.data, settings)
    parts = splits.split(table, settings.validation, settings.test, settings.seed)
    sizes = (parts.training.x.shape[1], *widths, table.n_out)
    net = jaxnn.Network(sizes, settings.activation, table.task)
    return Plan(replace(settings, data=table.name), table, parts, net, optimizer)


def hidden(texts: tuple[str, ...]) -> tuple[int, ...]:
    """Return the widths that texts stand for.

    Raises:
        ValueError: a text that is neither a width nor count x width.

    Example:
        >>> hidden(("2x64", "10"))
        (64, 64, 10)
    """
    widths: list[int] = []
    for text in texts:
        match = LAYERS.fullmatch(text)
        count, width = (int(match[1] or 1), int(match[2])) if match else (0, 0)
        if not (count and width) or len(widths) + count > MOST_LAYERS:
            raise ValueError(
                "hidden: expected widths such as 64 or layers such as 3x256, at most "
                f"{MOST_LAYERS} in all, got {text!r}"
            )
        widths += [width] * count
    return tuple(widths)


def begin(plan: Plan) -> jaxnn.train.State:
    """Return the state before the first step; equal layers are a run, so depth is compiled once."""
    s = plan.settings
    draw = find_weights(s.weights or "glorot_uniform")
    draw = draw if s.sigma_w is None else jaxnn.initializers.gaussian(s.sigma_w)
    key = jax.random.split(jax.random.key(s.seed), 3)[2]  # the first two draw the split
    state: jaxnn.train.State = _begin(plan.net, key, plan.optimizer, draw, s.sigma_b)
    return state


@partial(jax.jit, static_argnames=("optimizer", "draw", "sigma_b"))
def _begin(
    net: jaxnn.Network, key: jax.Array, optimizer: Optimizer, draw: Any, sigma_b: float
) -> jaxnn.train.State:
    key_params, key_batches = jax.random.split(key)
    params = jaxnn.init(net, key_params, draw, sigma_b, stacked=True)
    return jaxnn.train.start(net, params, optimizer, key_batches)


def measure(plan: Plan, store: Store | None) -> tuple[list[Outcome], bool]:
    """Train, from the last checkpoint if the run was stopped, and test."""
    assert store is not None  # one process alone, as `prepare` has checked
    recipe, settings = plan.recipe, plan.settings
    data.say([plan.table])
    progress = Progress.begun(recipe, begin(plan))
    checkpoints = Checkpoints(store.folder / PARTS)
    stored = checkpoints.latest(progress.tree())
    if stored is not None:
        progress.load(stored)
        log.info("%d of %d epochs are done already", progress.epoch, recipe.epochs)
    if checkpoints.broken:
        names = ", ".join(checkpoints.broken)
        log.warning("resumed from epoch %d, for checkpoints are corrupt: %s", progress.epoch, names)
    saver = Saver(checkpoints.save, settings.checkpoint, progress.epoch)
    recorder = _recorder(recipe, store.folder) if settings.watch else None
    showing = view.view(recipe, progress.epoch, settings.quiet)
    pictures = ahead.loading("experiments.train.page")
    with signals.interruptible(STOPPING) as stopped, showing as tell, pictures:
        outcome = loop.train(recipe, progress, saver, stopped, tell, recorder)
        return [outcome], outcome.ended is not None
    return [], False  # Ctrl-C outside the loop; the last epoch is saved


def _recorder(recipe: Recipe, folder: Path) -> Recorder:
    """Return what records the looks for the live page, and say where that is."""
    log.info("live page: python -m experiments watch %s", shlex.quote(str(folder)))
    # Updates are not known between looks.
    return Recorder(Options(recipe.apart, folder, lambda alarm: log.warning("%s", alarm)))


def conclude(plan: Plan, outcomes: list[Outcome]) -> Conclusion:
    """Compare the network before, while and after it was trained, in words, tables and pictures."""
    from experiments.train import page, picture  # here, for they import Altair

    (outcome,) = outcomes
    table, split, recipe = plan.table, plan.split, plan.recipe
    rows = report.rows(table.task, recipe.steps, outcome)
    flow = report.flow(recipe.steps, outcome)
    test = report.test(table, split, outcome)
    verdicts = report.verdicts(table, split, rows, flow, outcome, recipe.epochs)
    drawn = picture.Drawn.of(table, rows, flow, test, outcome.best, verdicts, subtitle(plan))
    tables = {FLOW: flow} if test is None else {FLOW: flow, TEST: test}
    trained = model.Model(
        plan.net,
        jaxnn.network.unstack(outcome.params),
        split.encoder,
        table.target,
        table.classes,
        split.x_scaler,
        split.y_scaler,
    )
    return Conclusion(
        rows,
        verdicts,
        {CHART: picture.figure(drawn)},
        page=partial(page.page, drawn, rows),
        files=model.files(trained) | {name: files.parquet(t) for name, t in tables.items()},
        about={"looks": report.cost(outcome), "columns": split.encoder.words()}
        | ({"notes": table.notes} if table.notes else {}),
        failure=outcome.failure,
        missing=report.missing(outcome, recipe.epochs),
    )


def subtitle(plan: Plan) -> str:
    """Say in one line what was trained, on what and how."""
    s = plan.settings
    layers = " ".join(s.hidden) or "no hidden layers"
    drawn = f"σ_w = {s.sigma_w:g}" if s.sigma_w is not None else s.weights or "glorot_uniform"
    rows = ", ".join(f"{len(part.x)} {name}" for name, part in plan.split.parts.items())
    momentum = "" if s.momentum is None else f", momentum {s.momentum:g}"
    return (
        f"{plan.table}: {rows}; {layers}, {s.activation}, {drawn}; {s.optimizer} {s.rate:g}"
        f"{momentum}, batch {s.batch}, {runtime.dtype_name()}, seed {s.seed}"
    )


EXPERIMENT = Experiment(
    name="train",
    settings=Settings,
    columns=COLUMNS,
    figures=(CHART,),
    files=(FLOW, TEST, FILE, *model.FILES.values()),
    report=True,
    prepare=prepare,
    measure=measure,
    conclude=conclude,
    table=report.table,
    title=report.TITLE,
    compare=report.compare,
)

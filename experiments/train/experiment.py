"""Does this network learn this table, and what happens to its gradient on the way?

A network is trained by `jaxnn.fit` with an optimiser of optax; loss and metric of the training and
the validation rows are recorded after each epoch, and at some epochs how large Δz[l] is in every
layer. The parameters of the lowest validation loss are tested on rows that nothing else has seen,
and written as files that PyTorch, Flax and `predict` read.

`settings -> table -> split -> network, optimiser -> epochs -> course -> model, charts, verdicts`
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
from experiments.learning import data, measures, model, optimizers
from experiments.runs import experiment, files, progress, runtime, signals
from experiments.runs.experiment import Conclusion, Experiment
from experiments.runs.store import Store
from experiments.runs.work import Work
from experiments.train import loop, report, splits
from experiments.train.columns import COLUMNS
from experiments.train.loop import Course, Recipe
from experiments.train.rival import ACTIVATIONS, rival
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
    """breast_cancer, digits, iris, wine, diabetes, or a .csv or .parquet file."""
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
    looks: int = field(default=11, metadata={"least": 2})
    """The number of looks at the gradient, evenly spaced."""
    rival: runtime.Flag = False
    """Train a network of scikit-learn on the same rows too, and say how good both are."""
    watch: runtime.Flag = field(default=False, metadata=runtime.HOW)
    """Record each look for a live page, which `python -m experiments watch FOLDER` shows."""


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
        s = self.settings
        sets = {name: (part.x, part.y) for name, part in self.split.parts.items()}
        batch = min(s.batch, len(sets["training"][0]))
        return Recipe(self.net, self.optimizer, sets, s.epochs, batch, s.patience, s.looks)

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
        count = len(self.split.parts["training"].x)
        rows = min(self.settings.batch, count)
        most = 4 * (3 + moments) * self.products + 8.0 * rows * sum(sizes) + 48.0 * epochs
        flops = 6 * self.products * count * epochs
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
    runtime.check_sizes(settings, ("rate", "sigma_b", "sigma_w"))
    runtime.check_sizes(settings, ("momentum",), most=1.0)
    if settings.rival:
        runtime.check_known("activation", (settings.activation,), ACTIVATIONS)
    if settings.weights is not None and settings.sigma_w is not None:
        raise ValueError("sigma_w: expected it or weights, got both")
    find_weights(settings.weights or "glorot_uniform")
    optimizer = optimizers.make(settings.optimizer, settings.rate, settings.momentum)
    widths = hidden(settings.hidden)
    jaxnn.network.find_activation(settings.activation)
    table = data.table(settings.data, settings)
    parts = splits.split(table, settings.validation, settings.test, settings.seed)
    sizes = (parts.parts["training"].x.shape[1], *widths, table.n_out)
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


def begin(plan: Plan) -> tuple[Any, jax.Array]:
    """Return the parameters before the first step, and the key of the batches.

    Equal layers are a run, so depth is compiled once.
    """
    s = plan.settings
    draw = find_weights(s.weights or "glorot_uniform")
    draw = draw if s.sigma_w is None else jaxnn.initializers.gaussian(s.sigma_w)
    key_params, key_batches = jax.random.split(jax.random.key(s.seed))
    drawn = jax.jit(jaxnn.init, static_argnums=(0, 2, 3), static_argnames="stacked")
    return drawn(plan.net, key_params, draw, s.sigma_b, stacked=True), key_batches


def measure(plan: Plan, store: Store | None) -> tuple[list[Course], bool]:
    """Train, and test."""
    assert store is not None  # one process alone, as `prepare` has checked
    recipe, settings = plan.recipe, plan.settings
    data.say([plan.table])
    recorder = _recorder(recipe, store.folder) if settings.watch else None
    showing = progress.view("training", settings.quiet)
    with signals.interruptible(STOPPING) as stopped, showing as tell:
        course = loop.train(recipe, *begin(plan), stopped, tell, recorder)
        return [course], course.ended is not None
    return [], False  # Ctrl-C outside the loop


def _recorder(recipe: Recipe, folder: Path) -> Recorder:
    """Return what records the looks for the live page, and say where that is."""
    log.info("live page: python -m experiments watch %s", shlex.quote(str(folder)))
    # Updates are not known between looks.
    apart = max(recipe.epochs * recipe.steps // (recipe.looks - 1), 1)
    return Recorder(Options(apart, folder, lambda alarm: log.warning("%s", alarm)))


def conclude(plan: Plan, courses: list[Course]) -> Conclusion:
    """Compare the network before, while and after it was trained, in words, tables and pictures."""
    from experiments.train import page, picture  # here, for they import Altair

    (course,) = courses
    table, split, recipe = plan.table, plan.split, plan.recipe
    trained = model.Model(
        list(plan.net.sizes),
        plan.net.activation_name,
        plan.net.task.name,
        [(np.asarray(theta), np.asarray(b)) for theta, b in jaxnn.network.unstack(course.params)],
        split.pipeline,
        table.target,
        list(table.classes),
        split.mean,
        split.spread,
    )
    tested, test = {}, None
    if "test" in recipe.sets:
        tested = {"test": jaxnn.train.evaluate(plan.net, course.params, *recipe.sets["test"])}
        test = report.test(table, split, trained.predict(table.frame[split.parts["test"].rows]))
    rows = report.rows(table.task, recipe.steps, course, tested)
    flow = report.flow(recipe.steps, course)
    verdicts = report.verdicts(table, split, rows, flow, course)
    if plan.settings.rival:
        verdicts.insert(1, rival(recipe, plan.settings.rate, measures.METRIC[table.task]))
    best = course.best.epoch or 0
    drawn = picture.Drawn.of(table, rows, flow, test, best, verdicts, subtitle(plan))
    tables = {FLOW: flow} if test is None else {FLOW: flow, TEST: test}
    return Conclusion(
        rows,
        verdicts,
        {CHART: picture.figure(drawn)},
        page=partial(page.page, drawn, rows),
        files=trained.files() | {name: files.parquet(t) for name, t in tables.items()},
        about={"looks": {"count": len(course.looked), "seconds": round(course.seconds, 6)}},
        failure=course.failure,
        missing=report.missing(course),
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
    files=(FLOW, TEST, FILE, *model.FILES),
    report=True,
    prepare=prepare,
    measure=measure,
    conclude=conclude,
    table=report.table,
    title=report.TITLE,
    compare=report.compare,
)

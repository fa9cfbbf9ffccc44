"""Does this network learn this table, and what happens to its gradient on the way?

A network is trained by `jaxnn.fit` with an optimiser of optax; loss and metric of the training and
the validation rows are recorded after each epoch, and at some epochs how large Δz[l] is in every
layer. The parameters of the lowest validation loss are tested on rows that nothing else has seen,
and written as files that PyTorch, Flax and `predict` read.

`settings -> table -> split -> network, optimiser -> epochs -> course -> model, charts, verdicts`
"""

import math
import re
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Annotated, Any

import jax
import numpy as np

import jaxnn
from experiments.learning import data, model, optimizers
from experiments.runs import experiment, files, progress, runtime, signals
from experiments.runs.experiment import Conclusion, Experiment, Work
from experiments.runs.store import Store
from experiments.train import loop, splits, train_report
from experiments.train.columns import COLUMNS
from experiments.train.loop import Recipe, TrainingCourse
from jaxnn.initializers import find_weights

CHART, FLOW = "training", "flow.parquet"
LAYERS = re.compile(r"(?:([0-9]+)[x×])?([0-9]+)")
MOST_LAYERS = 100_000
STOPPING = "stopping when this epoch is done; again to stop now"


@dataclass(frozen=True)
class Settings(data.DataOptions, runtime.Options):
    """Train a network on a table, test it on rows held out, and export it."""

    data: str = "digits"
    """breast_cancer, digits, iris, wine, diabetes, or a .csv or .parquet file."""
    hidden: tuple[str, ...] = ("3x256",)
    """Hidden layers: 3x256 are three of 256 units, 64 32 are two; none make a linear model."""
    activation: str = "tanh"
    """Activation of the hidden layers, by name."""
    weights: str = "glorot_uniform"
    """Initialiser of the weights, by its name in jax.nn.initializers."""
    optimizer: str = "adam"
    """Optimiser, by its name in optax: adam, adamw, sgd, momentum, rmsprop, lion and others."""
    rate: float = 1e-3
    """Step size of the optimiser."""
    epochs: int = 50
    """The number of epochs at most."""
    batch: int = 64
    """Examples in a batch."""
    patience: Annotated[int | None, runtime.called(metavar="EPOCHS")] = None
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


@dataclass(frozen=True)
class Plan(experiment.Plan):
    """The checked settings of a run, with the table and the training that they name."""

    settings: Settings
    table: data.DataTable
    split: splits.Split
    recipe: Recipe

    @property
    def source(self) -> dict[str, object]:
        """The shape and task of the table, and a checksum."""
        return data.source([self.table])

    @property
    def weights(self) -> float:
        """The number of weights: of products for each example."""
        return float(sum(n * m for n, m in pairwise(self.recipe.net.sizes)))

    @property
    def work(self) -> Work:
        """The cost of the run: three products a layer and example.

        In memory are the parameters, those of the best epoch, the gradient and what the optimiser
        adds; a batch's z and a in every layer; and the measures after each epoch.
        """
        r = self.recipe
        added = jax.tree.leaves(jax.eval_shape(r.optimizer.init, np.zeros(1, np.float32)))
        moments = sum(leaf.shape == (1,) for leaf in added)
        most = 4 * (3 + moments) * self.weights + 8.0 * r.batch * sum(r.net.sizes) + 48.0 * r.epochs
        flops = 6 * self.weights * len(r.sets["training"][0]) * r.epochs
        return Work(flops, most, "hidden, batch or epochs")

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        rows = ", ".join(f"{name} {len(x)}" for name, (x, _) in self.recipe.sets.items())
        features, *hidden, _ = self.recipe.net.sizes
        return (
            f"{self.table}; {features} features, {len(hidden)} hidden layers, {self.weights:.3g} "
            f"weights; rows: {rows}; {self.work}"
        )


def prepare(settings: Settings) -> Plan:
    """Check the settings, load and split the data."""
    runtime.check(settings)
    if settings.patience is not None and settings.validation == 0:
        raise ValueError("patience: expected --validation above 0 with it, got 0")
    if not 0 <= settings.rate < math.inf:
        raise ValueError(f"rate: expected a finite number >= 0, got {settings.rate:g}")
    if settings.rival:
        runtime.check_known("activation", (settings.activation,), train_report.ACTIVATIONS)
    find_weights(settings.weights)
    optimizer = optimizers.make(settings.optimizer, settings.rate)
    widths = hidden(settings.hidden)
    jaxnn.network.find_activation(settings.activation)
    table = data.table(settings.data, settings)
    split = splits.split(table, settings.validation, settings.test, settings.seed)
    sets = {name: (part.x, part.y) for name, part in split.parts.items()}
    count, features = sets["training"][0].shape
    net = jaxnn.Network((features, *widths, table.n_out), settings.activation, table.task)
    of = (settings.epochs, min(settings.batch, count), settings.patience, settings.looks)
    return Plan(replace(settings, data=table.name), table, split, Recipe(net, optimizer, sets, *of))


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
    draw = find_weights(plan.settings.weights)
    key_params, key_batches = jax.random.split(jax.random.key(plan.settings.seed))
    drawn = jax.jit(jaxnn.init, static_argnums=(0, 2), static_argnames="stacked")
    return drawn(plan.recipe.net, key_params, draw, stacked=True), key_batches


def measure(plan: Plan, _: Store) -> tuple[list[TrainingCourse], bool]:
    """Train, and test."""
    recipe, settings = plan.recipe, plan.settings
    data.say([plan.table])
    showing = progress.view("training", settings.quiet)
    with signals.interruptible(STOPPING) as stopped, showing as tell:
        course = loop.train(recipe, *begin(plan), stopped, tell)
        return [course], course.ended is not None
    return [], False  # Ctrl-C outside the loop


def conclude(plan: Plan, courses: list[TrainingCourse]) -> Conclusion:
    """Compare the network before, while and after it was trained, in words, tables and pictures."""
    from experiments.train import picture  # here, for it imports Altair

    (course,) = courses
    table, split, recipe = plan.table, plan.split, plan.recipe
    trained = model.TrainedModel(
        list(recipe.net.sizes),
        recipe.net.activation_name,
        table.task,
        [(np.asarray(theta), np.asarray(b)) for theta, b in jaxnn.network.unstack(course.params)],
        split.pipeline,
        table.target,
        list(table.classes),
        split.mean,
        split.spread,
    )
    held_out = {name: sets for name, sets in recipe.sets.items() if name == "test"}
    tested = {n: jaxnn.train.evaluate(recipe.net, course.params, *v) for n, v in held_out.items()}
    rows = train_report.rows(table.task, recipe.steps, course, tested)
    flow = train_report.flow(recipe.steps, course)
    verdicts = train_report.verdicts(table, split, rows, flow, course)
    if plan.settings.rival:
        verdicts.insert(1, train_report.rival(recipe, plan.settings.rate, data.METRIC[table.task]))
    best = course.best.epoch or 0
    lines = [*verdicts[:2], subtitle(plan)]
    return Conclusion(
        rows,
        verdicts,
        {CHART: picture.figure(table.name, rows, flow, best, lines)},
        files=trained.files() | {FLOW: files.parquet(flow)},
        about={"looks": {"count": len(course.looked), "seconds": round(course.seconds, 6)}},
        failure=course.failure,
        missing=train_report.missing(course),
    )


def subtitle(plan: Plan) -> str:
    """Say in one line what was trained, on what and how."""
    s = plan.settings
    layers = " ".join(s.hidden) or "no hidden layers"
    rows = ", ".join(f"{len(x)} {name}" for name, (x, _) in plan.recipe.sets.items())
    return (
        f"{plan.table}: {rows}; {layers}, {s.activation}, {s.weights}; {s.optimizer} {s.rate:g}, "
        f"batch {s.batch}, {runtime.dtype_name()}, seed {s.seed}"
    )


EXPERIMENT = Experiment(
    name="train",
    settings=Settings,
    columns=COLUMNS,
    figures=(CHART,),
    files=(FLOW, *model.FILES),
    prepare=prepare,
    measure=measure,
    conclude=conclude,
    table=train_report.table,
)

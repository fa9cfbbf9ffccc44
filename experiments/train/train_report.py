"""A training run in tables and words: rows, looks at the gradient, the test, verdicts."""

import math
import warnings

import numpy as np
import polars as pl
import rich.table

from experiments.learning import data
from experiments.learning.data import METRIC, DataTable
from experiments.pages import tables
from experiments.runs.missing import NOTHING, Missing
from experiments.train.columns import QUANTITIES
from experiments.train.loop import Recipe, TrainingCourse
from experiments.train.splits import Split
from jaxnn.texts import counted
from jaxnn.train import Scores

MEASURES = ("loss", "value")
TITLE = "loss and metric of the exported network"
# scikit-learn's names by ours.
ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "sigmoid": "logistic", "identity": "identity"}


def rows(task: str, steps: int, course: TrainingCourse, tested: dict[str, Scores]) -> pl.DataFrame:
    """Return one row an epoch and set, and one of the test set, with the columns of `COLUMNS`."""
    history = [*enumerate(course.scores), (course.best.epoch or 0, tested)]
    return pl.DataFrame(
        {
            "epoch": epoch,
            "step": epoch * steps,
            "set": name,
            "metric": METRIC[task],
            "loss": float(scores.loss),
            "value": float(scores.metric),
        }
        for epoch, sets in history
        for name, scores in sets.items()
    )


def flow(steps: int, course: TrainingCourse) -> pl.DataFrame:
    """Return one row a look and layer, with the columns of `columns.FLOW`."""
    flows = np.array(course.flows)
    looks, fields, layers = flows.shape
    epochs = np.repeat(course.looked, layers)
    values = dict(zip(QUANTITIES, flows.transpose(1, 0, 2).reshape(fields, -1), strict=True))
    unit = {"decades": np.log(10)}
    return pl.DataFrame(
        {
            "epoch": epochs.astype(np.int64),
            "step": (epochs * steps).astype(np.int64),
            "layer": np.tile(np.arange(1, layers + 1), looks),
            **{n: v / unit.get(QUANTITIES[n].unit, 1.0) for n, v in values.items()},
        }
    )


def exported(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the row of each set at the epoch whose parameters are exported, as rows tell it.

    That is the epoch of the test; without one that of the lowest validation loss after the first,
    and without that too the last.
    """
    tested = rows.filter(pl.col("set") == "test")["epoch"]
    validation = rows.filter(pl.col("set") == "validation", pl.col("epoch") > 0)
    if not tested.is_empty():
        best = tested[0]
    elif not validation.is_empty():
        best = validation.sort("loss", maintain_order=True)["epoch"][0]
    else:
        best = rows["epoch"].max()
    return rows.filter(pl.col("epoch") == best)


def table(rows: pl.DataFrame, missing: Missing = NOTHING) -> rich.table.Table:
    """Return loss and metric of each set, of the exported network."""
    title = f"{TITLE}{f', {missing.count}' if missing else ''}"
    styled = tables.table(title, "set", "epoch", "loss", rows["metric"][0])
    for row in exported(rows).rows(named=True):
        numbers = (f"{row[name]:.4g}" for name in MEASURES)
        styled.add_row(row["set"], str(row["epoch"]), *numbers)
    return styled


def missing(course: TrainingCourse) -> Missing:
    """Return the epochs that a stopped training has not done."""
    if course.ended is not None:
        return NOTHING
    return Missing(course.epochs, course.recipe.epochs, "epochs done", goes_on=False)


def verdicts(
    table: DataTable, split: Split, rows: pl.DataFrame, flow: pl.DataFrame, course: TrainingCourse
) -> list[str]:
    """Return what a user wants to know of the run, a sentence each."""
    return [
        _result(table, split, rows, course),
        course.ended or f"Stopped after epoch {course.epochs} of {course.recipe.epochs}.",
        table.purpose,
        gradient(flow),
        *dead_layers(flow),
        f"{counted(len(course.looked), 'look')} at the gradient took {course.seconds:.3g} s",
        *([] if course.failure is None else [course.failure]),
    ]


def _result(table: DataTable, split: Split, rows: pl.DataFrame, course: TrainingCourse) -> str:
    is_last = pl.col("set") == list(split.parts)[-1]
    row = rows.filter(is_last, epoch=course.best.epoch or 0).row(-1, named=True)
    part = split.parts[row["set"]]
    words = f"{row['set']}: {row['metric']} {row['value']:.4g}"
    if table.classes:
        words += f" (base rate {data.base_rate(part.y):.4g})"
    else:  # the loss is half the mean square
        error = float(np.sqrt(2 * row["loss"]) * split.spread)
        words += f", root mean square error {error:.4g} in the units of {table.target!r}"
    why = "of lowest validation loss" if "validation" in split.parts else "the last"
    why += "" if course.ended is not None else " so far"
    words += f", loss {row['loss']:.4g}, of {counted(len(part.x), 'example')}"
    return f"{words}; parameters of epoch {course.best.epoch or 0}, {why}"


def gradient(flow: pl.DataFrame) -> str:
    """Return the distance from Δz[1] to Δz[L], before and after."""
    looks = flow.partition_by("epoch", maintain_order=True)
    layers, words = looks[0].height, []
    for look in (looks[0], looks[-1]):
        first, last = look["log10_delta_z"][0], look["log10_delta_z"][-1]
        words.append(f"{_ratio(first, last)} at epoch {look['epoch'][0]}")
    return f"log₁₀ ‖Δz[1]‖ / ‖Δz[{layers}]‖: {', '.join(dict.fromkeys(words))}"


def _ratio(first: float, last: float) -> str:
    """The difference of two logarithms; in words if one of them has no number."""
    if math.isfinite(first) and math.isfinite(last):
        return f"{first - last:z.1f}"
    name, value = ("Δz[L]", last) if math.isfinite(first) else ("Δz[1]", first)
    return f"{name} is {'zero' if value == -math.inf else 'not a finite number'}"


def dead_layers(flow: pl.DataFrame) -> list[str]:
    """Return a sentence on the hidden layers whose units are all dead at the last look, if any."""
    hidden = flow.filter(pl.col("layer") < pl.col("layer").max()).sort("layer", "step")
    last = hidden.group_by("layer", maintain_order=True).last()
    dead = last.filter(pl.col("dead_fraction") == 1)["layer"].to_list()
    if not dead:
        return []
    lowest = hidden.filter(pl.col("layer") == dead[0])
    alive = lowest.filter(pl.col("dead_fraction") != 1)["step"].to_list()
    steps = lowest["step"].to_list()
    when = f"from step {steps[steps.index(alive[-1]) + 1]} on" if alive else "from the start"
    more = f", and those of {counted(len(dead) - 1, 'more layer')}" if len(dead) > 1 else ""
    return [f"All units of layer {dead[0]} are dead {when}{more}: nothing passes there"]


def rival(recipe: Recipe, rate: float, metric: str) -> str:
    """Train `MLPClassifier` or `MLPRegressor` by adam; return its metric in a sentence."""
    from sklearn import neural_network

    net, (x, y) = recipe.net, recipe.sets["training"]
    is_number = net.task.name == "regression"
    name = "MLPRegressor" if is_number else "MLPClassifier"
    theirs = getattr(neural_network, name)(
        net.sizes[1:-1],
        ACTIVATIONS[net.activation_name],
        alpha=0,
        batch_size=recipe.batch,
        learning_rate_init=rate,
        max_iter=recipe.epochs,
        n_iter_no_change=recipe.epochs + 1,
        random_state=0,
    )
    held_out, (xs, ys) = list(recipe.sets.items())[-1]
    with warnings.catch_warnings():  # that all epochs were used is meant, and nan is told
        warnings.simplefilter("ignore")
        try:
            value = theirs.fit(x, y).score(xs, ys)
        except ValueError:  # its numbers have left their range
            value = np.nan
    return f"{held_out}: {metric} {value:.4g} of scikit-learn's {name}, with all epochs of adam"

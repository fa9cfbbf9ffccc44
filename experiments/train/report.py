"""A training run in tables and words: rows, looks at the gradient, the test, verdicts."""

import math
from typing import Any

import numpy as np
import polars as pl
import rich.table

from experiments.learning import measures, model
from experiments.learning.data import Table
from experiments.learning.measures import METRIC
from experiments.learning.splits import Split
from experiments.learning.words import counted
from experiments.pages import tables
from experiments.runs.comparison import comparison
from experiments.runs.missing import NOTHING, Missing
from experiments.train.loop import SHARE, Outcome
from jaxnn.texts import percent

SETS = ("training", "validation", "test")
MEASURES = ("loss", "value", "auc")
TITLE = "loss and metric of the exported network"
# The columns that the fields of a look become, and what divides a natural logarithm.
FLOW = {
    "log10_delta_z": np.log(10),
    "log10_delta_theta": np.log(10),
    "log10_mean_square_z": np.log(10),
    "saturated_fraction": 1.0,
    "dead_fraction": 1.0,
}


def rows(task: str, steps: int, outcome: Outcome) -> pl.DataFrame:
    """Return one row an epoch and set, and one of the test set, with the columns of `COLUMNS`."""
    history = [
        (epoch, name, *numbers)
        for epoch, sets in enumerate(outcome.measured)
        for name, numbers in zip(SETS, sets, strict=False)
    ]
    if outcome.test is not None:
        history.append((outcome.best, "test", *outcome.test.measures))
    epochs, names, *numbers = zip(*history, strict=True)
    return pl.DataFrame(
        {
            "epoch": epochs,
            "step": [epoch * steps for epoch in epochs],
            "set": names,
            "metric": [METRIC[task]] * len(history),
            **{
                name: pl.Series(list(map(float, column)), dtype=pl.Float64)
                for name, column in zip(MEASURES, numbers, strict=True)
            },
        }
    ).with_columns(pl.col("auc").fill_nan(None))


def flow(steps: int, outcome: Outcome) -> pl.DataFrame:
    """Return one row a look and layer, with the columns of `columns.FLOW`."""
    looks, fields, layers = outcome.flows.shape
    epochs = np.repeat(outcome.looked, layers)
    values = outcome.flows.transpose(1, 0, 2).reshape(fields, -1)
    return pl.DataFrame(
        {
            "epoch": epochs.astype(np.int64),
            "step": (epochs * steps).astype(np.int64),
            "layer": np.tile(np.arange(1, layers + 1), looks),
            **{name: values[i] / unit for i, (name, unit) in enumerate(FLOW.items())},
        }
    )


def test(table: Table, split: Split, outcome: Outcome) -> pl.DataFrame | None:
    """Return one row a held-out row of the table: row, target, prediction; None without any."""
    if split.test is None or outcome.test is None:
        return None
    places = split.test.rows
    y_hat = np.asarray(outcome.test.y_hat, np.float64)
    columns: dict[str, Any] = {"row": table.rows[places].astype(np.int64)}
    if split.y_scaler is not None:
        columns["target"] = table.y[places]
        columns["prediction"] = split.y_scaler.restored(y_hat)[:, 0]
    else:
        classes = np.array(table.classes)
        columns["target"] = classes[table.y[places].astype(int)].tolist()
        columns["prediction"] = classes[model.decided(y_hat)].tolist()
    return pl.DataFrame(columns)


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


def cells(rows: pl.DataFrame) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the table as texts: heads, and a line a set."""
    best = exported(rows)
    has_auc = best["auc"].is_not_null().any()
    heads = ("set", "epoch", "loss", rows["metric"][0], *(["AUC"] if has_auc else []))
    lines = []
    for row in best.rows(named=True):
        value = measures.fixed(row["value"], 4)
        line = (row["set"], str(row["epoch"]), f"{row['loss']:.4g}", value)
        auc = "–" if row["auc"] is None else f"{row['auc']:.4f}"
        lines.append((*line, *([auc] if has_auc else [])))
    return heads, lines


def table(rows: pl.DataFrame, missing: Missing = NOTHING) -> rich.table.Table:
    """Return loss and metric of each set, of the exported network."""
    heads, lines = cells(rows)
    styled = tables.table(f"{TITLE}{f', {missing.count}' if missing else ''}", *heads)
    for line in lines:
        styled.add_row(*line)
    return styled


def compare(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return loss and metrics of each set, at the epoch whose parameters are exported."""
    name = pl.when(pl.col("at") == "value").then(pl.col("metric")).otherwise(pl.col("at"))
    frames = (
        exported(rows)
        .unpivot(MEASURES, index=("set", "metric"), variable_name="at", value_name="number")
        .with_columns(at=name)
        for rows in runs
    )
    return [comparison(frame, ("set",), "at", "number") for frame in frames]


def missing(outcome: Outcome, planned: int) -> Missing:
    """Return the epochs that a stopped training has not done."""
    if outcome.ended is not None:
        return NOTHING
    return Missing(outcome.epochs, planned, "epochs done", goes_on=outcome.failure is None)


def verdicts(
    table: Table,
    split: Split,
    rows: pl.DataFrame,
    flow: pl.DataFrame,
    outcome: Outcome,
    planned: int,
) -> list[str]:
    """Return what a user wants to know of the run, a sentence each."""
    return [
        _result(table, split, rows, outcome),
        outcome.ended or f"Stopped after epoch {outcome.epochs} of {planned}.",
        table.purpose,
        gradient(flow),
        *dead_layers(flow),
        _cost(outcome),
        *([] if outcome.failure is None else [outcome.failure]),
    ]


def _result(table: Table, split: Split, rows: pl.DataFrame, outcome: Outcome) -> str:
    last_set = rows.filter(pl.col("set") == list(split.parts)[-1])
    row = last_set.filter(pl.col("epoch") == outcome.best).row(-1, named=True)
    count = len(split.parts[row["set"]].x)
    words = f"{row['set']}: {row['metric']} {row['value']:.4g}"
    if table.classes:
        words += f" ({_compared(split, row['set'], outcome)})"
    if row["auc"] is not None:
        words += f", AUC {row['auc']:.4g}"
    if split.y_scaler is not None:  # the loss is half the mean square
        error = float(np.sqrt(2 * row["loss"]) * split.y_scaler.spread[0])
        words += f", root mean square error {error:.4g} in the units of {table.target!r}"
    why = "of lowest validation loss" if split.validation is not None else "the last"
    why += "" if outcome.ended is not None else " so far"
    words += f", loss {row['loss']:.4g}, of {counted(count, 'example')}"
    return f"{words}; parameters of epoch {outcome.best}, {why}"


def _compared(split: Split, name: str, outcome: Outcome) -> str:
    """The base rate next to an accuracy, and for rare classes the balanced accuracy."""
    y = split.parts[name].y
    if name != "test" or outcome.test is None:
        return f"base rate {measures.base_rate(y):.4g}"
    return measures.compared(y, model.decided(np.asarray(outcome.test.y_hat)))


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


def cost(outcome: Outcome) -> dict[str, float | int | None]:
    """Return the cost of the looks, for run.json; no share after one epoch, which compiles."""
    training, looking = outcome.seconds
    return {
        "count": len(outcome.looked),
        "seconds": round(looking, 6),
        "of_training_seconds": round(training, 6),
        "share": round(looking / training, 4) if training else None,
        "allowed": SHARE,
    }


def _cost(outcome: Outcome) -> str:
    numbers = cost(outcome)
    words = (
        f"{counted(len(outcome.looked), 'look')} at the gradient took {numbers['seconds']:.3g} s"
    )
    if numbers["share"] is None:
        return f"{words}; training took one epoch, and was compiled in it"
    return f"{words}, {percent(numbers['share'])} of the time of training"

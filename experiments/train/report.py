"""What is said of a training run: its rows, the test, the verdicts, a table."""

from typing import Any, NamedTuple

import jax
import numpy as np
import polars as pl
from rich import box
from rich.table import Table as Shown

from experiments.learning import measures, model
from experiments.learning.data import Table
from experiments.learning.measures import METRIC
from experiments.learning.splits import Split
from experiments.train.loop import SHARE, Progress, Run, Seconds, ended
from jaxnn.network import check_batch
from jaxnn.training import steps_per_epoch

SETS = ("training", "validation", "test")
MEASURES = ("loss", "value", "auc")
TITLE = "loss and metric at the epoch whose parameters are kept"
# The fields of a flow by the columns they become, and what divides a natural logarithm.
FLOW = {
    "log10_delta_z": np.log(10),
    "log10_delta_theta": np.log(10),
    "log10_mean_square_z": np.log(10),
    "saturated_fraction": 1.0,
    "dead_fraction": 1.0,
}


class Outcome(NamedTuple):
    """A run as it came out.

    rows: one an epoch and set, `columns.TRAIN`; the test set has one, of the parameters kept.
    flow: one a look and layer, `columns.FLOW`.
    test: one a held-out row of the table: row, target, prediction; None without any.
    """

    rows: pl.DataFrame
    flow: pl.DataFrame
    test: pl.DataFrame | None
    best: int
    stopped: str | None
    seconds: Seconds
    looks: int


def outcome(table: Table, split: Split, run: Run, progress: Progress) -> Outcome:
    """Everything that a run has found, as tables."""
    history = [
        (epoch, name, *progress.measured[epoch, i])
        for epoch in range(progress.epoch + 1)
        for i, name in enumerate(SETS[: len(run.sets)])
    ]
    test = None
    if split.test is not None:
        of_test = check_batch(run.net, progress.params, split.test.x, split.test.y)
        (found,) = jax.device_get(measures.measure(run.net, progress.params, [of_test]))
        history.append((progress.best, "test", *found))
        test = _predicted(table, split, run, progress)
    steps = steps_per_epoch(len(run.sets[0][0]), run.batch)
    rows = pl.DataFrame(
        {
            "epoch": [row[0] for row in history],
            "step": [row[0] * steps for row in history],
            "set": [row[1] for row in history],
            "metric": [METRIC[table.task]] * len(history),
            **{
                name: pl.Series([float(row[2 + i]) for row in history], dtype=pl.Float64)
                for i, name in enumerate(MEASURES)
            },
        }
    ).with_columns(pl.col("auc").fill_nan(None))
    return Outcome(
        rows,
        _flow(progress, steps),
        test,
        progress.best,
        ended(run, progress),
        Seconds(*map(float, progress.seconds)),
        progress.looks,
    )


def _flow(progress: Progress, steps: int) -> pl.DataFrame:
    looks, layers = progress.looks, progress.flows.shape[2]
    epochs = np.repeat(progress.looked[:looks], layers)
    fields = progress.flows[:looks].transpose(1, 0, 2).reshape(len(FLOW), -1)
    return pl.DataFrame(
        {
            "epoch": epochs.astype(np.int64),
            "step": (epochs * steps).astype(np.int64),
            "layer": np.tile(np.arange(1, layers + 1), looks),
            **{name: fields[i] / unit for i, (name, unit) in enumerate(FLOW.items())},
        }
    )


def _predicted(table: Table, split: Split, run: Run, progress: Progress) -> pl.DataFrame:
    """Held-out rows: their place in the table, their label and the prediction."""
    assert split.test is not None
    y_hat = model.outputs(run.net, progress.params, split.test.x)
    if split.of_y is not None:
        target, prediction = table.y[split.test.rows], split.of_y.restored(y_hat)[:, 0]
        named: dict[str, Any] = {"target": target, "prediction": prediction}
    else:
        codes = table.y[split.test.rows].astype(int), model.decided(y_hat)
        texts = (np.array(table.classes)[each].tolist() for each in codes)
        named = dict(zip(("target", "prediction"), texts, strict=True))
    return pl.DataFrame({"row": split.test.rows.astype(np.int64), **named})


def kept_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Of each set the row of the epoch whose parameters are kept, by what the rows say of it."""
    best = kept_epoch(rows)
    return rows.filter(pl.col("epoch") == best)


def kept_epoch(rows: pl.DataFrame) -> int:
    """The epoch of lowest validation loss after the first, or the last one."""
    validation = rows.filter(pl.col("set") == "validation", pl.col("epoch") > 0)
    if (rows["set"] == "test").any():
        return int(rows.filter(pl.col("set") == "test")["epoch"][0])
    if validation.is_empty():
        return int(rows["epoch"].to_numpy().max())
    return int(validation.sort("loss", maintain_order=True)["epoch"][0])


def table(rows: pl.DataFrame) -> Shown:
    """Loss and metric of each set, at the epoch that is kept."""
    shown = Shown(title=TITLE, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    shown.add_column("set", no_wrap=True)
    found = kept_rows(rows)
    has_auc = found["auc"].is_not_null().any()
    for name in ("epoch", "loss", rows["metric"][0], *(["AUC"] if has_auc else [])):
        shown.add_column(name, justify="right", no_wrap=True)
    for row in found.rows(named=True):
        cells = [str(row["epoch"]), f"{row['loss']:.4g}", f"{row['value']:.4f}"]
        cells += ["" if row["auc"] is None else f"{row['auc']:.4f}"] if has_auc else []
        shown.add_row(row["set"], *cells)
    return shown


def verdicts(table: Table, split: Split, run: Run, found: Outcome) -> list[str]:
    """What is to be known of the run, a sentence each."""
    return [
        _result(table, split, found),
        found.stopped or f"Stopped after epoch {found.rows['epoch'].to_numpy().max()}.",
        _gradient(found.flow),
        _cost(found),
    ]


def _result(table: Table, split: Split, found: Outcome) -> str:
    of_set = found.rows.filter(pl.col("set") == list(split.parts)[-1])
    row = of_set.filter(pl.col("epoch") == found.best).row(-1, named=True)
    count = len(split.parts[row["set"]].x)
    words = f"{row['set']}: {row['metric']} {row['value']:.4g}"
    if row["auc"] is not None:
        words += f", AUC {row['auc']:.4g}"
    if split.of_y is not None:  # the loss is half the mean square
        error = float(np.sqrt(2 * row["loss"]) * split.of_y.spread[0])
        words += f", root mean square error {error:.4g} in the units of {table.target!r}"
    why = "of lowest validation loss" if split.validation is not None else "the last"
    words += f", loss {row['loss']:.4g}, of {count} examples"
    return f"{words}; parameters of epoch {found.best}, {why}"


def _gradient(flow: pl.DataFrame) -> str:
    """How far Δz[1] is from Δz[L], before and after."""
    looks = flow.partition_by("epoch", maintain_order=True)
    words = []
    for look in (looks[0], looks[-1]):
        first, last = look["log10_delta_z"][0], look["log10_delta_z"][-1]
        words.append(f"{first - last:z.1f} at epoch {look['epoch'][0]}")
    layers = looks[0].height
    return f"log₁₀ ‖Δz[1]‖ / ‖Δz[{layers}]‖: {', '.join(dict.fromkeys(words))}"


def cost(found: Outcome) -> dict[str, float | int | None]:
    """What the looks took, for run.json; None where there was one epoch, which compiles."""
    share = found.seconds.looking / found.seconds.training if found.seconds.training else None
    return {
        "count": found.looks,
        "seconds": round(found.seconds.looking, 6),
        "of_training_seconds": round(found.seconds.training, 6),
        "share": None if share is None else round(share, 4),
        "allowed": SHARE,
    }


def _cost(found: Outcome) -> str:
    numbers = cost(found)
    words = f"{found.looks} looks at the gradient took {numbers['seconds']:.3g} s"
    if numbers["share"] is None:
        return f"{words}; training took one epoch, and was compiled in it"
    return f"{words}, {100 * numbers['share']:.2g} % of the time of training"

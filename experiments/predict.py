"""Predictions of a trained network for the rows of a file.

`model.skops, table -> columns by their names -> features as in training -> ŷ -> classes and
probabilities, or values in the units of the target -> CSV or Parquet`. Columns that the model does
not know are ignored; if the target is among them, accuracy or R² is printed.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import polars as pl
import tyro

from experiments.learning import data, model
from experiments.learning.data import METRIC
from experiments.learning.words import quoted, short
from experiments.runs import files, runtime
from jaxnn.cli import platforms
from jaxnn.texts import counted

ENDINGS = (".csv", ".parquet")
RUNS = r"^[=+\-@\t\r]"  # a spreadsheet takes a cell that begins so for a formula


@dataclass(frozen=True)
class Settings:
    """Predictions of a trained network for the rows of a file, as CSV or Parquet."""

    model: tyro.conf.Positional[Annotated[Path | None, runtime.called(metavar="MODEL")]] = None
    """A model.skops that `train` wrote, or the folder of its run."""
    file: tyro.conf.Positional[Annotated[Path | None, runtime.called(metavar="FILE")]] = None
    """A .csv or .parquet file with the columns of the model."""
    separator: str = ","
    """The separator of the fields of a .csv file."""
    out: Path = Path("predictions.csv")
    """The file to write, which ends in .csv or .parquet."""
    overwrite: runtime.Flag = False
    """Replace that file."""


class Request(NamedTuple):
    """A model, the rows of a file, and those of their columns that the model takes."""

    model: model.TrainedModel
    rows: pl.DataFrame
    frame: pl.DataFrame
    settings: Settings


def prepare(settings: Settings) -> Request:
    """Read and check the model and the file."""
    file, out = settings.file, settings.out
    if settings.model is None or file is None:
        raise ValueError("predict: expected two files, MODEL and FILE; see predict --help")
    if out.suffix.lower() not in ENDINGS:
        raise ValueError(f"out: expected a file that ends in .csv or .parquet, got {out}")
    if not out.parent.is_dir() or out.is_dir():
        raise ValueError(f"out: expected a file in a folder that is there, got {short(str(out))}")
    if out.exists() and file.exists() and out.samefile(file):
        raise ValueError(f"out: {out} is the file of the rows; choose another one with --out")
    if out.exists() and not settings.overwrite:
        raise FileExistsError(
            f"out: {out} exists; choose another file with --out, or replace it with --overwrite"
        )
    platforms.devices()
    known = model.read(settings.model)
    rows = data.read(file, settings.separator, "file")
    return Request(known, rows, known.frame(rows, file.name), settings)


def run(request: Request) -> None:
    """Write the predictions, and print a metric if the file has the target."""
    known, rows, out = request.model, request.rows, request.settings.out
    for name in request.frame.columns:
        if count := request.frame[name].null_count():
            by = "most frequent one" if name in known.texts else "median"
            filled = f"{counted(count, 'missing value')} filled in by the {by} of training"
            print(f"column {quoted(name)}: {filled}", file=sys.stderr)
    for name, texts in known.texts.items():
        of_column = request.frame[name].drop_nulls()
        new = of_column.filter(~of_column.is_in(texts))
        if len(new):
            print(
                f"warning: column {quoted(name)}: {counted(len(new), 'row')} with texts such as "
                f"{quoted(new[0])}, which no row of training had",
                file=sys.stderr,
            )
    y_hat = known.predict(request.frame)
    frame = predictions(known, y_hat)
    is_csv = out.suffix.lower() == ".csv"
    files.write(out, as_csv(frame).encode("utf-8") if is_csv else files.parquet(frame))
    if known.target in rows.columns:
        print(metric(known, rows[known.target], y_hat))
    print(f"{counted(frame.height, 'prediction')} in {out}")


def predictions(known: model.TrainedModel, y_hat: np.ndarray) -> pl.DataFrame:
    """Return one row a row of the file, in its order.

    Columns: prediction, a value in the units of the target or the name of a class; for classes also
    probability_NAME of each.
    """
    if not known.classes:
        return pl.DataFrame({"prediction": y_hat[:, 0]})
    probabilities = np.column_stack([1 - y_hat, y_hat]) if y_hat.shape[1] == 1 else y_hat
    named = np.array(known.classes)[model.decided(y_hat)].tolist()
    columns = {f"probability_{name}": probabilities[:, i] for i, name in enumerate(known.classes)}
    return pl.DataFrame({"prediction": named, **columns})


def as_csv(frame: pl.DataFrame) -> str:
    """Return a table as CSV; a quote goes before texts that a spreadsheet would run."""
    return frame.with_columns(pl.col(pl.String).str.replace(RUNS, "'${0}")).write_csv()


def metric(known: model.TrainedModel, target: pl.Series, y_hat: np.ndarray) -> str:
    """Return the metric of the rows that have a target in a sentence, or why there is none."""
    from sklearn import metrics

    target = data.tidy(target)
    name, there = METRIC[known.task], target.is_not_null().to_numpy()
    target, y_hat = target.drop_nulls(), y_hat[there]
    if known.classes:
        target = target.cast(pl.String)
        decided = np.array(known.classes)[model.decided(y_hat)]
        value = metrics.accuracy_score(target.to_list(), decided.tolist())
    elif target.dtype.is_numeric() and len(target) > 1:
        value = metrics.r2_score(target.to_numpy(), y_hat[:, 0])
    else:
        return f"no {name}: expected numbers in column {quoted(known.target)}, got {target.dtype}"
    return f"{name} {value:.4g} of {counted(len(target), 'row')}"

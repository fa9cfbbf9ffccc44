"""Predictions of a trained network for the rows of a file.

`model.safetensors, table -> columns by the names of the features -> standardised as in training ->
ŷ -> classes and probabilities, or values in the units of the target -> CSV or Parquet`. Columns
that the model does not know are ignored; if the target is among them, a metric is printed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import tyro

from experiments.learning import data, model
from experiments.runs import files, runtime

ENDINGS = (".csv", ".parquet")


@dataclass(frozen=True)
class Settings:
    """Predictions of a trained network for the rows of a file, as CSV or Parquet."""

    model: tyro.conf.Positional[Path | None] = None
    """A model.safetensors that `train` wrote, or the folder of its run."""
    file: tyro.conf.Positional[Path | None] = None
    """A .csv, .parquet or .npz file with the columns of the model's features."""
    out: Path = Path("predictions.csv")
    """The file to write, which ends in .csv or .parquet."""
    overwrite: runtime.Flag = False
    """Replace that file."""


class Request(NamedTuple):
    """A model, and the rows to predict."""

    model: model.Model
    rows: pl.DataFrame
    x: np.ndarray
    settings: Settings


def prepare(settings: Settings) -> Request:
    """Read and check the model and the file.

    Raises:
        ValueError, OSError: a one-line error; nothing has been written then.
    """
    if settings.model is None or settings.file is None:
        raise ValueError("predict: expected two files, MODEL and FILE; see predict --help")
    if settings.out.suffix.lower() not in ENDINGS:
        raise ValueError(f"out: expected a file that ends in .csv or .parquet, got {settings.out}")
    if settings.out.exists() and not settings.overwrite:
        raise FileExistsError(
            f"out: {settings.out} exists; choose another file with --out, or replace it with "
            "--overwrite"
        )
    if settings.file.suffix.lower() not in data.ENDINGS:
        endings = ", ".join(data.ENDINGS)
        raise ValueError(f"file: expected one that ends in {endings}, got {settings.file}")
    known, rows = model.read(settings.model), data.read(settings.file)
    missing = [name for name in known.features if name not in rows.columns]
    if missing:
        raise ValueError(
            f"file: {settings.file} is without {data.listed(missing)}, of the "
            f"{len(known.features)} columns that the model takes"
        )
    x = np.column_stack([data.numbers(rows[name]) for name in known.features])
    return Request(known, rows, x, settings)


def run(request: Request) -> None:
    """Write the predictions, and print a metric if the file has the target.

    Raises:
        OSError: the disk; the message names the file.
    """
    known, out = request.model, request.settings.out
    y_hat = model.predict(known, request.x)
    frame = predictions(known, y_hat)
    is_csv = out.suffix.lower() == ".csv"
    files.write(out, frame.write_csv().encode("utf-8") if is_csv else files.parquet(frame))
    if known.target in request.rows.columns:
        print(metric(known, request.rows[known.target], y_hat))
    print(f"{frame.height} predictions in {out}")


def predictions(known: model.Model, y_hat: np.ndarray) -> pl.DataFrame:
    """Return one row a row of the file, in its order.

    Columns: prediction, a value in the units of the target or the name of a class (a number, if all
    classes are integers); for classes also probability_NAME of each.
    """
    if not known.classes:
        return pl.DataFrame({"prediction": y_hat[:, 0]})
    probabilities = np.column_stack([1 - y_hat, y_hat]) if y_hat.shape[1] == 1 else y_hat
    named = pl.Series("prediction", np.array(known.classes)[model.decided(y_hat)].tolist())
    if all(_is_integer(name) for name in known.classes):
        named = named.cast(pl.Int64)
    columns = {f"probability_{name}": probabilities[:, i] for i, name in enumerate(known.classes)}
    return pl.DataFrame({"prediction": named, **columns})


def _is_integer(name: str) -> bool:
    digits = name.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(name) < 19 and str(int(name)) == name


def metric(known: model.Model, target: pl.Series, y_hat: np.ndarray) -> str:
    """Return the metric of predictions as a sentence, or why there is none."""
    from sklearn import metrics

    try:
        if not known.classes:
            r2 = metrics.r2_score(data.numbers(target), y_hat[:, 0])
            return f"R² {r2:.4g} of {len(target)} rows"
        codes = data.codes(target, known.classes)
    except ValueError as error:
        return f"no metric: {error}"
    right = metrics.accuracy_score(codes, model.decided(y_hat))
    words = f"accuracy {right:.4g}"
    if y_hat.shape[1] == 1 and len(np.unique(codes)) == 2:
        words += f", AUC {metrics.roc_auc_score(codes, y_hat[:, 0]):.4g}"
    return f"{words} of {len(target)} rows"

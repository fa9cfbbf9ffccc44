"""Predictions of a trained network for the rows of a file.

`model.safetensors, table -> columns by their names -> features as in training -> ŷ -> classes and
probabilities, or values in the units of the target -> CSV or Parquet`. Columns that the model does
not know are ignored; if the target is among them, a metric is printed. Rows that are unlike those
of training are pointed out.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import tyro

from experiments.learning import labels, leaks, measures, model, reading
from experiments.learning.encoding import Texts
from experiments.learning.words import counted, listed, quoted, short
from experiments.runs import files, runtime, store
from jaxnn.cli import platforms

ENDINGS = (".csv", ".parquet")
RUNS = r"^[=+\-@\t\r]"  # a spreadsheet takes a cell that begins so for a formula


@dataclass(frozen=True)
class Settings(reading.Reading):
    """Predictions of a trained network for the rows of a file, as CSV or Parquet."""

    model: tyro.conf.Positional[Path | None] = None
    """A model.safetensors that `train` wrote, or the folder of its run."""
    file: tyro.conf.Positional[Path | None] = None
    """A .csv, .parquet or .npz file with the columns of the model."""
    out: Path = Path("predictions.csv")
    """The file to write, which ends in .csv or .parquet."""
    overwrite: runtime.Flag = False
    """Replace that file."""


class Request(NamedTuple):
    """A model, and the rows to predict.

    x: features, (N, n[0]); nan in rows that lack a value.
    notes: what is unusual about the file.
    """

    model: model.Model
    rows: pl.DataFrame
    x: np.ndarray
    notes: list[str]
    settings: Settings


def prepare(settings: Settings) -> Request:
    """Read and check the model and the file."""
    file, out = settings.file, settings.out
    if settings.model is None or file is None:
        raise ValueError("predict: expected two files, MODEL and FILE; see predict --help")
    if out.suffix.lower() not in ENDINGS:
        raise ValueError(f"out: expected a file that ends in .csv or .parquet, got {out}")
    exists = _exists(out)
    if exists and file.exists() and out.samefile(file):
        raise ValueError(f"out: {out} is the file of the rows; choose another one with --out")
    if exists and not settings.overwrite:
        raise FileExistsError(
            f"out: {out} exists; choose another file with --out, or replace it with --overwrite"
        )
    platforms.devices()
    reading.check_kind(file, "file")
    check_unchanged(settings.model)
    known = model.read(settings.model)
    columns = known.encoder.columns
    texts = [column.name for column in columns if isinstance(column, Texts)]
    needed = {*(column.name for column in columns), known.target}
    needed |= {name.partition("[")[0] for name in needed}  # of arrays
    read = reading.read(file, settings, texts, needed.__contains__)
    rows, said = leaks.with_target(read.frame, known.target)
    notes = [*read.notes, *said]
    missing = [column.name for column in columns if column.name not in rows.columns]
    if missing:
        raise ValueError(
            f"file: {file} is without {listed(missing)}, of the {len(columns)} columns that the "
            "model takes"
        )
    x = known.encoder.encoded(rows)
    if np.isnan(x).any(axis=1).all():
        raise ValueError(f"file: every row of {file} lacks a value; {_gaps(known, rows)}")
    return Request(known, rows, x, notes, settings)


def check_unchanged(path: Path) -> None:
    """Check that a model in the folder of a run is as the run wrote it."""
    path = path / model.TORCH if path.is_dir() else path
    try:
        run = store.read_run(path.parent) or {}
    except OSError:  # of something else than a run
        return
    if path.name in store.changed(path.parent, run):
        raise ValueError(
            f"model: {store.not_as_written(path)}; the command of the run again writes it anew, "
            "and a model that you changed yourself is read from another folder"
        )


def _exists(out: Path) -> bool:
    """Tell whether the file is there, in a folder that is there."""
    try:
        if not out.parent.is_dir():
            raise ValueError(f"out: there is no folder {out.parent} to write {out.name} into")
        if out.is_dir():
            raise ValueError(f"out: expected a file, got the folder {out}")
        return out.exists()
    except OSError as error:
        raise ValueError(f"out: cannot write {short(str(out))}: {error.strerror}") from None


def _gaps(known: model.Model, rows: pl.DataFrame) -> str:
    """Say where values are missing that nothing stands for."""
    counts = {c.name: rows[c.name].null_count() for c in known.encoder.columns if c.fill is None}
    words = listed([f"{quoted(name)} {count}" for name, count in counts.items() if count])
    return f"missing values: {words}; a model trained with --missing mean or median fills them in"


def run(request: Request) -> None:
    """Write the predictions, and print a metric if the file has the target."""
    known, out = request.model, request.settings.out
    whole = ~np.isnan(request.x).any(axis=1)
    y_hat = np.full((len(whole), known.net.sizes[-1]), np.nan)
    y_hat[whole] = model.predict(known, request.x[whole])
    for warning in warnings(request, whole):
        print(f"warning: {warning}", file=sys.stderr)
    frame = predictions(known, y_hat)
    is_csv = out.suffix.lower() == ".csv"
    files.write(out, as_csv(frame).encode("utf-8") if is_csv else files.parquet(frame))
    if known.target in request.rows.columns:
        print(metric(known, request.rows[known.target].filter(whole), y_hat[whole]))
    count, rows = int(np.count_nonzero(whole)), len(whole)
    of = "" if count == rows else f" of {counted(rows, 'row')}"
    print(f"{counted(count, 'prediction')}{of} in {out}")


def warnings(request: Request, whole: np.ndarray) -> list[str]:
    """Return what is unlike the rows of training, a sentence each."""
    known, rows, sentences = request.model, request.rows, [*request.notes]
    for column in known.encoder.columns:
        count, words = column.strange(rows[column.name])
        if count:
            name = quoted(column.name)
            sentences.append(f"column {name}: {count} of {counted(rows.height, 'row')} {words}")
    filled = known.encoder.filled(rows)
    if filled:
        counts = listed([f"{quoted(name)} {count}" for name, count in filled.items()])
        sentences.append(f"missing values are filled in as in training: {counts}")
    if not whole.all():
        count = int(np.count_nonzero(~whole))
        of_all = f"{count} of {counted(len(whole), 'row')}"
        sentences.append(
            f"{of_all} {'is' if count == 1 else 'are'} not predicted; {_gaps(known, rows)}"
        )
    return sentences


def predictions(known: model.Model, y_hat: np.ndarray) -> pl.DataFrame:
    """Return one row a row of the file, in its order; missing where ŷ is nan.

    Columns: prediction, a value in the units of the target or the name of a class (a number, if all
    classes are integers); for classes also probability_NAME of each.
    """
    if not known.classes:
        return pl.DataFrame({"prediction": y_hat[:, 0]}).fill_nan(None)
    probabilities = np.column_stack([1 - y_hat, y_hat]) if y_hat.shape[1] == 1 else y_hat
    named = pl.Series("prediction", np.array(known.classes)[model.decided(y_hat)].tolist())
    if all(_is_integer(name) for name in known.classes):
        named = named.cast(pl.Int64)
    columns = {f"probability_{name}": probabilities[:, i] for i, name in enumerate(known.classes)}
    frame = pl.DataFrame({"prediction": named, **columns}).fill_nan(None)
    return frame.with_columns(pl.when(pl.nth(1).is_not_null()).then(pl.col("prediction")))


def as_csv(frame: pl.DataFrame) -> str:
    """Return a table as CSV; a quote goes before texts that a spreadsheet would run."""
    return frame.with_columns(pl.col(pl.String).str.replace(RUNS, "'${0}")).write_csv()


def _is_integer(name: str) -> bool:
    digits = name.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(name) < 19 and str(int(name)) == name


def metric(known: model.Model, target: pl.Series, y_hat: np.ndarray) -> str:
    """Return the metric of predictions as a sentence, or why there is none."""
    from sklearn import metrics

    try:
        if not known.classes:
            r2 = metrics.r2_score(labels.numbers_of(target), y_hat[:, 0])
            return f"R² {r2:.4g} of {counted(len(target), 'row')}"
        codes = labels.codes(target, known.classes)
    except ValueError as error:
        return f"no metric: {error}"
    decided = model.decided(y_hat)
    accuracy = metrics.accuracy_score(codes, decided)
    words = f"accuracy {accuracy:.4g} ({measures.compared(codes, decided)})"
    if y_hat.shape[1] == 1 and len(np.unique(codes)) == 2:
        words += f", AUC {metrics.roc_auc_score(codes, y_hat[:, 0]):.4g}"
    return f"{words} of {counted(len(target), 'row')}"

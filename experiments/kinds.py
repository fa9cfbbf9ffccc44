"""The experiments as `show` sees them: columns, the table of a run, the numbers of two."""

from collections.abc import Callable
from typing import NamedTuple

import polars as pl
from rich.console import RenderableType

from experiments.bench import report as bench_report
from experiments.depth import report as depth_report
from experiments.laws import report as laws_report
from experiments.laws.experiment import LAWS
from experiments.laws.law import Outcome
from experiments.peers import report as peers_report
from experiments.runs import columns
from experiments.spectrum import report as spectrum_report
from experiments.train import report as train_report
from experiments.trainability import chart as trainability_chart


class Kind(NamedTuple):
    """An experiment: its columns, its table, and the numbers of it that two runs compare.

    values: for the rows of each run a frame of name (of a line), at (of a column) and value.
    """

    columns: dict[str, columns.Column]
    table: Callable[[pl.DataFrame], RenderableType]
    title: str
    values: Callable[[list[pl.DataFrame]], list[pl.DataFrame]]


def _depth(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    axes = [
        axis for axis in depth_report.AXES if any(axis in depth_report.several(r) for r in runs)
    ]
    first = [depth_report.first_layer(depth_report.labelled(rows, axes)) for rows in runs]
    return [_values(frame, ("activation", "label"), "depth", "log10_delta_z") for frame in first]


def _spectrum(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    found = [spectrum_report.summary(rows) for rows in runs]
    return [_values(frame, spectrum_report.CASE, "depth", "variance") for frame in found]


def _trainability(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    at = ("sigma_w_squared", "depth")
    found = [rows.group_by(at, maintain_order=True).agg(pl.col("accuracy").mean()) for rows in runs]
    return [_values(frame, ("depth",), "sigma_w_squared", "accuracy") for frame in found]


def _train(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    found = [train_report.kept_rows(rows).rename({"value": "number"}) for rows in runs]
    long = [
        rows.unpivot(("loss", "number", "auc"), index=("set", "metric"), variable_name="at")
        for rows in found
    ]
    named = pl.when(pl.col("at") == "number").then(pl.col("metric")).otherwise(pl.col("at"))
    return [_values(frame.with_columns(at=named), ("set",), "at", "value") for frame in long]


def _peers(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    libraries = peers_report.LIBRARIES
    found = [peers_report.medians(rows) for rows in runs]
    long = [frame.unpivot(libraries, index="data", variable_name="at") for frame in found]
    return [_values(frame, ("data",), "at", "value") for frame in long]


def _laws(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    found = [rows.with_columns(at=pl.lit("measured")) for rows in runs]
    return [_values(frame, ("law", "case"), "at", "measured") for frame in found]


def _bench(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    return [_values(rows, ("row", "case"), "kind", "ratio") for rows in runs]


def _values(found: pl.DataFrame, names: tuple[str, ...], at: str, value: str) -> pl.DataFrame:
    name = pl.concat_str([pl.col(n).cast(pl.String) for n in names], separator=", ")
    return found.select(name.alias("name"), pl.col(at).alias("at"), pl.col(value).alias("value"))


def _law_table(rows: pl.DataFrame) -> RenderableType:
    by_name = {law.name: law for law in LAWS}
    of_laws = rows.partition_by("law", maintain_order=True)
    known = [frame for frame in of_laws if frame["law"][0] in by_name]
    return laws_report.table([Outcome(by_name[f["law"][0]], f, f.clear()) for f in known])


KINDS = {
    "depth": Kind(
        columns.DEPTH,
        lambda rows: depth_report.table(depth_report.labelled(rows)),
        depth_report.TITLE,
        _depth,
    ),
    "spectrum": Kind(
        columns.SPECTRUM,
        lambda rows: spectrum_report.table(spectrum_report.summary(rows)),
        "variance of s² / mean s², s the singular values, by depth",
        _spectrum,
    ),
    "trainability": Kind(
        columns.TRAINABILITY,
        trainability_chart.table,
        "training accuracy, hidden layers against σ_w²",
        _trainability,
    ),
    "train": Kind(columns.TRAIN, train_report.table, train_report.TITLE, _train),
    "peers": Kind(columns.PEERS, peers_report.table, peers_report.TITLE, _peers),
    "laws": Kind(columns.LAWS, _law_table, "what was measured, by law and comparison", _laws),
    "bench": Kind(
        columns.BENCH, bench_report.table, "ratio, ours / theirs, by row and case", _bench
    ),
}

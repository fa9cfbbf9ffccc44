"""The spectrum in words: its columns, a row a Jacobian, variances, verdicts and a table."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from rich.table import Table

from experiments.learning.words import errors_off
from experiments.pages import tables
from experiments.runs import runtime
from experiments.runs.comparison import comparison
from experiments.runs.missing import NOTHING, Missing
from experiments.runs.schema import COUNT, FLAG, REAL, TEXT, Column
from jaxnn.texts import counted

COLUMNS = {
    "activation": Column(TEXT, "name", "σ of the hidden layers"),
    "weights": Column(TEXT, "name", "kind of weights"),
    "depth": Column(COUNT, "factors", "of the Jacobian"),
    "seed": Column(COUNT, "1", "draws weights and inputs"),
    "example": Column(COUNT, "1", "which of the inputs"),
    "log10_singular_values": Column(pl.List(REAL), "decades", "log₁₀ s, descending"),
    "log10_mean": Column(REAL, "decades", "log₁₀ of the mean of s²"),
    "variance": Column(REAL, "1", "of s² / mean s²; missing where that is zero", True),
    "predicted": Column(REAL, "1", "the variance at infinite width"),
    "comparable": Column(FLAG, "yes or no", "whether the width is large enough for it"),
}
CASE = ("activation", "weights")
NONE = "not measured"  # of the singular values of a case that a stopped run lacks
TITLE = (
    "Variance of s² / mean s², s the singular values, by depth; ± standard error over seeds; "
    "(predicted) in brackets: too large for the width"
)


class Case(NamedTuple):
    """The verdict on one activation and kind of weights, in words."""

    activation: str
    weights: str
    variance: str  # at the largest depth that can be compared with theory, if there is one
    predicted: str
    depth: str
    span: str  # of the singular values at the largest depth
    seeds: str = ""  # how many of the planned ones were measured, if not all

    @property
    def name(self) -> str:
        """Activation and weights."""
        return f"{self.activation}, {self.weights}"


def by_case(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the rows of each activation and kind of weights."""
    return rows.partition_by(*CASE, maintain_order=True)


def summary(rows: pl.DataFrame) -> pl.DataFrame:
    """Return one row a case and depth: the mean variance, next to its prediction.

    Its standard error is that over seeds, for examples of one network are not independent.
    """
    groups, variance = (*CASE, "depth"), pl.col("variance")
    theory = pl.col("predicted", "comparable").first()
    seeds = rows.group_by(*groups, "seed", maintain_order=True).agg(variance.mean(), theory)
    error = (variance.std() / variance.count().sqrt()).alias("error")
    return seeds.group_by(*groups, maintain_order=True).agg(variance.mean(), error, theory)


def cases(rows: pl.DataFrame, missing: Missing) -> list[Case]:
    """Return the verdict on each activation and kind of weights, measured or not."""
    gaps = missing.rows(rows, *CASE, "seed")
    unmeasured = {
        names: frame.height for names, frame in gaps.partition_by(CASE, as_dict=True).items()
    }
    verdicts = []
    for case in by_case(rows):
        names = tuple(case[name][0] for name in CASE)
        verdicts.append(case_of(case, unmeasured.pop(names, 0)))
    return [*verdicts, *(Case(a, w, "", "", "", NONE) for a, w in unmeasured)]


def case_of(rows: pl.DataFrame, more: int = 0) -> Case:
    """Return the verdict on the rows of one activation and kind of weights."""
    known = pl.col("comparable") & pl.col("variance").is_not_null()
    compared = summary(rows).filter(known).sort("depth").tail(1).to_dicts()
    numbers = ("", "", "")
    for row in compared:
        variance = plus_minus(row["variance"], row["error"])
        off = errors_off(row["variance"], row["predicted"], row["error"] or math.nan)
        predicted = f"{row['predicted']:.3g}{f' ({off})' if off else ''}"
        numbers = (variance, predicted, str(row["depth"]))
    seeds = rows["seed"].n_unique()
    of_all = f"{seeds} of {counted(seeds + more, 'seed')}" if more else ""
    return Case(rows["activation"][0], rows["weights"][0], *numbers, span(rows), of_all)


def sentence(case: Case) -> str:
    """Return a verdict as one sentence."""
    if case.span == NONE:
        return f"{case.name}: {NONE}"
    words = "no variance to compare with theory"
    if case.variance:
        words = f"variance {case.variance} of {case.predicted} predicted at depth {case.depth}"
    seeds = f"; {case.seeds}" if case.seeds else ""
    return f"{case.name}: {words}; singular values span {case.span}{seeds}"


def plus_minus(value: float, error: float | None) -> str:
    """Return a mean with its standard error, to two digits of it and three decimals at most."""
    if error is None:
        return f"{round(value, 6):.3g}"
    decimals = 3 if error <= 0.01 else max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def span(case: pl.DataFrame) -> str:
    """Return the decades of all s > 0 at the largest depth, and how many s are 0, in words."""
    deepest = case.filter(pl.col("depth") == pl.col("depth").max())
    where = f"at depth {deepest['depth'][0]}"
    logs = np.array(deepest["log10_singular_values"].to_list())
    if np.isnan(logs).any():
        return f"no decades {where}: the forward pass leaves {runtime.dtype_name()}"
    spans = [np.ptp(s[np.isfinite(s)]) for s in logs if np.isfinite(s).any()]
    if not spans:
        return f"no decades {where}: all are 0"
    zeros = np.median(np.isneginf(logs).sum(axis=1))
    rest = f", {zeros:.0f} of {logs.shape[1]} are 0" if zeros else ""
    return f"{np.median(spans):.1f} decades {where}{rest}"


def table(rows: pl.DataFrame, missing: Missing = NOTHING) -> Table:
    """Return the variances by depth; narrow enough for 80 characters."""
    means = summary(rows)
    depths = tables.fitting(sorted(means["depth"].unique()))
    printed = tables.table(TITLE, "activation, weights", *map(str, depths))
    for name, *cells in lines(means, depths, cases(rows, missing)):
        printed.add_row(name, *cells, end_section=name.endswith("predicted"))
    return printed


def lines(
    means: pl.DataFrame, depths: list[int], verdicts: Sequence[Case] = ()
) -> list[tuple[str, ...]]:
    """Return three lines a case of a `summary`: variance, its error, its prediction.

    Of a case that was not measured there is one.
    """
    texts = []
    missing: dict[str, Any] = dict.fromkeys(means.columns)
    for case in by_case(means):
        by_depth = {row["depth"]: row for row in case.rows(named=True)}
        rows = [by_depth.get(depth, missing) for depth in depths]
        name = f"{case['activation'][0]}, {case['weights'][0]}"
        predicted = [_number(row["predicted"], 3, row["comparable"] is not False) for row in rows]
        texts.append((name, *(_number(row["variance"], 3) for row in rows)))
        texts.append(("  ±", *(_number(row["error"], 2) for row in rows)))
        texts.append(("  predicted", *predicted))
    unmeasured = [case.name for case in verdicts if case.span == NONE]
    return [*texts, *((name, *len(depths) * (tables.NOT_MEASURED,)) for name in unmeasured)]


def _number(value: float | None, digits: int, comparable: bool = True) -> str:
    """Return six characters at most below 10,000: three decimals, and two digits in brackets."""
    if value is None or math.isnan(value):
        return "-"
    digits = digits if comparable else 2
    text = f"{value:.0f}" if value >= 99.5 else f"{round(value, 3):.{digits}g}"
    return text if comparable else f"({text})"


def compare(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return the variances of each run, by activation, weights and depth."""
    return [
        comparison(
            summary(rows), CASE, "depth", "variance", rows.drop_nulls("variance"), average="mean"
        )
        for rows in runs
    ]

"""What the spectrum experiment says: variances beside their predictions, spans, verdicts."""

import math
from typing import Any

import numpy as np
import polars as pl
from rich import box
from rich.table import Table

from experiments.runs import runtime

CASE = ("activation", "weights")
TITLE = (
    "Variance of s² / mean s², s the singular values, by depth; ± standard error over seeds; "
    "(predicted) in brackets: too large for the width"
)


def name_of(case: pl.DataFrame) -> tuple[str, str]:
    """The activation and the weights of a case."""
    return case["activation"][0], case["weights"][0]


def by_case(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """The rows of each activation and kind of weights."""
    return rows.partition_by(*CASE, maintain_order=True)


def summary(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a case and depth: the variance, mean over examples and seeds, beside the predicted.

    Columns: activation, weights, depth, variance, predicted, comparable; error, the standard error
    of the mean over seeds, null for one seed: examples of one network are not independent.
    """
    groups, variance = (*CASE, "depth"), pl.col("variance")
    theory = pl.col("predicted", "comparable").first()
    seeds = rows.group_by(*groups, "seed", maintain_order=True).agg(variance.mean(), theory)
    error = (variance.std() / variance.count().sqrt()).alias("error")
    return seeds.group_by(*groups, maintain_order=True).agg(variance.mean(), error, theory)


def sentence(case: pl.DataFrame) -> str:
    """The verdict on one activation and its weights, at the largest depth of theory."""
    deepest = compared(case)
    words = "no variance to compare with theory"
    if deepest is not None:
        words = (
            f"variance {plus_minus(deepest['variance'], deepest['error'])} of "
            f"{deepest['predicted']:.3g} predicted at depth {deepest['depth']}"
        )
    return f"{', '.join(name_of(case))}: {words}; singular values span {span(case)}"


def compared(case: pl.DataFrame) -> dict[str, Any] | None:
    """The row of the `summary` at the largest depth that can be compared with theory, if any."""
    found = summary(case).filter(pl.col("comparable") & pl.col("variance").is_not_null())
    return found.sort("depth").row(-1, named=True) if found.height else None


def plus_minus(value: float, error: float | None) -> str:
    """A mean with its standard error, to two digits of it and three decimals at most."""
    if error is None:
        return f"{round(value, 6):.3g}"
    decimals = 3 if error <= 0.01 else max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def span(case: pl.DataFrame) -> str:
    """From the largest to the smallest singular value at the largest depth, and how many are 0."""
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


def table(found: pl.DataFrame) -> Table:
    """A `summary` by depth; up to eight depths fit into 80 characters."""
    depths, lines = lines_of(found)
    shown = Table(title=TITLE, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    shown.add_column("activation, weights", no_wrap=True)
    for depth in depths:
        shown.add_column(str(depth), justify="right", no_wrap=True)
    for name, *cells in lines:
        shown.add_row(name, *cells, end_section=name.endswith("predicted"))
    return shown


def lines_of(found: pl.DataFrame) -> tuple[list[int], list[tuple[str, ...]]]:
    """The depths of a `summary`, and three lines a case: variance, its error, what is predicted."""
    depths, lines = sorted(found["depth"].unique()), []
    missing: dict[str, Any] = dict.fromkeys(found.columns)
    for case in by_case(found):
        rows = {row["depth"]: row for row in case.rows(named=True)}
        at = [rows.get(depth, missing) for depth in depths]
        predicted = [_number(row["predicted"], 3, row["comparable"] is not False) for row in at]
        lines.append((", ".join(name_of(case)), *(_number(row["variance"], 3) for row in at)))
        lines.append(("  ±", *(_number(row["error"], 2) for row in at)))
        lines.append(("  predicted", *predicted))
    return depths, lines


def _number(value: float | None, digits: int, comparable: bool = True) -> str:
    """Six characters at most below 10,000: three decimals, and two digits in brackets."""
    if value is None:
        return "-"
    digits = digits if comparable else 2
    shown = f"{value:.0f}" if value >= 99.5 else f"{round(value, 3):.{digits}g}"
    return shown if comparable else f"({shown})"

"""What a depth sweep says in words: rates beside theory, where the gradient is lost, a table."""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from rich import box
from rich.table import Table

from jaxnn.verdict import word_of

MOST_COLUMNS = 8  # of depths, that fit into 80 characters

AXES = ("data", "dtype", "batch", "width", "sigma_b")  # besides activation, weights and depth
CASE = ("activation", "label")


def labelled(rows: pl.DataFrame) -> pl.DataFrame:
    """With a column `label`: the weights, and every other axis that has several values."""
    several = [axis for axis in AXES if rows[axis].n_unique() > 1]
    words = [pl.col("weights"), *(pl.format(f"{axis} {{}}", axis) for axis in several)]
    return rows.with_columns(pl.concat_str(words, separator=", ").alias("label"))


@dataclass(frozen=True)
class Case:
    """The verdict on one activation and initialisation, from its deepest network.

    rate: in words, with theory beside it.
    loss: in words, what plain backpropagation makes of it; empty where it has numbers everywhere.
    lost: how many layers of the deepest network, from the last hidden one down, it has numbers for;
        None where for all.
    """

    activation: str
    label: str
    dtype: str
    rate: str
    loss: str
    lost: int | None


def by_case(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """The `labelled` rows of each activation and label."""
    return rows.partition_by(CASE, maintain_order=True)


def case_of(case: pl.DataFrame, theory: pl.DataFrame) -> Case:
    """The verdict on the rows of one activation and initialisation."""
    activation, label, dtype = (case[name][0] for name in (*CASE, "dtype"))
    deepest = case.filter(pl.col("depth") == pl.col("depth").max())
    of_case = theory.filter(
        pl.col("activation") == activation,
        pl.col("label") == label,
        pl.col("layer") <= deepest["depth"][0],
    )
    rate = rate_in_words(decades_a_layer(deepest), int(deepest["depth"][0]), predicted(of_case))
    return Case(activation, label, dtype, rate, loss_in_words(deepest), _kept_layers(deepest))


def sentence(case: Case) -> str:
    """A verdict as one sentence."""
    return f"{case.activation}, {case.label}: {case.rate}{case.loss}"


def decades_a_layer(deepest: pl.DataFrame) -> list[float]:
    """The mean of log₁₀ of the factors of the hidden layers, one a seed.

    Counted towards the input: negative where the gradient vanishes on its way down. Zero and
    infinite factors are left out, and so is that of the last hidden layer, above which there is
    another width and another activation.
    """
    factors = deepest.filter(pl.col("layer") < pl.col("depth"), pl.col("log10_gain").is_finite())
    return [
        float(seed["log10_gain"].to_numpy().mean())
        for seed in factors.partition_by("seed", maintain_order=True)
    ]


def predicted(theory: pl.DataFrame) -> float | None:
    """The same rate in theory, with what a finite width adds where that is known."""
    if theory.height < 2:
        return None
    size = theory["log10_delta_z"] + theory["bias"].fill_null(0.0)
    return float(size[0] - size[-1]) / (theory.height - 1)


def rate_in_words(rates: list[float], layers: int, theory: float | None) -> str:
    """Vanishing, exploding or steady, by how much a layer, and what theory says."""
    if not rates:
        return "no rate, it takes two hidden layers with a gradient"
    rate = float(np.mean(rates))
    error = float(np.std(rates, ddof=1)) / math.sqrt(len(rates)) if len(rates) > 1 else None
    beside = "" if theory is None or not math.isfinite(theory) else f", theory {theory:+.3g}"
    return f"{word_of(rate, layers)}, {_plus_minus(rate, error)} decades a layer{beside}"


def _plus_minus(value: float, error: float | None) -> str:
    if not error:
        return f"{value:+.3g}"
    decimals = min(max(0, 1 - math.floor(math.log10(error))), 6)
    return f"{value:+.{decimals}f} ± {error:.{decimals}f}"


def _kept_layers(deepest: pl.DataFrame) -> int | None:
    lost = deepest.filter(pl.col("delta_z") != "number")
    if not lost.height:
        return None
    first = np.median(lost.group_by("seed").agg(pl.col("layer").max())["layer"])
    return int(deepest["depth"][0] - first)


def loss_in_words(deepest: pl.DataFrame) -> str:
    """Where plain backpropagation has no number for Δz, and why; empty if nowhere."""
    depth, dtype = deepest["depth"][0], deepest["dtype"][0]
    seeds, parts = deepest["seed"].n_unique(), []
    out = deepest.filter(pl.col("log10_mean_square_z") == math.inf)
    if out.height:
        layer = np.median(out.group_by("seed").agg(pl.col("layer").min())["layer"])
        return f"; the signal leaves {dtype} at layer {layer:.0f}"
    for state, reason in (
        ("underflow", f"plain {dtype} backpropagation underflows"),
        ("overflow", f"plain {dtype} backpropagation overflows"),
        ("zero", "it is exactly zero, every path through a dead unit,"),
    ):
        found = deepest.filter(pl.col("delta_z") == state)
        if found.height:
            first = np.median(found.group_by("seed").agg(pl.col("layer").max())["layer"])
            parts.append(
                f"; of {depth} hidden layers, {reason} from layer {first:.0f} down "
                f"({found['seed'].n_unique()} of {seeds} seeds)"
            )
    return "".join(parts)


def table(rows: pl.DataFrame) -> Table:
    """log₁₀ ‖Δz[1]‖ by depth, the median over seeds; narrow enough for 80 characters."""
    depths = sorted(rows["depth"].unique())
    if len(depths) > MOST_COLUMNS:
        depths = depths[::-1][::2][::-1]
    shown = Table(
        title="log₁₀ ‖Δz[1]‖, the first layer's gradient, by hidden layers (median over seeds)",
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    shown.add_column("activation, weights", no_wrap=True)
    for depth in depths:
        shown.add_column(str(depth), justify="right", no_wrap=True)
    for case in by_case(rows):
        first = case.filter(pl.col("layer") == 1)
        cells = [_median(first.filter(pl.col("depth") == depth)) for depth in depths]
        shown.add_row(f"{case['activation'][0]}, {case['label'][0]}", *cells)
    return shown


def _median(first: pl.DataFrame) -> str:
    if first.is_empty():  # interrupted before
        return ""
    median = np.median(first["log10_delta_z"])
    if np.isfinite(median):
        return f"{median:.1f}"
    return str(first.filter(pl.col("delta_z") != "number")["delta_z"].mode().sort()[0])

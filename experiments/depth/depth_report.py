"""A depth sweep in words: rates next to theory, where the gradient is lost, a table."""

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from rich.table import Table
from rich.text import Text

from experiments.learning.words import errors_off
from experiments.pages import tables
from experiments.runs.missing import NOTHING, Missing
from jaxnn.flow.formats.ranges import indistinguishable_in
from jaxnn.flow.verdict.rates import word_of
from jaxnn.flow.view.table import LN10
from jaxnn.texts import counted, power_of_ten

TITLE = "log₁₀ ‖Δz[1]‖, the first layer's gradient, by hidden layers (median over seeds)"

# Besides activation, weights and depth.
AXES = ("hidden", "data", "dtype", "batch", "width", "sigma_b")
CASE, SIZE = ("activation", "label"), "log10_delta_z"
# What theory is of: in networks of ours the mean over examples, in others the batch.
OF_THEORY = pl.coalesce("log10_delta_z_example", SIZE)
FACTOR = (
    pl.when(pl.col("log10_delta_z_example").is_null())
    .then("log10_gain")
    .otherwise(OF_THEORY - OF_THEORY.shift(-1).over(*CASE, "depth", "seed"))
)
VERBS = {"vanishing": "vanishes", "exploding": "explodes"}


def varied(rows: pl.DataFrame) -> list[str]:
    """Return the axes, besides activation, weights and depth, that have several values."""
    return [axis for axis in AXES if rows[axis].n_unique() > 1]


def labelled(rows: pl.DataFrame, axes: list[str] | None = None) -> pl.DataFrame:
    """Add a column `label`: the weights, and the axes, by default those with several values."""
    axes = varied(rows) if axes is None else axes
    words = [pl.col("weights"), *map(_words, axes)]
    return rows.with_columns(pl.concat_str(words, separator=", ").alias("label"))


def with_gaps(rows: pl.DataFrame, missing: Missing) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return `labelled` rows, and activation, label and depth of what was not measured."""
    gaps = missing.rows(rows, "activation", "weights", *AXES, "depth")
    axes = varied(pl.concat([rows.select(AXES), gaps.select(AXES)]))
    return labelled(rows, axes), labelled(gaps, axes).select(*CASE, "depth")


def _words(axis: str) -> pl.Expr:
    """A value of an axis in words; a kind of block says by itself what it is."""
    return pl.col(axis) if axis == "hidden" else pl.format(f"{axis} {{}}", axis)


@dataclass(frozen=True)
class Case:
    """The verdict on one activation and initialisation, from its deepest network."""

    activation: str
    label: str
    dtype: str
    word: str  # and the next two: the rate in its parts; empty if there is none
    value: str
    theory: str
    loss: str  # of the gradient, of the examples, and of the signal from theory, in words
    lost: int | None  # layers from the last hidden one down that have numbers before they are lost
    deeper: str = ""  # that there are deeper networks which were not measured, in words
    by_width: bool = False  # the gradient would be steady if the layers were wide enough

    @property
    def name(self) -> str:
        """Activation and label."""
        return name_of(self.activation, self.label)

    @property
    def rate(self) -> str:
        """The rate in words, with theory next to it."""
        if not self.word:
            return "no rate, it takes two hidden layers with a gradient"
        theory = f", theory {self.theory}" if self.theory else ""
        return f"{self.word}, {self.value} decades a layer{theory}"

    @property
    def decades(self) -> float:
        """The rate as a number; nan if there is none."""
        return float(self.value.partition(" ±")[0] or "nan")


def name_of(activation: str, label: str) -> str:
    """Return the name of a case."""
    return f"{activation}, {label}"


def by_case(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the `labelled` rows of each activation and label."""
    return rows.partition_by(CASE, maintain_order=True)


def case_of(case: pl.DataFrame, theory: pl.DataFrame, gaps: pl.DataFrame | None = None) -> Case:
    """Return the verdict on the rows of one activation and initialisation; theory is of all."""
    activation, label, dtype = (case[name][0] for name in (*CASE, "dtype"))
    deepest = case.filter(pl.col("depth") == pl.col("depth").max())
    theory_of_case = theory.filter(
        pl.col("activation") == activation,
        pl.col("label") == label,
        pl.col("layer") <= last_hidden(deepest),
    )
    layers, expected = last_hidden(deepest), predicted(theory_of_case)
    word, value, by_theory = rate_in_parts(decades_a_layer(deepest), layers, expected)
    wide = (
        "" if expected is None else word_of(expected.wide, expected.wide * (layers - 1), math.nan)
    )
    by_width = word in VERBS and wide == "steady"
    by_theory += " (of wider layers it would be steady)" * by_width
    lost = _layers_with_numbers(deepest)
    loss = loss_in_words(deepest) + examples_in_words(deepest)
    loss += signal_in_words(deepest, theory_of_case)
    deeper = _deeper(case, gaps) if gaps is not None else ""
    return Case(activation, label, dtype, word, value, by_theory, loss, lost, deeper, by_width)


def _deeper(case: pl.DataFrame, gaps: pl.DataFrame) -> str:
    depth = int(case["depth"].to_numpy().max())
    of_case = gaps.join(case.select(CASE).unique(), on=CASE, how="semi")
    deeper = of_case.filter(pl.col("depth") > depth)["depth"].sort()
    if deeper.is_empty():
        return ""
    return f"; measured up to {counted(depth, 'hidden layer')}, not at {deeper[-1]}"


def verdicts(cases: list[Case], gaps: pl.DataFrame) -> list[str]:
    """Return a sentence on each case, also on those of which nothing was measured."""
    return [*map(sentence, cases), *(f"{name}: not measured" for name in unmeasured(cases, gaps))]


def answer(cases: list[Case], rows: pl.DataFrame) -> tuple[str, str, str]:
    """Return what a sweep found, its mood, and a second sentence (see `report.Answer`)."""
    rated = [case for case in cases if case.word]
    if not rated:
        return "No rate: it takes two hidden layers with a gradient.", "plain", ""
    if len(rated) == 1 and rated[0].word in VERBS:
        return (
            f"The gradient {VERBS[rated[0].word]}: {_down_to_layer_1(rated[0], rows)}.",
            "ill",
            "",
        )
    sentences = list[str]()
    for word, verb in VERBS.items():
        group = [case for case in rated if case.word == word and not case.by_width]
        if group:
            most = max(group, key=lambda case: abs(case.decades))
            subject = "It" if sentences else "The gradient"
            where = f"{len(group)} of {len(rated)} networks,{' fastest with' * (len(group) > 1)}"
            size = _down_to_layer_1(most, rows)
            sentences.append(f"{subject} {verb} in {where} {most.name}: {size}.")
    for case in rated:
        if case.by_width:
            size = _down_to_layer_1(case, rows)
            sentences.append(f"{case.name} {VERBS[case.word]} by its width alone: {size}.")
    if not sentences:
        total = counted(len(rated), "network")
        return f"The gradient is steady in {'all ' * (len(rated) > 1)}{total}.", "well", ""
    return sentences[0], "ill", " ".join(sentences[1:])


def _down_to_layer_1(case: Case, rows: pl.DataFrame) -> str:
    """Return the rate of a case, and how large its first layer's gradient is at the end."""
    first = first_layer(rows.filter(activation=case.activation, label=case.label))
    deepest = first.sort("depth").row(-1, named=True)
    size, depth = deepest[SIZE], deepest["depth"]
    power = f", {power_of_ten(size)} at layer 1 of {depth}" if math.isfinite(size) else ""
    return f"{digits(case.decades)} decades a layer{power}"


def digits(rate: float) -> str:
    """Return a rate in three digits, those that are zero as well, with a minus sign."""
    return f"{rate:+#.3g}".replace("-", "−")


def unmeasured(cases: list[Case], gaps: pl.DataFrame) -> list[str]:
    """Return the names of the cases of which nothing was measured."""
    names = dict.fromkeys(itertools.starmap(name_of, gaps.select(CASE).iter_rows()))
    measured = {case.name for case in cases}
    return [name for name in names if name not in measured]


def sentence(case: Case) -> str:
    """Return a verdict as one sentence."""
    return f"{case.name}: {case.rate}{case.loss}{case.deeper}"


def last_hidden(rows: pl.DataFrame) -> int:
    """Return the layer below the output; of our own networks that is their depth."""
    return int(rows["layer"].to_numpy().max()) - 1


def decades_a_layer(deepest: pl.DataFrame) -> list[float]:
    """Return the mean of log₁₀ of the factors of the hidden layers, one a seed.

    Of the mean over examples in networks of ours, whose theory is of one example. Counted towards
    the input: negative if the gradient vanishes on its way down. Zero and infinite factors are left
    out, and so is that of the last hidden layer, above which there is another width and another
    activation.
    """
    inside = pl.col("layer") < last_hidden(deepest)
    factors = deepest.with_columns(factor=FACTOR).filter(inside, pl.col("factor").is_finite())
    return [
        float(seed["factor"].to_numpy().mean())
        for seed in factors.partition_by("seed", maintain_order=True)
    ]


class PredictedRate(NamedTuple):
    """A rate in theory."""

    rate: float  # including the effect of finite width if that is known
    wide: float  # without it
    error: float
    about: str  # what theory is of, in words


def predicted(theory: pl.DataFrame) -> PredictedRate | None:
    """Return the rate in theory."""
    if theory.height < 2:
        return None
    bias = theory["bias"].fill_null(0.0)
    wide, steps = float(theory["log10_gain"][:-1].sum()), theory.height - 1
    rate = (wide + bias[0] - bias[-1]) / steps
    about = "one example" if bias.abs().sum() else "infinite width"
    return PredictedRate(rate, wide / steps, float(theory["error"][0] or 0) / steps, about)


def rate_in_parts(
    rates: list[float], layers: int, theory: PredictedRate | None
) -> tuple[str, str, str]:
    """Return the word (see `jaxnn.Verdict`), the rate a layer, and that of theory.

    Where they differ by more than three standard errors, both taken together, or of few seeds as
    many as are as rare, theory says by how many, and what it is of.
    """
    if not rates:
        return "", "", ""
    rate = float(np.mean(rates))
    error = float(np.std(rates, ddof=1)) / math.sqrt(len(rates)) if len(rates) > 1 else None
    by_theory = "" if theory is None or not math.isfinite(theory.rate) else f"{theory.rate:+.3g}"
    if theory is not None and error is not None:
        off = errors_off(rate, theory.rate, math.hypot(error, theory.error), len(rates))
        by_theory += f" ({off}; theory is of {theory.about})" if off and by_theory else ""
    word = word_of(rate, rate * (layers - 1), math.nan if error is None else error)
    return word, _plus_minus(rate, error), by_theory


def _plus_minus(value: float, error: float | None) -> str:
    if not error:
        return f"{value:+.3g}"
    decimals = min(max(0, 1 - math.floor(math.log10(error))), 6)
    return f"{value:+.{decimals}f} ± {error:.{decimals}f}"


def _layers_with_numbers(deepest: pl.DataFrame) -> int | None:
    lost = deepest.filter(pl.col("delta_z").is_in(["underflow", "overflow"]))
    depth = deepest["depth"][0]
    if not lost.height or last_hidden(deepest) != depth:  # else layers do not count depths
        return None
    first = np.median(lost.group_by("seed").agg(pl.col("layer").max())["layer"])
    return max(0, int(depth - first))


def loss_in_words(deepest: pl.DataFrame) -> str:
    """Say where plain backpropagation has no number for Δz, and why; empty if nowhere."""
    depth, dtype = last_hidden(deepest), deepest["dtype"][0]
    seeds, parts = deepest["seed"].n_unique(), []
    out = deepest.filter(pl.col("log10_mean_square_z") == math.inf)
    if out.height:
        layer = np.median(out.group_by("seed").agg(pl.col("layer").min())["layer"])
        return f"; the signal leaves {dtype} at layer {layer:.0f}"
    for state, reason in (
        ("underflow", f"plain {dtype} backpropagation underflows"),
        ("overflow", f"plain {dtype} backpropagation overflows"),
        ("zero", "it is exactly zero, every path cut by dead units or zero weights,"),
    ):
        affected = deepest.filter(pl.col("delta_z") == state)
        if affected.height:
            first = np.median(affected.group_by("seed").agg(pl.col("layer").max())["layer"])
            parts.append(
                f"; with {depth} hidden layers, {reason} from layer {first:.0f} down "
                f"({affected['seed'].n_unique()} of {counted(seeds, 'seed')})"
            )
    return "".join(parts)


def examples_in_words(deepest: pl.DataFrame) -> str:
    """Say from which layer up examples differ by rounding alone; empty if nowhere or not known."""
    firsts = [
        indistinguishable_in(dtype, np.arange(layers), seed["log10_spread"].to_numpy() * LN10)
        for seed in deepest.sort("layer").partition_by("seed", maintain_order=True)
        for dtype, layers in [(seed["dtype"][0], seed.height)]
        if seed["log10_spread"].is_not_null().all()
    ]
    alike = [first for first in firsts if first]
    if not alike:
        return ""
    return (
        f"; from layer {np.median(alike):.0f} up what differs between examples is rounding of "
        f"{deepest['dtype'][0]}, not input ({len(alike)} of {counted(len(firsts), 'seed')})"
    )


def signal_in_words(deepest: pl.DataFrame, theory: pl.DataFrame) -> str:
    """Say how far the signal of the last hidden layer is from theory; "" if chance is enough.

    Theory of this width is between the bias of one example and the drift of many that differ.
    """
    layer, name = last_hidden(deepest), "log10_mean_square_z"
    of_layer = theory.filter(pl.col("layer") == layer)
    values = deepest.filter(pl.col("layer") == layer)[name].to_numpy() / 2
    if not of_layer.height or len(values) < 2 or not np.isfinite(values).all():
        return ""
    wide, *finite = (of_layer[v][0] for v in (name, "signal_bias", "signal_drift"))
    measured, about = float(np.mean(values)), "infinite width" if None in finite else "this width"
    ends = sorted((wide + (by or 0)) / 2 for by in finite)
    expected = min(max(measured, ends[0]), ends[1])
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    off = errors_off(measured, expected, error, len(values))
    return (
        f"; the signal of layer {layer} is {measured - expected:+.2g} decades from theory ({off}; "
        f"theory is of {about})"
        if off and math.isfinite(expected)
        else ""
    )


def first_layer(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the first layer's gradient, one row a case and depth.

    Columns: activation, label, depth; log10_delta_z, the median over seeds; delta_z, its commonest
    state in plain backpropagation; text, the number, or a word if there is none.
    """
    size, state = pl.col("log10_delta_z"), pl.col("delta_z")
    first = (
        rows.filter(pl.col("layer") == 1)
        .group_by(*CASE, "depth", maintain_order=True)
        .agg(
            pl.when(size.is_nan().any()).then(math.nan).otherwise(size.median()).alias(SIZE),
            state.mode().sort().first(),
            state.filter(state != "number").mode().sort().first().fill_null("nan").alias("text"),
        )
    )
    texts = [
        f"{row[SIZE]:.1f}" if math.isfinite(row[SIZE]) else row["text"]
        for row in first.rows(named=True)
    ]
    return first.with_columns(pl.Series("text", texts, pl.String))


def by_depth(rows: pl.DataFrame, gaps: pl.DataFrame) -> dict[str, dict[int, str]]:
    """Return the first layer's gradient as text, by the name of a case and by depth."""
    texts: dict[str, dict[int, str]] = {}
    for activation, label, depth, text in pl.concat(
        [
            first_layer(rows).select(*CASE, "depth", "text"),
            gaps.with_columns(text=pl.lit(tables.NOT_MEASURED)),
        ]
    ).iter_rows():
        texts.setdefault(name_of(activation, label), {})[depth] = text
    return texts


def in_words(rows: pl.DataFrame) -> str:
    """Return log₁₀ ‖Δz[1]‖ of the shallowest and the deepest network of a cell."""
    (texts,) = by_depth(*with_gaps(rows, NOTHING)).values()
    ends = dict.fromkeys((min(texts), max(texts)))
    return "log₁₀ ‖Δz[1]‖ " + ", ".join(
        f"{texts[depth]} with {counted(depth, 'hidden layer')}" for depth in ends
    )


def table(rows: pl.DataFrame, missing: Missing = NOTHING) -> Table:
    """Return log₁₀ ‖Δz[1]‖ by depth, the median over seeds; narrow enough for 80 characters."""
    texts = by_depth(*with_gaps(rows, missing))
    depths = tables.fitting(sorted({depth for cells in texts.values() for depth in cells}))
    shown = tables.table(TITLE, "activation, weights", *map(str, depths))
    for name, cells in texts.items():
        # A name is no markup.
        shown.add_row(Text(name), *(cells.get(depth, "") for depth in depths))
    return shown

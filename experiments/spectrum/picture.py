"""Picture and report of the Jacobian's spectrum: singular values and their variance by depth.

A panel is defined once, over named data, for the cases that an expression selects: on the page
those of the reader's choices, in the file those of an activation or of a case.
"""

import json
from typing import NamedTuple

import altair as alt
import numpy as np
import polars as pl

from experiments.pages import charts, palette
from experiments.pages.report import SCALE_AND_THEORY, Answer, Choice, Numbers, Page, Panel, Table
from experiments.runs import runtime
from experiments.runs.missing import NOTHING, Missing
from experiments.spectrum import report
from experiments.spectrum.report import Case

WIDTH, HEIGHT = 230, 170  # of a panel in the file
ACTIVATION, WEIGHTS = "datum.activation == activation", "datum.weights == weights"  # chosen
EXTENT = 28  # of vertical axes at least: panels below each other are aligned
FEW = 30  # up to such numbers an axis has ticks between the powers of ten
LEGEND = alt.Legend(orient="top")
TITLE = "How far are the singular values s of ∂z[L]/∂z[1] spread?"
READING = (
    "Left, all s > 0 of all seeds and inputs: light band from the smallest to the largest, dark "
    "band the middle 80 %, line the median",
    "Right, mean over seeds ± 2 standard errors; dashed: predicted at infinite width",
)
SHARES = {"low": 0.0, "tenth": 0.1, "median": 0.5, "ninetieth": 0.9, "high": 1.0}
HEAD = {
    "depth": "depth (factors)",
    **{name: f"log₁₀ s, quantile {share:g}" for name, share in SHARES.items()},
    "variance": "variance of s² / mean s²",
    "error": "± standard error",
    "predicted": "predicted",
}


class Drawn(NamedTuple):
    """The data of the picture by name, and the words around it."""

    data: dict[str, pl.DataFrame]  # depths, a row a case and depth: summary and quantiles
    cases: list[Case]
    subtitle: str

    @classmethod
    def of(cls, rows: pl.DataFrame, subtitle: str, missing: Missing = NOTHING) -> "Drawn":
        """Summarise the rows of a run."""
        case_and_depth = [*report.CASE, "depth"]
        depths = report.summary(rows).join(
            quantiles(rows), on=case_and_depth, how="left", maintain_order="left"
        )
        return cls({"depths": depths}, report.cases(rows, missing), subtitle)

    @property
    def weights(self) -> list[str]:
        """The kinds of weights."""
        return self.data["depths"]["weights"].unique(maintain_order=True).to_list()

    @property
    def most(self) -> float:
        """The largest predicted variance."""
        return float(np.nanmax(self.data["depths"]["predicted"].to_numpy()))


def quantiles(rows: pl.DataFrame) -> pl.DataFrame:
    """Return quantiles of log₁₀ s over seeds and examples, zeros left out; a row a case and depth.

    An SVD of the product, formed in the same dtype, is `resolved` down to its rounding.
    """
    s = pl.col("log10_singular_values")
    rounding = float(np.log10(np.finfo(runtime.dtype_name()).eps))
    return (
        rows.explode("log10_singular_values")
        .filter(s.is_finite())
        .group_by(*report.CASE, "depth", maintain_order=True)
        .agg(s.quantile(share, "linear").alias(name) for name, share in SHARES.items())
        .with_columns(resolved=pl.col("high") + rounding)
    )


def figure(drawn: Drawn) -> charts.Figure:
    """A row of panels an activation: the singular values of each kind of weights, the variance."""
    names = drawn.data["depths"]["activation"].unique(maintain_order=True)
    title = charts.headline(TITLE, [drawn.subtitle, *READING])
    rows = (_activation(drawn, name) for name in names)
    chart = alt.vconcat(*rows, spacing=24, title=title).resolve_scale(color="shared")
    return charts.Figure(chart, drawn.data, {"scale": "logarithmic", "theory": True})


def _activation(drawn: Drawn, name: str) -> charts.Chart:
    spans = {c.weights: _span(c) for c in drawn.cases if c.activation == name}
    activation = f"datum.activation == {json.dumps(name)}"
    spreads = (
        spread(drawn, f"{activation} && datum.weights == {json.dumps(weights)}", LEGEND).properties(
            width=WIDTH,
            height=HEIGHT,
            title=alt.Title(
                f"{name}, {weights}: log₁₀ s", subtitle=spans.get(weights, report.NONE)
            ),
        )
        for weights in drawn.weights
    )
    variance = variances(drawn, activation).properties(
        width=WIDTH,
        height=HEIGHT,
        title=alt.Title(
            f"{name}: variance of s² / mean s²", subtitle="hollow: width too small for theory"
        ),
    )
    on_one_scale = alt.hconcat(*spreads, spacing=18).resolve_scale(y="shared")
    return alt.hconcat(on_one_scale, variance, spacing=18)


def _span(case: Case) -> str:
    return f"{case.span}; {case.seeds}" if case.seeds else case.span


def axis_title(what: str) -> alt.Title:
    """Return the name of a vertical axis, which the choice `scale` changes."""
    return alt.Title(alt.ExprRef(f"scale == 'linear' ? '{what}' : 'log₁₀ {what}'"))


def spread(drawn: Drawn, chosen: str, legend: alt.Legend | None = None) -> charts.Chart:
    """Return the quantiles of the singular values of a case against depth."""
    base = alt.Chart(alt.NamedData("depths")).transform_filter(chosen)
    for name in (*SHARES, "resolved"):
        value = f"(isValid(datum.{name}) ? datum.{name} : NaN)"
        base = charts.switched(base, f"y_{name}", f"pow(10, {value})", value)
    # At least a decade: values that are equal up to rounding are drawn as equal.
    base = charts.switched(base, "y_least", "0", "-0.5")
    base = charts.switched(base, "y_most", "1", "0.5").encode(_depth(drawn))
    axis = alt.Axis(labelExpr=charts.LABEL, tickCount=6, minExtent=EXTENT)
    y = {
        name: alt.Y(f"y_{name}:Q", title=None, scale=alt.Scale(zero=False), axis=axis)
        for name in ("low", "tenth", "median", "resolved", "least")
    }
    bands = base.encode(_colour(drawn, legend))
    return alt.layer(
        base.mark_rule(opacity=0, aria=False).encode(y["least"], alt.Y2("y_most:Q")),
        bands.mark_area(opacity=0.2, aria=False).encode(y["low"], alt.Y2("y_high:Q")),
        bands.mark_area(opacity=0.35, aria=False).encode(y["tenth"], alt.Y2("y_ninetieth:Q")),
        bands.mark_line(point={"size": 45}, aria=False).encode(y["median"], tooltip=_tooltip()),
        *_resolved(base.encode(y["resolved"])),
    )


def _resolved(base: charts.Chart) -> list[charts.Chart]:
    """The end of an SVD's resolution, at all depths of a case that crosses it at some.

    On a linear scale it would lie on 0.
    """
    crossed = (
        base.transform_calculate(crosses="datum.low < datum.resolved ? 1 : 0")
        .transform_joinaggregate(crossings="sum(crosses)")
        .transform_filter("scale == 'logarithmic' && datum.crossings > 0")
    )
    first = crossed.transform_window(
        place="row_number()", sort=[alt.SortField("depth")]
    ).transform_filter("datum.place == 1")
    words = f"below: lost to an SVD in {runtime.dtype_name()}"
    return [
        crossed.mark_line(color=palette.ALARM, strokeDash=[4, 3], aria=False),
        first.mark_text(
            align="left", baseline="top", dx=4, dy=4, color=palette.INK, aria=False
        ).encode(text=alt.value(words)),
    ]


def variances(drawn: Drawn, activation: str, bold: str = "true") -> charts.Chart:
    """Return the variances of all weights against depth, measured and predicted."""
    base = alt.Chart(alt.NamedData("depths")).transform_filter(activation)
    base = base.transform_calculate(
        under="max(0, datum.variance - 2 * datum.error)", over="datum.variance + 2 * datum.error"
    )
    known = {"predicted": "true", "variance": "isValid(datum.variance)"}
    known["under"] = known["over"] = "isValid(datum.variance) && isValid(datum.error)"
    for name, valid in known.items():
        linear, squeezed = (
            f"({valid} ? {place} : NaN)" for place in (f"datum.{name}", charts.squeezed(name))
        )
        base = charts.switched(base, f"y_{name}", linear, squeezed)
    axis = charts.squeezed_axis(min(drawn.most, FEW))
    axis.minExtent = EXTENT
    y = {
        name: alt.Y(f"y_{name}:Q", title=None, axis=axis)
        for name in ("predicted", "variance", "under")
    }
    opacity = alt.condition(bold, alt.value(1), alt.value(0.35))
    base = base.encode(_depth(drawn), _colour(drawn, LEGEND), opacity=opacity)
    points = base.encode(y["variance"], tooltip=_tooltip())
    return alt.layer(
        base.transform_filter("theory")
        .mark_line(strokeDash=[5, 3], aria=False)
        .encode(y["predicted"]),
        base.mark_rule(aria=False).encode(y["under"], alt.Y2("y_over:Q")),
        points.transform_filter("datum.comparable").mark_point(filled=True, size=50, aria=False),
        points.transform_filter("!datum.comparable").mark_point(size=50, aria=False),
    )


def _depth(drawn: Drawn) -> alt.X:
    depths = sorted(drawn.data["depths"]["depth"].unique())
    return alt.X(
        "depth:Q",
        title=HEAD["depth"],
        scale=alt.Scale(type="log", base=2, nice=False),
        axis=alt.Axis(values=depths, format="d", labelOverlap=True, labelFlush=False),
    )


def _colour(drawn: Drawn, legend: alt.Legend | None) -> alt.Color:
    scale = alt.Scale(domain=drawn.weights)
    return alt.Color("weights:N", sort=None, title=None, scale=scale, legend=legend)


def _tooltip() -> list[alt.Tooltip]:
    numbers = (name for name in HEAD if name != "depth")
    return [
        alt.Tooltip("weights:N"),
        alt.Tooltip("depth:Q", title=HEAD["depth"], format="d"),
        *(alt.Tooltip(f"{name}:Q", title=HEAD[name], format=".4g") for name in numbers),
    ]


def page(drawn: Drawn) -> Page:
    """Return the report: one activation and kind of weights at a time."""
    means = drawn.data["depths"]
    depths = sorted(means["depth"].unique())
    values = {name: tuple(means[name].unique(maintain_order=True)) for name in report.CASE}
    lines = tuple(report.lines(means, depths, drawn.cases))
    return Page(
        title=TITLE,
        subtitle=drawn.subtitle,
        answer=Answer(report.answer(drawn.cases)),
        verdicts=(),
        choices=(*(Choice(n, n, v, v[0]) for n, v in values.items()), *SCALE_AND_THEORY),
        panels=_panels(drawn),
        data=drawn.data,
        numbers=Numbers("depths", HEAD),
        tables=(
            _verdicts(drawn.cases),
            Table(report.TITLE, ("activation, weights", *map(str, depths)), lines),
        ),
    )


def _panels(drawn: Drawn) -> tuple[Panel, ...]:
    return (
        Panel(
            "Singular values of ∂z[L]/∂z[1]",
            "All s > 0 of all seeds and inputs: light band from the smallest to the largest, dark "
            "band the middle 80 %, line the median. Below the red line an SVD of the product "
            f"itself, in {runtime.dtype_name()}, sees rounding only.",
            spread(drawn, f"{ACTIVATION} && {WEIGHTS}").properties(
                height=260, title=axis_title("s")
            ),
        ),
        Panel(
            "Variance of s² / mean s²",
            "Points: mean over seeds, ± 2 standard errors; hollow where the width is too small for "
            "the prediction. Dashed: free probability, at infinite width. The chosen weights are "
            "bold.",
            variances(drawn, ACTIVATION, WEIGHTS).properties(height=260, title="variance"),
        ),
    )


def _verdicts(cases: list[Case]) -> Table:
    head = ("activation, weights", "variance", "predicted", "at depth", "singular values span")
    rows = tuple(
        (c.name, c.variance or "–", c.predicted or "–", c.depth or "–", _span(c)) for c in cases
    )
    return Table("Verdicts, at the largest depth that can be compared with theory", head, rows)

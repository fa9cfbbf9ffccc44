"""The spectrum's report: one activation and kind of weights at a time, against depth."""

import altair as alt
import numpy as np
import polars as pl

from experiments.pages import charts, report
from experiments.runs import runtime
from experiments.spectrum import chart as spectrum_chart
from experiments.spectrum import report as spectrum_report

HEIGHT = 260
LIMIT_COLOUR = "#d0343f"
CHOSEN = "datum.activation == activation && datum.weights == weights"

HEAD = {
    "depth": "depth (factors)",
    **{name: f"log₁₀ s, quantile {share:g}" for name, share in spectrum_chart.SHARES.items()},
    "variance": "variance of s² / mean s²",
    "error": "± standard error",
    "predicted": "predicted",
}


def page(rows: pl.DataFrame, what: str) -> report.Page:
    """The page.

    Args:
        rows: as `experiments.spectrum.experiment.measure` returns them.
        what: one line on what was measured.
    """
    cases, summary = spectrum_report.by_case(rows), spectrum_report.summary(rows)
    at = [*spectrum_report.CASE, "depth"]
    data = summary.join(spectrum_chart.quantiles(rows), on=at, how="left", maintain_order="left")
    depths, lines = spectrum_report.lines_of(summary)
    by_depth = report.Table(
        spectrum_report.TITLE, ("activation, weights", *map(str, depths)), tuple(lines)
    )
    return report.Page(
        title="How far are the singular values s of ∂z[L]/∂z[1] spread?",
        subtitle=what,
        verdicts=tuple(map(spectrum_report.sentence, cases)),
        choices=_choices(rows),
        panels=_panels(float(np.nanmax(summary["predicted"].to_numpy()))),
        data={"depths": data},
        numbers=report.Numbers("depths", HEAD),
        tables=(_verdicts(cases), by_depth),
    )


def _choices(rows: pl.DataFrame) -> tuple[report.Choice, ...]:
    of_rows = (
        report.Choice(name, name, tuple(rows[name].unique(maintain_order=True)), rows[name][0])
        for name in spectrum_report.CASE
    )
    return (*of_rows, *report.SCALE_AND_THEORY)


def _panels(most: float) -> tuple[report.Panel, ...]:
    name = alt.ExprRef("scale == 'linear' ? 's' : 'log₁₀ s'")
    return (
        report.Panel(
            "Singular values of ∂z[L]/∂z[1]",
            "All s > 0 of all seeds and inputs: light band from the smallest to the largest, dark "
            "band the middle 80 %, line the median. Below the red line an SVD of the product "
            f"itself, in {runtime.dtype_name()}, sees rounding only.",
            alt.layer(*_spread()).properties(height=HEIGHT, title=alt.Title(name)),
        ),
        report.Panel(
            "Variance of s² / mean s²",
            "Points: mean over seeds, ± 2 standard errors; hollow where the width is too small for "
            "what is predicted. Dashed: free probability, at infinite width. The chosen weights "
            "are bold.",
            alt.layer(*_variances(most)).properties(height=HEIGHT, title=alt.Title("variance")),
        ),
    )


def _x() -> alt.X:
    axis = alt.Axis(format="d", labelOverlap=True)
    scale = alt.Scale(type="log", base=2, nice=False)
    return alt.X("depth:Q", title="depth (factors)", scale=scale, axis=axis)


def _spread() -> list[charts.Chart]:
    base = alt.Chart(alt.NamedData("depths")).transform_filter(CHOSEN)
    for name in (*spectrum_chart.SHARES, "resolved"):
        value = f"(isValid(datum.{name}) ? datum.{name} : NaN)"
        base = charts.switched(base, f"y_{name}", f"pow(10, {value})", value)
    base = base.encode(_x())
    colour, axis = report.COLOURS[0], alt.Axis(labelExpr=charts.LABEL, tickCount=6)
    y = {
        name: alt.Y(f"y_{name}:Q", title=None, scale=alt.Scale(zero=False), axis=axis)
        for name in ("low", "tenth", "median", "resolved")
    }
    return [
        base.mark_area(color=colour, opacity=0.2, aria=False).encode(y["low"], alt.Y2("y_high:Q")),
        base.mark_area(color=colour, opacity=0.35, aria=False).encode(
            y["tenth"], alt.Y2("y_ninetieth:Q")
        ),
        base.transform_filter("datum.low < datum.resolved")
        .mark_line(color=LIMIT_COLOUR, strokeDash=[4, 3], aria=False)
        .encode(y["resolved"]),
        base.mark_line(color=colour, point={"size": 45}, aria=False).encode(
            y["median"], tooltip=_tooltip()
        ),
    ]


def _variances(most: float) -> list[charts.Chart]:
    base = alt.Chart(alt.NamedData("depths")).transform_filter("datum.activation == activation")
    base = base.transform_calculate(
        low="max(0, datum.variance - 2 * datum.error)", high="datum.variance + 2 * datum.error"
    )
    known = {"predicted": "true", "variance": "isValid(datum.variance)"}
    known["low"] = known["high"] = "isValid(datum.variance) && isValid(datum.error)"
    for name, there in known.items():
        place = charts.squeezed(name)
        linear, squeezed = (f"{there} ? {expr} : NaN" for expr in (f"datum.{name}", place))
        base = charts.switched(base, f"y_{name}", f"({linear})", f"({squeezed})")
    colour = alt.Color("weights:N", sort=None, title=None)
    y = {
        name: alt.Y(f"y_{name}:Q", title=None, axis=charts.squeezed_axis(most))
        for name in ("predicted", "variance", "low")
    }
    bold = alt.condition(CHOSEN, alt.value(1), alt.value(0.35))
    base = base.encode(_x(), colour, opacity=bold)
    dots = base.encode(y["variance"], tooltip=_tooltip())
    return [
        base.transform_filter("theory")
        .mark_line(strokeDash=[5, 3], aria=False)
        .encode(y["predicted"]),
        base.mark_rule(aria=False).encode(y["low"], alt.Y2("y_high:Q")),
        dots.transform_filter("datum.comparable").mark_point(filled=True, size=50, aria=False),
        dots.transform_filter("!datum.comparable").mark_point(size=50, aria=False),
    ]


def _tooltip() -> list[alt.Tooltip]:
    names = (alt.Tooltip("weights:N"), alt.Tooltip("depth:Q", title=HEAD["depth"], format="d"))
    rest = [alt.Tooltip(f"{n}:Q", title=t, format=".4g") for n, t in HEAD.items() if n != "depth"]
    return [*names, *rest]


def _verdicts(cases: list[pl.DataFrame]) -> report.Table:
    head = ("activation, weights", "variance", "predicted", "at depth", "singular values span")
    rows = []
    for case in cases:
        found = spectrum_report.compared(case)
        numbers = ("–", "–", "–")
        if found is not None:
            variance = spectrum_report.plus_minus(found["variance"], found["error"])
            numbers = (variance, f"{found['predicted']:.3g}", str(found["depth"]))
        name = ", ".join(spectrum_report.name_of(case))
        rows.append((name, *numbers, spectrum_report.span(case)))
    caption = "Verdicts, at the largest depth that can be compared with theory"
    return report.Table(caption, head, tuple(rows))

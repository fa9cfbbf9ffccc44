"""Picture of the Jacobian's spectrum: a row an activation, singular values and their variance."""

import json
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from experiments.pages import charts, palette
from experiments.runs import runtime
from experiments.runs.missing import NOTHING, Missing
from experiments.spectrum import report
from experiments.spectrum.report import Case

SIZE = {"width": 230, "height": 170}  # of a panel
EXTENT = 28  # of vertical axes at least: panels below each other are aligned
FEW = 30  # up to such numbers an axis has ticks between the powers of ten
TITLE = "How far are the singular values s of ∂z[L]/∂z[1] spread?"
READING = (
    "Left, all s > 0 of all seeds and inputs: light band from the smallest to the largest, dark "
    "band the middle 80 %, line the median",
    "Right, mean over seeds ± 2 standard errors; dashed: predicted at infinite width",
)
SHARES = {"low": 0.0, "tenth": 0.1, "median": 0.5, "ninetieth": 0.9, "high": 1.0}


def figure(rows: pl.DataFrame, subtitle: str, missing: Missing = NOTHING) -> charts.Figure:
    """Return a row of panels an activation: singular values of each kind of weights, variances."""
    cases = {(case.activation, case.weights): case for case in report.cases(rows, missing)}
    depths = _depths(rows)
    activations, weights = (list(dict.fromkeys(depths[name])) for name in ("activation", "weights"))
    lines = (
        alt.hconcat(
            alt.hconcat(
                *(_spread(depths, cases.get((name, each)), name, each) for each in weights),
                spacing=18,
            ).resolve_scale(y="shared"),
            _variances(depths, name),
            spacing=18,
        )
        for name in activations
    )
    title = charts.headline(TITLE, [subtitle, *READING])
    chart = alt.vconcat(*lines, spacing=24, title=title).resolve_scale(color="shared")
    return charts.Figure(chart, {"depths": depths})


def _depths(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a row a case and depth: its summary, places of variances, and its quantiles."""
    variance, reach = pl.col("variance"), 2 * pl.col("error")
    under, over = (variance - reach).clip(0).alias("under"), (variance + reach).alias("over")
    placed = report.summary(rows).with_columns(under, over)
    value = pl.col("variance", "predicted", "under", "over")
    squeezed = value.sign() * value.abs().log1p()
    by = [*report.CASE, "depth"]
    placed = placed.with_columns(pl.when(value.is_finite()).then(squeezed).name.suffix("_at"))
    return placed.join(quantiles(rows), on=by, how="left", maintain_order="left")


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


def _spread(depths: pl.DataFrame, case: Case | None, name: str, weights: str) -> charts.Chart:
    """Return the quantiles of the singular values of a case against depth."""
    of = depths.filter(activation=name, weights=weights)
    chosen = f"datum.activation == {json.dumps(name)} && datum.weights == {json.dumps(weights)}"
    base = alt.Chart(alt.NamedData("depths")).transform_filter(f"{chosen} && isValid(datum.low)")
    # At least a decade: values that are equal up to rounding are drawn as equal.
    base = base.transform_calculate(least="-0.5", most="0.5").encode(_depth(depths))
    axis = alt.Axis(labelExpr=charts.LABEL, tickCount=6, minExtent=EXTENT)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", title=None, scale=alt.Scale(zero=False), axis=axis)

    bands = base.encode(_colour(depths))
    layers = [
        base.mark_rule(opacity=0, aria=False).encode(y("least"), alt.Y2("most:Q")),
        bands.mark_area(opacity=0.2, aria=False).encode(y("low"), alt.Y2("high:Q")),
        bands.mark_area(opacity=0.35, aria=False).encode(y("tenth"), alt.Y2("ninetieth:Q")),
        bands.mark_line(point={"size": 45}, aria=False).encode(y("median"), tooltip=_tooltip()),
    ]
    if (of["low"] < of["resolved"]).any():  # the end of an SVD's resolution
        end = base.encode(y("resolved"))
        words = f"below: lost to an SVD in {runtime.dtype_name()}"
        text: dict[str, Any] = {"align": "left", "baseline": "top", "dx": 4, "dy": 4}
        layers += [
            end.mark_line(color=palette.ALARM, strokeDash=[4, 3], aria=False),
            end.transform_filter(f"datum.depth == {min(of['depth'])}")
            .mark_text(**text, color=palette.INK, aria=False)
            .encode(text=alt.value(words)),
        ]
    span = report.NONE if case is None else "; ".join(filter(None, (case.span, case.seeds)))
    title = alt.Title(f"{name}, {weights}: log₁₀ s", subtitle=span)
    return alt.layer(*layers).properties(title=title, **SIZE)


def _variances(depths: pl.DataFrame, name: str) -> charts.Chart:
    """Return the variances of all weights of an activation against depth, and as predicted."""
    base = alt.Chart(alt.NamedData("depths")).encode(_depth(depths), _colour(depths))
    base = base.transform_filter(f"datum.activation == {json.dumps(name)}")
    axis = charts.squeezed_axis(min(float(np.nanmax(depths["predicted"].to_numpy())), FEW))
    axis.minExtent = EXTENT

    def known(field: str) -> charts.Chart:
        y = alt.Y(f"{field}_at:Q", title=None, axis=axis)
        return base.transform_filter(f"isValid(datum.{field}_at)").encode(y)

    points = known("variance").encode(tooltip=_tooltip())
    layers = [
        known("predicted").mark_line(strokeDash=[5, 3], aria=False),
        known("under").mark_rule(aria=False).encode(alt.Y2("over_at:Q")),
        points.transform_filter("datum.comparable").mark_point(filled=True, size=50, aria=False),
        points.transform_filter("!datum.comparable").mark_point(size=50, aria=False),
    ]
    subtitle = "hollow: width too small for theory"
    title = alt.Title(f"{name}: variance of s² / mean s²", subtitle=subtitle)
    return alt.layer(*layers).properties(title=title, **SIZE)


def _depth(depths: pl.DataFrame) -> alt.X:
    values = sorted(depths["depth"].unique())
    axis = alt.Axis(values=values, format="d", labelOverlap=True, labelFlush=False)
    scale = alt.Scale(type="log", base=2, nice=False)
    return alt.X("depth:Q", title="depth (factors)", scale=scale, axis=axis)


def _colour(depths: pl.DataFrame) -> alt.Color:
    scale = alt.Scale(domain=list(dict.fromkeys(depths["weights"])))
    legend = alt.Legend(orient="top")
    return alt.Color("weights:N", sort=None, title=None, scale=scale, legend=legend)


def _tooltip() -> list[alt.Tooltip]:
    numbers = (*SHARES, "variance", "error", "predicted")
    return [alt.Tooltip("depth:Q"), *(alt.Tooltip(f"{name}:Q", format=".4g") for name in numbers)]

"""The picture of a law: measured points on predicted curves, in one panel or more."""

import json

import altair as alt
import polars as pl

from experiments.laws import report
from experiments.laws.law import Outcome, Panel
from experiments.pages import charts

WIDTH, HEIGHT = 330, 240
FEW = 4  # whole numbers along x that are all named
LARGEST, SMALLEST = 64, 26  # areas of points


def figure(outcome: Outcome, points: pl.DataFrame, subtitle: str) -> charts.Figure:
    """Return the panels of a law, each with a legend of its own."""
    law = outcome.law
    panels = [_panel(panel, points.filter(pl.col("panel") == panel.title)) for panel in law.panels]
    lines = [f"{law.statement} ({law.source})", subtitle]
    lines.append("Lines: predicted. Points: measured, mean over seeds ± 2 standard errors.")
    title = charts.headline(report.sentence(outcome), lines)
    chart = alt.hconcat(*panels, title=title, spacing=28)
    chart = chart.resolve_scale(color="independent", size="independent")
    logarithmic = [panel.title for panel in law.panels if panel.log_y]
    return charts.Figure(chart, {"points": _with_sizes(_with_bars(points, logarithmic))})


def _panel(panel: Panel, points: pl.DataFrame) -> charts.Chart:
    y_scale = alt.Scale(type="log" if panel.log_y else "linear", zero=False, nice=False, padding=9)

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", title=panel.y, scale=y_scale)

    names = points["series"].unique(maintain_order=True).to_list()
    numbers = [alt.Tooltip(f"{n}:Q", format=".4g") for n in ("x", "measured", "error", "predicted")]
    base = (
        alt.Chart(alt.NamedData("points"))
        .transform_filter(f"datum.panel == {json.dumps(panel.title)}")
        .encode(_x(panel, points), _colour(names), tooltip=["series:N", *numbers])
    )
    line, point = (base.transform_filter(f"isValid(datum.{n})") for n in ("predicted", "measured"))
    return alt.layer(
        line.mark_line(strokeWidth=1.8, opacity=0.75, aria=False).encode(y("predicted")),
        point.mark_rule(strokeWidth=1.4, aria=False).encode(y("low"), alt.Y2("high:Q")),
        point.mark_point(filled=True, opacity=1).encode(
            y("measured"), alt.Size("size:Q", scale=None, legend=None)
        ),
    ).properties(width=WIDTH, height=HEIGHT, title=panel.title)


def _with_bars(points: pl.DataFrame, logarithmic: list[str]) -> pl.DataFrame:
    """Add the ends of the error bars; in logarithmic panels, a bar ends before zero."""
    measured, error = pl.col("measured"), 2 * pl.col("error").fill_null(0)
    low = pl.when(pl.col("panel").is_in(logarithmic)).then(
        pl.max_horizontal(measured - error, measured / 2)
    )
    return points.with_columns(low=low.otherwise(measured - error), high=measured + error)


def _with_sizes(points: pl.DataFrame) -> pl.DataFrame:
    """Add the areas of points: of those in one place the first is the largest, and all are seen."""
    first = pl.int_range(pl.len()).min().over("panel", "series")
    number = (first.rank("dense") - 1).over("panel")  # in the order of the legend
    share = number / pl.max_horizontal(number.max().over("panel"), 1)
    return points.with_columns(size=LARGEST - (LARGEST - SMALLEST) * share)


def _colour(names: list[str]) -> alt.Color:
    legend = alt.Legend(orient="bottom", columns=2, title=None, labelLimit=220, symbolSize=70)
    scale = alt.Scale(domain=names)
    return alt.Color("series:N", scale=scale, legend=legend if len(names) > 1 else None)


def _x(panel: Panel, points: pl.DataFrame) -> alt.X:
    values = points["x"].unique().sort()
    if panel.log_x:
        scale = alt.Scale(type="log", base=2, nice=False, padding=9)
        places = points.filter(pl.col("measured").is_not_null())["x"].unique().sort()
        axis = alt.Axis(values=places.to_list(), format="d")
    else:
        scale = alt.Scale(zero=False, nice=False, padding=9)
        axis = alt.Axis(tickCount=6)
        if (values == values.round()).all() and len(values) <= FEW:
            axis = alt.Axis(values=values.to_list(), format="d")
        elif (values == values.round()).all():
            axis = alt.Axis(tickCount=6, tickMinStep=1, format="d")
    return alt.X("x:Q", title=panel.x, scale=scale, axis=axis)

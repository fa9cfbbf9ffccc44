"""The chart of a law: measured points on predicted curves, a panel or more."""

import altair as alt
import numpy as np
import polars as pl

from experiments.laws import report
from experiments.laws.law import Outcome, Panel
from experiments.pages import charts

COLOURS = ["#1b7fb0", "#d95f02", "#3a9d5d", "#8e44ad", "#b8860b", "#c0392b", "#5b6abf"]
WIDTH, HEIGHT = 330, 240
NUMBERS = ("measured", "error", "predicted")


def draw(outcome: Outcome, what: str) -> charts.Chart:
    """One panel after the other, each with a legend of its own.

    Args:
        outcome: a law as it came out.
        what: one line on what was measured.
    """
    law = outcome.law
    panels = [
        _panel(panel, outcome.points.filter(pl.col("panel") == panel.title)) for panel in law.panels
    ]
    lines = [f"{law.statement} ({law.source})", what]
    lines.append("Lines: predicted. Points: measured, mean over seeds ± 2 standard errors.")
    title = alt.Title(report.sentence(outcome), subtitle=lines, offset=14)
    return charts.styled(alt.hconcat(*panels, title=title, spacing=28))


def _panel(panel: Panel, points: pl.DataFrame) -> charts.Chart:
    y_scale = alt.Scale(type="log" if panel.log_y else "linear", zero=False, nice=False, padding=9)

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", title=panel.y, scale=y_scale)

    names = points["series"].unique(maintain_order=True).to_list()
    tips = [alt.Tooltip(name, format=".4g") for name in ("x", *NUMBERS)]
    base = alt.Chart(_shown(panel, points)).encode(
        _x(panel, points), _colour(names), tooltip=["series", *tips]
    )
    line, point = (base.transform_filter(f"isValid(datum.{n})") for n in ("predicted", "measured"))
    # Of points in one place the first is the largest, and so all of them show.
    sizes = alt.Scale(domain=names, range=np.linspace(64, 26, len(names)).tolist())
    size = alt.Size("series:N", scale=sizes, legend=None)
    return alt.layer(
        line.mark_line(strokeWidth=1.8, opacity=0.75, aria=False).encode(y("predicted")),
        point.mark_rule(strokeWidth=1.4, aria=False).encode(y("low"), alt.Y2("high")),
        point.mark_point(filled=True, opacity=1).encode(y("measured"), size),
    ).properties(width=WIDTH, height=HEIGHT, title=panel.title)


def _shown(panel: Panel, points: pl.DataFrame) -> pl.DataFrame:
    """What is drawn: numbers that have a place, and the ends of the error bars."""
    finite = [pl.when(pl.col(n).is_finite()).then(pl.col(n)).alias(n) for n in NUMBERS]
    error = 2 * pl.col("error").fill_null(0)
    low, high = pl.col("measured") - error, pl.col("measured") + error
    if panel.log_y:  # an error bar ends before zero
        low = pl.max_horizontal(low, pl.col("measured") / 2)
    return points.with_columns(finite).with_columns(low=low, high=high)


def _colour(names: list[str]) -> alt.Color:
    legend = alt.Legend(orient="bottom", columns=2, title=None, labelLimit=220, symbolSize=70)
    scale = alt.Scale(domain=names, range=COLOURS[: len(names)])
    return alt.Color("series:N", scale=scale, legend=legend if len(names) > 1 else None)


def _x(panel: Panel, points: pl.DataFrame) -> alt.X:
    values = points["x"].unique().sort()
    if panel.log_x:
        scale = alt.Scale(type="log", base=2, nice=False, padding=9)
        axis = alt.Axis(values=values.to_list(), format="d")
    else:
        scale = alt.Scale(zero=False, nice=False, padding=9)
        axis = alt.Axis(tickCount=6)
        if (values == values.round()).all():
            axis = alt.Axis(tickCount=6, tickMinStep=1, format="d")
    return alt.X("x:Q", title=panel.x, scale=scale, axis=axis)

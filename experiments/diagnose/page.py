"""A diagnosis's report and picture, both of the panels of `jaxnn.chart`."""

from typing import Any

import altair as alt
import polars as pl

from experiments.pages import charts, report
from jaxnn.cli import diagnosis
from jaxnn.diagnosis import Diagnosis
from jaxnn.flow.record.flow import Flow
from jaxnn.flow.verdict.verdict import Verdict
from jaxnn.flow.view.chart import DRAWN, HEIGHT, WIDTH, Panel, exponents, panels

TITLE = "Why do gradients vanish or explode in {}?"
NAME, DATA = "network", "layers"
AT_THE_EDGE = ("log10_delta_rms", "log10_spread")  # panels in which zero, inf and nan are marked
MOST_ROWS = 40  # of the table of layers; rows.parquet has all
READING = {
    "log10_delta_rms": "Line: root mean square over the examples. Shaded: from the smallest to the "
    "largest. Dotted: where a number format ends. Dashed, if asked for: theory.",
    "log10_gain": "log₁₀ ‖Δ[l]‖ / ‖Δ[l+1]‖: below 0 the layer above makes the gradient smaller.",
    "log10_spread": "Deviation of the states from their mean over the examples, relative to their "
    "size. Below a dotted line it is rounding, and examples are lost. Dashed: to first order, "
    "without rounding.",
}
OF_EXPONENTS = (
    "The stronger the colour, the more of the layer's entries have this size. Bars: numbers of a "
    "format, pale where they are subnormal; what lies below a bar becomes zero, above it overflows."
)
HEADS = {
    "layer": "layer",
    "name": "name",
    "log10_delta_rms": "log₁₀ ‖Δ‖",
    "log10_delta_theory": "in theory",
    "log10_delta_smallest": "smallest",
    "log10_delta_largest": "largest",
    "log10_gain": "factor",
    "log10_spread": "log₁₀ spread",
    "log10_tangent": "without rounding",
}


def drawn(rows: pl.DataFrame) -> pl.DataFrame:
    """Return what is drawn: rows of one flow, and beside each number what kind it is."""
    kinds = (charts.kind(name).alias(f"{name}_is") for name in DRAWN)
    return rows.select(pl.lit(NAME).alias("flow"), "layer", "name", *DRAWN, *kinds)


def charts_of(data: pl.DataFrame, flow: Flow) -> list[tuple[Panel, charts.Chart]]:
    """Return the panels of `jaxnn.chart`, those of layers over named data.

    What is no number is at their edges.
    """
    found = []
    for panel in panels(charts.records(data), [NAME]):
        edges: tuple[charts.Chart, ...] = ()
        if panel.column in AT_THE_EDGE:
            x, colour = alt.X("layer:Q"), alt.Color("flow:N", legend=None)
            kind, tooltip = f"{panel.column}_is", ["name:N", "layer:Q"]
            edges = charts.at_the_edge(alt.Chart(), kind, x, colour, tooltip)
        chart = alt.layer(*panel.layers, *edges, data=alt.NamedData(DATA))
        found.append((panel, chart.properties(height=HEIGHT)))
    counted = exponents(flow)
    return found + [(each, alt.layer(*each.layers).properties(height=HEIGHT)) for each in counted]


def figure(rows: pl.DataFrame, flow: Flow, of: str, subtitle: str) -> charts.Figure:
    """Return the picture: the panels below one another."""
    data = drawn(rows)
    edges = _edges(data, *AT_THE_EDGE)
    lines = [subtitle, *([f"at the edge: {edges}"] if edges else [])]
    title = alt.Title(TITLE.format(of), subtitle=lines, fontSize=16, offset=14)
    below = [chart.properties(width=WIDTH, title=p.title) for p, chart in charts_of(data, flow)]
    return charts.Figure(alt.vconcat(*below, spacing=18, title=title), {DATA: data})


def _edges(data: pl.DataFrame, *columns: str) -> str:
    """Return what the marks at the edges stand for, in words; empty if there are none."""
    return charts.edges_in_words(data[f"{name}_is"] for name in columns if name in AT_THE_EDGE)


def _reading(panel: Panel, data: pl.DataFrame) -> str:
    edges = _edges(data, panel.column)
    if panel.column not in READING:
        return OF_EXPONENTS
    return READING[panel.column] + (f" At the edge: {edges}." if edges else "")


def page(
    rows: pl.DataFrame, result: Diagnosis, of: str, subtitle: str, verdicts: list[str]
) -> report.Page:
    """Return the page."""
    data, well = drawn(rows), result.verdict.well and not result.note
    return report.Page(
        title=TITLE.format(of),
        subtitle=subtitle,
        answer=report.Answer(verdicts[0], "well" if well else "ill"),
        verdicts=tuple(verdicts[1:]),
        choices=(),
        panels=tuple(
            report.Panel(panel.title, _reading(panel, data), chart)
            for panel, chart in charts_of(data, result.flow)
        ),
        data={DATA: data},
        numbers=report.Numbers(DATA, HEADS),
        tables=(_layers(rows), _formats(result.verdict)),
    )


def _layers(rows: pl.DataFrame) -> report.Table:
    layers = rows.to_dicts()
    columns = diagnosis.known(layers, tuple(diagnosis.HEADS))
    head = ("layer", *(diagnosis.HEADS[name] for name in columns))
    return report.Table("Layers", head, tuple(diagnosis.lines(layers, columns, MOST_ROWS)))


def _formats(verdict: Verdict) -> report.Table:
    head: tuple[Any, ...] = ("number format", "loses Δ", "loses what differs between examples")
    return report.Table("Where number formats end", head, tuple(diagnosis.formats(verdict)))

"""The picture of the comparison with scikit-learn: a panel a table of data."""

import altair as alt
import polars as pl

from experiments.pages import charts, palette
from experiments.peers.report import LIBRARIES

WIDTH, STEP = 360, 26


def figure(rows: pl.DataFrame, subtitle: str) -> charts.Figure:
    """Return every seed as a point, medians as strokes."""
    kinds = rows.select("data", "metric").unique(maintain_order=True)
    lines = [subtitle, "Points: seeds. Strokes: medians."]
    said = "Held-out rows, the same networks in two libraries"
    title = charts.headline(said, lines, offset=12)
    panels = [_panel(data, metric) for data, metric in kinds.iter_rows()]
    chart = alt.concat(*panels, columns=2, title=title, spacing=24)
    return charts.Figure(chart, {"networks": rows})


def _panel(data: str, metric: str) -> charts.Chart:
    scale = alt.Scale(domain=list(LIBRARIES), range=[palette.OURS, palette.THEIRS])
    base = (
        alt.Chart(alt.NamedData("networks"))
        .transform_filter(alt.FieldEqualPredicate(field="data", equal=data))
        .encode(
            alt.X("value:Q", title=metric, scale=alt.Scale(zero=False, padding=8)),
            alt.Y("library:N", title=None, sort=list(LIBRARIES)),
            alt.Color("library:N", scale=scale, legend=None),
        )
    )
    tips = ["library:N", "seed:Q", alt.Tooltip("value:Q", title=metric, format=".4f")]
    seeds = base.mark_circle(size=52, opacity=0.55).encode(tooltip=tips)
    median = base.mark_tick(thickness=3, size=22).encode(alt.X("median(value):Q", title=metric))
    return alt.layer(seeds, median).properties(width=WIDTH, height=alt.Step(STEP), title=data)

"""Picture of a training run: learning curves, and the gradient by layer."""

import json
from typing import Literal

import altair as alt
import numpy as np
import polars as pl

from experiments.pages import charts, palette
from experiments.pages import heat as heat_maps
from experiments.train.columns import QUANTITIES

SIZE = {"width": 300, "height": 220}  # of a panel
COLOURS = {"training": palette.TRAINING, "validation": palette.VALIDATION}
MOST_EPOCHS = 500  # of a curve that is drawn
MOST_DOTS = 60  # epochs of a curve with a dot at each
DECADES = 1.5  # from here on a loss is drawn on a logarithmic scale
LOSS = "loss"
DELTA_Z = "log10_delta_z"


def figure(
    name: str, rows: pl.DataFrame, flow: pl.DataFrame, best: int, lines: list[str]
) -> charts.Figure:
    """Return the curves above, and log₁₀ ‖Δz[l]‖ by layer below.

    best: the epoch whose parameters are exported.
    """
    data = {"curves": curves(rows), "flow": heat_maps.rectangles(flow, {DELTA_Z: DELTA_Z})}
    above = [curve(data["curves"], name, best) for name in (LOSS, rows["metric"][0])]
    panels = (
        alt.hconcat(*(panel.properties(**SIZE) for panel in line), spacing=28)
        for line in (above, [heat(data["flow"])])
    )
    independent = (line.resolve_scale(color="independent") for line in panels)
    title = charts.headline(f"Training on {name}", lines)
    return charts.Figure(alt.vconcat(*independent, title=title, spacing=24), data)


def curves(rows: pl.DataFrame) -> pl.DataFrame:
    """Return loss and metric one under the other; value_is tells what has no place on an axis."""
    every = max(1, rows["epoch"].to_numpy().max() // MOST_EPOCHS)
    thinned = rows.filter(
        pl.col("set") != "test",
        (pl.col("epoch") % every == 0) | (pl.col("epoch") == pl.col("epoch").max()),
    ).with_columns(log=pl.col("loss").log10())
    names = {"loss": LOSS, "value": rows["metric"][0]}
    return pl.concat(
        thinned.select(
            "epoch",
            "step",
            "set",
            pl.lit(name).alias("curve"),
            pl.col(column).alias("value"),
            charts.kind("log" if column == "loss" else column).alias("value_is"),
        )
        for column, name in names.items()
    )


def curve(values: pl.DataFrame, name: str, best: int) -> charts.Chart:
    """Return a learning curve, of a loss over decades on a logarithmic scale."""
    of = values.filter(curve=name)["value"].to_numpy()
    of, epochs = of[(of > 0) & np.isfinite(of)], int(values["epoch"].to_numpy().max())
    is_wide = name == LOSS and len(of) and np.ptp(np.log10(of)) > DECADES
    kind: Literal["log", "linear"] = "log" if is_wide else "linear"
    base = alt.Chart(alt.NamedData("curves")).transform_filter(f"datum.curve == {json.dumps(name)}")
    y = alt.Y("value:Q", title=None, scale=alt.Scale(type=kind, zero=False, nice=False, padding=6))
    x = alt.X("epoch:Q", title="epoch", axis=heat_maps.counts(epochs))
    sets = [s for s in COLOURS if (values["set"] == s).any()]
    colours = alt.Scale(domain=sets, range=[COLOURS[s] for s in sets])
    tooltip = ["set:N", "epoch:Q", alt.Tooltip("value:Q", format=".4g")]
    dots = {"size": 20} if epochs <= MOST_DOTS else False
    colour = alt.Color("set:N", title=None, scale=colours)
    has_place = "datum.value_is == 'number'" + " || datum.value_is == 'zero'" * (kind == "linear")
    lines = base.transform_filter(has_place).mark_line(strokeWidth=1.8, point=dots)
    rule = (
        base.transform_filter(f"datum.epoch == {best}")
        .transform_aggregate(groupby=["epoch"])
        .mark_rule(color=palette.INK, strokeDash=[4, 3], opacity=0.6, aria=False)
        .encode(x)
    )
    edges = charts.edges_in_words([values["value_is"]])
    words = ["dashes: the epoch whose parameters are exported"]
    title = alt.Title(name, subtitle=words + ([f"at the edge: {edges}"] if edges else []))
    off = base.transform_filter("datum.value_is != 'zero'") if kind == "linear" else base
    marks = charts.at_the_edge(off, "value_is", x, colour, ["set:N", "epoch:Q"])
    drawn = lines.encode(x, y, colour, tooltip=tooltip)
    return alt.layer(rule, drawn, *marks).properties(title=title)


def heat(flow: pl.DataFrame) -> charts.Chart:
    """Return a map of log₁₀ ‖Δz[l]‖ of one batch, by layer and step."""
    steps, layers = (int(flow[column].to_numpy().max()) for column in ("right", "layer"))
    axes = heat_maps.counts(steps), heat_maps.counts(layers)
    chart = heat_maps.heat("flow", "true", axes, "layer l", "layer:Q")
    subtitle = ", ".join(["of one batch, while the network trains", *heat_maps.kinds(flow)])
    return chart.properties(title=alt.Title(QUANTITIES[DELTA_Z].label, subtitle=subtitle))

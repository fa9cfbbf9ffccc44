"""Picture of a training run: learning curves, the held-out rows, the gradient by layer."""

import json
from typing import Literal

import altair as alt
import numpy as np
import polars as pl

from experiments.learning.data import DataTable
from experiments.pages import charts, palette
from experiments.pages import heat as heat_maps
from experiments.train.columns import QUANTITIES

SIZE = {"width": 300, "height": 220}  # of a panel
COLOURS = {"training": palette.TRAINING, "validation": palette.VALIDATION}
MOST_EPOCHS = 500  # of a curve that is drawn
MOST_DOTS = 60  # epochs of a curve with a dot at each
MOST_CLASSES = 20  # of a confusion matrix with numbers in it
MOST_LETTERS = 40  # of the classes' names side by side
MOST_POINTS = 2000  # of a parity plot
DECADES = 1.5  # from here on a loss is drawn on a logarithmic scale
LOSS = "loss"
DELTA_Z = "log10_delta_z"


def figure(
    table: DataTable,
    rows: pl.DataFrame,
    flow: pl.DataFrame,
    test: pl.DataFrame | None,
    best: int,
    lines: list[str],
) -> charts.Figure:
    """Return the curves above; the held-out rows and log₁₀ ‖Δz[l]‖ by layer below.

    best: the epoch whose parameters are exported.
    """
    data = {"curves": curves(rows), "flow": heat_maps.rectangles(flow, {DELTA_Z: DELTA_Z})}
    above = [curve(data["curves"], name, best) for name in (LOSS, rows["metric"][0])]
    below = [heat(data["flow"])]
    if test is not None:
        if table.classes:
            data["confusion"] = confusion(table.classes, test)
        else:
            data["parity"] = test.gather_every(-(-test.height // MOST_POINTS))
        held_out = _confusion(table) if table.classes else _parity(table)
        below.insert(0, held_out.properties(title=f"{test.height} held-out rows"))
    panels = (
        alt.hconcat(*(panel.properties(**SIZE) for panel in line), spacing=28)
        for line in (above, below)
    )
    independent = (line.resolve_scale(color="independent") for line in panels)
    title = charts.headline(f"Training on {table.name}", lines)
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


def confusion(classes: tuple[str, ...], test: pl.DataFrame) -> pl.DataFrame:
    """Return how many held-out rows of each class were taken for which."""
    pairs = pl.DataFrame({"target": classes}).join(
        pl.DataFrame({"prediction": classes}), how="cross"
    )
    counts = test.group_by("target", "prediction").len("count")
    return pairs.join(
        counts, on=("target", "prediction"), how="left", maintain_order="left"
    ).select("target", "prediction", pl.col("count").cast(pl.Int64).fill_null(0))


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


def _parity(table: DataTable) -> charts.Chart:
    base = alt.Chart(alt.NamedData("parity"))
    scale = alt.Scale(zero=False, nice=False, padding=6)
    x = alt.X("target:Q", title=table.target, scale=scale)
    tooltip = ["row:Q", *(alt.Tooltip(f"{n}:Q", format=".4g") for n in ("target", "prediction"))]
    points = base.mark_circle(size=32, opacity=0.65, color=palette.OURS).encode(
        x, alt.Y("prediction:Q", title="prediction", scale=scale), tooltip=tooltip
    )
    line = base.mark_line(color=palette.INK, strokeDash=[4, 3], opacity=0.6, aria=False)
    return alt.layer(line.encode(x, alt.Y("target:Q", scale=scale)), points)


def _confusion(table: DataTable) -> charts.Chart:
    order = list(table.classes)
    classes = alt.Scale(domain=order)
    axis = alt.Axis(labelAngle=0 if len("".join(order)) < MOST_LETTERS else -90, labelLimit=90)
    base = alt.Chart(alt.NamedData("confusion")).encode(
        alt.X("prediction:N", scale=classes, title="prediction", axis=axis),
        alt.Y("target:N", scale=classes, title=table.target, axis=alt.Axis(labelLimit=90)),
        tooltip=["target:N", "prediction:N", "count:Q"],
    )
    scale = alt.Scale(range=list(palette.COUNTS), domainMin=0)
    some = base.transform_filter("datum.count > 0")  # none is paper
    layers = [some.mark_rect().encode(alt.Color("count:Q", scale=scale, legend=None))]
    if len(order) <= MOST_CLASSES:
        dark = alt.condition("datum.count > datum.most / 2", alt.value("white"), alt.value("black"))
        layers.append(
            base.transform_joinaggregate(most="max(count)")
            .transform_filter("datum.count > 0")
            .mark_text(fontSize=12)
            .encode(text="count:Q", color=dark)
        )
    return alt.layer(*layers)

"""Picture of a training run: learning curves, the held-out rows, the gradient by layer."""

import json
from typing import Literal, NamedTuple

import altair as alt
import numpy as np
import polars as pl

from experiments.learning.data import Table
from experiments.pages import charts, palette
from experiments.pages import heat as heat_maps
from experiments.train.columns import QUANTITIES

WIDTH, HEIGHT = 300, 220  # of a panel in the file
COLOURS = {"training": palette.TRAINING, "validation": palette.VALIDATION}
MOST_EPOCHS = 500  # of a curve that is drawn
MOST_DOTS = 60  # epochs of a curve with a dot at each
MOST_CLASSES = 20  # of a confusion matrix with numbers in it
MOST_LETTERS = 40  # of the classes' names side by side
MOST_POINTS = 2000  # of a parity plot
DECADES = 1.5  # from here on a loss is drawn on a logarithmic scale
LOSS = "loss"
DELTA_Z = "log10_delta_z"


class Drawn(NamedTuple):
    """The data of the picture by name, and the words around it."""

    data: dict[str, pl.DataFrame]  # curves, flow, and confusion or parity of held-out rows
    epochs: int  # done
    table: Table
    held_out: int  # rows
    best: int  # the epoch whose parameters are exported
    verdicts: list[str]
    subtitle: str

    @classmethod
    def of(
        cls,
        table: Table,
        rows: pl.DataFrame,
        flow: pl.DataFrame,
        test: pl.DataFrame | None,
        best: int,
        verdicts: list[str],
        subtitle: str,
    ) -> "Drawn":
        """Thin out the tables of a run."""
        data = {"curves": curves(rows), "flow": heat_maps.rectangles(flow, {DELTA_Z: DELTA_Z})}
        if test is not None and table.classes:
            data["confusion"] = confusion(table.classes, test)
        elif test is not None:
            data["parity"] = test.gather_every(-(-test.height // MOST_POINTS))
        held_out = 0 if test is None else test.height
        epochs = int(rows["epoch"].to_numpy().max())
        return cls(data, epochs, table, held_out, best, verdicts, subtitle)

    @property
    def curves(self) -> list[str]:
        """The names of the curves."""
        return self.data["curves"]["curve"].unique(maintain_order=True).to_list()

    @property
    def scale(self) -> Literal["log", "linear"]:
        """The scale on which the loss shows most."""
        losses = self.data["curves"].filter(pl.col("curve") == LOSS)["value"].to_numpy()
        losses = losses[(losses > 0) & np.isfinite(losses)]
        return "log" if len(losses) and np.ptp(np.log10(losses)) > DECADES else "linear"


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


def figure(drawn: Drawn) -> charts.Figure:
    """Return the curves above; the held-out rows and log₁₀ ‖Δz[l]‖ by layer below."""
    above = [curve(drawn, name) for name in drawn.curves]
    below = [*held_out(drawn), heat(drawn)]
    lines = (
        alt.hconcat(*(_sized(panel) for panel in line), spacing=28).resolve_scale(
            color="independent"
        )
        for line in (above, below)
        if line
    )
    lines_below = [*drawn.verdicts[:2], drawn.subtitle]
    title = charts.headline(f"Training on {drawn.table.name}", lines_below)
    return charts.Figure(alt.vconcat(*lines, title=title, spacing=24), drawn.data)


def _sized(panel: charts.Chart) -> charts.Chart:
    return panel.properties(width=WIDTH, height=HEIGHT)


def curve(drawn: Drawn, name: str) -> charts.Chart:
    """Return a learning curve, of a loss over decades on a logarithmic scale."""
    kind: Literal["log", "linear"] = drawn.scale if name == LOSS else "linear"
    base = alt.Chart(alt.NamedData("curves")).transform_filter(f"datum.curve == {json.dumps(name)}")
    y = alt.Y("value:Q", title=None, scale=alt.Scale(type=kind, zero=False, nice=False, padding=6))
    x = alt.X("epoch:Q", title="epoch", axis=heat_maps.counts(drawn.epochs))
    sets = [s for s in COLOURS if (drawn.data["curves"]["set"] == s).any()]
    colours = alt.Scale(domain=sets, range=[COLOURS[s] for s in sets])
    tooltip = ["set:N", "epoch:Q", alt.Tooltip("value:Q", format=".4g")]
    dots = {"size": 20} if drawn.epochs <= MOST_DOTS else False
    colour = alt.Color("set:N", title=None, scale=colours)
    has_place = "datum.value_is == 'number'" + " || datum.value_is == 'zero'" * (kind == "linear")
    lines = base.transform_filter(has_place).mark_line(strokeWidth=1.8, point=dots)
    rule = (
        base.transform_filter(f"datum.epoch == {drawn.best}")
        .transform_aggregate(groupby=["epoch"])
        .mark_rule(color=palette.INK, strokeDash=[4, 3], opacity=0.6, aria=False)
        .encode(x)
    )
    edges = charts.edges_in_words([drawn.data["curves"]["value_is"]])
    words = ["dashes: the epoch whose parameters are exported"]
    title = alt.Title(name, subtitle=words + ([f"at the edge: {edges}"] if edges else []))
    off = base.transform_filter("datum.value_is != 'zero'") if kind == "linear" else base
    marks = charts.at_the_edge(off, "value_is", x, colour, ["set:N", "epoch:Q"])
    drawn_lines = lines.encode(x, y, colour, tooltip=tooltip)
    return alt.layer(rule, drawn_lines, *marks).properties(title=title)


def heat(drawn: Drawn) -> charts.Chart:
    """Return a map of log₁₀ ‖Δz[l]‖ of one batch, by layer and step."""
    flow = drawn.data["flow"]
    steps, layers = (int(flow[column].to_numpy().max()) for column in ("right", "layer"))
    axes = heat_maps.counts(steps), heat_maps.counts(layers)
    chart = heat_maps.heat("flow", "true", axes, "layer l", "layer:Q")
    subtitle = ", ".join(["of one batch, while the network trains", *heat_maps.kinds(flow)])
    return chart.properties(title=alt.Title(QUANTITIES[DELTA_Z].label, subtitle=subtitle))


def held_out(drawn: Drawn) -> list[charts.Chart]:
    """Return the picture of the held-out rows, if any: a parity plot, or a confusion matrix."""
    if not drawn.held_out:
        return []
    chart = _confusion(drawn) if drawn.table.classes else _parity(drawn)
    return [chart.properties(title=f"{drawn.held_out} held-out rows")]


def _parity(drawn: Drawn) -> charts.Chart:
    base = alt.Chart(alt.NamedData("parity"))
    scale = alt.Scale(zero=False, nice=False, padding=6)
    x = alt.X("target:Q", title=drawn.table.target, scale=scale)
    tooltip = ["row:Q", *(alt.Tooltip(f"{n}:Q", format=".4g") for n in ("target", "prediction"))]
    points = base.mark_circle(size=32, opacity=0.65, color=palette.OURS).encode(
        x, alt.Y("prediction:Q", title="prediction", scale=scale), tooltip=tooltip
    )
    line = base.mark_line(color=palette.INK, strokeDash=[4, 3], opacity=0.6, aria=False)
    return alt.layer(line.encode(x, alt.Y("target:Q", scale=scale)), points)


def _confusion(drawn: Drawn) -> charts.Chart:
    order = list(drawn.table.classes)
    classes = alt.Scale(domain=order)
    axis = alt.Axis(labelAngle=0 if len("".join(order)) < MOST_LETTERS else -90, labelLimit=90)
    base = alt.Chart(alt.NamedData("confusion")).encode(
        alt.X("prediction:N", scale=classes, title="prediction", axis=axis),
        alt.Y("target:N", scale=classes, title=drawn.table.target, axis=alt.Axis(labelLimit=90)),
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

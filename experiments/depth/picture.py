"""The picture of the depth sweep: panels against the layer and one against depth.

A panel is defined once, over named data, for the networks that the expression `chosen` selects: on
the page those of the reader's choices, in the file those of an activation, all weights together.
"""

import json
from typing import NamedTuple

import altair as alt
import numpy as np
import polars as pl

from experiments.depth import lines
from experiments.depth.report import Case
from experiments.pages import charts, palette
from experiments.runs import runtime

WIDTH, HEIGHT = 260, 150  # of a panel in the file
MOST_VERDICTS = 4  # above the panels of an activation

LAYER = alt.X(
    "layer:Q",
    title="layer l (1 is next to the input)",
    scale=alt.Scale(zero=False, nice=False),
    axis=alt.Axis(tickMinStep=1, tickCount=6, format="d"),
)
LEGEND = alt.Legend(orient="top")
HEAD = {
    "layer": "layer",
    "size": "log₁₀ ‖Δz[l]‖, median",
    "least": "least, over seeds",
    "most": "most",
    "size_theory": "theory",
    "gain": "log₁₀ factor",
    "gain_theory": "theory",
    "signal": "log₁₀ mean z[l]²",
    "signal_theory": "theory",
    "plain": "Δz[l] in plain backpropagation",
}
TOOLTIP = HEAD | {
    "most": "most, over seeds",
    "size_theory": "log₁₀ ‖Δz[l]‖ in theory",
    "gain_theory": "log₁₀ factor in theory",
    "signal_theory": "log₁₀ mean z[l]² in theory",
}


class Drawn(NamedTuple):
    """The data of the picture by name, and the words around it.

    data: `layers`, a row a line and layer; `depths`, a row a case and depth; `lost`, a row a case
        that plain backpropagation loses; `ends`, a row an end of a dtype's range that is reached.
    cases: the verdicts.
    subtitle: one line on what was measured.
    """

    data: dict[str, pl.DataFrame]
    cases: list[Case]
    subtitle: str

    @classmethod
    def of(
        cls, rows: pl.DataFrame, theory: pl.DataFrame, cases: list[Case], subtitle: str
    ) -> "Drawn":
        """Thin out `labelled` rows, and put their theory next to them."""
        depths = lines.first_layer(rows)
        data = {
            "layers": lines.together(rows, theory),
            "depths": depths.drop("text"),
            "lost": _lost(cases),
            "ends": _ends(rows, depths["y"].to_numpy()),
        }
        return cls(data, cases, subtitle)

    @property
    def labels(self) -> list[str]:
        """The weights, with the other axes that have several values."""
        return self.data["layers"]["label"].unique(maintain_order=True).to_list()

    @property
    def most(self) -> float:
        """The largest |log₁₀ ‖Δz[1]‖| that is drawn."""
        return float(np.nanmax(np.abs(self.data["depths"]["y"].to_numpy())))


def _lost(cases: list[Case]) -> pl.DataFrame:
    """The number of layers, from the output down, for which plain backpropagation has numbers."""
    rows = [
        (
            *(case.activation, case.label, case.lost, case.lost + 1),
            runtime.log10_range(case.dtype)["exploding" in case.rate],
            f"← no number in {case.dtype}",
        )
        for case in cases
        if case.lost is not None
    ]
    schema = {
        "activation": pl.String,
        "label": pl.String,
        "layers": pl.Int64,
        "first_depth": pl.Int64,
        "y": pl.Float64,
        "text": pl.String,
    }
    return pl.DataFrame(rows, schema, orient="row")


def _ends(rows: pl.DataFrame, sizes: np.ndarray) -> pl.DataFrame:
    """The ends of the dtypes' ranges: below digits are lost, then all; above there is inf."""
    ends = [
        (end, f"{dtype} ends here")
        for dtype, both in lines.ranges(rows).items()
        for end in both
        if np.any(sizes / end > 0.5)
    ]
    return pl.DataFrame(ends, {"y": pl.Float64, "text": pl.String}, orient="row")


def figure(drawn: Drawn) -> charts.Figure:
    """A row of panels an activation, and next to them ‖Δz[1]‖ against depth."""
    depths = sorted(drawn.data["layers"]["depth"].unique())
    shown = alt.param(
        name="depth",
        value=depths[-1],
        bind=alt.binding_select(options=depths, name="hidden layers shown on the left: "),
    )
    names = drawn.data["layers"]["activation"].unique(maintain_order=True)
    by_layer = alt.vconcat(*(_activation(drawn, name) for name in names), spacing=22)
    against_depth = alt.layer(*first_layer(drawn), first_depths()).properties(
        width=360,
        height=3 * HEIGHT,
        title=alt.Title(
            "The first layer's gradient against depth: log₁₀ ‖Δz[1]‖",
            subtitle="hollow: no number in plain backpropagation; red: where that starts",
        ),
    )
    title = alt.Title(
        "How large is the gradient Δz[l] = ∂loss/∂z[l] in each layer?",
        subtitle=[
            drawn.subtitle,
            "lines: median over seeds, shaded: all seeds; dashed: mean-field theory, grey: where "
            "95 % of draws of a finite width are",
        ],
        fontSize=16,
        fontWeight="bold",
        offset=14,
    )
    chart = alt.hconcat(by_layer, against_depth, spacing=36, title=title).add_params(shown)
    return charts.Figure(chart, drawn.data, {"scale": "logarithmic", "theory": True})


def _activation(drawn: Drawn, name: str) -> charts.Chart:
    chosen = f"datum.activation == {json.dumps(name)}"
    verdicts = [f"{case.label}: {case.rate}" for case in drawn.cases if case.activation == name]
    if len(verdicts) > MOST_VERDICTS:
        verdicts = [*verdicts[:MOST_VERDICTS], f"… and {len(verdicts) - MOST_VERDICTS} more"]
    panels = (
        named(layers, what).properties(width=WIDTH, height=HEIGHT)
        for what, layers in panels_by_layer(drawn, chosen, LEGEND).items()
    )
    title = alt.Title(name, subtitle=verdicts, fontSize=14, fontWeight="bold")
    return alt.hconcat(*panels, spacing=18, title=title)


def panels_by_layer(
    drawn: Drawn, chosen: str, legend: alt.Legend | None = None
) -> dict[str, list[charts.Chart]]:
    """Return the layers of each panel by what its vertical axis shows.

    Args:
        drawn: the data.
        chosen: an expression that selects networks of the depth that the parameter `depth` names.
        legend: of the colours of the weights.
    """
    colour = _colour(drawn, legend)
    return {
        "‖Δz[l]‖": [
            *_bands(chosen, colour),
            *_lines(chosen, colour, "size"),
            *_lost_from(chosen),
        ],
        "‖Δz[l]‖ / ‖Δz[l+1]‖": _lines(chosen, colour, "gain"),
        "mean z[l]²": _lines(chosen, colour, "signal"),
    }


def named(layers: list[charts.Chart], what: str) -> charts.Chart:
    """Return layers under the name of their vertical axis, which the choice `scale` changes."""
    text = alt.ExprRef(f"scale == 'linear' ? '{what}' : 'log₁₀ {what}'")
    return alt.layer(*layers).properties(title=alt.Title(text))


def networks(chosen: str, *columns: str) -> charts.Chart:
    """Return the layers of the chosen networks, with y_… of columns that hold logarithms.

    These are as they are, or the numbers themselves on a linear scale.
    """
    base = alt.Chart(alt.NamedData("layers")).transform_filter(f"{chosen} && datum.depth == depth")
    for column in columns:
        value = f"(isValid(datum.{column}) ? datum.{column} : NaN)"
        base = charts.switched(base, f"y_{column}", f"pow(10, {value})", value)
    return base


def _y(column: str) -> alt.Y:
    axis = alt.Axis(labelExpr=charts.LABEL, tickCount=6)
    return alt.Y(f"y_{column}:Q", title=None, scale=alt.Scale(zero=False), axis=axis)


def _colour(drawn: Drawn, legend: alt.Legend | None) -> alt.Color:
    scale = alt.Scale(domain=drawn.labels)
    if len(drawn.labels) > len(palette.CATEGORIES):
        scale = alt.Scale(domain=drawn.labels, scheme=palette.MANY)
    return alt.Color("label:N", sort=None, title="weights", scale=scale, legend=legend)


def _lines(chosen: str, colour: alt.Color, column: str) -> list[charts.Chart]:
    """The medians, and dashed what theory predicts."""
    predicted = networks(chosen, f"{column}_theory").transform_filter("theory")
    dashed = predicted.mark_line(
        strokeDash=[5, 4], color=palette.INK, strokeWidth=1.3, aria=False
    ).encode(LAYER, _y(f"{column}_theory"), detail="label:N")
    measured = networks(chosen, column).mark_line(strokeWidth=1.6, aria=False)
    tooltip = ["label:N", "layer:Q", alt.Tooltip(f"{column}:Q", title=HEAD[column], format=".4g")]
    return [dashed, measured.encode(LAYER, _y(column), colour, tooltip=tooltip)]


def _bands(chosen: str, colour: alt.Color) -> list[charts.Chart]:
    """Grey: 95 % of draws in theory; coloured: all seeds."""
    theory = networks(chosen, "theory_low", "theory_high").transform_filter("theory")
    seeds = networks(chosen, "least", "most")
    return [
        theory.mark_area(color=palette.INK, opacity=0.14, aria=False).encode(
            LAYER, _y("theory_low"), alt.Y2("y_theory_high:Q"), detail="label:N"
        ),
        seeds.mark_area(opacity=0.25, aria=False).encode(
            LAYER, _y("least"), alt.Y2("y_most:Q"), colour
        ),
    ]


def _lost_from(chosen: str) -> list[charts.Chart]:
    """The layer from which on plain backpropagation has no number, in the networks shown."""
    mark = (
        alt.Chart(alt.NamedData("lost"))
        .transform_filter(f"{chosen} && depth > datum.layers")
        .transform_calculate(layer="max(1, depth - datum.layers)")
        .encode(LAYER)
    )
    rule = mark.mark_rule(strokeDash=[2, 2], color=palette.ALARM, aria=False)
    # Written once, at the layer nearest to the output, on the side with room.
    last = mark.transform_window(
        place="row_number()", sort=[alt.SortField("layer", order="descending")]
    ).transform_filter("datum.place == 1")
    words = last.mark_text(
        align=alt.ExprRef("datum.layer > depth / 2 ? 'right' : 'left'"),
        baseline="bottom",
        dx=alt.ExprRef("datum.layer > depth / 2 ? -4 : 4"),
        dy=-2,
        fontSize=11,
        color=palette.ALARM,
        aria=False,
    )
    return [rule, words.encode(text="text:N", y=alt.value("height"))]


def first_layer(drawn: Drawn, chosen: str = "false") -> list[charts.Chart]:
    """Return ‖Δz[1]‖ of all cases against depth; the chosen case is bold, its depth a rule.

    On the logarithmic scale its logarithm is drawn logarithmically again, so that all cases have a
    place.
    """
    base = _placed("depths")
    axis = charts.squeezed_axis(drawn.most)
    y = alt.Y("place:Q", title=None, scale=alt.Scale(zero=False), axis=axis)
    x = alt.X(
        "depth:Q",
        title="hidden layers",
        scale=alt.Scale(type="log", base=2, nice=False),
        axis=alt.Axis(format="d", labelOverlap=True),
    )
    cases = base.encode(x, y, _colour(drawn, LEGEND))
    drawn_lines = cases.encode(alt.StrokeDash("activation:N", sort=None, legend=None))
    points = cases.encode(
        alt.Shape("activation:N", sort=None, title="activation"),
        tooltip=[
            alt.Tooltip("activation:N"),
            alt.Tooltip("label:N", title="weights"),
            alt.Tooltip("depth:Q", title="hidden layers", format="d"),
            alt.Tooltip("log10_delta_z:Q", title="log₁₀ ‖Δz[1]‖, median", format=".4g"),
            alt.Tooltip("delta_z:N", title="Δz[1] in plain backpropagation"),
        ],
    )
    is_number = points.transform_filter("datum.delta_z == 'number'")
    is_lost = points.transform_filter("datum.delta_z != 'number'")
    ends, limits = _placed("ends").encode(y), _limits()
    return [
        ends.mark_rule(strokeDash=[4, 3], color=palette.ALARM, aria=False),
        ends.mark_text(
            align="left", baseline="bottom", dx=4, dy=-2, color=palette.ALARM, aria=False
        ).encode(text="text:N", x=alt.value(0)),
        base.transform_filter(f"{chosen} && datum.depth == depth")
        .mark_rule(color=palette.INK, opacity=0.4, aria=False)
        .encode(x),
        drawn_lines.mark_line(strokeWidth=1.5, opacity=0.7, aria=False),
        drawn_lines.transform_filter(chosen).mark_line(strokeWidth=3.5, aria=False),
        is_number.mark_point(filled=True, size=45, opacity=1, aria=False),
        is_lost.mark_point(filled=False, size=45, opacity=1, aria=False),
        limits.mark_point(filled=True, size=60, color=palette.ALARM, opacity=1, aria=False),
    ]


def first_depths() -> charts.Chart:
    """Return the words at the red points of `first_layer`."""
    return (
        _limits()
        .transform_window(line="row_number()")
        .transform_calculate(text="datum.first_depth + ' layers'")
        .mark_text(
            align="left",
            baseline="top",
            dx=5,
            dy=alt.ExprRef("13 * datum.line - 9"),
            color=palette.ALARM,
            aria=False,
        )
        .encode(text="text:N")
    )


def _limits() -> charts.Chart:
    """The first depths at which plain backpropagation has no number for the first layer."""
    return _placed("lost").encode(alt.X("first_depth:Q"), alt.Y("place:Q"))


def _placed(data: str) -> charts.Chart:
    """Named data with a `place` on the scale of ‖Δz[1]‖, for rows that have one."""
    base = alt.Chart(alt.NamedData(data))
    placed = charts.switched(base, "place", "pow(10, datum.y)", charts.squeezed("y"))
    return placed.transform_filter("isValid(datum.place)")


def hovered(chosen: str) -> charts.Chart:
    """Return a rule under the pointer, over the whole height of a layer, with all its numbers."""
    under = alt.selection_point(
        on="pointerover", clear="pointerout", fields=["layer"], empty=False, name="under"
    )
    base = networks(chosen)
    for name in HEAD:
        text = f"datum.{name}" if name in ("layer", "plain") else f"format(datum.{name}, '.4g')"
        base = base.transform_calculate(**{f"text_{name}": f"isValid(datum.{name}) ? {text} : '–'"})
    strip = base.mark_rule(strokeWidth=alt.ExprRef("max(3, width / min(depth, 50))"), aria=False)
    return strip.encode(
        LAYER,
        color=alt.value(palette.INK),
        opacity=alt.condition(under, alt.value(0.2), alt.value(0)),
        tooltip=[alt.Tooltip(f"text_{name}:N", title=title) for name, title in TOOLTIP.items()],
    ).add_params(under)

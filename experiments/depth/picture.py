"""The picture of the depth sweep: the first layer's gradient against depth, the deepest network.

A panel is defined once, over named data, for the networks that the expression `chosen` selects: on
the page those of the reader's choices, in the file all cases of the deepest network.
"""

import itertools
import json
from functools import partial
from typing import Literal, NamedTuple

import altair as alt
import numpy as np
import polars as pl

from experiments.depth import lines
from experiments.depth.depth_report import Case, digits
from experiments.pages import charts, palette
from experiments.runs import runtime

# Of the file, which is legible where it is 800 pixels wide.
PLOT, PANEL = (500, 300), (205, 150)  # width and height of the first plot, and of those below it
PAIR = 330  # the width of those below it if they are four, two in a row
GAP = 26  # between those
TITLE = "How large is the gradient Δz[l] = ∂loss/∂z[l] in each layer?"

LAYER = alt.X(
    "layer:Q",
    title="layer l (1 is next to the input)",
    scale=alt.Scale(zero=False, nice=False),
    axis=alt.Axis(tickMinStep=1, tickCount=6, format="d"),
)
# As many names side by side as have room.
LEGEND = alt.Legend(orient="top", columns=alt.ExprRef("max(1, floor(width / 180))"))
SPREAD = "spread of examples"
THEORY_IN_WORDS = "; dashed: theory of infinite width; grey: one example, 95 % of draws"
HEAD = {
    "layer": "layer",
    "size": "log₁₀ ‖Δz[l]‖, median",
    "least": "least, over seeds",
    "most": "most, over seeds",
    "size_theory": "log₁₀ ‖Δz[l]‖ in theory",
    "gain": "log₁₀ factor",
    "gain_theory": "log₁₀ factor in theory",
    "signal": "log₁₀ mean z[l]²",
    "signal_theory": "log₁₀ mean z[l]² in theory",
    "spread": "log₁₀ spread of examples",
    "spread_theory": "log₁₀ spread of examples in theory",
    "plain": "Δz[l] in plain backpropagation",
}


class Drawn(NamedTuple):
    """The data of the picture by name, and the words around it."""

    # `layers`, a row a line and layer; `depths`, a row a case and depth; `lost`, a row a case that
    # plain backpropagation loses; `ends`, a row an end of a dtype's range that is reached.
    data: dict[str, pl.DataFrame]
    cases: list[Case]
    subtitle: str
    measured: str  # what the sizes by layer are of, in words

    @classmethod
    def of(
        cls, rows: pl.DataFrame, theory: pl.DataFrame, cases: list[Case], subtitle: str
    ) -> "Drawn":
        """Thin out `labelled` rows, and put their theory next to them."""
        depths = lines.first_layer(rows)
        data = {
            "layers": lines.together(rows, theory),
            "depths": depths,
            "lost": _lost(cases, int(depths["depth"].to_numpy().min())),
            "ends": _ends(rows, depths["y"].to_numpy()),
        }
        places = {"place": charts.squeezed(pl.col("y"))}
        data |= {name: data[name].with_columns(**places) for name in ("depths", "lost", "ends")}
        by_example = not rows["log10_delta_z_example"].is_null().all()
        measured = "mean over examples" if by_example else "batch"
        return cls(data, cases, subtitle, measured)

    @property
    def has_spread(self) -> bool:
        """Tell whether what is left of the examples was measured."""
        return "spread" in self.data["layers"].columns

    @property
    def has_theory(self) -> bool:
        """Tell whether theory predicts anything here."""
        return not self.data["layers"]["size_theory"].is_null().all()

    @property
    def head(self) -> dict[str, str]:
        """The columns of `layers` with their names in a table."""
        head = HEAD | {"size": f"log₁₀ ‖Δz[l]‖, {self.measured}, median"}
        return {
            name: v
            for name, v in head.items()
            if (self.has_spread or "spread" not in name)
            and (self.has_theory or "theory" not in name)
        }

    @property
    def most(self) -> float:
        """The largest |log₁₀ ‖Δz[1]‖| that is drawn, with the ends of ranges."""
        columns = (self.data[name]["y"].drop_nulls() for name in ("depths", "lost", "ends"))
        return max(map(abs, itertools.chain(*columns)), default=1.0)


def _lost(cases: list[Case], least: int) -> pl.DataFrame:
    """The number of layers, from the output down, for which plain backpropagation has numbers.

    The first depth without a number has a place y if it is at least `least`, one that is drawn.
    """
    rows = []
    for case in cases:
        if case.lost is not None:
            first, ends = case.lost + 1, runtime.log10_range(case.dtype)
            end = ends[case.word == "exploding"] if first >= least else None
            of_case = (case.activation, case.label, case.name, case.lost, first, end)
            rows.append((*of_case, f"← no number in {case.dtype}"))
    texts = dict.fromkeys(("activation", "label", "case"), pl.String())
    numbers = {"layers": pl.Int64(), "first_depth": pl.Int64(), "y": pl.Float64()}
    return pl.DataFrame(rows, {**texts, **numbers, "text": pl.String()}, orient="row")


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
    """The first layer's gradient against depth; below it the deepest network, layer by layer."""
    layers = drawn.data["layers"]
    deepest = int(layers["depth"].to_numpy().max())
    data = drawn.data | {"layers": layers.filter(pl.col("depth") == deepest)}
    choices: dict[str, int] = {"theory": True, "depth": deepest}
    made = partial(_chart, drawn, deepest)
    return charts.Figure(made(narrow=False), data, choices, narrow=partial(made, narrow=True))


def _chart(drawn: Drawn, deepest: int, narrow: bool) -> charts.Chart:
    """Return the picture; the narrow one has all panels in a column, and its legend on top."""
    pixels = charts.NARROW + 10 if narrow else None
    legend = _legend_with_rates(drawn, "top" if narrow else "right")
    headline = alt.layer(*first_layer(drawn, legend=legend)).properties(
        width=charts.NARROW if narrow else PLOT[0],
        height=PLOT[1],
        title=charts.titled(
            "log₁₀ ‖Δz[1]‖, the first layer's gradient, against depth",
            "linear near 0, logarithmic beyond ±1; hollow: no number in plain "
            "backpropagation, red: where that starts",
            pixels,
        ),
    )
    by_layer = panels_by_layer(drawn, "true").items()
    width = charts.NARROW if narrow else PAIR if drawn.has_spread else PANEL[0]
    panels = [
        named(layers, what).properties(width=width, height=PANEL[1]) for what, layers in by_layer
    ]
    in_rows = partial(alt.concat, columns=1 if narrow else 2 if drawn.has_spread else len(panels))
    below = in_rows(
        *panels,
        spacing=GAP,
        title=charts.titled(
            f"Layer by layer, {deepest} hidden layers",
            f"lines: {drawn.measured}, and median over seeds; shaded: all seeds"
            + (THEORY_IN_WORDS if drawn.has_theory else ""),
            pixels,
            offset=6,
        ),
    )
    layers = drawn.data["layers"]
    kinds = (layers[name] for name in layers.columns if name.endswith("_is"))
    edges = charts.edges_in_words([drawn.data["depths"]["y_is"], *kinds])
    lines = [drawn.subtitle, *([f"at the edge: {edges}"] if edges else [])]
    title = charts.headline(TITLE, lines, pixels)
    both = alt.vconcat(headline, below, spacing=28, title=title)
    return both.resolve_scale(color="independent")  # the legend stands beside the first plot


def _legend_with_rates(drawn: Drawn, orient: Literal["top", "right"]) -> alt.Legend:
    """A legend of one column: rates, names, and the depth of lines that end before the deepest."""
    texts = {}
    for depth, kind, name in (
        drawn.data["depths"]
        .sort("depth")
        .group_by("case", maintain_order=True)
        .last()
        .select("depth", "y_is", "case")
        .iter_rows()
    ):
        (case,) = (case for case in drawn.cases if case.name == name)
        rate = digits(case.decades) if case.value else kind
        texts[name] = f"{rate} {name}" + (f" (at {depth})" if case.deeper else "")
    return alt.Legend(
        title="decades a layer",
        orient=orient,
        columns=1,
        labelExpr=f"({json.dumps(texts, ensure_ascii=False)})[datum.label]",
        titleFontWeight="normal",
    )


def panels_by_layer(drawn: Drawn, chosen: str) -> dict[str, list[charts.Chart]]:
    """Return the layers of each panel by what its vertical axis shows."""
    colour = _colour(drawn, None)
    lines = partial(_lines, drawn, chosen, colour)
    return {
        "‖Δz[l]‖": [*_bands(drawn, chosen, colour), *lines("size"), *_lost_from(chosen)],
        "‖Δz[l]‖ / ‖Δz[l+1]‖": lines("gain"),
        "mean z[l]²": lines("signal"),
        **({SPREAD: lines("spread")} if drawn.has_spread else {}),
    }


def named(layers: list[charts.Chart], what: str) -> charts.Chart:
    """Return layers under the name of their vertical axis."""
    return alt.layer(*layers).properties(title=f"log₁₀ {what}")


def networks(chosen: str) -> charts.Chart:
    """Return the layers of the chosen networks."""
    return alt.Chart(alt.NamedData("layers")).transform_filter(f"{chosen} && datum.depth == depth")


def _y(column: str) -> alt.Y:
    axis = alt.Axis(labelExpr=charts.LABEL, tickCount=6, labelFlush=True)
    return alt.Y(f"{column}:Q", title=None, scale=alt.Scale(zero=False), axis=axis)


def _colour(drawn: Drawn, legend: alt.Legend | None) -> alt.Color:
    cases = [case.name for case in drawn.cases]
    scale = alt.Scale(domain=cases)
    if len(cases) > len(palette.CATEGORIES):
        scale = alt.Scale(domain=cases, scheme=palette.MANY)
    return alt.Color("case:N", sort=None, title=None, scale=scale, legend=legend)


def _lines(drawn: Drawn, chosen: str, colour: alt.Color, column: str) -> list[charts.Chart]:
    """The medians, dashed what theory predicts, and marks for what is zero, inf or nan."""
    base = networks(chosen)
    dashed = charts.dashed(base.transform_filter("theory"), 1.3)
    measured = base.mark_line(strokeWidth=1.6, aria=False).encode(LAYER, _y(column), colour)
    return [
        *([dashed.encode(LAYER, _y(f"{column}_theory"), detail="case:N")] * drawn.has_theory),
        measured,
        *charts.at_the_edge(base, f"{column}_is", LAYER, colour, ["case:N", "layer:Q"]),
    ]


def _bands(drawn: Drawn, chosen: str, colour: alt.Color) -> list[charts.Chart]:
    """Grey: 95 % of draws in theory; coloured: all seeds."""
    base = networks(chosen)
    grey = (
        base.transform_filter("theory")
        .mark_area(color=palette.INK, opacity=0.14, aria=False)
        .encode(LAYER, _y("theory_low"), alt.Y2("theory_high:Q"), detail="case:N")
    )
    all_seeds = base.mark_area(opacity=0.25, aria=False).encode(
        LAYER, _y("least"), alt.Y2("most:Q"), colour
    )
    return [*([grey] if drawn.has_theory else []), all_seeds]


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
        fontSize=12,
        color=palette.INK,
        aria=False,
    )
    return [rule, words.encode(text="text:N", y=alt.value("height"))]


def first_layer(
    drawn: Drawn, chosen: str | None = None, legend: alt.Legend | None = None
) -> list[charts.Chart]:
    """Return ‖Δz[1]‖ of all cases against depth.

    Its logarithm is drawn logarithmically again, so that all cases have a place.

    Args:
        chosen: an expression for the case that is bold, its depth a rule; with it comes a legend.
        legend: of the colours, where no case is bold.
    """
    base = _placed("depths")
    scale = alt.Scale(zero=False, nice=False)
    y = alt.Y("place:Q", title=None, scale=scale, axis=charts.squeezed_axis(drawn.most))
    x = alt.X(
        "depth:Q",
        title="hidden layers",
        scale=alt.Scale(type="log", base=2, nice=False),
        axis=alt.Axis(
            format="d", values=charts.doublings(drawn.data["depths"]["depth"].unique().to_list())
        ),
    )
    colour = _colour(drawn, LEGEND if chosen else legend)
    cases = base.encode(x, y, colour)
    tooltip = [
        alt.Tooltip("case:N", title="activation, weights"),
        alt.Tooltip("depth:Q", title="hidden layers", format="d"),
        alt.Tooltip("text:N", title="log₁₀ ‖Δz[1]‖, median"),
        alt.Tooltip("delta_z:N", title="Δz[1] in plain backpropagation"),
    ]
    points = cases.encode(tooltip=tooltip)
    is_number = points.transform_filter("datum.delta_z == 'number'")
    is_lost = points.transform_filter("datum.delta_z != 'number'")
    # The first depths at which plain backpropagation has no number for the first layer.
    limits = _placed("lost").encode(alt.X("first_depth:Q"), alt.Y("place:Q"))
    ends = _placed("ends").encode(y)
    under = [
        ends.mark_rule(strokeDash=[4, 3], color=palette.ALARM, aria=False),
        ends.mark_text(
            align="left", baseline="bottom", dx=4, dy=-2, color=palette.INK, aria=False
        ).encode(text="text:N", x=alt.value(0)),
        cases.mark_line(strokeWidth=1.5, opacity=0.7, aria=False),
    ]
    if chosen is not None:
        rule = base.transform_filter(f"{chosen} && datum.depth == depth").mark_rule(
            color=palette.INK, opacity=0.4, aria=False
        )
        bold = cases.transform_filter(chosen).mark_line(strokeWidth=3.5, aria=False)
        under += [rule.encode(x), bold]
    return [
        *under,
        is_number.mark_point(filled=True, size=45, opacity=1, aria=False),
        is_lost.mark_point(filled=False, size=45, opacity=1, aria=False),
        *charts.at_the_edge(alt.Chart(alt.NamedData("depths")), "y_is", x, colour, tooltip),
        limits.mark_point(filled=True, size=60, color=palette.ALARM, opacity=1, aria=False),
    ]


def _placed(data: str) -> charts.Chart:
    """Named data, the rows that have a place."""
    return alt.Chart(alt.NamedData(data)).transform_filter("isValid(datum.place)")


def hovered(drawn: Drawn, chosen: str) -> charts.Chart:
    """Return a rule under the pointer, over the whole height of a layer, with all its numbers."""
    under = alt.selection_point(
        on="pointerover", clear="pointerout", fields=["layer"], empty=False, name="under"
    )
    base = networks(chosen)
    for name in drawn.head:
        text = f"datum.{name}" if name in ("layer", "plain") else f"format(datum.{name}, '.4g')"
        otherwise = f"(datum.{name}_is || '–')"
        choice = f"isValid(datum.{name}) ? {text} : {otherwise}"
        base = base.transform_calculate(**{f"text_{name}": choice})
    strip = base.mark_rule(strokeWidth=alt.ExprRef("max(3, width / min(depth, 50))"), aria=False)
    return strip.encode(
        LAYER,
        color=alt.value(palette.INK),
        opacity=alt.condition(under, alt.value(0.2), alt.value(0)),
        tooltip=[alt.Tooltip(f"text_{name}:N", title=HEAD[name]) for name in drawn.head],
    ).add_params(under)

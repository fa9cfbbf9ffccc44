"""The depth sweep's report: one case at a time, layer by layer, and all of them against depth."""

import altair as alt
import numpy as np
import polars as pl

from experiments.depth import lines as depth_lines
from experiments.depth import report as depth_report
from experiments.depth.report import Case
from experiments.pages import charts, report

HEIGHT = 220
LOST_COLOUR = "#d0343f"

CHOSEN = "datum.activation == activation && datum.label == label"
LAYER = alt.X(
    "layer:Q",
    title="layer l (1 is next to the input)",
    scale=alt.Scale(zero=False, nice=False),
    axis=alt.Axis(tickMinStep=1, tickCount=6, format="d"),
)

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
TOOLTIP = {
    "least": "least, over seeds",
    "most": "most, over seeds",
    "size_theory": "log₁₀ ‖Δz[l]‖ in theory",
    "gain_theory": "log₁₀ factor in theory",
    "signal_theory": "log₁₀ mean z[l]² in theory",
}


def page(rows: pl.DataFrame, theory: pl.DataFrame, cases: list[Case], what: str) -> report.Page:
    """The page.

    Args:
        rows: `labelled` ones of `experiments.depth.cells.measure`.
        theory: as `experiments.depth.theory.predict` returns it.
        cases: the verdicts.
        what: one line on what was measured.
    """
    data = {
        "layers": depth_lines.together(rows, theory),
        "depths": depth_lines.first_layer(rows).drop("text"),
    }
    most = float(np.nanmax(np.abs(data["depths"]["y"].to_numpy())))
    return report.Page(
        title="How large is the gradient Δz[l] = ∂loss/∂z[l] in each layer?",
        subtitle=what,
        verdicts=tuple(depth_report.sentence(case) for case in cases),
        choices=_choices(rows),
        panels=_panels(most),
        data=data,
        numbers=report.Numbers("layers", HEAD),
        tables=(_verdicts(cases), _by_depth(rows)),
    )


def _choices(rows: pl.DataFrame) -> tuple[report.Choice, ...]:
    names = (("activation", "activation"), ("label", "weights"), ("depth", "hidden layers"))
    of_rows = [
        report.Choice(name, label, tuple(rows[name].unique(maintain_order=True)), rows[name][0])
        for name, label in names
    ]
    depths = tuple(sorted(of_rows[-1].options))
    return (
        *of_rows[:-1],
        of_rows[-1]._replace(options=depths, value=depths[-1]),
        *report.SCALE_AND_THEORY,
    )


def _panels(most: float) -> tuple[report.Panel, ...]:
    size, gain = "‖Δz[l]‖", "‖Δz[l]‖ / ‖Δz[l+1]‖"
    return (
        report.Panel(
            "Size of the gradient",
            "Line: median over seeds, shaded: all seeds. Dashed: mean-field theory, grey: where "
            "95 % of draws of a finite width are. Red, below: plain backpropagation has no number.",
            _named(size, *_band(), *_lines("size"), _lost(), _hovered()),
        ),
        report.Panel(
            "Factor of each layer",
            "Line: median over seeds. Dashed: mean-field theory. Below 1, whose logarithm is 0, "
            "gradients vanish.",
            _named(gain, *_lines("gain"), _hovered()),
        ),
        report.Panel(
            "Signal",
            "Line: median over seeds. Dashed: mean-field theory.",
            _named("mean z[l]²", *_lines("signal"), _hovered()),
        ),
        report.Panel(
            "The first layer's gradient against depth",
            "All activations and weights, the chosen one bold. Hollow: no number in plain "
            "backpropagation; what is zero or not finite stands at the end of the dtype's range.",
            _named("‖Δz[1]‖", *_against_depth(most)),
        ),
    )


def _named(what: str, *layers: charts.Chart) -> charts.Chart:
    """Layers under the name of their vertical axis, which the scale changes."""
    text = alt.ExprRef(f"scale == 'linear' ? '{what}' : 'log₁₀ {what}'")
    return alt.layer(*layers).properties(height=HEIGHT, title=alt.Title(text))


def _scaled(base: alt.Chart, *columns: str) -> charts.Chart:
    """With y_… of columns that hold logarithms: as they are, or the numbers themselves."""
    for column in columns:
        value = f"(isValid(datum.{column}) ? datum.{column} : NaN)"
        base = charts.switched(base, f"y_{column}", f"pow(10, {value})", value)
    return base


def _chosen(*columns: str) -> charts.Chart:
    """The layers of the chosen network."""
    base = alt.Chart(alt.NamedData("layers"))
    return _scaled(base.transform_filter(f"{CHOSEN} && datum.depth == depth"), *columns)


def _y(column: str) -> alt.Y:
    axis = alt.Axis(labelExpr=charts.LABEL, tickCount=6)
    return alt.Y(f"y_{column}:Q", title=None, scale=alt.Scale(zero=False), axis=axis)


def _lines(column: str) -> list[charts.Chart]:
    beside = f"{column}_theory"
    measured = _chosen(column).mark_line(color=report.COLOURS[0], point={"size": 20}, aria=False)
    predicted = _chosen(beside).transform_filter("theory")
    dashed = predicted.mark_line(strokeDash=[5, 4], color=report.INK, strokeWidth=1.3, aria=False)
    return [dashed.encode(LAYER, _y(beside)), measured.encode(LAYER, _y(column))]


def _band() -> list[charts.Chart]:
    bands = (
        (_chosen("theory_low", "theory_high").transform_filter("theory"), report.INK, 0.14),
        (_chosen("least", "most"), report.COLOURS[0], 0.25),
    )
    ends = (("theory_low", "theory_high"), ("least", "most"))
    return [
        base.mark_area(color=colour, opacity=opacity, aria=False).encode(
            LAYER, _y(low), alt.Y2(f"y_{high}:Q")
        )
        for (base, colour, opacity), (low, high) in zip(bands, ends, strict=True)
    ]


def _lost() -> charts.Chart:
    lost = _chosen().transform_filter("datum.plain != 'number'")
    mark = lost.mark_point(filled=True, shape="square", size=26, color=LOST_COLOUR, aria=False)
    return mark.encode(LAYER, y=alt.value(HEIGHT - 3), opacity=alt.value(1))


def _hovered() -> charts.Chart:
    """Over the whole height of a layer: a rule under the pointer, and what is known there."""
    under = alt.selection_point(
        on="pointerover", clear="pointerout", fields=["layer"], empty=False, name="under"
    )
    base = _chosen()
    for name in HEAD:
        known = f"isValid(datum.{name}) ? {_text(name)} : '–'"
        base = base.transform_calculate(**{f"text_{name}": known})
    titles = {**HEAD, **TOOLTIP}
    strip = base.mark_rule(strokeWidth=alt.ExprRef("max(3, width / min(depth, 50))"), aria=False)
    return strip.encode(
        LAYER,
        color=alt.value(report.INK),
        opacity=alt.condition(under, alt.value(0.2), alt.value(0)),
        tooltip=[alt.Tooltip(f"text_{name}:N", title=title) for name, title in titles.items()],
    ).add_params(under)


def _text(name: str) -> str:
    return f"datum.{name}" if name in ("layer", "plain") else f"format(datum.{name}, '.4g')"


def _against_depth(most: float) -> list[charts.Chart]:
    """‖Δz[1]‖ of all cases; the logarithm of a logarithm, so that all of them have a place."""
    base = charts.switched(
        alt.Chart(alt.NamedData("depths")), "place", "pow(10, datum.y)", charts.squeezed("y")
    ).transform_filter("isValid(datum.place)")
    axis = charts.squeezed_axis(most)
    y = alt.Y("place:Q", title=None, scale=alt.Scale(zero=False), axis=axis)
    x = alt.X(
        "depth:Q",
        title="hidden layers",
        scale=alt.Scale(type="log", base=2, nice=False),
        axis=alt.Axis(format="d", labelOverlap=True),
    )
    lines = base.encode(x, y, alt.Color("activation:N", sort=None, title=None), detail="label:N")
    points = lines.encode(
        tooltip=[
            alt.Tooltip("activation:N"),
            alt.Tooltip("label:N", title="weights"),
            alt.Tooltip("depth:Q", title="hidden layers", format="d"),
            alt.Tooltip("log10_delta_z:Q", title="log₁₀ ‖Δz[1]‖, median", format=".4g"),
            alt.Tooltip("delta_z:N", title="Δz[1] in plain backpropagation"),
        ]
    )
    chosen = base.transform_filter(f"{CHOSEN} && datum.depth == depth").encode(x)
    return [
        chosen.mark_rule(color=report.INK, opacity=0.4, aria=False),
        lines.mark_line(strokeWidth=1, opacity=0.6, aria=False),
        lines.transform_filter(CHOSEN).mark_line(strokeWidth=3, aria=False),
        _filled(points, "==").mark_point(filled=True, size=45, opacity=1, aria=False),
        _filled(points, "!=").mark_point(filled=False, size=45, opacity=1, aria=False),
    ]


def _filled(points: charts.Chart, which: str) -> charts.Chart:
    return points.transform_filter(f"datum.delta_z {which} 'number'")


def _verdicts(cases: list[Case]) -> report.Table:
    head = ("activation, weights", "gradient", "decades a layer", "theory", "plain backpropagation")
    rows = (
        (
            f"{case.activation}, {case.label}",
            case.word or "no rate",
            case.value or "–",
            case.theory or "–",
            case.loss.strip("; ").replace("; ", ", ") or f"numbers everywhere in {case.dtype}",
        )
        for case in cases
    )
    return report.Table("Verdicts, from the deepest network; ± standard error", head, tuple(rows))


def _by_depth(rows: pl.DataFrame) -> report.Table:
    first = depth_report.first_layer(rows)
    depths = sorted(first["depth"].unique())
    lines = (
        (name, *(cells.get(depth, "") for depth in depths))
        for name, cells in depth_report.by_depth(first, "text")
    )
    head = ("activation, weights", *map(str, depths))
    return report.Table(depth_report.TITLE, head, tuple(lines))

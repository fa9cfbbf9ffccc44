"""The chart of the depth sweep."""

import altair as alt
import numpy as np
import polars as pl

from experiments.depth import lines as depth_lines
from experiments.depth.report import Case
from experiments.pages import charts
from experiments.runs import runtime

LIMIT_COLOUR = "#b00020"
DECADES = [-1000, -100, -10, -1, 0, 1, 10, 100, 1000]
WIDTH, HEIGHT = 250, 150

COLOURS = 8  # of the scheme; more labels lie along a rainbow
MOST_VERDICTS = 4  # above a panel

LABEL = alt.Color("label:N", sort=None, title="weights")
LAYER = alt.X("layer:Q", title="layer l (1 is next to the input)")


def draw(rows: pl.DataFrame, theory: pl.DataFrame, cases: list[Case], what: str) -> charts.Chart:
    """A row of panels an activation, by layer; beside them ‖Δz[1]‖ against depth.

    Args:
        rows: as `experiments.depth.cells.measure` returns them.
        theory: as `experiments.depth.theory.predict` returns it.
        cases: the verdicts.
        what: one line on what was measured.
    """
    depths = sorted(rows["depth"].unique())
    chosen = alt.param(
        name="depth",
        value=depths[-1],
        bind=alt.binding_select(options=depths, name="hidden layers shown on the left: "),
    )
    legend = "dashed: mean-field theory; shaded: where 95 % of draws of a finite width are"
    title = alt.Title(
        "How large is the gradient Δz[l] = ∂loss/∂z[l] in each layer?", subtitle=[what, legend]
    )
    measured, predicted = depth_lines.thinned(rows), depth_lines.beside(rows, theory)
    names = rows["activation"].unique(maintain_order=True)
    panels = [p for name in names for p in _activation(name, measured, predicted, cases)]
    grid = alt.concat(*panels, columns=3, spacing={"row": 24, "column": 16})
    whole = alt.hconcat(grid, _first_layer(rows, cases), spacing=30, title=title)
    scheme = "dark2" if rows["label"].n_unique() <= COLOURS else "turbo"
    styled = charts.styled(whole.add_params(chosen)).resolve_scale(color="shared")
    return styled.configure_range(category={"scheme": scheme})


def _activation(
    name: str, measured: pl.DataFrame, predicted: pl.DataFrame, cases: list[Case]
) -> list[charts.Chart]:
    """One activation: size of Δz, the factor of each layer, and the signal, against the layer."""
    of = pl.col("activation") == name
    measured, predicted = measured.filter(of), predicted.filter(of)
    verdicts = [f"{case.label}: {case.rate}" for case in cases if case.activation == name]
    if len(verdicts) > MOST_VERDICTS:
        verdicts = [*verdicts[:MOST_VERDICTS], f"… and {len(verdicts) - MOST_VERDICTS} more"]
    size = _panel(measured, predicted, "log10_delta_z", "log₁₀ ‖Δz[l]‖", each_seed=True)
    band = (
        alt.Chart(_finite(predicted, "low", "high"))
        .transform_filter("datum.depth == depth")
        .mark_area(opacity=0.15, aria=False)
        .encode(LAYER, alt.Y("low:Q"), alt.Y2("high:Q"), LABEL)
    )
    lost = [case for case in cases if case.activation == name and case.lost is not None]
    marks = [_lost_from(case, i == 0) for i, case in enumerate(lost)]
    factors, signal = (
        _panel(measured.filter(pl.col("layer") < pl.col("depth")), predicted, *column)
        for column in (
            ("log10_gain", "log₁₀ ‖Δz[l]‖ / ‖Δz[l+1]‖"),
            ("log10_mean_square_z", "log₁₀ mean z[l]²"),
        )
    )
    return [
        chart.properties(width=WIDTH, height=HEIGHT, title=alt.Title(title, subtitle=subtitle))
        for chart, title, subtitle in (
            (alt.layer(band, size, *marks), f"{name}: size of the gradient", verdicts),
            (factors, f"{name}: factor of each layer", ["median over seeds", ""]),
            (signal, f"{name}: signal", ["median over seeds", ""]),
        )
    ]


def _panel(
    measured: pl.DataFrame,
    predicted: pl.DataFrame,
    column: str,
    title: str,
    each_seed: bool = False,
) -> charts.Chart:
    """A column against the layer, measured (the median, or every seed) and dashed in theory."""
    y = alt.Y(f"{column}:Q", title=title, scale=alt.Scale(zero=False))
    drawn = _finite(measured, column)
    if not each_seed:
        case = ["activation", "label", "depth", "layer"]
        drawn = drawn.group_by(case, maintain_order=True).agg(pl.col(column).median())
    tooltip = ["label", "layer", alt.Tooltip(column, format=".4g", title=title)]
    lines = (
        alt.Chart(drawn)
        .transform_filter("datum.depth == depth")
        .mark_line(strokeWidth=1, opacity=0.8, aria=False)
        .encode(LAYER, y, LABEL, tooltip=tooltip)
    )
    if each_seed:
        lines = lines.encode(detail="seed:N")
    theory = (
        alt.Chart(_finite(predicted, column))
        .transform_filter("datum.depth == depth")
        .mark_line(strokeDash=[5, 4], strokeWidth=1.3, aria=False, color="black")
        .encode(LAYER, y, detail="label:N")
    )
    return lines + theory


def _finite(frame: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """What can be drawn: neither the logarithm of zero nor what has no value."""
    kept = [
        "activation",
        "label",
        "depth",
        "layer",
        *(["seed"] if "seed" in frame.columns else []),
    ]
    return frame.filter(pl.col(column).is_finite() for column in columns).select(*kept, *columns)


def _lost_from(case: Case, named: bool) -> charts.Chart:
    """The layer from which on plain backpropagation has no number, in the network shown."""
    text = f"no number in {case.dtype}"
    mark = (
        alt.Chart(pl.DataFrame({"text": [f"← {text}"]}))
        .transform_calculate(layer=f"max(1, depth - {case.lost})")
        .encode(alt.X("layer:Q"))
    )
    seen = alt.ExprRef(f"depth > {case.lost} ? 1 : 0")
    rule = mark.mark_rule(strokeDash=[2, 2], color=LIMIT_COLOUR, opacity=seen)
    if not named:
        return rule
    # Written on the side where there is room.
    side = alt.ExprRef("datum.layer > depth / 2 ? 'right' : 'left'")
    words = mark.mark_text(
        align=side, baseline="bottom", fontSize=10, color=LIMIT_COLOUR, opacity=seen
    )
    return rule + words.encode(alt.Text("text:N"), y=alt.value(HEIGHT - 2))


def _first_layer(rows: pl.DataFrame, cases: list[Case]) -> charts.Chart:
    """‖Δz[1]‖ against depth, all cases in one panel; crossed where plain backprop has lost it."""
    ranges = depth_lines.ranges(rows)
    first = depth_lines.first_layer(rows).drop("text")
    y = alt.Y(
        "y:Q",
        title="log₁₀ ‖Δz[1]‖",
        scale=alt.Scale(type="symlog", constant=1),
        axis=alt.Axis(values=DECADES),
    )
    base = alt.Chart(first).encode(
        alt.X("depth:Q", title="hidden layers", scale=alt.Scale(type="log", base=2)),
        y,
        LABEL,
        tooltip=[
            "activation",
            "label",
            alt.Tooltip("depth", title="hidden layers"),
            alt.Tooltip("log10_delta_z", format=".2f", title="log₁₀ ‖Δz[1]‖, median"),
            alt.Tooltip("delta_z", title="Δz[1] is"),
        ],
    )
    shape = alt.Shape("activation:N", sort=None)
    dash = alt.StrokeDash("activation:N", sort=None, legend=None)
    number = alt.FieldEqualPredicate(field="delta_z", equal="number")
    lost = base.transform_filter("datum.delta_z != 'number'")
    return alt.layer(
        *(
            _range_end(dtype, end)
            for dtype, both in ranges.items()
            for end in both
            if _reached(first["y"].to_numpy(), end)
        ),
        base.mark_line(strokeWidth=1.5).encode(strokeDash=dash),
        base.transform_filter(number).mark_point(filled=True, size=45).encode(shape=shape),
        lost.mark_point(size=45).encode(shape=shape),
        *(_limit_depth(case, i) for i, case in enumerate(c for c in cases if c.lost is not None)),
    ).properties(
        width=360,
        height=3 * HEIGHT,
        title=alt.Title(
            "The first layer's gradient against depth",
            subtitle="hollow: no number in plain backpropagation; red: where that starts",
        ),
    )


def _reached(sizes: np.ndarray, end: float) -> bool:
    return bool(np.any(sizes / end > 0.5))


def _range_end(dtype: str, y: float) -> charts.Chart:
    """Where the dtype ends: below digits are lost, then everything; above there is inf."""
    text = f"{dtype} ends here"
    mark = alt.Chart(pl.DataFrame({"y": [y], "text": [text]})).encode(alt.Y("y:Q"))
    words = mark.mark_text(align="left", baseline="bottom", dx=4, dy=-2, color=LIMIT_COLOUR)
    return mark.mark_rule(strokeDash=[4, 3], color=LIMIT_COLOUR) + words.encode(
        alt.Text("text:N"), x=alt.value(0)
    )


def _limit_depth(case: Case, place: int) -> charts.Chart:
    """The first depth at which plain backpropagation has no number for the first layer."""
    depth, y = (case.lost or 0) + 1, runtime.log10_range(case.dtype)["exploding" in case.rate]
    mark = alt.Chart(pl.DataFrame({"depth": [depth], "y": [y]})).encode(
        alt.X("depth:Q"), alt.Y("y:Q")
    )
    words = mark.mark_text(
        text=f"{depth} layers",
        align="left",
        baseline="top",
        dx=5,
        dy=4 + 13 * place,
        color=LIMIT_COLOUR,
    )
    return mark.mark_point(filled=True, size=60, color=LIMIT_COLOUR) + words

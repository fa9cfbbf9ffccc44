"""The chart of the depth sweep."""

import altair as alt
import polars as pl

from experiments import charts, runtime

DEPTH_COLOURS = alt.Scale(scheme=alt.SchemeParams(name="viridis", extent=[0.9, 0.0]))
LIMIT_COLOUR = "#b00020"


def draw(rows: pl.DataFrame, verdicts: dict[tuple[str, str], str], what: str) -> charts.Chart:
    """‖Δz[l]‖ against the layer, a panel a case; beside it ‖Δz[1]‖ against depth.

    Args:
        rows: as `experiments.depth.measure` returns them.
        verdicts: a few words for each (activation, weights).
        what: one line on what was measured.
    """
    size = pl.col("log10_delta_z")
    spread = rows.group_by("activation", "weights", "depth", "layer", maintain_order=True).agg(
        size.median(),
        size.min().alias("low"),
        size.max().alias("high"),
        pl.col("delta_z").mode().sort().first(),
    )
    # Neither the logarithm of zero nor a band that reaches down to it can be drawn.
    drawn = spread.filter(size.is_finite()).with_columns(
        pl.when(pl.col("low").is_finite()).then(pl.col("low")).otherwise(size),
        # Points carry the tooltips; some twenty on a line are enough, its ends among them.
        marked=((pl.col("layer") - 1) % (1 + pl.col("depth") // 20) == 0)
        | (pl.col("layer") > pl.col("depth")),
    )
    title = alt.Title("How large is the gradient Δz[l] = ∂loss/∂z[l] in each layer?", subtitle=what)
    first = _first_layer(spread.filter(pl.col("layer") == 1))
    if drawn.is_empty():  # every forward pass has overflowed
        return charts.styled(first.properties(title=title))
    click = alt.selection_point(fields=["depth"], bind="legend", name="depth")
    panels = alt.vconcat(
        *(
            alt.hconcat(
                *(
                    _panel(case, row, click, verdicts[case["activation"][0], case["weights"][0]])
                    for case in row.partition_by("weights", maintain_order=True)
                )
            )
            for row in drawn.partition_by("activation", maintain_order=True)
        )
    )
    # One view declares the click on the legend; the others refer to it by name.
    panels.vconcat[0].hconcat[0].layer[0] = panels.vconcat[0].hconcat[0].layer[0].add_params(click)
    return charts.styled(alt.hconcat(panels, first, spacing=30, title=title))


def _panel(
    case: pl.DataFrame,
    row: pl.DataFrame,
    click: alt.Parameter,
    verdict: str,
) -> charts.Chart:
    """One activation and initialisation, on the vertical scale of its row."""
    activation, weights = case["activation"][0], case["weights"][0]
    ends = [float(row["low"].to_numpy().min()), float(row["high"].to_numpy().max())]
    limited = ends[0] < runtime.log10_range()[0] + 4
    if limited:
        ends[0] = min(ends[0], runtime.log10_range()[0])
    scale = alt.Scale(domain=ends)
    base = alt.Chart(case).encode(
        alt.X("layer:Q", title="layer l (1 is next to the input)"),
        color=alt.Color("depth:O", title="hidden layers", scale=DEPTH_COLOURS),
        opacity=alt.when(click).then(alt.value(1)).otherwise(alt.value(0.08)),
        tooltip=[
            alt.Tooltip("depth", title="hidden layers"),
            alt.Tooltip("layer", title="layer"),
            alt.Tooltip("log10_delta_z", format=".2f", title="log₁₀ ‖Δz[l]‖, median"),
            alt.Tooltip("low", format=".2f", title="lowest seed"),
            alt.Tooltip("high", format=".2f", title="highest seed"),
        ],
    )
    band = base.mark_area(fillOpacity=0.25, aria=False).encode(
        y=alt.Y("low:Q", scale=scale), y2="high:Q"
    )
    line = base.mark_line(strokeWidth=1.8, aria=False).encode(
        y=alt.Y("log10_delta_z:Q", title="log₁₀ ‖Δz[l]‖", scale=scale)
    )
    points = line.transform_filter("datum.marked").mark_point(filled=True, size=14, aria=False)
    title = alt.Title(f"{activation}, {weights}", subtitle=verdict)
    layers = [band, line, points, *([_limit()] if limited else [])]
    return alt.layer(*layers).properties(width=230, height=150, title=title)


def _limit() -> charts.Chart:
    """The smallest normal number of the dtype: below it digits are lost, then everything."""
    y, colour = runtime.log10_range()[0], LIMIT_COLOUR
    mark = alt.Chart(
        pl.DataFrame({"y": [y], "text": [f"{runtime.dtype_name()} ends here"]})
    ).encode(y="y:Q")
    text = mark.mark_text(align="right", baseline="bottom", dy=-2, color=colour)
    return mark.mark_rule(strokeDash=[4, 3], color=colour) + text.encode(
        text="text:N", x=alt.value("width")
    )


def _first_layer(first: pl.DataFrame) -> charts.Chart:
    """‖Δz[1]‖ against depth, all cases in one panel; a cross where plain backprop has lost it."""
    ends = runtime.log10_range()
    size = pl.col("log10_delta_z")
    # What has no logarithm stands at the end of the dtype's range.
    first = first.with_columns(
        y=pl.when(size.is_finite())
        .then(size)
        .otherwise(pl.when(pl.col("delta_z") == "overflow").then(ends[1]).otherwise(ends[0]))
    )
    base = alt.Chart(first).encode(
        alt.X("depth:Q", title="hidden layers", scale=alt.Scale(type="log", base=2)),
        alt.Y("y:Q", title="log₁₀ ‖Δz[1]‖"),
        alt.Color("activation:N", sort=None, scale=alt.Scale(scheme="dark2")),
        detail="weights:N",
        tooltip=[
            "activation",
            "weights",
            alt.Tooltip("depth", title="hidden layers"),
            alt.Tooltip("log10_delta_z", format=".2f", title="log₁₀ ‖Δz[1]‖, median"),
            alt.Tooltip("delta_z", title="Δz[1] is"),
        ],
    )
    dash = alt.StrokeDash("weights:N", sort=None, legend=alt.Legend(symbolType="stroke"))
    number = alt.FieldEqualPredicate(field="delta_z", equal="number")
    lost = base.transform_filter("datum.delta_z != 'number'")
    return alt.layer(
        base.transform_filter("isFinite(datum.low) && isFinite(datum.high)")
        .mark_area(opacity=0.15)
        .encode(alt.Y("low:Q"), alt.Y2("high:Q")),
        base.mark_line(strokeWidth=2).encode(strokeDash=dash),
        base.transform_filter(number).mark_point(filled=True, size=40),
        lost.mark_point(shape="cross", angle=45, size=120, filled=True),
        lost.mark_text(align="right", baseline="top", dx=-8).encode(text="delta_z:N"),
        *([_limit()] if first["y"].to_numpy().min() < ends[0] + 4 else []),
    ).properties(width=330, height=330, title="The first layer's gradient against depth")

"""The chart of the Jacobian's spectrum."""

import math
from functools import partial

import altair as alt
import numpy as np
import polars as pl

from experiments.pages import charts
from experiments.runs import runtime

COLOURS = {"gaussian": "#d95f02", "orthogonal": "#1b7fb0"}
LIMIT_COLOUR = "#b00020"
SHARES = {"low": 0.0, "tenth": 0.1, "median": 0.5, "ninetieth": 0.9, "high": 1.0}
WIDTH, HEIGHT = 230, 170


def draw(
    rows: pl.DataFrame, variances: pl.DataFrame, words: dict[tuple[str, str], str], what: str
) -> charts.Chart:
    """A row of panels an activation: log₁₀ s against depth, one a kind of weights; the variance.

    Args:
        rows: as `experiments.spectrum.experiment.measure` returns them.
        variances: as `experiments.spectrum.report.summary` returns them.
        words: a few for each (activation, weights).
        what: one line on what was measured.
    """
    shares, x = quantiles(rows), _depth_axis(sorted(variances["depth"].unique()))
    kinds = variances["weights"].unique(maintain_order=True)
    panels = []
    for of_activation in variances.partition_by("activation", maintain_order=True):
        activation = of_activation["activation"][0]
        row = shares.filter(pl.col("activation") == activation)
        for weights in kinds:
            about = words.get((activation, weights), "not measured")
            title = alt.Title(f"{activation}, {weights}", subtitle=about)
            panels.append(_spread(row, weights, x).properties(title=title))
        panels.append(_variance(of_activation, x))
    title = alt.Title(
        "How far are the singular values s of ∂z[L]/∂z[1] spread?",
        subtitle=[
            what,
            "Left, all s > 0 of all seeds and inputs: light band from the smallest to the largest, "
            "dark band the middle 80 %, line the median",
            "Right, mean over seeds ± 2 standard errors, and what is predicted at infinite width",
        ],
        offset=12,
    )
    return charts.styled(alt.concat(*panels, columns=len(kinds) + 1, title=title, spacing=24))


def quantiles(rows: pl.DataFrame) -> pl.DataFrame:
    """Quantiles of log₁₀ s over seeds and examples, zeros left out; a row a case and depth.

    Columns: activation, weights, depth; those of `SHARES`; resolved, down to where an SVD of the
    product, formed in the same dtype, would see: the largest s times the rounding.
    """
    s = pl.col("log10_singular_values")
    rounding = float(np.log10(np.finfo(runtime.dtype_name()).eps))
    return (
        rows.explode("log10_singular_values")
        .filter(s.is_finite())
        .group_by("activation", "weights", "depth", maintain_order=True)
        .agg(s.quantile(share, "linear").alias(name) for name, share in SHARES.items())
        .with_columns(resolved=pl.col("high") + rounding)
    )


def _depth_axis(depths: list[int]) -> alt.X:
    ends = [depths[0], depths[-1]] if len(depths) > 1 else [depths[0] / 2, depths[0] * 2]
    scale = alt.Scale(type="log", base=2, domain=ends, nice=False)
    axis = alt.Axis(values=depths, format="d", labelOverlap=True, labelFlush=False)
    return alt.X("depth:Q", title="depth (factors)", scale=scale, axis=axis)


def _spread(row: pl.DataFrame, weights: str, x: alt.X) -> charts.Chart:
    """One activation and kind of weights, on the vertical scale of its row."""
    case = row.filter(pl.col("weights") == weights)
    if case.is_empty():  # every singular value is zero, or none is a number
        return alt.Chart(case).mark_point().properties(width=WIDTH, height=HEIGHT)
    # At least a decade: values that are equal up to rounding are drawn as equal.
    scale = alt.Scale(domain=[min(*row["low"], -0.5), max(*row["high"], 0.5)])
    tooltip = [
        alt.Tooltip(name, format=".2f", title=f"log₁₀ s, quantile {share:g}")
        for name, share in SHARES.items()
    ]
    base = alt.Chart(case).encode(x, tooltip=["depth", *tooltip])
    colour = COLOURS[weights]
    light = base.mark_area(color=colour, opacity=0.22, aria=False)
    dark = base.mark_area(color=colour, opacity=0.4, aria=False)
    line = base.mark_line(color=colour, strokeWidth=2, point={"color": colour, "size": 22})
    limit = _resolved(case, x, scale) if (case["low"] < case["resolved"]).any() else []
    return alt.layer(
        light.encode(alt.Y("low:Q", scale=scale), alt.Y2("high")),
        dark.encode(alt.Y("tenth:Q", scale=scale), alt.Y2("ninetieth")),
        line.encode(alt.Y("median:Q", title="log₁₀ s", scale=scale)),
        *limit,
    ).properties(width=WIDTH, height=HEIGHT)


def _resolved(case: pl.DataFrame, x: alt.X, scale: alt.Scale) -> list[charts.Chart]:
    """What an SVD of the product itself would see: below the line it has rounding only."""
    base = alt.Chart(case).encode(x, alt.Y("resolved:Q", scale=scale))
    first = base.transform_filter(f"datum.depth == {case['depth'].to_numpy().min()}")
    text = alt.value(f"below: lost to an SVD in {runtime.dtype_name()}")
    return [
        base.mark_line(color=LIMIT_COLOUR, strokeDash=[4, 3], strokeWidth=1.2, aria=False),
        first.mark_text(align="left", baseline="top", dx=4, dy=4, color=LIMIT_COLOUR).encode(
            text=text
        ),
    ]


def _variance(of_activation: pl.DataFrame, x: alt.X) -> charts.Chart:
    """Measured points with two standard errors, and the predicted curve, of all weights."""
    error = 2 * pl.col("error").fill_null(0)
    rows = of_activation.with_columns(
        low=(pl.col("variance") - error).clip(0), high=pl.col("variance") + error
    )
    numbers = [v for name in ("variance", "predicted") for v in rows[name].drop_nulls().drop_nans()]
    y = _variance_axis(max(1.0, *numbers))
    scale = alt.Scale(domain=list(COLOURS), range=list(COLOURS.values()))
    tooltip = [
        alt.Tooltip(name, format=".3g") for name in ("depth", "variance", "error", "predicted")
    ]
    base = alt.Chart(rows).encode(
        x, color=alt.Color("weights:N", scale=scale, legend=None), tooltip=["weights", *tooltip]
    )
    theory = base.encode(y("predicted"))
    name = theory.transform_filter(f"datum.depth == {rows['depth'].to_numpy().max()}")
    known = base.transform_filter("datum.variance != null")
    points = known.encode(y("variance"))
    return alt.layer(
        theory.mark_line(strokeDash=[5, 3], strokeWidth=1.5, aria=False),
        name.mark_text(align="left", dx=6).encode(text="weights:N"),
        known.mark_rule(strokeWidth=1.5, aria=False).encode(y("low"), alt.Y2("high")),
        points.transform_filter("datum.comparable").mark_point(filled=True, size=45, opacity=1),
        points.transform_filter("!datum.comparable").mark_point(size=45, opacity=1),
    ).properties(
        width=WIDTH,
        height=HEIGHT,
        title=alt.Title(
            f"{rows['activation'][0]}: variance of s² / mean s²",
            subtitle="dashes predicted; hollow: width too small for it",
        ),
    )


def _variance_axis(top: float) -> partial[alt.Y]:
    """The vertical axis for a column: logarithmic, but linear below 1, so that 0 has a place."""
    powers = 2 ** np.arange(1 + math.ceil(math.log2(top)))
    axis = alt.Axis(values=[0, *powers.tolist()], format="d", labelOverlap=True)
    scale = alt.Scale(type="symlog", constant=1, domain=[0, int(powers[-1])])
    return partial(alt.Y, type="quantitative", title="variance", scale=scale, axis=axis)

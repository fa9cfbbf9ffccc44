"""The picture of the map of trainability: accuracy over σ_w² and depth, and the depth scale."""

import altair as alt
import numpy as np
import polars as pl

from experiments.pages import charts, palette
from experiments.pages.tables import NOT_MEASURED
from experiments.runs.missing import NOTHING, Missing
from experiments.trainability import report

MULTIPLES = (1, 3, 6)  # of ξ_c
WIDTH, HEIGHT = 620, 400
TITLE = "Up to which depth does the network train?"


def figure(
    rows: pl.DataFrame,
    depth_scale: pl.DataFrame,
    verdict: str,
    subtitle: str,
    missing: Missing = NOTHING,
) -> charts.Figure:
    """Return accuracy over σ_w² and depth, and multiples of ξ_c over it."""
    tiles = _tiles(rows, missing)
    finite = tiles.filter("measured")["loss"].is_finite().all()
    exploded = [] if finite else ["red: the loss is not a finite number"]
    x = alt.Scale(domain=_range(tiles, "left", "right"), nice=False, zero=False)
    y = alt.Scale(domain=_range(tiles, "low", "high"), nice=False, zero=False)

    def made(narrow: bool) -> charts.Chart:
        pixels = charts.NARROW if narrow else None
        title = charts.headline(TITLE, [verdict, subtitle, *exploded], pixels)
        width = charts.NARROW if narrow else WIDTH
        plot = alt.layer(_accuracy(x, y), *_lines(x, y))
        return plot.properties(width=width, height=HEIGHT, title=title)

    data = {"map": tiles, "curves": _curves(depth_scale)}
    return charts.Figure(made(False), data, narrow=lambda: made(True))


def _tiles(rows: pl.DataFrame, missing: Missing) -> pl.DataFrame:
    """Return the points of the map, measured or not, with the edges of their rectangles."""
    points = pl.concat(
        [
            report.map_of(rows).with_columns(measured=True),
            report.gaps(rows, missing).with_columns(measured=False),
        ],
        how="diagonal",
    )
    across = _edges(points["sigma_w_squared"]).rename({"below": "left", "above": "right"})
    up = _edges(points["depth"]).rename({"below": "low", "above": "high"})
    for edges in (across, up):
        points = points.join(edges, on=edges.columns[0], how="left", maintain_order="left")
    return points


def _edges(values: pl.Series) -> pl.DataFrame:
    """Return each value with the middles between it and its neighbours, not below 0.

    The first and the last value reach as far out as in; a lone one by a half.
    """
    at = values.unique().sort()
    places = at.to_numpy().astype(float)
    middles = (places[:-1] + places[1:]) / 2
    first, last = (middles[0], middles[-1]) if len(middles) else (places[0] - 0.5, places[0] + 0.5)
    below = np.append(2 * places[0] - first, middles) if len(middles) else [first]
    above = np.append(middles, 2 * places[-1] - last) if len(middles) else [last]
    return pl.DataFrame({values.name: at, "below": np.maximum(below, 0), "above": above})


def _range(tiles: pl.DataFrame, least: str, most: str) -> list[float]:
    return [float(tiles[least].to_numpy().min()), float(tiles[most].to_numpy().max())]


def _curves(depth_scale: pl.DataFrame) -> pl.DataFrame:
    """Return multiples of ξ_c; those left and right of the divergence are lines of their own."""
    xi_c, square = pl.col("xi_c"), pl.col("sigma_w_squared")
    right = square > square.filter(xi_c == xi_c.max()).min()
    scale = depth_scale.with_columns(right_of_peak=right)
    multiples = (scale.with_columns(depth=m * xi_c, multiple=pl.lit(f"{m} ξ_c")) for m in MULTIPLES)
    curves = pl.concat(multiples)
    return curves.filter(pl.col("depth").is_finite())


def _accuracy(x: alt.Scale, y: alt.Scale) -> charts.Chart:
    """The map; where the loss is no finite number there is no accuracy, but red.

    What was not measured has no colour, and a sign.
    """
    tiles = (
        alt.Chart(alt.NamedData("map"))
        .mark_rect()
        .encode(
            alt.X("left:Q", title="σ_w²", scale=x),
            alt.X2("right:Q"),
            alt.Y("low:Q", title="hidden layers", scale=y),
            alt.Y2("high:Q"),
            tooltip=[
                alt.Tooltip("sigma_w_squared:Q", title="σ_w²"),
                alt.Tooltip("depth:Q", title="hidden layers"),
                alt.Tooltip("accuracy:Q", format=".3f"),
                alt.Tooltip("loss:Q", format=".3g"),
            ],
        )
    )
    colour = alt.Color(
        "accuracy:Q",
        title="training accuracy",
        scale=alt.Scale(scheme=palette.SEQUENTIAL, domain=[0, 1]),
    )
    measured, unmeasured = (tiles.transform_filter(f"{no}datum.measured") for no in ("", "!"))
    return alt.layer(
        measured.transform_filter("isValid(datum.loss)").encode(colour),
        measured.transform_filter("!isValid(datum.loss)").encode(color=alt.value(palette.ALARM)),
        *_gaps(unmeasured, x, y),
    )


def _gaps(unmeasured: charts.Chart, x: alt.Scale, y: alt.Scale) -> tuple[charts.Chart, ...]:
    """Dashed frames with a sign in the middle, for the tiles that were not measured."""
    signs = (
        alt.Chart(alt.NamedData("map"))
        .transform_filter("!datum.measured")
        .transform_calculate(x="(datum.left + datum.right) / 2", y="(datum.low + datum.high) / 2")
        .mark_text(fontSize=12, color=palette.INK, aria=False)
        .encode(alt.X("x:Q", scale=x), alt.Y("y:Q", scale=y), text=alt.value(NOT_MEASURED))
    )
    return charts.not_measured(unmeasured), signs


def _lines(x: alt.Scale, y: alt.Scale) -> list[charts.Chart]:
    """The multiples of ξ_c: light on a dark rim, to be seen on every colour of the map."""
    line = alt.Chart(alt.NamedData("curves")).encode(
        alt.X("sigma_w_squared:Q", scale=x),
        alt.Y("depth:Q", scale=y),
        alt.StrokeDash(
            "multiple:N",
            title="depth scale",
            sort=None,
            legend=alt.Legend(symbolStrokeColor=palette.MUTED),
        ),
        detail="right_of_peak:N",
    )
    strokes = ((palette.RIM, 4), (palette.OVER_MAP, 2))
    return [line.mark_line(color=colour, strokeWidth=w, clip=True) for colour, w in strokes]

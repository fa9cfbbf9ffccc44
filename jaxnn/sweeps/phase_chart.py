"""The map of a phase diagram: a column in colours over two axes, with the lines of zeros."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from ..flow.view.chart import WIDTH, drawable_rows, load_altair, styled

HEIGHT = 360
TITLES = {
    "rate": "what a layer does to ‖Δ‖, decades towards the input",
    "correlation_length": "layers over which examples become alike",
    "log10_q": "log₁₀ of the mean square of the state",
    "angle": "λ of the angle of what is nearly alike, nats a layer",
    "gradient": "λ of the gradient there, nats a layer",
}
RIM = ("#ffffff", 5)  # a line is dark on a light rim
COLOURS = (("#222222", "dark"), ("#d98a1f", "orange"))
SIGNED = ("rate", "angle", "gradient")
Segment = tuple[tuple[float, float], tuple[float, float]]


def phase_chart(
    axes: Mapping[str, tuple[float, ...]],
    values: Float[np.ndarray, "Y X"],
    lines: Mapping[str, Float[np.ndarray, "Y X"]],
    column: str,
) -> Any:
    """Return the map.

    Args:
        axes: the names of the first and the second axis with their values in order.
        values: of the column; those that are not finite are left white.
        lines: of the columns whose zeros are lines, of two at most.
        column: its name.
    """
    alt = load_altair()
    (first, xs), (second, ys) = axes.items()
    tiles = _tiles(xs, ys, values)
    most = float(np.max(np.abs(values[np.isfinite(values)]), initial=1e-9))
    signed = {"scheme": "redblue", "domain": [-most, most], "reverse": True}
    colours = alt.Scale(**signed) if column in SIGNED else alt.Scale(scheme="viridis")
    across = alt.Scale(domain=[tiles[0]["left"], tiles[-1]["right"]], nice=False, zero=False)
    up = alt.Scale(domain=[tiles[0]["low"], tiles[-1]["high"]], nice=False, zero=False)
    plot = (
        alt.Chart(alt.Data(values=drawable_rows(tiles)))
        .mark_rect()
        .encode(
            alt.X("left:Q", title=first, scale=across),
            alt.X2("right:Q"),
            alt.Y("low:Q", title=second, scale=up),
            alt.Y2("high:Q"),
            alt.Color("value:Q", title=column, scale=colours),
            tooltip=[
                alt.Tooltip("x:Q", title=first),
                alt.Tooltip("y:Q", title=second),
                alt.Tooltip("value:Q", title=column, format=".3g"),
            ],
        )
    )
    strokes, words = [], []
    for (name, numbers), (colour, word) in zip(lines.items(), COLOURS, strict=False):
        segments = [
            {"x": x, "y": y, "x2": x2, "y2": y2} for (x, y), (x2, y2) in zero_line(xs, ys, numbers)
        ]
        line = alt.Chart(alt.Data(values=drawable_rows(segments))).encode(
            alt.X("x:Q", scale=across), alt.Y("y:Q", scale=up), alt.X2("x2:Q"), alt.Y2("y2:Q")
        )
        pens = (RIM, (colour, 2))
        strokes += [line.mark_rule(color=ink, strokeWidth=width) for ink, width in pens]
        words.append(f"{word}: λ of the {name} is 0")
    of_lines = ", ".join(words) if len(lines) > 1 else "line: gradients neither vanish nor explode"
    title = f"{TITLES[column]}; {of_lines}"
    size = {"width": WIDTH, "height": HEIGHT}
    return styled(alt.layer(plot, *strokes).properties(title=title, **size))


def _tiles(
    xs: tuple[float, ...], ys: tuple[float, ...], values: Float[np.ndarray, "Y X"]
) -> list[dict[str, float | None]]:
    """Return a row for each tile: its centre, its ends, and its value if that is finite."""
    (left, right), (low, high) = _edges(xs), _edges(ys)
    return [
        {
            "x": x,
            "y": y,
            "left": left[i],
            "right": right[i],
            "low": low[j],
            "high": high[j],
            "value": float(values[j, i]) if np.isfinite(values[j, i]) else None,
        }
        for j, y in enumerate(ys)
        for i, x in enumerate(xs)
    ]


def _edges(values: tuple[float, ...]) -> tuple[list[float], list[float]]:
    """Return the lower and upper ends of tiles around values, which meet in the middle."""
    at = np.array(values, float)
    middles = (at[:-1] + at[1:]) / 2
    first, last = 2 * at[0] - middles[0], 2 * at[-1] - middles[-1]
    return [first, *middles.tolist()], [*middles.tolist(), last]


def zero_line(
    xs: tuple[float, ...], ys: tuple[float, ...], values: Float[np.ndarray, "Y X"]
) -> Iterator[Segment]:
    """Yield pieces of the line on which values are 0: marching squares, by linear interpolation.

    Example:
        >>> list(zero_line((0.0, 1.0), (0.0, 1.0), np.array([[-1.0, 1.0], [-1.0, 3.0]])))
        [((0.5, 0.0), (0.25, 1.0))]
    """
    for j in range(len(ys) - 1):
        for i in range(len(xs) - 1):
            corners = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
            crossings = []
            for (a, b), (c, d) in zip(corners, corners[1:] + corners[:1], strict=True):
                u, v = values[b, a], values[d, c]
                if (u < 0 <= v) or (v < 0 <= u):
                    t = float(u / (u - v))
                    across, up = xs[a] + t * (xs[c] - xs[a]), ys[b] + t * (ys[d] - ys[b])
                    crossings.append((across, up))
            # A corner that is not finite leaves an odd one.
            yield from zip(crossings[::2], crossings[1::2], strict=False)

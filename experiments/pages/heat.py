"""A map of numbers over steps and places, such as layers: rectangles of a colour.

`rows of step, place and quantities -> rectangles, one quantity under the other -> the chosen one`
"""

import itertools
import json
from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import polars as pl

from experiments.pages import charts, palette

MOST_PLACES = 64  # of a map
LONGEST, MOST_OF_A_NAME = 16, 110  # letters of a name on an axis, and pixels
KINDS = {"zero": "grey: zero", "inf": "red: infinite", "nan": "red: not a number"}


def rectangles(
    frame: pl.DataFrame, quantities: Mapping[str, str], place: str = "layer", *more: str
) -> pl.DataFrame:
    """Return measurements as rectangles, each reaching to the next, one quantity under the other.

    Columns: place, which counts from 1, step, and `more`; left, right in steps; low, high in
    places; quantity, size; size_is, which is zero, inf or nan if a logarithm has no place.
    """
    steps = frame["step"].unique().sort().to_numpy()
    gaps = np.diff(steps)
    ends = np.append(steps[1:], steps[-1] + (np.median(gaps) if len(gaps) else 1))
    every = -(-int(frame[place].to_numpy().max()) // MOST_PLACES)
    reach = pl.DataFrame({"step": steps, "right": ends.astype(np.float64)})
    placed = (
        frame.filter((pl.col(place) - 1) % every == 0)
        .join(reach, on="step", how="left", maintain_order="left")
        .with_columns(
            left=pl.col("step").cast(pl.Float64),
            low=pl.col(place) - 0.5,
            high=pl.col(place) - 0.5 + every,
        )
    )
    at = (place, *more, "step", "left", "right", "low", "high")
    return pl.concat(
        placed.select(
            *at,
            pl.lit(name).alias("quantity"),
            pl.col(column).alias("size"),
            charts.kind(column).alias("size_is"),
        )
        for column, name in quantities.items()
    )


def kinds(cells: pl.DataFrame) -> list[str]:
    """Return what the colours of cells without a number mean, in words."""
    return [text for kind, text in KINDS.items() if kind in cells["size_is"]]


def heat(
    data: str,
    chosen: str,
    axes: tuple[alt.Axis, alt.Axis],
    title: str,
    *tooltip: str,
    scheme: str = palette.SEQUENTIAL,
    ends: tuple[str, str] | None = None,
) -> charts.Chart:
    """Return a map of the chosen `rectangles`, over steps to the right and places upwards.

    `ends` are expressions of the numbers at both ends of the colours.
    """
    places = [
        alt.X("left:Q", title="step", scale=alt.Scale(nice=False), axis=axes[0]),
        alt.X2("right:Q"),
        alt.Y("low:Q", title=title, scale=alt.Scale(nice=False, zero=False), axis=axes[1]),
        alt.Y2("high:Q"),
    ]
    # Each reaches under its neighbours, or the paper shines through between them.
    cells = (
        alt.Chart(alt.NamedData(data))
        .transform_filter(chosen)
        .mark_rect(clip=True, x2Offset=1, y2Offset=-1)
    )
    colour = alt.Color(
        "size:Q",
        title=None,
        scale=_colours(scheme, ends),
        legend=alt.Legend(orient="right"),
    )
    under = [*tooltip, "step:Q"]
    numbers = cells.transform_filter("isValid(datum.size)").encode(
        *places, colour, tooltip=[*under, alt.Tooltip("size:Q", format=".3~g")]
    )
    others = cells.transform_filter("!isValid(datum.size)").encode(
        *places,
        color=alt.condition(
            "datum.size_is == 'zero'", alt.value(palette.MUTED), alt.value(palette.ALARM)
        ),
        tooltip=[*under, alt.Tooltip("size_is:N", title="size")],
    )
    return alt.layer(numbers, others)


def _colours(scheme: str, ends: tuple[str, str] | None) -> alt.Scale:
    if ends is None:
        return alt.Scale(scheme=scheme, zero=False)  # type: ignore[arg-type]
    low, high = map(alt.ExprRef, ends)
    return alt.Scale(
        scheme=scheme,  # type: ignore[arg-type]
        domainMin=low,
        domainMax=high,
        clamp=True,
        nice=False,
        zero=False,
    )


def counts(last: int) -> alt.Axis:
    """An axis of integers; by itself Vega draws ticks between them, whatever `tickMinStep` is."""
    return alt.Axis(values=list(range(0, last + 1, _apart(last))), format="d")


def named(names: Mapping[str, Sequence[str]], chosen: str) -> alt.Axis:
    """An axis of places with the names of the chosen one, the first at 1, as there is room for."""
    most = max(map(len, names.values()))
    values = list(range(1, most + 1, _apart(most)))
    short = {
        one: [name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}" for name in of_one]
        for one, of_one in names.items()
    }
    label = f"({json.dumps(short, ensure_ascii=False)}[{chosen}] || [])[datum.value - 1]"
    return alt.Axis(values=values, labelExpr=label, labelLimit=MOST_OF_A_NAME)


def _apart(last: int) -> int:
    """Return how far apart at most nine ticks up to the last one are."""
    return next(s * 10**p for p in itertools.count() for s in (1, 2, 5) if s * 10**p * 8 >= last)

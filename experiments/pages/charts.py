"""Charts: one definition for a picture in files and for a panel of a page.

A definition is an Altair chart whose data are named (`alt.NamedData`) and whose choices are
parameters. A page has both at its top, where a reader changes the choices; a `Figure` brings its
own data, and fixes the choices.
"""

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import altair as alt
import polars as pl

from experiments.pages import engine, names, palette

# Altair gives every way of composing charts a type of its own; what they share is not one of them.
Chart = Any

# d3's short format writes 700 as 7e+2 if a neighbour needs no more digits.
LABEL = (
    "datum.value == 0 || (abs(datum.value) >= 1e-4 && abs(datum.value) < 1e6) "
    "? format(datum.value, '.6~r') : format(datum.value, '.3~e')"
)
SCALE = 2  # pixels of a PNG for one of the chart
MOST_OF_A_TITLE, MOST_OF_A_LINE = 300, 3000  # pixels; a user's name may have any length
DIGITS = 6  # of a number in a chart
NOTE = 100  # characters of a line of a note
NARROW = 290  # pixels of a plot on a phone
LETTER, HEAD_LETTER = 5.6, 8.4  # pixels of a letter in the mean, and of one of a large title
TICKS_APART = 1.4  # the least ratio of two depths with a tick
EDGES: dict[str, tuple[str, Any]] = {
    "zero": ("triangle-down", "height"),
    "inf": ("triangle-up", 0),
    "nan": ("cross", "height"),
}
IN_WORDS = {"zero": "▼ zero", "inf": "▲ infinite", "nan": "+ not a number"}


class Figure(NamedTuple):
    """A chart as a picture of its own."""

    chart: Chart
    data: dict[str, pl.DataFrame]
    choices: Mapping[str, str | int | bool] = MappingProxyType({})
    note: str = ""  # under the title, on what the picture lacks
    narrow: Callable[[], Chart] | None = None  # for the width of a phone, for the site's pages


def begin(figure: Figure, stem: str) -> Callable[[], dict[str, bytes]]:
    """Begin to draw a figure; return what waits for its files by name: PNG, SVG and PDF."""
    spec = as_dict(figure.chart, figure.choices, ink="black", paper="white")
    spec["datasets"] = {name: records(frame) for name, frame in figure.data.items()}
    if figure.note:
        lines = [*textwrap.wrap(figure.note, NOTE), *spec["title"]["subtitle"]]
        spec["title"] = {**spec["title"], "subtitle": lines}
    drawn = engine.begin("picture", spec, SCALE)
    return lambda: dict(zip(names.of_chart(stem), drawn(), strict=True))


def as_dict(chart: Chart, choices: Mapping[str, Any], ink: str, paper: str) -> dict[str, Any]:
    """Return a chart as Vega-Lite, with the choices as parameters and the look of all charts.

    Both are put into the dictionary: Altair copies a whole chart for every method that is called.
    """
    spec: dict[str, Any] = chart.to_dict()
    parameters = [{"name": name, "value": value} for name, value in choices.items()]
    spec["params"] = [*spec.get("params", []), *parameters]
    spec["config"] = look(ink, paper)
    return spec


def look(ink: str, paper: str) -> dict[str, Any]:
    """Return the look that all charts share: quiet axes, light grid, titles on the left."""
    text = {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 12}
    lines = dict.fromkeys(("gridColor", "domainColor", "tickColor"), palette.FAINT)
    return {
        "background": paper,
        # Letters as wide in a browser as those that the picture is laid out with.
        "font": "Arial, Liberation Sans, sans-serif",
        "view": {"stroke": palette.FAINT},
        "axis": {"titleFontWeight": "normal", "titleLimit": MOST_OF_A_TITLE, **lines, **text},
        "title": {
            "color": ink,
            "anchor": "start",
            "frame": "group",
            "fontSize": 13,
            "fontWeight": "normal",
            "limit": MOST_OF_A_LINE,
            "subtitleFontSize": 12,
            "subtitleColor": ink,
        },
        "legend": {
            "orient": "top",
            "layout": {"top": {"direction": "vertical"}},  # a phone is narrow
            "symbolOpacity": 1,
            "labelLimit": 260,
            **text,
        },
        "range": {"category": list(palette.CATEGORIES)},
    }


def titled(
    text: str, subtitle: str | Sequence[str] = (), pixels: int | None = None, **more: Any
) -> Any:
    """Return a title, its lines broken where they would leave a picture of so many pixels."""
    lines = [subtitle] if isinstance(subtitle, str) else [*subtitle]
    if pixels is None:
        return alt.Title(text, subtitle=lines, **more)
    title = textwrap.wrap(text, int(pixels / (LETTER if "fontSize" not in more else HEAD_LETTER)))
    lines = [part for line in lines for part in textwrap.wrap(line, int(pixels / LETTER))]
    return alt.Title(title, subtitle=lines, **more)


def headline(text: str, lines: Sequence[str], pixels: int | None = None, offset: int = 14) -> Any:
    """Return the large title of a whole picture, as `titled`."""
    return titled(text, lines, pixels, fontSize=16, fontWeight="bold", offset=offset)


def dashed(base: Chart, width: float, **more: Any) -> Chart:
    """Return the lines of theory."""
    return base.mark_line(
        strokeDash=[5, 4], color=palette.INK, strokeWidth=width, aria=False, **more
    )


def not_measured(base: Chart) -> Chart:
    """Return the frames of tiles that were planned and not measured."""
    return base.mark_rect(filled=False, stroke=palette.MUTED, strokeDash=[3, 3], aria=False)


def records(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return a table as rows of JSON: short numbers, null for nan and inf."""
    return jsonable(frame).to_dicts()


def jsonable(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a table that JSON can hold: short numbers, null for nan and inf."""
    number = pl.selectors.float()
    return frame.with_columns(pl.when(number.is_finite()).then(number.round_sig_figs(DIGITS)))


def kind(column: str) -> pl.Expr:
    """Return for a logarithm what its number is: number, zero, inf or nan; null stays null."""
    value = pl.col(column)
    return (
        pl.when(value.is_nan())
        .then(pl.lit("nan"))
        .when(value == math.inf)
        .then(pl.lit("inf"))
        .when(value == -math.inf)
        .then(pl.lit("zero"))
        .when(value.is_not_null())
        .then(pl.lit("number"))
    )


def edges_in_words(frames: Iterable[pl.Series]) -> str:
    """Return the legend of `at_the_edge` for the kinds that occur; empty if all are numbers."""
    kinds = {kind for frame in frames for kind in frame.unique()}
    return ", ".join(words for name, words in IN_WORDS.items() if name in kinds)


def at_the_edge(
    base: Chart, kind: str, x: alt.X, colour: alt.Color, tooltip: list[Any]
) -> tuple[Chart, ...]:
    """Return marks at the ends of a logarithmic axis for what has no place on it."""
    return tuple(
        base.transform_filter(f"datum.{kind} == '{name}'")
        .mark_point(shape=shape, filled=True, size=40, opacity=0.9, aria=False)
        .encode(
            x, colour, y=alt.value(end), tooltip=[*tooltip, alt.Tooltip(f"{kind}:N", title="size")]
        )
        for name, (shape, end) in EDGES.items()
    )


def squeezed(value: pl.Expr) -> pl.Expr:
    """Return ±log(1 + |v|): logarithmic far from 0, on both of its sides; null for nan and inf."""
    return pl.when(value.is_finite()).then(value.sign() * value.abs().log1p())


def squeezed_axis(most: float) -> alt.Axis:
    """Return an axis for what `squeezed` has placed, up to ± most, by powers of ten if many."""
    steps = (1,) if most > 30 else (1, 3) if most > 3 else (1, 2, 5)
    ticks = [step * 10**power for power in range(-1 if most < 3 else 0, 6) for step in steps]
    places = [math.log1p(tick) for tick in ticks]
    number = "(datum.value < 0 ? -1 : 1) * (exp(abs(datum.value)) - 1)"
    values = [*(-place for place in reversed(places)), 0, *places]
    return alt.Axis(values=values, labelExpr=f"format({number}, '.6~r')", labelOverlap=True)


def doublings(depths: Sequence[int]) -> list[int]:
    """Return the depths with room for a tick on a logarithmic axis; the last one comes first."""
    ticks = [max(depths)]
    for depth in sorted(depths, reverse=True):
        ticks += [depth] if depth * TICKS_APART <= ticks[-1] else []
    return ticks[::-1]

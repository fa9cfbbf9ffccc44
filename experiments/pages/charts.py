"""Charts: one Altair definition, four files; and the look that every chart shares."""

from functools import partial
from pathlib import Path
from typing import Any

import altair as alt

from experiments.pages import web
from experiments.runs import store

# Altair gives every way of composing charts a type of its own; what they share is not one of them.
Chart = Any

# d3's short format writes 700 as 7e+2 where a neighbour needs no more digits.
LABEL = (
    "datum.value == 0 || (abs(datum.value) >= 1e-4 && abs(datum.value) < 1e6) "
    "? format(datum.value, '.6~r') : format(datum.value, '.3~e')"
)
PICTURES: dict[str, dict[str, Any]] = {"png": {"scale_factor": 2}, "svg": {}, "pdf": {}}
FORMATS = (*PICTURES, "html")


def names(stem: str) -> tuple[str, ...]:
    """The files that `save` writes for a chart of this name."""
    return tuple(f"{stem}.{ending}" for ending in FORMATS)


def save(chart: Chart, folder: Path, stem: str) -> None:
    """Writes the chart as PNG, SVG, PDF and one HTML page that needs no network."""
    for ending, options in PICTURES.items():
        write = partial(chart.save, format=ending, **options)
        store.write_file(folder / f"{stem}.{ending}", write)
    spec = web.in_script(as_dict(chart))
    page = web.render("chart.html.jinja", "chart.js", title=stem, spec=spec)
    store.write_file(folder / f"{stem}.html", lambda path: web.write(path, page))


def as_dict(chart: Chart) -> dict[str, Any]:
    """The chart as Vega-Lite, with as many rows as it has."""
    with alt.data_transformers.disable_max_rows():
        spec: dict[str, Any] = chart.to_dict()
    return spec


def styled(chart: Chart) -> Chart:
    """The shared look: quiet axes, light grid, left-aligned titles, colours of its own a panel."""
    return (
        chart.resolve_scale(color="independent")
        .configure_view(stroke="#d0d0d0")
        .configure_axis(
            gridColor="#ececec",
            domainColor="#888",
            tickColor="#888",
            labelFontSize=11,
            titleFontSize=12,
            titleFontWeight="normal",
        )
        .configure_title(anchor="start", fontSize=13, subtitleFontSize=12, subtitleColor="#555")
        .configure_legend(titleFontSize=12, labelFontSize=11, symbolOpacity=1)
    )


def switched(base: Chart, place: str, linear: str, logarithmic: str) -> Chart:
    """With a column `place` that follows the parameter `scale`, null where that is no number."""
    number = f"scale == 'linear' ? {linear} : {logarithmic}"
    return base.transform_calculate(**{place: f"isFinite({number}) ? {number} : null"})


def squeezed(column: str) -> str:
    """An expression, ±log(1 + |v|): logarithmic far from 0, on both of its sides."""
    return f"(datum.{column} < 0 ? -1 : 1) * log(1 + abs(datum.{column}))"


def squeezed_axis(most: float) -> alt.Axis:
    """Names what `squeezed` has placed, numbers up to ± most; plain ones on a linear scale.

    Every power of ten where there are many, fewer and fewer numbers between where there are few.
    """
    steps = (1,) if most > 30 else (1, 3) if most > 3 else (1, 2, 5)
    ticks = [step * 10**power for power in range(-1 if most < 3 else 0, 6) for step in steps]
    below, above = ([f"{sign}log(1 + {tick})" for tick in ticks] for sign in ("-", ""))
    places = ", ".join([*reversed(below), "0", *above])
    back = "(datum.value < 0 ? -1 : 1) * (exp(abs(datum.value)) - 1)"
    label = f"scale == 'linear' ? ({LABEL}) : format({back}, '.6~r')"
    values = alt.ExprRef(f"scale == 'linear' ? null : [{places}]")
    count = alt.ExprRef("scale == 'linear' ? 6 : 99")  # Vega leaves out what is more
    return alt.Axis(values=values, labelExpr=label, labelOverlap=True, tickCount=count)

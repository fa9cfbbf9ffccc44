"""Charts: one Altair definition, four files; and the look that every chart shares."""

from functools import partial
from pathlib import Path
from typing import Any

from experiments import store

# Altair gives every way of composing charts a type of its own; what they share is not one of them.
Chart = Any

FORMATS: dict[str, dict[str, Any]] = {
    "png": {"scale_factor": 2},
    "svg": {},
    "pdf": {},
    "html": {"inline": True},  # the page carries its scripts: no network when it is looked at
}


def names(stem: str) -> tuple[str, ...]:
    """The files that `save` writes for a chart of this name."""
    return tuple(f"{stem}.{ending}" for ending in FORMATS)


def save(chart: Chart, folder: Path, stem: str) -> None:
    """Writes the chart as PNG, SVG, PDF and one HTML page that needs no network."""
    for ending, options in FORMATS.items():
        write = partial(chart.save, format=ending, **options)
        store.write_file(folder / f"{stem}.{ending}", write)


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

"""report.html: one page on a run that needs nothing beside it, neither a network nor a folder.

Verdicts in words, charts with choices, the numbers behind them, and how they were made. A chart is
an Altair one whose data are named (`alt.NamedData`), and in which the choices are parameters of
their own names; the page writes every choice into every chart.
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import polars as pl

from experiments.pages import charts, web
from experiments.runs import store

NAME = "report.html"
DIGITS = 6  # of a number on the page

# The colours of text and lines follow the page, which is dark or light or printed.
INK, FAINT = "currentColor", "rgba(128, 128, 128, 0.35)"
COLOURS = ("#3b82c4", "#d9662b", "#3a9d5d", "#b45cc4", "#b5851f", "#d04a6b", "#6c7fd0", "#2a9aa0")


class Choice(NamedTuple):
    """What a reader chooses: one of the options, or, where there are none, yes or no."""

    name: str
    label: str
    options: tuple[str | int, ...]
    value: str | int | bool


SCALE_AND_THEORY = (
    Choice("scale", "scale", ("logarithmic", "linear"), "logarithmic"),
    Choice("theory", "theory", (), True),
)


class Panel(NamedTuple):
    """A chart with a heading, and in words how to read it."""

    title: str
    words: str
    chart: charts.Chart


class Table(NamedTuple):
    """A table; the first cell of each row is its heading."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Numbers(NamedTuple):
    """Which of the data are also shown as a table, those rows that are chosen, and its heads."""

    data: str
    head: dict[str, str]


class Page(NamedTuple):
    """What a report shows, above what is known of every run."""

    title: str
    subtitle: str
    verdicts: tuple[str, ...]
    choices: tuple[Choice, ...]
    panels: tuple[Panel, ...]
    data: dict[str, pl.DataFrame]
    numbers: Numbers
    tables: tuple[Table, ...]


def write(folder: Path, page: Page, run: dict[str, Any]) -> None:
    """Writes the page.

    Args:
        folder: of the run.
        page: what is particular to the experiment.
        run: what `run.json` says.

    Raises:
        OSError: the disk; the sentence names the file.
    """
    text = html(page, run)
    store.write_file(folder / NAME, lambda path: web.write(path, text))


def html(page: Page, run: dict[str, Any]) -> str:
    """The page as text."""
    inside = {
        "choices": [choice._asdict() for choice in page.choices],
        "charts": [_spec(panel, page.choices) for panel in page.panels],
        "data": {name: _columns(frame) for name, frame in page.data.items()},
        "numbers": page.numbers._asdict(),
    }
    return web.render(
        "report.html.jinja",
        "report.js",
        page=page,
        inside=web.in_script(inside),
        finished=run.get("finished", True),
        facts=(settings(run), made(run)),
    )


def _spec(panel: Panel, choices: Iterable[Choice]) -> dict[str, Any]:
    parameters = [alt.param(name=choice.name, value=choice.value) for choice in choices]
    chart = styled(panel.chart).add_params(*parameters)
    return charts.as_dict(chart.properties(width="container", description=panel.title))


def styled(chart: charts.Chart) -> charts.Chart:
    """The look on a page: ink of the page's own colour, nothing behind it."""
    ink = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12}
    return (
        chart.configure(background="transparent", font="system-ui, sans-serif")
        .configure_view(stroke=FAINT)
        .configure_axis(
            gridColor=FAINT, domainColor=FAINT, tickColor=FAINT, titleFontWeight="normal", **ink
        )
        .configure_title(color=INK, anchor="start", frame="group", fontSize=12, fontWeight="normal")
        .configure_legend(**ink, orient="top", symbolOpacity=1, labelLimit=260)
        .configure_range(category=list(COLOURS))
    )


def _columns(frame: pl.DataFrame) -> dict[str, list[Any]]:
    """By column, which takes half the room of rows; null where a number is none."""
    number = pl.selectors.float()
    short = frame.with_columns(pl.when(number.is_finite()).then(number.round_sig_figs(DIGITS)))
    return short.to_dict(as_series=False)


def settings(run: dict[str, Any]) -> Table:
    """The settings of a run, and the data that they name."""
    what = run["what"]
    named = {"data set": what["data"]} if "data" in what else {}
    rows = itertools.chain(_flat(what["settings"]), _flat(named))
    return Table("Settings", ("setting", "value"), tuple(rows))


def made(run: dict[str, Any]) -> Table:
    """Versions, devices, time: what a run depends on besides its settings."""
    apart = ("what", "settings", "data", "verdicts", "finished", "versions")
    what, about = ({k: v for k, v in d.items() if k not in apart} for d in (run["what"], run))
    versions = {"version of": run.get("versions", {})}
    rows = itertools.chain(_flat(what), _flat(versions), _flat(about))
    return Table("How it was made", ("what", "value"), tuple(rows))


def _flat(found: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in found.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name} ")
        else:
            yield f"{before}{name}", words(value)


def words(value: Any) -> str:
    """A setting as a reader sees it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(words, value)) or "by default"
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.{DIGITS}g}"
    return "by default" if value is None else str(value)

"""report.html: one page on a run that stands alone, without a network or a folder.

First the answer in a sentence and one large chart, for a reader of ten seconds; then charts with
choices, sentences and tables, and, folded, the numbers drawn and how they were made. The choices
are parameters of the charts (`charts.py`) by their names; the page writes every choice into every
chart.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import takewhile
from types import MappingProxyType
from typing import Any, NamedTuple

import polars as pl
from markupsafe import Markup

from experiments.pages import charts, palette, web
from jaxnn.texts import cleaned

MOST_PLAIN = 200_000  # letters of data in a page; more are packed

Columns = dict[str, list[Any]]
Tables = dict[str, Columns]


class Choice(NamedTuple):
    """A choice of the reader's: one of the options, or yes or no if there are none."""

    name: str
    label: str
    options: tuple[str | int, ...]
    value: str | int | bool
    is_folded: bool = False  # True if it is of panels in the fold


class Answer(NamedTuple):
    """The result of a run in a sentence, at the top of its page."""

    text: str
    mood: str = "plain"  # or `ill` or `well`: its colour
    more: str = ""  # another sentence, in plain letters


class Panel(NamedTuple):
    """A chart with a heading, and how to read it in words."""

    title: str
    words: str
    chart: charts.Chart


class Table(NamedTuple):
    """A table; the first cell of each row is its heading."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


DECADE = (
    "decade",
    "a factor of ten: -0.5 decades a layer divides the gradient by √10 = 3.2 in each layer, "
    "on its way from the loss to the input",
)


class Numbers(NamedTuple):
    """Data that are also shown as a table, the chosen rows, under these heads."""

    data: str
    head: dict[str, str]


class Page(NamedTuple):
    """The part of a report that is particular to an experiment."""

    title: str
    subtitle: str
    answer: Answer
    verdicts: tuple[str, ...]  # what there is to say besides, and stands in no table
    choices: tuple[Choice, ...]
    panels: tuple[Panel, ...]  # the first one is large, and stands right below the answer
    data: dict[str, pl.DataFrame]
    numbers: Numbers
    tables: tuple[Table, ...]
    terms: tuple[tuple[str, str], ...] = (DECADE,)
    folded: tuple[Panel, ...] = ()  # shown when the reader asks for more


@dataclass(frozen=True)
class Html:
    """A page as text."""

    make: Callable[[], Page]
    note: str = ""  # a sentence at the top, on what the page lacks
    live: str = ""  # the state of a page that asks its server for what is new

    @cached_property
    def page(self) -> Page:
        """The page itself."""
        return self.make()

    @cached_property
    def _inside(self) -> Markup:
        page, text = self.page, web.as_json(self.data)
        inside = cleaned(
            {
                "choices": [choice._asdict() for choice in page.choices],
                "data": self.data if len(text) < MOST_PLAIN else web.packed(text),
                "numbers": page.numbers._asdict(),
                "live": self.live,
            }
        )
        return web.in_script(inside)

    @cached_property
    def _specs(self) -> list[dict[str, Any]]:
        choices = {choice.name: choice.value for choice in self.page.choices}
        # Ink of the page's own colour, nothing behind it.
        look = partial(charts.as_dict, choices=choices, ink=palette.INK, paper="transparent")
        return [
            cleaned(look(panel.chart) | {"width": "container", "description": panel.title})
            for panel in (*self.page.panels, *self.page.folded)
        ]

    @cached_property
    def data(self) -> Tables:
        """The data of the charts, a list for each column: half as long as a record for each row."""
        frames = self.page.data.items()
        return cleaned({k: charts.jsonable(v).to_dict(as_series=False) for k, v in frames})

    def fresh(self, known: Tables) -> dict[str, Any]:
        """Return what changes on a live page that has `known` data."""
        page = self.page
        answer = page.answer._asdict()
        said = {"subtitle": page.subtitle, "answer": answer, "verdicts": page.verdicts}
        newer = {name: _newer(known.get(name, {}), table) for name, table in self.data.items()}
        return cleaned(said) | {"state": self.live, "data": newer}

    def prepare(self) -> "Html":
        """Make what takes long, for a page that is written later."""
        _ = self._specs, self._inside
        return self

    def written(
        self,
        run: dict[str, Any] | None = None,
        defaults: Mapping[str, Any] = MappingProxyType({}),
    ) -> str:
        """Return the page as text, of a run with its settings and versions."""
        return web.render(
            self._specs,
            page=self.page,
            inside=self._inside,
            note=self.note,
            is_live=bool(self.live),
            facts=() if run is None else (settings(run, defaults), made(run)),
            not_drawn=() if run is None else run.get("not_drawn", ()),
        )


def _newer(known: Columns, table: Columns) -> dict[str, Any]:
    """Return how many rows of a table stay as they are known, and the columns of the rest."""
    kept = 0
    if known.keys() == table.keys():
        pairs = [zip(known[name], column, strict=False) for name, column in table.items()]
        kept = min(sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], v)) for v in pairs)
    return {"kept": kept, "columns": {name: column[kept:] for name, column in table.items()}}


def settings(run: dict[str, Any], defaults: Mapping[str, Any] = MappingProxyType({})) -> Table:
    """Return the settings of a run that differ from the default ones, and its data, as a table."""
    what = run["what"]
    named = {"data set": what["data"]} if "data" in what else {}
    usual = dict(_flat(dict(defaults)))
    own = [(name, text) for name, text in _flat(what["settings"]) if usual.get(name) != text]
    left = "; all others are the default" if defaults and len(own) < len(usual) else ""
    rows = itertools.chain(own, _flat(named))
    return Table(f"Settings{left}", ("setting", "value"), tuple(rows))


def made(run: dict[str, Any]) -> Table:
    """Return versions, devices and times of a run as a table."""
    apart = {"what", "settings", "data", "verdicts", "advice", "finished", "missing", "versions"}
    apart.add("sha256")  # of files, which differ from run to run
    what, about = ({k: v for k, v in d.items() if k not in apart} for d in (run["what"], run))
    versions = {"version of": run.get("versions", {})}
    rows = itertools.chain(_flat(what), _flat(versions), _flat(about))
    return Table("How it was made", ("what", "value"), tuple(rows))


def _flat(entries: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in entries.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name} ")
        else:
            yield f"{before}{name}", words(value)


def words(value: object) -> str:
    """Return a setting as a reader sees it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(words, value)) or "by default"
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.{charts.DIGITS}g}"
    return "by default" if value is None else str(value)

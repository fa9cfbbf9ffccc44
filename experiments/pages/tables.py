"""Tables in a terminal of 80 characters: one look, as many columns as fit, and no number cut."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from rich import box
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from jaxnn.texts import clean

T = TypeVar("T")
MOST_COLUMNS = 8  # of numbers
WIDE = 10_000  # characters, more than any table has
NOT_MEASURED = "?"  # a cell of a stopped run that was planned; an empty one was not


class _Clean(Table):
    """A table whose cells a terminal does not obey."""

    def add_row(self, *cells: RenderableType | None, **more: Any) -> None:
        super().add_row(*(clean(c) if isinstance(c, str) else c for c in cells), **more)


def table(title: str | None, *heads: str, width: int | None = None) -> Table:
    """Return an empty table: the first column, of that width at most, names a line of numbers."""
    styled = _Clean(
        title=None if title is None else Text(clean(title), style="table.title"),
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    first, *numbers = heads
    styled.add_column(Text(clean(first)), no_wrap=True, overflow="ellipsis", max_width=width)
    for head in numbers:
        styled.add_column(Text(clean(head)), justify="right", no_wrap=True)
    return styled


def fitting(values: Sequence[T], most: int = MOST_COLUMNS) -> list[T]:
    """Return the values that fit as columns: every second one if there are many, the last too."""
    return list(values if len(values) <= most else values[::-1][::2][::-1])


def console() -> Console:
    """Return a console that prints text as it is."""
    return Console(markup=False, emoji=False, highlight=False)


def printed(renderable: RenderableType, on: Console) -> None:
    """Print tables; a line is longer than a terminal rather than a number cut."""
    if isinstance(renderable, Group):
        for part in renderable.renderables:
            printed(part, on)
        return
    options = on.options.update(max_width=WIDE)
    for column in renderable.columns if isinstance(renderable, Table) else ():
        if column.no_wrap:  # rich would cut it before a line is too long
            cells = (column.header, *column.cells)
            widest = max(Measurement.get(on, options, cell).maximum for cell in cells)
            column.min_width = min(widest, column.max_width or widest)
    least, most = Measurement.get(on, options, renderable)
    before, on.width = on.width, max(on.width, least if on.is_terminal else most)
    on.print(renderable)
    on.width = before


def sentences(lines: Iterable[str], on: Console) -> None:
    """Print lines; in a terminal they wrap between words."""
    for line in lines:
        on.print(Text(clean(line)), soft_wrap=not on.is_terminal)

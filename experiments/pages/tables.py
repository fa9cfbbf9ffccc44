"""Tables in a terminal of 80 characters: one look, and as many columns as fit."""

from collections.abc import Sequence
from typing import Any, TypeVar

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from jaxnn.texts import clean

T = TypeVar("T")
MOST_COLUMNS = 8  # of numbers
NOT_MEASURED = "?"  # a cell of a stopped run that was planned; an empty one was not


class _Clean(Table):
    """A table whose cells a terminal does not obey."""

    def add_row(self, *cells: RenderableType | None, **more: Any) -> None:
        super().add_row(*(clean(c) if isinstance(c, str) else c for c in cells), **more)


def table(title: str | None, *heads: str, width: int | None = None) -> Table:
    """Return an empty table: the first column names a line, the others hold numbers.

    Args:
        title: above it, no markup.
        heads: of the columns, no markup.
        width: most characters of the first column; longer names end in an ellipsis.
    """
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

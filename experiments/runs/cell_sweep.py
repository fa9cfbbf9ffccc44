"""Sweeps: cells are measured one after the other, each stored at once, under one view.

A run that was stopped, however it was, continues with the cells that are missing. Ctrl-C finishes
the cell that is being measured; a second one does not wait for it.
"""

import logging
import re
import sys
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol, TypeVar

import polars as pl

from experiments.runs import ahead, progress, signals
from experiments.runs.missing import Missing
from experiments.runs.store import Store
from jaxnn.texts import clean, counted

log = logging.getLogger("jaxnn.experiments")

AHEAD = 4  # cells whose programs are compiled; of a run that is stopped more would be lost
STOPPING = "stopping when this cell is done; again to stop now"

C = TypeVar("C", bound="Cell")
C_co = TypeVar("C_co", bound="Cell", covariant=True)


class Cell(Protocol):
    """One measurement."""

    @property
    def label(self) -> str:
        """A few words for the view."""

    @property
    def place(self) -> dict[str, Any]:
        """The columns of its rows in which cells differ, with its value, or a list of several."""


class Point:
    """A cell that is named by its fields: a base for frozen dataclasses."""

    @property
    def label(self) -> str:
        """The values of the fields, with their names if they are numbers."""
        return ", ".join(
            v if isinstance(v, str) else f"{name} {v}" for name, v in vars(self).items()
        )

    @property
    def place(self) -> dict[str, Any]:
        """The fields with their values."""
        return dict(vars(self))


class Plan(Protocol[C_co]):
    """A plan whose results are rows, cell by cell."""

    @property
    def settings(self) -> Any:
        """With `quiet`."""

    @property
    def cells(self) -> Sequence[C_co]:
        """All of them, in the order of the results."""


def measure(
    plan: Plan[C],
    store: Store,
    measure_cell: Callable[[C], pl.DataFrame],
    prepare: Callable[[C], None] = lambda _: None,
    share: Callable[[C], Hashable] = lambda _: None,
    prepare_last: Callable[[], None] = lambda: None,
    in_words: Callable[[pl.DataFrame], str] | None = None,
) -> tuple[list[pl.DataFrame | None], bool]:
    """Measure the cells that are not stored yet.

    Args:
        plan: with the cells.
        store: where the rows of each cell are stored.
        measure_cell: cell -> rows.
        prepare: begins to compile the programs of a cell, see `ahead`.
        share: what a cell has in common with others, which are measured together.
        prepare_last: begins to compile and to import what is needed after all cells.
        in_words: rows of a cell -> a line, shown when the first cell is measured: its numbers come
            long before those of all.

    Returns:
        The rows of each cell, None of one that is not done, and whether all are.
    """
    cells = plan.cells
    names = [_file_name(i, cell) for i, cell in enumerate(cells)]
    frames = [store.read(name) for name in names]
    if store.broken:
        log.warning("measured again, for their files were broken: %s", ", ".join(store.broken))
    missing = [rows is None for rows in frames]
    if not all(missing):
        log.info("%d of %d cells are there already", missing.count(False), len(cells))
    order = _order(cells, missing, share)
    is_shown = any(missing) and not plan.settings.quiet
    of_all = "" if all(missing) else f" of {len(cells)}"
    words = f"{counted(missing.count(True), 'cell')}{of_all}"
    view = progress.view(words, not is_shown, len(cells), missing.count(False))
    with (
        signals.interruptible(STOPPING) as stopped,
        view as tell,
        ahead.compiling(),
    ):
        for place, i in enumerate(order):
            if stopped:
                break
            tell(cells[i].label)
            for coming in order[place : place + AHEAD]:
                prepare(cells[coming])
            if place == max(len(order) - AHEAD, 0):
                prepare_last()
            rows = frames[i] = measure_cell(cells[i])
            store.write_cell(names[i], rows)
            tell(None)
            if in_words is not None and i == order[0] and is_shown:
                print(f"{clean(cells[i].label)}: {in_words(rows)}", file=sys.stderr, flush=True)
    return frames, all(rows is not None for rows in frames)


def _order(
    cells: Sequence[C], missing: Sequence[bool], share: Callable[[C], Hashable]
) -> list[int]:
    """Return the missing cells, those that share something one after the other."""
    firsts: dict[Hashable, int] = {}
    places = [firsts.setdefault(share(cell), i) for i, cell in enumerate(cells)]
    return sorted((i for i, wanted in enumerate(missing) if wanted), key=places.__getitem__)


def gathered(
    plan: Plan[Any], frames: Sequence[pl.DataFrame | None]
) -> tuple[pl.DataFrame, Missing]:
    """Return the rows of all cells as one table, and which cells have none."""
    places = [cell.place for cell in plan.cells]
    done = [rows is not None for rows in frames]
    return pl.concat([rows for rows in frames if rows is not None]), Missing.of(places, done)


def _file_name(i: int, cell: Cell) -> str:
    """Different for each cell of a sweep, whatever its place is, and no path."""
    values = "-".join(map(str, cell.place.values()))
    return f"{i:05d}-{re.sub('[^a-zA-Z0-9_-]', '_', values)[:100]}"

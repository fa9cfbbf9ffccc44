"""Sweeps: cells are measured one after the other, each stored at once, under one live view.

A thread stores a cell while the next one is measured. A run that was stopped, however it was,
continues with the cells that are missing. Ctrl-C finishes the cell that is being measured; a second
one does not wait for it.
"""

import contextlib
import logging
import re
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import jax
import numpy as np
import polars as pl
from jax.experimental import multihost_utils
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.runs import ahead, runtime, signals
from experiments.runs.missing import Missing
from experiments.runs.store import Store

log = logging.getLogger("jaxnn.experiments")

COMPILING = "/jax/core/compile/"  # what JAX calls the durations of tracing, lowering and compiling
LINE_EVERY = 5.0  # seconds, if the progress is plain lines
# Characters of the live view: from the bar to the time that is left, and how many cells a minute,
# which a narrow terminal has no room for.
BAR_TO_TIME, RATE, RATE_FROM = 50, 40, 110
STOPPING = "stopping when this cell is done; again to stop now"

C = TypeVar("C", bound="Cell")
C_co = TypeVar("C_co", bound="Cell", covariant=True)


class Cell(Protocol):
    """One measurement."""

    @property
    def key(self) -> str:
        """A name of its own among the cells of a run; part of a file name."""

    @property
    def label(self) -> str:
        """A few words for the view."""

    @property
    def place(self) -> dict[str, Any]:
        """The columns of its rows in which cells differ, with its value, or a list of several."""


class Point:
    """A cell that is named by its fields: a base for frozen dataclasses."""

    @property
    def key(self) -> str:
        """The values of the fields, joined."""
        return "-".join(map(str, vars(self).values()))

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


@dataclass
class Clock:
    """Seconds since the start, and how many of them went into compiling, or waiting for it."""

    started: float = field(default_factory=time.perf_counter)
    compiling: float = 0.0

    def __call__(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        """Count a duration that JAX reports, or the wait for a program."""
        if event.startswith(COMPILING) and ahead.in_main_thread():
            self.compiling += duration_secs

    def rate(self, cells: int) -> str:
        """Cells a minute, with the time for compiling apart."""
        seconds = max(time.perf_counter() - self.started, 1e-9)
        return f"{60 * cells / seconds:.0f} cells/min, {self.compiling:.0f} s of it compiling"


def measure(
    plan: Plan[C],
    store: Store | None,
    measure_cell: Callable[[C], pl.DataFrame],
    prepare: Callable[[C], None] = lambda _: None,
    share: Callable[[C], Hashable] = lambda _: None,
    prepare_last: Callable[[], None] = lambda: None,
) -> tuple[list[pl.DataFrame | None], bool]:
    """Measure the cells that are not stored yet.

    Args:
        plan: with the cells.
        store: where the rows of each cell are stored; None in a process that does not write.
        measure_cell: cell -> rows; called in all processes at once.
        prepare: begins to compile the programs of a cell, see `ahead`.
        share: what a cell has in common with others, which are measured together.
        prepare_last: begins to compile what is needed after all cells.

    Returns:
        The rows of each cell, None of one that is not done, and whether all are.

    Raises:
        OSError: the disk, or a process that shares the sweep; what was measured before is stored.
    """
    cells = plan.cells
    names = [_file_name(i, cell.key) for i, cell in enumerate(cells)]
    frames = [None if store is None else store.read(name) for name in names]
    if store is not None and store.broken:
        log.warning("measured again, for their files were broken: %s", ", ".join(store.broken))
    missing = _as_process_0_says([rows is None for rows in frames])
    if store is not None and not all(missing):
        log.info("%d of %d cells are there already", missing.count(False), len(cells))
    firsts: dict[Hashable, int] = {}
    places = [firsts.setdefault(share(cell), i) for i, cell in enumerate(cells)]
    order = sorted((i for i, wanted in enumerate(missing) if wanted), key=lambda i: places[i])
    view = _view(cells, missing, plan.settings.quiet or store is None)
    programs = ahead.coming((cells[i] for i in order), prepare, prepare_last)
    storing: Future[None] | None = None
    with (
        ThreadPoolExecutor(1, "storing") as thread,
        signals.interruptible(STOPPING) as stopped,
        view as tell,
        programs as go_on,
    ):
        for i in order:
            with runtime.together():
                if _as_process_0_says([bool(stopped)])[0]:
                    break
                tell(cells[i])
                go_on()
                rows = frames[i] = measure_cell(cells[i])
            if store is not None:
                if storing is not None:
                    storing.result()
                storing = thread.submit(store.write_cell, names[i], rows)
            tell(None)
    if storing is not None:
        storing.result()
    return frames, all(rows is not None for rows in frames)


def gathered(
    plan: Plan[Any], frames: Sequence[pl.DataFrame | None]
) -> tuple[pl.DataFrame, Missing]:
    """Return the rows of all cells as one table, and which cells have none."""
    places = [cell.place for cell in plan.cells]
    done = [rows is not None for rows in frames]
    return pl.concat([rows for rows in frames if rows is not None]), Missing.of(places, done)


def _file_name(i: int, key: str) -> str:
    """Different for each cell of a sweep, whatever the key is, and no path."""
    return f"{i:05d}-{re.sub('[^a-zA-Z0-9_-]', '_', key)[:100]}"


def _as_process_0_says(flags: list[bool]) -> list[bool]:
    """Flags of process 0: it alone sees the store, and is the one that is interrupted."""
    if jax.process_count() == 1:
        return flags
    agreed = multihost_utils.broadcast_one_to_all(np.asarray(flags, np.int32))
    return [bool(v) for v in np.asarray(agreed)]


Tell = Callable[[Cell | None], None]  # called before a cell with it, and after it with None


@contextlib.contextmanager
def _view(cells: Sequence[Cell], missing: list[bool], quiet: bool) -> Iterator[Tell]:
    """Live progress in a terminal, else lines."""
    clock, console = Clock(), Console(stderr=True)
    jax.monitoring.register_event_duration_secs_listener(clock)
    try:
        if quiet:
            yield lambda _: None
        elif console.is_terminal:
            with _live(console, clock, cells, missing) as tell:
                yield tell
        else:
            yield _Lines(clock, len(cells), missing.count(False))
    finally:
        jax.monitoring.unregister_event_duration_listener(clock)


@contextlib.contextmanager
def _live(
    console: Console, clock: Clock, cells: Sequence[Cell], missing: list[bool]
) -> Iterator[Tell]:
    rate = "{task.fields[rate]}, left" if console.width >= RATE_FROM else "left"
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn(rate),
        TimeRemainingColumn(),
    )
    room = console.width - (BAR_TO_TIME if console.width < RATE_FROM else BAR_TO_TIME + RATE)
    longest = max((len(cell.label) for cell in cells), default=0)
    width = max(min(longest, room), 1)  # the same for all cells, so that the bar does not jump
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(
            "", total=len(cells), completed=missing.count(False), rate=clock.rate(0)
        )
        done = 0

        def tell(cell: Cell | None) -> None:
            nonlocal done
            if cell is None:
                done += 1
                progress.update(bar, advance=1, rate=clock.rate(done))
            else:
                label = cell.label if len(cell.label) <= width else f"{cell.label[: width - 1]}…"
                progress.update(bar, description=label.ljust(width))

        yield tell


class _Lines:
    """Progress as lines, one every few seconds."""

    def __init__(self, clock: Clock, total: int, done: int) -> None:
        self.clock, self.total, self.before = clock, total, done
        self.measured, self.last, self.label = 0, -LINE_EVERY, ""

    def __call__(self, cell: Cell | None) -> None:
        if cell is not None:
            self.label = cell.label
            return
        self.measured += 1
        done, now = self.before + self.measured, time.perf_counter()
        if now - self.last < LINE_EVERY and done < self.total:
            return
        self.last = now
        left = (now - self.clock.started) / self.measured * (self.total - done)
        rate = self.clock.rate(self.measured)
        print(
            f"{done} of {self.total} cells, {rate}, {left:.0f} s left; last {self.label}",
            file=sys.stderr,
            flush=True,
        )

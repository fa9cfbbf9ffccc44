"""Sweeps: cells measured one after the other, each kept at once, under one live view.

A run that was stopped, however it was, goes on with the cells that are missing. Ctrl-C finishes
the cell that is being measured; a second one does not wait for it.
"""

import contextlib
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import jax
import numpy as np
import polars as pl
from jax.experimental import multihost_utils
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.runs import runtime, signals
from experiments.runs.store import Store

log = logging.getLogger("jaxnn.experiments")

COMPILING = "/jax/core/compile/"  # what JAX calls the durations of tracing, lowering and compiling
LINE_EVERY = 5.0  # seconds, where the progress is plain lines
STOPPING = "stopping when this cell is done; again to stop now"


class Cell(Protocol):
    """One measurement."""

    @property
    def key(self) -> str:
        """What it is, in its file's name."""

    @property
    def shown(self) -> str:
        """A few words for the view."""


@dataclass
class Clock:
    """Seconds since the start, and how many of them went into compiling."""

    started: float = field(default_factory=time.perf_counter)
    compiling: float = 0.0

    def __call__(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        """What JAX calls with every duration."""
        if event.startswith(COMPILING):
            self.compiling += duration_secs

    def rate(self, cells: int) -> str:
        """Cells a minute, with the time for compiling apart."""
        seconds = max(time.perf_counter() - self.started, 1e-9)
        return f"{60 * cells / seconds:.0f} cells/min, {self.compiling:.0f} s of it compiling"


def measure(
    store: Store | None,
    cells: Sequence[Cell],
    measure_cell: Callable[[Cell], pl.DataFrame],
    quiet: bool,
) -> tuple[list[pl.DataFrame], bool]:
    """Measures the cells that are not in the store yet.

    Args:
        store: where the rows of each cell are kept; None in a process that does not write.
        cells: all of them.
        measure_cell: what makes rows of a cell; in all processes at once.
        quiet: without a view.

    Returns:
        The rows of every cell that is done, in the order of the cells, and whether that is all.

    Raises:
        OSError: the disk, or a process that shares the sweep; what was measured before is kept.
    """
    names = [_file_name(i, cell.key) for i, cell in enumerate(cells)]
    found = [None if store is None else store.read(name) for name in names]
    if store is not None and store.broken:
        log.warning("measured again, for their files were broken: %s", ", ".join(store.broken))
    missing = _the_same_everywhere([rows is None for rows in found])
    if store is not None and not all(missing):
        log.info("%d of %d cells are there already", missing.count(False), len(cells))
    view = _view(cells, missing, quiet or store is None)
    with signals.interruptible(STOPPING) as stopped, view as seen:
        for i in [i for i, wanted in enumerate(missing) if wanted]:
            with runtime.together():
                if _the_same_everywhere([bool(stopped)])[0]:
                    break
                seen(cells[i])
                rows = found[i] = measure_cell(cells[i])
            if store is not None:
                store.write(names[i], rows)
            seen(None)
    done = [rows for rows in found if rows is not None]
    return done, len(done) == len(cells)


def _file_name(i: int, key: str) -> str:
    """Different for each cell of a sweep, whatever the key is, and no path."""
    return f"{i:05d}-{re.sub('[^a-zA-Z0-9_-]', '_', key)[:100]}"


def _the_same_everywhere(flags: list[bool]) -> list[bool]:
    """What process 0 says: it alone sees the store, and is the one that is interrupted."""
    if jax.process_count() == 1:
        return flags
    said = multihost_utils.broadcast_one_to_all(np.asarray(flags, np.int32))
    return [bool(v) for v in np.asarray(said)]


@contextlib.contextmanager
def _view(
    cells: Sequence[Cell], missing: list[bool], quiet: bool
) -> Iterator[Callable[[Cell | None], None]]:
    """What to call before a cell with it, and after it with None."""
    clock, console = Clock(), Console(stderr=True)
    jax.monitoring.register_event_duration_secs_listener(clock)
    try:
        if quiet:
            yield lambda _: None
        elif console.is_terminal:
            with _live(console, clock, cells, missing) as seen:
                yield seen
        else:
            yield _Lines(clock, len(cells), missing.count(False))
    finally:
        jax.monitoring.unregister_event_duration_listener(clock)


@contextlib.contextmanager
def _live(
    console: Console, clock: Clock, cells: Sequence[Cell], missing: list[bool]
) -> Iterator[Callable[[Cell | None], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}, left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(
            "", total=len(cells), completed=missing.count(False), rate=clock.rate(0)
        )
        done = 0

        def seen(cell: Cell | None) -> None:
            nonlocal done
            if cell is None:
                done += 1
                progress.update(bar, advance=1, rate=clock.rate(done))
            else:
                progress.update(bar, description=cell.shown)

        yield seen


class _Lines:
    """The same as lines, one every few seconds."""

    def __init__(self, clock: Clock, total: int, done: int) -> None:
        self.clock, self.total, self.before = clock, total, done
        self.measured, self.last, self.shown = 0, -LINE_EVERY, ""

    def __call__(self, cell: Cell | None) -> None:
        if cell is not None:
            self.shown = cell.shown.strip()
            return
        self.measured += 1
        done, now = self.before + self.measured, time.perf_counter()
        if now - self.last < LINE_EVERY and done < self.total:
            return
        self.last = now
        left = (now - self.clock.started) / self.measured * (self.total - done)
        rate = self.clock.rate(self.measured)
        print(
            f"{done} of {self.total} cells, {rate}, {left:.0f} s left; last {self.shown}",
            file=sys.stderr,
            flush=True,
        )

"""Progress of what takes long: a live bar in a terminal, else lines now and then."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import jax
from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from experiments.runs import ahead
from jaxnn.texts import clean, counted

COMPILING = "/jax/core/compile/"  # what JAX calls the durations of tracing, lowering and compiling
LINE_EVERY = 5.0  # seconds, if the progress is plain lines
# Characters of the live view: the time that is left, from the bar to that time, and how many cells
# a minute; and of a terminal with room for the bar, and for the rate too.
TIME, BAR_TO_TIME, RATE, BAR_FROM, RATE_FROM = 8, 50, 40, 66, 110


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


Tell = Callable[[str | None], None]  # called before a cell with its label, and after it with None


@contextlib.contextmanager
def view(labels: Sequence[str], done: int, quiet: bool) -> Iterator[Tell]:
    """Yield a function that shows how many cells are done, and which is measured."""
    clock, console = Clock(), Console(stderr=True)
    jax.monitoring.register_event_duration_secs_listener(clock)
    try:
        if quiet:
            yield lambda _: None
        elif console.is_terminal:
            with _live(console, clock, labels, done) as tell:
                yield tell
        else:
            yield _Lines(clock, len(labels), done)
    finally:
        jax.monitoring.unregister_event_duration_listener(clock)


@contextlib.contextmanager
def _live(console: Console, clock: Clock, labels: Sequence[str], done: int) -> Iterator[Tell]:
    count, columns = MofNCompleteColumn(), list[ProgressColumn]()
    if console.width < BAR_FROM:
        room = console.width - 2 * len(str(len(labels))) - 2 - TIME
        columns = [count, TimeRemainingColumn()]
    else:
        rated = console.width >= RATE_FROM
        room = console.width - BAR_TO_TIME - RATE * rated
        rate = TextColumn("{task.fields[rate]}, left" if rated else "left")
        columns = [BarColumn(bar_width=20), count, rate, TimeRemainingColumn()]
    longest = max(map(cell_len, labels), default=0)
    width = max(min(longest, room), 1)  # the same for all cells, so that the bar does not jump
    first = TextColumn("{task.description}", markup=False)
    with Progress(first, *columns, console=console) as progress:
        bar = progress.add_task("", total=len(labels), completed=done, rate=clock.rate(0))
        measured = 0

        def tell(label: str | None) -> None:
            nonlocal measured
            if label is None:
                measured += 1
                progress.update(bar, advance=1, rate=clock.rate(measured))
            else:
                name = Text(clean(label))
                name.truncate(width, overflow="ellipsis", pad=True)
                progress.update(bar, description=name.plain)

        yield tell


class _Lines:
    """Progress as lines, one every few seconds."""

    def __init__(self, clock: Clock, total: int, done: int) -> None:
        self.clock, self.total, self.before = clock, total, done
        self.measured, self.last, self.label = 0, -LINE_EVERY, ""

    def __call__(self, label: str | None) -> None:
        if label is not None:
            if not self.label:
                of_all = f" of {self.total}" if self.before else ""
                cells = counted(self.total - self.before, "cell")
                print(f"{cells}{of_all}, first {clean(label)} …", file=sys.stderr, flush=True)
            self.label = label
            return
        self.measured += 1
        done, now = self.before + self.measured, time.perf_counter()
        if now - self.last < LINE_EVERY and done < self.total:
            return
        self.last = now
        left = (now - self.clock.started) / self.measured * (self.total - done)
        rate = self.clock.rate(self.measured)
        print(
            f"{done} of {counted(self.total, 'cell')}, {rate}, {left:.0f} s left; last "
            f"{clean(self.label)}",
            file=sys.stderr,
            flush=True,
        )


@contextlib.contextmanager
def waiting(words: str, quiet: bool) -> Iterator[Tell]:
    """Yield a function that says what is computed next, while it takes long."""
    console = Console(stderr=True)
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        text = TextColumn("{task.description}", markup=False)
        columns = (SpinnerColumn(), text, TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as line:
            task = line.add_task(words)
            yield lambda label: line.update(task, description=f"{words}: {clean(label or '')}")
    else:
        print(f"{words} …", file=sys.stderr, flush=True)
        last = time.perf_counter()

        def tell(label: str | None) -> None:
            nonlocal last
            if time.perf_counter() - last >= LINE_EVERY:
                last = time.perf_counter()
                print(f"{words}: {clean(label or '')} …", file=sys.stderr, flush=True)

        yield tell

"""Progress of what takes long: rich's live line in a terminal, else lines now and then."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from jaxnn.texts import clean, counted

LINE_EVERY = 5.0  # seconds, if the progress is plain lines

Tell = Callable[[str | None], None]  # called before a step with its label, and after it with None


@contextlib.contextmanager
def view(words: str, quiet: bool, total: int | None = None, done: int = 0) -> Iterator[Tell]:
    """Yield a function that shows which step is next, and how many of `total` are done."""
    console = Console(stderr=True)
    if quiet:
        yield lambda _: None
    elif not console.is_terminal:
        yield _lines(words, total, done)
    else:
        one_line = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        name = TextColumn("{task.description}", markup=False, table_column=one_line)
        bar = (BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
        columns = (SpinnerColumn(), name, *((TimeElapsedColumn(),) if total is None else bar))
        with Progress(*columns, console=console, expand=True, transient=total is None) as live:
            task = live.add_task(words, total=total, completed=done)

            def tell(label: str | None) -> None:
                if label is None:
                    live.advance(task)
                else:
                    before = f"{words}: " if total is None else ""
                    live.update(task, description=before + clean(label))

            yield tell


def _lines(words: str, total: int | None, done: int) -> Tell:
    """Return a function that prints a line every few seconds."""
    _say(f"{words} …")
    begun = last = time.monotonic()
    before, current = done, ""

    def tell(label: str | None) -> None:
        nonlocal done, last, current
        if label is None:
            done += 1
        else:
            current = clean(label)
        now = time.monotonic()
        if (now - last < LINE_EVERY and done != total) or (total and label is not None):
            return
        last = now
        if total is None:
            _say(f"{words}: {current} …")
        else:
            left = (now - begun) / (done - before) * (total - done)
            _say(f"{done} of {counted(total, 'cell')}, {left:.0f} s left; last {current}")

    return tell


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

"""The view of a training run: a live bar, or lines where there is no terminal."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from experiments.learning.measures import METRIC
from experiments.train.loop import Progress, Run

LINE_EVERY = 5.0  # seconds, where the progress is plain lines


def words(run: Run, progress: Progress) -> str:
    """Loss and metric of the last epoch, training first and validation after the stroke."""
    names = ("loss", METRIC[run.net.task.name], "AUC")
    shown = []
    for name, pair in zip(names, progress.measured[progress.epoch].T, strict=True):
        numbers = [f"{v:.3g}" if name == "loss" else f"{v:.3f}" for v in pair if v == v]
        if numbers:
            shown.append(f"{name} {' | '.join(numbers)}")
    return ", ".join(shown)


@contextlib.contextmanager
def view(run: Run, done: int, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """What to call after each epoch."""
    console = Console(stderr=True)
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        with _live(console, run, done) as seen:
            yield seen
    else:
        yield _Lines(run)


@contextlib.contextmanager
def _live(console: Console, run: Run, done: int) -> Iterator[Callable[[Progress], None]]:
    columns = (
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(bar_width=12),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=console) as shown:
        bar = shown.add_task("compiling", total=run.epochs, completed=done)
        yield lambda p: shown.update(bar, completed=p.epoch, description=words(run, p))


class _Lines:
    """The same as lines, one every few seconds; the first epoch, which compiles, is not timed."""

    def __init__(self, run: Run) -> None:
        self.run, self.last = run, 0.0
        self.first: tuple[int, float] | None = None

    def __call__(self, progress: Progress) -> None:
        now, epochs = time.perf_counter(), self.run.epochs
        epoch, begun = self.first = self.first or (progress.epoch, now)
        if now - self.last < LINE_EVERY and progress.epoch < epochs:
            return
        self.last = now
        said = f"epoch {progress.epoch} of {epochs}: {words(self.run, progress)}"
        if progress.epoch > epoch:
            left = (now - begun) / (progress.epoch - epoch) * (epochs - progress.epoch)
            said += f"; {left:.0f} s left"
        print(said, file=sys.stderr, flush=True)

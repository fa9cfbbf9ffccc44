"""The view of a training run: a live bar in a terminal, else lines."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from experiments.learning.measures import METRIC
from experiments.train.loop import Progress, Recipe

LINE_EVERY = 5.0  # seconds, if the progress is plain lines


def words(recipe: Recipe, progress: Progress) -> str:
    """Return loss and metric of the last epoch, training first and validation after the stroke."""
    names = ("loss", METRIC[recipe.net.task.name], "AUC")
    parts = []
    for name, pair in zip(names, progress.measured[progress.epoch].T, strict=True):
        numbers = [f"{v:.3g}" if name == "loss" else f"{v:.3f}" for v in pair if v == v]
        if numbers:
            parts.append(f"{name} {' | '.join(numbers)}")
    return ", ".join(parts)


@contextlib.contextmanager
def view(recipe: Recipe, done: int, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Yield a function to call after each epoch."""
    console = Console(stderr=True)
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        with _live(console, recipe, done) as tell:
            yield tell
    else:
        yield _Lines(recipe)


@contextlib.contextmanager
def _live(console: Console, recipe: Recipe, done: int) -> Iterator[Callable[[Progress], None]]:
    columns = (
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(bar_width=12),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=console) as bars:
        bar = bars.add_task("compiling", total=recipe.epochs, completed=done)
        yield lambda p: bars.update(bar, completed=p.epoch, description=words(recipe, p))


class _Lines:
    """Progress as lines, one every few seconds; the first epoch, which compiles, is not timed."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.last = recipe, 0.0
        self.first: tuple[int, float] | None = None

    def __call__(self, progress: Progress) -> None:
        now, epochs = time.perf_counter(), self.recipe.epochs
        epoch, begun = self.first = self.first or (progress.epoch, now)
        if now - self.last < LINE_EVERY and progress.epoch < epochs:
            return
        self.last = now
        line = f"epoch {progress.epoch} of {epochs}: {words(self.recipe, progress)}"
        if progress.epoch > epoch:
            left = (now - begun) / (progress.epoch - epoch) * (epochs - progress.epoch)
            line += f"; {left:.0f} s left"
        print(line, file=sys.stderr, flush=True)

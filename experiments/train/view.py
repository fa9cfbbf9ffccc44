"""The view of a training run: a live bar in a terminal, else lines."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from experiments.learning.measures import METRIC, fixed
from experiments.train.loop import Progress, Recipe

LINE_EVERY = 5.0  # seconds, if the progress is plain lines
# Characters: of the time that is left, such as 1:23:45; and of a terminal with room for a column.
TIME, EPOCH_FROM, BAR_FROM = 8, 60, 100


def words(recipe: Recipe, progress: Progress, room: int | None = None) -> str:
    """Return loss and metric of the last epoch, training first and validation after the stroke.

    Args:
        recipe: of the training.
        progress: of it.
        room: characters at most: what does not fit is left out from the end on.
    """
    names = ("loss", METRIC[recipe.net.task.name], "AUC")
    parts = []
    for name, pair in zip(names, progress.measured[progress.epoch].T, strict=True):
        numbers = [f"{v:.3g}" if name == "loss" else fixed(v, 3) for v in pair if v == v]
        if numbers:
            parts.append(f"{name} {' | '.join(numbers)}")
    text = ", ".join(parts)
    while room is not None and len(text) > room:
        text = ", ".join(parts := parts[:-1])
    return text


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
    count = 2 * len(str(recipe.epochs)) + 2  # characters, a space after each column included
    columns: list[tuple[int, ProgressColumn]] = [
        (count, MofNCompleteColumn()),
        (TIME, TimeRemainingColumn(compact=True)),
    ]
    if console.width >= EPOCH_FROM:
        columns.insert(0, (6, TextColumn("epoch")))
    if console.width >= BAR_FROM:
        columns.insert(2, (13, BarColumn(bar_width=12)))
    room = console.width - sum(width for width, _ in columns)
    text, first = TextColumn("{task.description}"), "compiling" if room >= len("compiling") else ""
    with Bar(*(column for _, column in columns), text, console=console) as bars:
        bar = bars.add_task(first, total=recipe.epochs, completed=done)
        yield lambda p: bars.update(bar, completed=p.epoch, description=words(recipe, p, room))


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

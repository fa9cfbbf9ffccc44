"""Progress: what the library is at, as its log says.

In a terminal and in a notebook one line, written over and over, with the seconds of its last step;
in a pipe, for a command, lines now and then. What is logged as `LASTING` stays.
"""

import contextlib
import importlib
import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from .interrupts import undivided
from .texts import clean

LASTING = 15  # a level, above steps that the next one writes over
PAUSE = 3.0  # seconds after which a step says how long it takes, and between lines of a pipe
TICK = 0.5  # seconds
NOTEBOOK = 100  # characters of its line


class Line(logging.Handler):
    """The last message of a log: over the one before it, or below it, if that was long ago."""

    # width: the characters of a line that is written over; None if it cannot be.

    def __init__(self, stream: TextIO, width: int | None) -> None:
        super().__init__()
        self.stream, self.width = stream, width
        self.step, self.written = "", ""
        self.begun, self.said = time.monotonic(), -PAUSE

    def emit(self, record: logging.LogRecord) -> None:
        text = clean(record.getMessage())
        if record.levelno == LASTING:
            self.stay(text)
            return
        self.step, self.begun = text, time.monotonic()
        self._show()

    def tick(self) -> None:
        """Show how long the step takes by now."""
        with contextlib.suppress(RuntimeError):  # the interpreter ends
            self.acquire()
            try:
                self._show()
            finally:
                self.release()

    def clear(self) -> None:
        """Take the line away."""
        if self.written and self.width is not None:
            self._write(f"\r{' ' * len(self.written)}\r")
        self.written = ""

    def stay(self, text: str) -> None:
        """Write what is not written over."""
        self.clear()
        self._write(f"{text}\n")

    def replace(self, text: str) -> None:
        """Write a text over the line."""
        self.clear()
        self.written = text
        self._write(text)

    def _show(self) -> None:
        now = time.monotonic()
        seconds = now - self.begun
        text = f"{self.step}: {seconds:.0f} s" if self.step and seconds >= PAUSE else self.step
        if self.width is not None:
            if text[: self.width] != self.written:
                self.replace(text[: self.width])
        elif text and now - self.said >= PAUSE:
            self.said = now
            self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed by the user's code
            self.stream.write(text)
            self.stream.flush()


class NotebookLine(Line):
    """The line in a notebook: one output of the cell, below what stays, and at last without it."""

    # Carriage returns would be saved with the notebook.

    def __init__(self, display: Callable[..., Any]) -> None:
        super().__init__(sys.stdout, NOTEBOOK)
        self.display, self.staying, self.output = display, list[str](), None

    def clear(self) -> None:
        if self.written:
            self.replace("")

    def stay(self, text: str) -> None:
        self.staying.append(text)
        self.replace("")

    def replace(self, text: str) -> None:
        self.written = text
        data = {"text/plain": "\n".join(filter(None, [*self.staying, text]))}
        if self.output is None:
            self.output = self.display(data, raw=True, display_id=True)
        else:
            self.output.update(data, raw=True)


@undivided
def live(*, piped: bool = False) -> Iterator[None]:
    """Show what the library is at, in a terminal or notebook, and, if piped, elsewhere too."""
    log, line = logging.getLogger("jaxnn"), _line(piped)
    if line is None or any(isinstance(handler, Line) for handler in log.handlers):
        yield
        return
    level, ended = log.level, threading.Event()

    def watch() -> None:
        while not ended.wait(TICK):
            line.tick()

    watching = threading.Thread(target=watch, name="progress", daemon=True)
    try:
        log.addHandler(line)
        log.setLevel(logging.DEBUG)
        watching.start()
        yield
    finally:
        ended.set()
        if watching.ident is not None:
            watching.join()
        log.setLevel(level)
        log.removeHandler(line)
        line.clear()


def _line(piped: bool) -> Line | None:
    """Return the line for standard error as it is; None if nothing is shown there."""
    if sys.stderr is None:
        return None
    if sys.stderr.isatty():
        return Line(sys.stderr, shutil.get_terminal_size().columns - 1)
    if type(sys.stdout).__module__.startswith("ipykernel."):
        return NotebookLine(importlib.import_module("IPython.display").display)
    return Line(sys.stderr, None) if piped else None

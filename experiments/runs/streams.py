"""Printing tables and sentences: whole numbers and words at any width; and polars in silence."""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import replace

import polars as pl
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text, TextType

from jaxnn.texts import clean

WIDE = 10_000  # characters, more than any table has
SHORT = 12  # characters of a line's name that are there in the narrowest terminal
DAMAGED = "its data are damaged"
USER_MISTAKE = 2  # the exit code


@contextlib.contextmanager
def without_panics(file: str) -> Iterator[None]:
    """Let polars read a file that may be damaged; "cannot use FILE" begins what is said of it.

    polars is written in Rust, whose panics print a stack before they arrive as an error. If a
    damaged length makes it ask for more memory than there can be, Rust aborts the process instead.

    Raises:
        ValueError: instead of a panic; nothing is printed then.
    """
    unheard = contextlib.nullcontext() if sys.__stderr__ is None else _silent_if_it_fails(file)
    try:
        with unheard:
            yield
    except pl.exceptions.PanicException:
        raise ValueError(DAMAGED) from None


@contextlib.contextmanager
def _silent_if_it_fails(file: str) -> Iterator[None]:
    """Drop what the inside writes to file descriptor 2 if it ends in an error.

    What Python prints on `sys.stderr` arrives nevertheless, such as the last word after Ctrl-C.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)  # whoever writes more than fits is not kept waiting
    python, before = sys.stderr, os.dup(2)
    with os.fdopen(before, "w", 1, python.encoding, "backslashreplace") as sys.stderr:
        os.dup2(told, 2)
        os.close(told)
        try:
            with _last_word(f"error: {file}: {DAMAGED}\n".encode(), before):
                yield
        except BaseException:
            os.dup2(before, 2)
            raise
        else:
            os.dup2(before, 2)
            with os.fdopen(heard, "r", errors="replace", closefd=False) as said:
                python.write(said.read())
        finally:
            sys.stderr = python
            os.close(heard)


@contextlib.contextmanager
def _last_word(sentence: bytes, descriptor: int) -> Iterator[None]:
    """Write an error message and exit with `USER_MISTAKE` if native code aborts the process.

    A Python signal handler would run too late: the process ends as soon as C's handler returns.
    """

    def say(_: int) -> None:
        os.write(descriptor, sentence)
        os._exit(USER_MISTAKE)

    if os.name == "nt":
        yield
        return
    signal_of_c = ctypes.CDLL(None).signal
    signal_of_c.argtypes, signal_of_c.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(say)
    before = signal_of_c(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))
    try:
        yield
    finally:
        signal_of_c(signal.SIGABRT, before)


def console() -> Console:
    """Return a console that prints text as it is."""
    return Console(markup=False, emoji=False, highlight=False)


def table(renderable: RenderableType, on: Console) -> None:
    """Print a table, in a terminal that is too narrow in parts, each with the first column.

    A line is longer than the terminal rather than a number cut. Outside a terminal no line is
    wrapped.
    """
    if isinstance(renderable, Group):
        for part in renderable.renderables:
            table(part, on)
        return
    options = on.options.update(max_width=WIDE)
    if isinstance(renderable, Table):
        for column in renderable.columns:
            if column.no_wrap:  # rich would cut it before a line is too long
                cells = (column.header, *column.cells)
                widest = max(Measurement.get(on, options, cell).maximum for cell in cells)
                column.min_width = min(widest, column.max_width or widest)
    least, most = Measurement.get(on, options, renderable)
    parts: Iterable[RenderableType] = (renderable,)
    if on.is_terminal and least > on.width and isinstance(renderable, Table):
        parts = _parts(renderable, on, options)
    before = on.width
    for part in parts:
        least = Measurement.get(on, options, part).minimum
        on.width = max(before, least if on.is_terminal else most)
        on.print(part)
        on.width = before


def _parts(whole: Table, on: Console, options: ConsoleOptions) -> list[Table]:
    """Return a table in parts, each with the first column and as many others as fit.

    Names are cut where one number has no room next to them, or where that makes fewer parts.
    """
    first, *others = whole.columns

    def part(columns: list[Column], title: TextType | None = None) -> Table:
        made = copy(whole)
        made.title = title
        made.columns = [replace(column, _index=i) for i, column in enumerate(columns)]
        return made

    def excess(columns: list[Column]) -> int:
        return Measurement.get(on, options, part(columns)).minimum - on.width

    def divided(first: Column) -> list[Table]:
        columns = [[first]]
        for column in others:
            if len(columns[-1]) > 1 and excess([*columns[-1], column]) > 0:
                columns.append([first])
            columns[-1].append(column)
        titles = [whole.title, *[None] * (len(columns) - 1)]
        return [part(each, title) for each, title in zip(columns, titles, strict=True)]

    if first.min_width is None:
        return divided(first)
    most = max([0, *(excess([first, column]) for column in others)])
    wide = max(first.min_width - most, min(SHORT, first.min_width))
    found = [
        divided(replace(first, min_width=width, max_width=width))
        for width in (wide, min(wide, max(SHORT, on.width // 2)))
    ]
    return min(found, key=len)


def sentences(lines: Iterable[str], on: Console) -> None:
    """Print lines; in a terminal they wrap between words."""
    for line in lines:
        on.print(Text(clean(line)), soft_wrap=not on.is_terminal)

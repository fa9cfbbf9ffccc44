"""Printing: whole numbers and words at any width, in any encoding, into any pipe."""

import codecs
import contextlib
import io
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

SPELLED = "jaxnn.spelled"  # the error handler of a stream
_SPELLINGS = """
σ sigma  Σ sum  θ theta  Δ Delta  χ chi  ξ xi  μ mu  λ lambda  η eta  α alpha  π pi  Φ Phi  φ phi
∂ d  ± +-  − -  – -  — -  × x  · *  √ sqrt  ‖ ||  ≤ <=  ≥ >=  ≈ ~  → ->  ← <-  ∞ inf  ½ 1/2  ¼ 1/4
─ -  ━ -  ╸ -  ╺ -  │ |  ┃ |  • *  ′ '  ᵀ ^T  ╭ +  ╮ +  ╰ +  ╯ +  “ "  ” "  ’ '
"""
_words = iter(_SPELLINGS.split())
ASCII = dict(zip(_words, _words, strict=True))
WIDE = 10_000  # characters, more than any table has


def spelled(text: str) -> str:
    """Return a text in ASCII.

    Example:
        >>> spelled("‖Δz[1]‖, σ_w ± ½, ŷ²")
        '||Deltaz[1]||, sigma_w +- 1/2, y2'
    """
    return "".join(map(_spelled, text))


def _spelled(character: str) -> str:
    if character in ASCII:
        return ASCII[character]
    letters = "".join(ASCII.get(c, c) for c in unicodedata.normalize("NFKD", character))
    return letters.encode("ascii", "ignore").decode() or "?"


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return spelled(error.object[error.start : error.end]), error.end


class Pipe(io.FileIO):
    """A pipe whose reader may close it early, as `head` does: then the rest is dropped."""

    def write(self, data: Any) -> int:
        """Write bytes, or drop them if nobody reads them any more."""
        try:
            return super().write(data)
        except BrokenPipeError:
            _drop(self.fileno())
            return len(data)


def _drop(fd: int) -> None:
    """Let everything that is written to a file descriptor vanish."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, fd)
    os.close(nowhere)


def prepare() -> None:
    """Let the standard streams print everything, and let a reader close them early.

    What an encoding has not is spelled in ASCII.

    Raises:
        OSError: there is no standard output.
    """
    codecs.register_error(SPELLED, _replace)
    closed = sys.stdout is None
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # and its number would be given to the next file that is opened
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        elif stream.isatty():
            stream.reconfigure(errors=SPELLED)
        else:
            stream.flush()
            raw = io.BufferedWriter(Pipe(stream.fileno(), "w", closefd=False))
            buffering = stream.line_buffering
            setattr(sys, name, io.TextIOWrapper(raw, stream.encoding, SPELLED, None, buffering))
    if closed:
        raise OSError("stdout: expected an open stream, got a closed one; >/dev/null drops it")


@contextlib.contextmanager
def piped() -> Iterator[None]:
    """Print inside, also what is still in the buffer at the end.

    Raises:
        OSError: one sentence, if the disk is full.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        raise dropped(error) from None


def dropped(error: OSError) -> OSError:
    """Return the error message for a standard output that takes no more, and drop the rest."""
    _drop(sys.stdout.fileno())
    return OSError(f"stdout: cannot print: {error.strerror}")


@contextlib.contextmanager
def without_panics() -> Iterator[None]:
    """Let polars read a file that may be damaged.

    polars is written in Rust, whose panics print a stack before they arrive as an error.

    Raises:
        ValueError: instead of a panic; nothing is printed then.
    """
    unheard = contextlib.nullcontext() if sys.__stderr__ is None else _silent_if_it_fails()
    try:
        with unheard:
            yield
    except pl.exceptions.PanicException:
        raise ValueError("its data are damaged") from None


@contextlib.contextmanager
def _silent_if_it_fails() -> Iterator[None]:
    """Drop what the inside writes to file descriptor 2 if it ends in an error."""
    heard, told = os.pipe()
    os.set_blocking(told, False)  # whoever writes more than fits is not kept waiting
    before = os.dup(2)
    os.dup2(told, 2)
    os.close(told)
    try:
        yield
    except BaseException:
        os.dup2(before, 2)
        raise
    else:
        os.dup2(before, 2)
        with os.fdopen(heard, "r", errors="replace", closefd=False) as said:
            sys.stderr.write(said.read())
    finally:
        os.close(before)
        os.close(heard)


def console() -> Console:
    """Return a console that prints text as it is."""
    return Console(markup=False, emoji=False, highlight=False)


def table(renderable: RenderableType, on: Console) -> None:
    """Print a table; a line is longer than the terminal rather than a number or a word cut.

    Outside a terminal no line is wrapped.
    """
    options = on.options.update(max_width=WIDE)
    for column in _columns(renderable):
        if column.no_wrap:  # rich would cut it before a line is too long
            cells = (column.header, *column.cells)
            widest = max(Measurement.get(on, options, cell).maximum for cell in cells)
            column.min_width = min(widest, column.max_width or widest)
    least, most = Measurement.get(on, options, renderable)
    before, on.width = on.width, max(on.width, least if on.is_terminal else most)
    on.print(renderable)
    on.width = before


def _columns(renderable: RenderableType) -> Iterator[Column]:
    if isinstance(renderable, Table):
        yield from renderable.columns
    elif isinstance(renderable, Group):
        for part in renderable.renderables:
            yield from _columns(part)


def sentences(lines: Iterable[str], on: Console) -> None:
    """Print lines; in a terminal they wrap between words."""
    for line in lines:
        on.print(Text(line), soft_wrap=not on.is_terminal)

"""The standard streams of a command: text in any encoding, into any pipe."""

import codecs
import contextlib
import io
import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterator
from typing import Any

from ..texts import head_and_rest

SPELLED = "jaxnn.spelled"  # the error handler of a stream
_SPELLINGS = """
σ sigma  Σ sum  θ theta  Δ Delta  χ chi  ξ xi  μ mu  λ lambda  η eta  α alpha  π pi  Φ Phi  φ phi
∂ d  ± +-  − -  – -  — -  × x  · *  √ sqrt  ‖ ||  ≤ <=  ≥ >=  ≈ ~  → ->  ← <-  ∞ inf  ½ 1/2  ¼ 1/4
─ -  ━ -  ╸ -  ╺ -  │ |  ┃ |  • *  ′ '  ᵀ ^T  ╭ +  ╮ +  ╰ +  ╯ +  “ "  ” "  ’ '
"""
COLOURS = {"red": 31, "green": 32}  # of ECMA-48
_words = iter(_SPELLINGS.split())
ASCII = dict(zip(_words, _words, strict=True))


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
    """Let the standard streams print everything, in ASCII if need be, and a reader close them."""
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
            # Line by line, for whoever reads the pipe while the command goes on.
            setattr(sys, name, io.TextIOWrapper(raw, stream.encoding, SPELLED, None, True))
    if closed:
        raise OSError("stdout: expected an open stream, got a closed one; >/dev/null drops it")


@contextlib.contextmanager
def open_streams() -> Iterator[None]:
    """Have the standard streams again as they were, whatever code inside closes or replaces."""
    streams = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    copies = {}
    for name, stream in streams.items():
        with contextlib.suppress(OSError, ValueError, AttributeError):  # no file, as in a notebook
            fd = stream.fileno()
            copies[name] = (fd, os.dup(fd))
    try:
        yield
    finally:
        for name, stream in streams.items():
            replaced = getattr(sys, name)
            with contextlib.suppress(OSError, ValueError, AttributeError):
                replaced.flush()
            if name in copies:
                os.dup2(copies[name][1], copies[name][0])
                os.close(copies[name][1])
            if name in copies and stream.closed:
                fd = copies[name][0]
                raw = io.BufferedWriter(Pipe(fd, "w", closefd=False))
                stream = io.TextIOWrapper(raw, stream.encoding, stream.errors)
            setattr(sys, name, stream)


def emphasised(sentence: str, colour: str) -> str:
    """Return a sentence whose beginning is bold and coloured in a terminal without NO_COLOR."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return sentence
    head, rest = head_and_rest(sentence)
    return f"\x1b[1;{COLOURS[colour]}m{head}\x1b[0m{rest}"


def width() -> int | None:
    """Return the characters of a line of standard output; None if it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def wrapped(text: str) -> str:
    """Return a text whose lines a terminal has room for, cut between words; elsewhere as it is."""
    room = width()
    if room is None:
        return text
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def printable(text: str) -> str:
    """Return the text as standard output prints it; call `prepare` first."""
    encoding = sys.stdout.encoding
    return text.encode(encoding, SPELLED).decode(encoding)


@contextlib.contextmanager
def piped() -> Iterator[None]:
    """Print inside, also what is still in the buffer at the end; a full disk is one sentence."""
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

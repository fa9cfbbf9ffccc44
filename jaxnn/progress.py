"""Progress: one line of a terminal with what the library is at, as its log says."""

import contextlib
import logging
import shutil
import sys
from collections.abc import Iterator

from .texts import clean


class OneLine(logging.Handler):
    """The last message of a log, over the one before it."""

    def emit(self, record: logging.LogRecord) -> None:
        room = shutil.get_terminal_size().columns - 1
        self.show(clean(record.getMessage())[:room])

    def show(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed by the user's code
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()


@contextlib.contextmanager
def live() -> Iterator[None]:
    """Show in one line of a terminal what the library is at, as its log says; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield
        return
    log, line = logging.getLogger("jaxnn"), OneLine()
    level = log.level
    log.addHandler(line)
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(line)
        line.show("")

"""The file of a watch, `watch.jsonl` in a folder, which one training at a time writes.

    lines -> the folder is held for this training -> appended, each as a whole or not at all

A line that cannot be written, as on a full disk, waits, and is written before the next one.
"""

import errno
import json
import math
import os
from collections import deque
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

from ..texts import clean
from .watched import Line

try:
    import fcntl
except ImportError:  # Windows, where two processes are not told apart
    fcntl = None  # type: ignore[assignment]

FILE = "watch.jsonl"
LOCK = "watch.lock"  # of the process that writes, whose number is in it
MOST_HELD = 16  # folders of a process, each with a descriptor
NOT_FOLLOWED = getattr(os, "O_NOFOLLOW", 0)  # a link, which may lead to a file of the user's
HELD = (errno.EACCES, errno.EAGAIN)  # by another process; a file system without locks has others

# By process, as a fork inherits the file but no lock; that of the last line comes last.
_locks: dict[tuple[int, Path], int] = {}
_writers: dict[Path, "Journal"] = {}  # in each folder the last that this process began


class Journal:
    """The file of one training."""

    def __init__(self, folder: Path):
        self.folder = folder.resolve()  # the program may change its own
        self._start = b""
        self._waiting: deque[bytes] = deque()
        self._refusal = ""

    def check_free(self) -> None:
        """Raise if another process writes to the folder."""
        if not _is_free(self.folder / LOCK):
            raise ValueError(f"folder: expected one for this training alone, got {self._taken()}")

    def append(self, lines: list[Line]) -> None:
        """Write lines, after those that wait.

        Raises:
            OSError: they cannot be written now and wait, or the folder is another training's.
        """
        begins = not self._start
        for line in lines:
            text = encoded(line)
            if line["kind"] == "start":
                self._start = text = b"\n" + text  # a line that a kill cut short ends here
            self._waiting.append(text)
        if not self._waiting:
            return
        self._hold(begins)
        with (self.folder / FILE).open("ab", buffering=0) as file:
            if not file.seek(0, os.SEEK_END) and self._waiting[0] != self._start:
                self._waiting.appendleft(self._start)  # the file was deleted
            while self._waiting:
                _write(file, self._waiting[0])
                self._waiting.popleft()

    def _hold(self, begins: bool) -> None:
        """Hold the folder, from the start of this training to that of another in this process."""
        if begins:
            _writers[self.folder] = self
        if _writers.get(self.folder) is not self:
            folder = clean(str(self.folder))
            self._refusal = f"a later watch of this program writes to {folder}; choose another one"
        elif not self._refusal and not _lock(self.folder / LOCK):
            self._refusal = self._taken()
        if self._refusal:
            self._waiting.clear()
            raise OSError(self._refusal)

    def _taken(self) -> str:
        number = ""
        with suppress(OSError, ValueError):
            number = (self.folder / LOCK).read_text("ascii")
        process = f"process {number}" if number.isdecimal() else "another process"
        folder = clean(str(self.folder))
        return f"{folder}, to which {process} writes; choose another one, or end that process"


def _lock(path: Path) -> bool:
    """Hold a lock until this process ends, or holds many others; False if another one holds it."""
    key = os.getpid(), path
    file = _locks.pop(key, None)
    if file is not None and not (path.exists() and os.path.samestat(os.fstat(file), path.stat())):
        os.close(file)
        file = None
    if file is None:
        file = _opened(path, os.O_CREAT)
        if file is None:  # there is no lock; whether there is a file shows when it is written
            return True
        if not _has_locked(file):
            os.close(file)
            return False
        with suppress(OSError):  # of a full disk
            if not os.read(file, 100).strip(b"0123456789"):  # no other file of this name
                os.truncate(file, 0)
                os.lseek(file, 0, os.SEEK_SET)
                os.write(file, str(os.getpid()).encode())
    _locks[key] = file
    for other in [*_locks][:-MOST_HELD]:
        os.close(_locks.pop(other))
    return True


def _opened(path: Path, flags: int = 0) -> int | None:
    try:
        return os.open(path, os.O_RDWR | NOT_FOLLOWED | flags, 0o666)
    except OSError:
        return None


def _is_free(path: Path) -> bool:
    """Tell whether no other process holds a lock."""
    if (os.getpid(), path) in _locks:  # to close the file anew would let go of it
        return True
    file = _opened(path)
    if file is None:
        return True
    try:
        return _has_locked(file)
    finally:
        os.close(file)


def _has_locked(file: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in HELD
    return True


def _write(file: FileIO, text: bytes) -> None:
    """Append a text to a file; nothing of it if there is no room for all."""
    size = file.seek(0, os.SEEK_END)
    rest = memoryview(text)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        with suppress(OSError):
            file.truncate(size)
        raise


def encoded(line: Line) -> bytes:
    """Return a line of the file."""
    return (
        json.dumps(_plain(line), ensure_ascii=False, allow_nan=False).encode(errors="replace")
        + b"\n"
    )


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; numbers to six digits."""
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if not isinstance(value, float):
        return value
    if math.isnan(value):
        return None
    return float(f"{value:.6g}") if math.isfinite(value) else f"{'-' * (value < 0)}Infinity"

"""The user's code: FILE.py:NAME, run as a script would be, and what goes wrong in it in a sentence.

The folder of the file is importable while the code runs, and every line of it runs with the rights
of the user who gives the command.
"""

import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ..adapters.frames import is_library
from ..texts import clean

MODULE = "diagnosed"  # the __name__ of the file while it runs
ENDING = ".py"
IN_LAYER = "This is in layer"  # jaxnn's note on an error of a layer that is a library's
MOST = 300  # characters of an error message of the user's code
OURS = Path(__file__).resolve().parents[1]


class Source(NamedTuple):
    """A function of a file.

    path: of the file.
    name: of the function.
    code: the content of the file.
    """

    path: Path
    name: str
    code: bytes

    def __str__(self) -> str:
        return f"{self.path.name}:{self.name}"

    @property
    def checksum(self) -> str:
        """The SHA-256 of the file."""
        return hashlib.sha256(self.code).hexdigest()

    def function(self) -> Callable[[], Any]:
        """Run the file and return its function.

        Raises:
            ValueError: it has none of this name.
        """
        module = sys.modules[MODULE]
        exec(compile(self.code, str(self.path), "exec"), vars(module))
        found = vars(module).get(self.name)
        if found is None:
            known = ", ".join(_functions(vars(module))) or "none"
            raise ValueError(
                f"network: {self.path} has no {self.name}; the functions in it are {known}"
            )
        wanted = f"network: expected {self} to be a function without arguments, got "
        if not callable(found):
            raise ValueError(f"{wanted}{type(found).__name__}")
        try:
            inspect.signature(found).bind()
        except TypeError as error:
            raise ValueError(f"{wanted}one with more: {error}") from None
        function: Callable[[], Any] = found
        return function


def _functions(names: dict[str, Any]) -> list[str]:
    """Return the names of the functions that a file itself defines."""
    return [
        name
        for name, value in names.items()
        if isinstance(value, type(_functions)) and value.__module__ == MODULE
    ]


def read(text: str | None) -> Source:
    """Return the source that FILE.py:NAME names; nothing is run.

    Raises:
        ValueError: one sentence.
    """
    file, colon, name = (text or "").rpartition(":")
    if not colon or not name.isidentifier() or not file.endswith(ENDING):
        raise ValueError(
            f"network: expected FILE.py:NAME, a function in a file, got {text or 'none'}; see "
            "diagnose --help"
        )
    path = Path(file)
    try:
        return Source(path.resolve(), name, path.read_bytes())
    except OSError as error:
        raise ValueError(f"network: cannot read {path}: {error.strerror}") from None


@contextmanager
def running(source: Source) -> Iterator[None]:
    """Let the user's code run inside, with the folder of its file in front of `sys.path`.

    Raises:
        ValueError: instead of any error that arises in the user's code or below it, with its type,
            its text, and the file and line of the user's code. Those of jaxnn about its arguments
            stay as they are, and so do errors that are none of the user's.
    """
    before, folder = sys.modules.get(MODULE), str(source.path.parent)
    module = ModuleType(MODULE)
    module.__file__ = str(source.path)
    sys.modules[MODULE] = module
    sys.path.insert(0, folder)
    try:
        yield
    except (Exception, SystemExit) as error:
        sentence = in_words(error, source)
        if sentence is None:
            raise
        raise ValueError(sentence) from None
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
        del sys.modules[MODULE]
        if before is not None:
            sys.modules[MODULE] = before


def in_words(error: BaseException, source: Source) -> str | None:
    """Return the sentence on an error of the user's code; None if it is none of that."""
    text = f"{type(error).__name__}: {_line(str(error))}"
    if isinstance(error, SyntaxError):  # of a file that did not begin to run
        where = f"{Path(error.filename or source.path).name}:{error.lineno or 1}"
        return f"network: {where}: {type(error).__name__}: {_line(error.msg)}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_own(frame.filename, source)]
    if own:
        return f"network: {Path(own[-1].filename).name}:{own[-1].lineno}: {text}"
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(IN_LAYER)]
    if notes:
        return f"network: {text} {' '.join(notes)}"
    here = Path(frames[-1].filename).resolve() if frames else Path()
    return None if here.is_relative_to(OURS) else f"network: {text}"


def _is_own(filename: str, source: Source) -> bool:
    """Tell the user's code from Python's, from that of packages and from ours."""
    if filename.startswith("<"):
        return False
    return Path(filename).resolve() == source.path or not is_library(filename)


def _line(text: str) -> str:
    """Return the first line of a text, printable and not too long."""
    first = text.strip().partition("\n")[0]
    return clean(first if len(first) <= MOST else first[:MOST] + "…")

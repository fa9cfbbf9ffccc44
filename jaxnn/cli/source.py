"""The user's code: FILE.py:NAME, run as a script would be, and its errors as sentences."""

import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ..jaxpr.source_location import is_library
from ..texts import clean
from . import printing

MODULE = "diagnosed"  # the __name__ of the file while it runs
NETWORK = "network"  # the setting that names the file, unless it is another one
ENDING = ".py"
IN_LAYER = "This is in layer"  # jaxnn's note on an error of a layer that is a library's
MOST = 300  # characters of an error message of the user's code
OURS = Path(__file__).resolve().parents[1]


class UserCode(NamedTuple):
    """A function of a file."""

    path: Path
    name: str  # of the function, or of what else the file has
    code: bytes
    setting: str = NETWORK  # that names it, with which each error message starts
    ours: tuple[Path, ...] = (OURS,)  # folders whose code is not the user's

    def __str__(self) -> str:
        return f"{self.path.name}:{self.name}"

    @property
    def checksum(self) -> str:
        """The SHA-256 of the file."""
        return hashlib.sha256(self.code).hexdigest()

    def value(self, known: Callable[[dict[str, Any]], list[str]], what: str) -> Any:
        """Run the file, inside `running`, and return what it has under the name."""
        # known: the names of a file that may be meant, which an error message calls `what`.
        names = vars(sys.modules[MODULE])
        exec(compile(self.code, str(self.path), "exec"), names)
        if names.get(self.name) is None:
            listed = ", ".join(known(names)) or "none"
            raise ValueError(
                f"{self.setting}: {self.path} has no {self.name}; the {what} in it are {listed}"
            )
        return names[self.name]

    def function(self, *arguments: str) -> Callable[..., Any]:
        """Run the file, inside `running`, and return its function, which takes these arguments."""
        found = self.value(_functions, "functions")
        takes = f"of ({', '.join(arguments)})" if arguments else "without arguments"
        wanted = f"{self.setting}: expected {self} to be a function {takes}, got "
        if not callable(found):
            raise ValueError(f"{wanted}{type(found).__name__}")
        try:
            inspect.signature(found).bind(**dict.fromkeys(arguments))
        except TypeError as error:
            got = "one with others" if arguments else "one with more"
            raise ValueError(f"{wanted}{got}: {error}") from None
        function: Callable[..., Any] = found
        return function


def _functions(names: dict[str, Any]) -> list[str]:
    """Return the names of the functions that a file itself defines."""
    return [
        name
        for name, value in names.items()
        if isinstance(value, type(_functions)) and value.__module__ == MODULE
    ]


def read(
    text: str | None,
    setting: str = NETWORK,
    what: str = "a function in a file",
    more: str = "; see diagnose --help",
) -> UserCode:
    """Return the source that FILE.py:NAME names; nothing is run."""
    file, colon, name = (text or "").rpartition(":")
    if file.endswith(".ipynb"):
        raise ValueError(
            f"{setting}: expected FILE.py:NAME, got a notebook; jupyter nbconvert --to script "
            f"{file} makes a .py file of it"
        )
    if not colon or not name.isidentifier() or not file.endswith(ENDING):
        raise ValueError(f"{setting}: expected FILE.py:NAME, {what}, got {text or 'none'}{more}")
    path = Path(file)
    try:
        return UserCode(path.resolve(), name, path.read_bytes(), setting)
    except OSError as error:
        raise ValueError(f"{setting}: cannot read {path}: {error.strerror}") from None


@contextmanager
def running(source: UserCode, module: ModuleType | None = None) -> Iterator[None]:
    """Let the user's code run inside; an error of it is a ValueError with type, text and line."""
    with imported(source, module), printing.open_streams():
        try:
            yield
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            sentence = in_words(error, source)
            # Errors of jaxnn about its arguments stay as they are.
            if sentence is None:
                raise
            raise ValueError(sentence) from None


@contextmanager
def imported(source: UserCode, module: ModuleType | None = None) -> Iterator[ModuleType]:
    """Have the user's file as a module inside, an empty one unless it is given, and its folder."""
    before, folder = sys.modules.get(MODULE), str(source.path.parent)
    if module is None:
        module = ModuleType(MODULE)
        module.__file__, module.__package__ = str(source.path), ""
    sys.modules[MODULE] = module
    sys.path.insert(0, folder)
    try:
        yield module
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
        del sys.modules[MODULE]
        if before is not None:
            sys.modules[MODULE] = before


def in_words(error: BaseException, source: UserCode) -> str | None:
    """Return the sentence on an error of the user's code; None if it is none of that."""
    text = _said(error)
    if isinstance(error, SyntaxError):  # of a file that did not begin to run
        where = f"{Path(error.filename or source.path).name}:{error.lineno or 1}"
        return f"{source.setting}: {where}: {type(error).__name__}: {_line(error.msg)}"
    frames = traceback.extract_tb(error.__traceback__)
    of_the_user = [frame for frame in frames if _is_own(frame.filename, source)]
    if of_the_user:
        last = of_the_user[-1]
        return f"{source.setting}: {Path(last.filename).name}:{last.lineno}: {text}"
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(IN_LAYER)]
    if notes:
        return f"{source.setting}: {text} {' '.join(notes)}"
    return None if arose_in(error, source.ours) else f"{source.setting}: {text}"


def _said(error: BaseException) -> str:
    """Return the type and the text of an error, if it has one."""
    said = ": ".join(filter(None, (type(error).__name__, _line(str(error)))))
    if isinstance(error, SystemExit):
        return f"{said}, which ends a program; leave it out"
    if isinstance(error, ImportError) and "relative import" in said:
        return f"{said}; the file is run as a script, whose folder is importable: leave out the dot"
    return said


def arose_in(error: BaseException, folders: tuple[Path, ...]) -> bool:
    """Tell whether an error was raised by code of one of these folders."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and _is_below(frames[-1].filename, folders)


def _is_below(filename: str, folders: tuple[Path, ...]) -> bool:
    return any(map(Path(filename).resolve().is_relative_to, folders))


def _is_own(filename: str, source: UserCode) -> bool:
    """Tell the user's code from Python's, from that of packages and from ours."""
    if filename.startswith("<"):
        return False
    if Path(filename).resolve() == source.path:
        return True
    return not (is_library(filename) or _is_below(filename, source.ours))


def _line(text: str) -> str:
    """Return the first line of a text, printable and not too long."""
    first = text.strip().partition("\n")[0]
    return clean(first if len(first) <= MOST else first[:MOST] + "…")

"""Whose code a line of a traceback is: the user's, an installed package's, or nobody's own.

Nobody's own is the code of Python, of jaxnn, of JAX and of the frameworks, wherever they lie. Other
packages are told by the folder of an installer: helpers, or a model that is all that a user has.
"""

import sys
import sysconfig
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from traceback import extract_tb
from typing import Any

FRAMEWORKS = (
    *("jaxnn", "jax", "jaxlib", "numpy", "flax", "equinox", "haiku", "keras", "torch"),
    *("optax", "chex", "jaxtyping", "beartype"),
)
INSTALLED = {"site-packages", "dist-packages"}
STDLIB = sysconfig.get_path("stdlib")


def is_library(file: str) -> bool:
    """Tell whether the code of a file is not the user's, as far as its place shows.

    Example:
        >>> import json
        >>> is_library(json.__file__), is_library("/home/me/mine.py")
        (True, False)
    """
    return _is_nobodys(file) or _is_installed(file)


def line_of(error: BaseException) -> str:
    """Return the last line of the user's that an error came through, as in " at mine.py:7"."""
    frames = [v for v in extract_tb(error.__traceback__) if not is_library(v.filename)]
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def origin(frames: Iterable[Any]) -> Any | None:
    """Return the frame, of some from inside out, that an operation is named after, if any."""
    candidates = [frame for frame in frames if not _is_nobodys(frame.file_name)]
    # The innermost one of the user's. If there is none, the user's model was installed as a
    # package: then the outermost one, for the inner ones may be those of helpers.
    of_user = (frame for frame in candidates if not _is_installed(frame.file_name))
    return next(of_user, candidates[-1] if candidates else None)


def _is_nobodys(file: str) -> bool:
    paths = (getattr(sys.modules.get(name), "__path__", ()) for name in FRAMEWORKS)
    if _is_below(file, (folder for folders in paths for folder in folders)):
        return True
    # The folder of packages may lie in that of the standard library.
    return file.startswith("<frozen") or (_is_below(file, (STDLIB,)) and not _is_installed(file))


def _is_installed(file: str) -> bool:
    if any(INSTALLED & {*Path(spelling).parts} for spelling in _spellings(file)):
        return True
    return _is_below(file, (folder for folder in map(str, sys.path) if _is_target(folder)))


def _is_below(file: str, folders: Iterable[str]) -> bool:
    return not _parents(file).isdisjoint(path for folder in folders for path in _spellings(folder))


@cache
def _parents(file: str) -> frozenset[str]:
    return frozenset(str(path) for spelling in _spellings(file) for path in Path(spelling).parents)


@cache
def _spellings(path: str) -> frozenset[str]:
    """Return a path as it is written and with its links followed; none of what is no path."""
    if not path or path.startswith("<"):
        return frozenset()
    return frozenset({str(Path(path)), str(Path(path).resolve())})


@cache
def _is_target(folder: str) -> bool:
    """Tell whether an installer has filled a folder, as with `pip install --target`."""
    return bool(folder) and any(Path(folder).glob("*.dist-info"))

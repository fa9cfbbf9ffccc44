"""The file of a watch, read whatever has become of it.

    bytes -> lines -> each checked against the start before it -> a record of those that are whole

A line that a kill cut short stands at the end of the file or before another start, and is skipped
in silence. Any other that is damaged is skipped with a warning that names it.
"""

import codecs
import json
import math
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import TrainingWarning
from ..flow.formats.ranges import range_of
from ..texts import clean, counted, told
from .journal import FILE
from .step_record import Step
from .watched import PARTS, SCHEMA, Line, Watched

START = b'{"kind": "start"'
MOST_STEP = 2**63 - 1  # of tables
# Of the lists of a start: what each entry has.
PLACES: dict[str, dict[str, type]] = {
    "layers": {"layer": int, "name": str},
    "parameters": {"layer": int, "path": str, "shape": list},
    "heads": {"layer": int, "attention": int, "head": int},
    "experts": {"layer": int, "router": int, "expert": int},
}
# Of a measurement: columns without which it says nothing.
COLUMNS = {"parameters": ("log10_delta", "log10_size", "log10_update")}
TRUTHS = ("lost", "mixes")  # columns of true and false
INFINITE = {"Infinity": math.inf, "-Infinity": -math.inf}
WORDS = {int: "an integer", str: "a text", list: "a list", dict: "an object", bool: "true or false"}


class DamagedError(ValueError):
    """A fault of a line."""


class _CutError(DamagedError):
    """A line that a kill may have cut."""


def read_watch(folder: Path | str) -> Watched:
    """Return the record of a watched training from its folder, even while it is running.

    A damaged line is skipped, with one warning for all, of the category
    `jaxnn.errors.TrainingWarning`.

    Raises:
        FileNotFoundError: a folder without one.
        OSError: one that cannot be read.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn, tempfile
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="tanh", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0))
        >>> folder = tempfile.mkdtemp()
        >>> watch = jaxnn.watch((net, params), every=10, folder=folder)
        >>> watch(0, params, jnp.eye(2, 3), jnp.array([0, 1]))
        >>> watch.flush()
        >>> jaxnn.watching.read_watch(folder).measurements[0]["step"]
        0
    """
    watched, damage = record_of(folder)
    if damage:
        warnings.warn(damage, TrainingWarning, stacklevel=2)
    return watched


def record_of(folder: Path | str) -> tuple[Watched, str]:
    """Return what `read_watch` does, and a sentence on damaged lines; without any it is empty."""
    watched, damage = Watched(), []
    for number, row, may_be_cut in _rows(_content(folder_of(folder))):
        try:
            watched.add(checked_line(row, watched))
        except (DamagedError, RecursionError) as error:
            if not (may_be_cut and isinstance(error, _CutError)):
                damage.append(f"line {number} of {clean(str(Path(folder) / FILE))}: {error}")
    if not damage:
        return watched, ""
    more = f", and {counted(len(damage) - 1, 'more line')}" if damage[1:] else ""
    return watched, f"{damage[0]}, skipped{more}"


def folder_of(folder: Path | str) -> Path:
    """Return a folder as a path."""
    try:
        return Path(folder)
    except TypeError:
        raise TypeError(f"folder: expected a path, got {told(folder)}") from None


def _content(folder: Path) -> bytes:
    path, expected = folder / FILE, "folder: expected that of a watched training, got"
    shown = clean(str(folder))
    try:
        if folder.is_file():
            raise NotADirectoryError(f"{expected} {shown}, a file; hand over the folder it is in")
        if path.exists() and not path.is_file():  # one that is no file may never end
            raise OSError(f"{expected} {shown}, whose {FILE} is no file; choose another folder")
        return path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{expected} {shown}, which has no {FILE}") from None
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(
            f"{expected} {shown}, whose {FILE} cannot be read ({error.strerror}); make it "
            "readable, or choose another folder"
        ) from None


def _rows(content: bytes) -> Iterator[tuple[int, bytes, bool]]:
    """Yield the lines that are not empty: number, text, and whether a kill may have cut it."""
    content = content.removeprefix(codecs.BOM_UTF8)  # of an editor
    rows = [(i, row) for i, row in enumerate(content.split(b"\n"), 1) if row.strip()]
    last = b"" if content.endswith(b"\n") else START
    for (i, row), following in zip(rows, [*(row for _, row in rows[1:]), last], strict=False):
        yield i, row, following.startswith(START)


def checked_line(row: bytes, before: Watched) -> Line:
    """Return a line of the file, checked."""
    try:
        line: Line = json.loads(row.decode())
    except (ValueError, RecursionError):
        is_begun = row.startswith(START[:9])
        raise (_CutError if is_begun else DamagedError)("expected JSON, got none") from None
    kind = line.get("kind") if isinstance(line, dict) else None
    if not isinstance(kind, str) or kind not in _CHECKS:
        raise DamagedError(f"expected kind to be one of {', '.join(_CHECKS)}, got {told(kind)}")
    _CHECKS[kind](line, before)
    return line


def _start(line: Line, before: Watched) -> None:
    if line.get("schema", SCHEMA) != SCHEMA:
        raise DamagedError(f"expected schema {SCHEMA}, got {told(line['schema'])}")
    _check(line, "every", int)
    dtype = _check(line, "dtype", str)
    try:
        range_of(dtype)
    except (TypeError, ValueError):
        raise DamagedError(f"expected a dtype of floats, got {told(dtype)}") from None
    for part, names in PLACES.items():
        for place in _check(line, part, list):
            for name, kind in names.items():
                _check(place if isinstance(place, dict) else {}, name, kind, f"{part}: ")
    if [place["layer"] for place in line["layers"]] != [*range(1, len(line["layers"]) + 1)]:
        raise DamagedError("expected layers counted from 1, got others")


def _measurement(line: Line, before: Watched) -> None:
    if not before.start:
        raise DamagedError("expected a start before the first measurement, got none")
    _check_step(line)
    _check(line, "word", str)
    _check(line, "after", bool)
    line |= {name: _number(line.get(name, ...), name) for name in ("loss", "decades", "total")}
    newer = ("rate", "log10_delta_input")  # which older files lack
    line |= {name: _number(line.get(name), name) for name in newer}
    for part in PARTS:
        columns = _check(line, part, dict)
        # which older files have
        columns = {name: v for name, v in columns.items() if not name.endswith("histogram")}
        line[part] = _columns(columns, part, len(before.start[part]))
        for name in COLUMNS.get(part, ()):
            _check(columns, name, list, f"{part}: ")


def _steps(line: Line, before: Watched) -> None:
    count = len(_check(line, "step", list))
    for step in line["step"]:
        _check_step({"step": step})
    line |= _columns({name: line.get(name, ...) for name in Step._fields}, "steps", count)


def _alarm(line: Line, before: Watched) -> None:
    _check_step(line)
    for name in ("rule", "text", "path", "advice"):
        _check({"advice": ""} | line, name, str)  # which older files lack
    if line.get("layer", ...) is not None:
        _check(line, "layer", int)


_CHECKS = {"start": _start, "measurement": _measurement, "steps": _steps, "alarm": _alarm}


def _check(values: dict[str, Any], name: str, kind: type, where: str = "") -> Any:
    """Return an entry that is of a kind."""
    value = values.get(name, ...)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        got = "none" if value is ... else told(value)
        raise DamagedError(f"{where}expected {WORDS[kind]} as {name}, got {got}")
    if isinstance(value, str) and value.encode(errors="ignore").decode() != value:
        raise DamagedError(f"{where}expected a text as {name}, got halves of characters")
    return value


def _check_step(line: Line) -> None:
    if not 0 <= _check(line, "step", int) <= MOST_STEP:
        raise DamagedError(f"expected a step from 0 to {MOST_STEP}, got {told(line['step'])}")


def _columns(columns: dict[str, Any], part: str, count: int) -> dict[str, list[Any]]:
    """Return columns with numbers that are nan or infinite as such."""
    for name in columns:
        if len(_check(columns, name, list, f"{part}: ")) != count:
            got = counted(len(columns[name]), "number")
            raise DamagedError(f"{part}: expected {count} as {told(name)}, got {got}")
    return {name: [_number(v, name) for v in values] for name, values in columns.items()}


def _number(value: Any, name: str) -> Any:
    if value is None:
        return math.nan
    if isinstance(value, str) and value in INFINITE:
        return INFINITE[value]
    with suppress(OverflowError):  # an integer beyond all floats
        if isinstance(value, bool) == (name in TRUTHS) and isinstance(value, int | float):
            return value if name in TRUTHS else float(value)
    got = "none" if value is ... else told(value)
    raise DamagedError(f"expected a number as {clean(name)}, got {got}")

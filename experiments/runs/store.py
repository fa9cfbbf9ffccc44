"""A run's folder: what is measured is kept cell by cell, and a run goes on where it stopped.

One process at a time holds the folder's lock. What it says of itself, `run.json`, is written first;
a second start with other settings or another version is refused. Each finished cell is a file of
its own in `parts`, written under another name, synced and renamed, with a checksum in its name:
it is whole or it is not there. At the end the parts become `rows.parquet`.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import polars as pl

import jaxnn

ROWS, RUN, PARTS, LOCK = "rows.parquet", "run.json", "parts", ".lock"
UNFINISHED = ".unfinished-*"
SCHEMA_VERSION = 3


class Store:
    """The folder of one run, open for writing.

    Args:
        folder: made where it does not exist.
        what: what the run is, as JSON: a run with another one is not continued.
        names: of the files that the run will leave besides its own, in the folder itself.
        overwrite: throws away a run that the folder holds.

    Raises:
        OSError: the folder cannot be written or another process holds it; or `overwrite` is false
            and it holds another run, or files of these names that no run has written.
    """

    def __init__(
        self, folder: Path, what: dict[str, Any], names: tuple[str, ...], overwrite: bool
    ) -> None:
        self.folder = folder
        self.what = {"schema": SCHEMA_VERSION, "jaxnn": jaxnn.__version__, **what}
        self.broken: list[str] = []
        self._names = names
        self._parts: dict[str, list[Path]] = {}
        self._schema: pl.Schema | None = None
        made = not folder.exists()
        self._lock = filelock.FileLock(folder / LOCK)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise OSError(
                f"out: {folder} is in use by another process; wait for it, or choose another "
                "folder with --out"
            ) from None
        except OSError as error:
            raise OSError(
                f"out: cannot write into {folder}: {error.strerror}; choose another folder with "
                "--out"
            ) from None
        try:
            self._claim(overwrite)
        except BaseException:
            self.close()
            if made:
                shutil.rmtree(folder)
            raise

    def _claim(self, overwrite: bool) -> None:
        parts = self.folder / PARTS
        if overwrite:
            self._clear()
        found = read_run(self.folder)
        if found is None:
            names = (ROWS, *self._names)
            taken = [name for name in names if (self.folder / name).exists()]
            taken += [PARTS] if any(parts.glob("*")) else []
            if taken:
                raise FileExistsError(
                    f"out: {self.folder} already holds {', '.join(taken)}, of no run that can be "
                    "continued; choose another folder with --out, or replace with --overwrite"
                )
        else:
            differing = _differences(found["what"], json.loads(json.dumps(self.what)))
            if differing:
                raise FileExistsError(
                    f"out: {self.folder} holds another run ({differing}); choose another folder "
                    "with --out, or replace it with --overwrite"
                )
        parts.mkdir(exist_ok=True)
        for unfinished in (*self.folder.glob(UNFINISHED), *parts.glob(UNFINISHED)):
            shutil.rmtree(unfinished) if unfinished.is_dir() else unfinished.unlink()
        for part in sorted(parts.glob("*.parquet")):
            self._parts.setdefault(part.name.rsplit(".", 2)[0], []).append(part)
        if found is None:
            self.write_run({"finished": False})

    def _clear(self) -> None:
        if (self.folder / PARTS).exists():
            shutil.rmtree(self.folder / PARTS)
        for name in (RUN, ROWS, *self._names):
            (self.folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Gives the folder back. The file of the lock stays: another may be waiting at it."""
        self._lock.release()

    def read(self, cell: str) -> pl.DataFrame | None:
        """What was measured of a cell, None where that is not there or broken; then it is gone.

        Raises:
            OSError: it cannot be read, or has other columns than the rest.
        """
        for path in self._parts.pop(cell, []):
            try:
                content = path.read_bytes()
            except OSError as error:
                raise OSError(f"out: cannot read {path}: {error.strerror}") from None
            if path.name == _name_of(cell, content):
                with contextlib.suppress(pl.exceptions.PolarsError, pl.exceptions.PanicException):
                    return self._checked(cell, pl.read_parquet(io.BytesIO(content)))
            self.broken.append(path.name)
            path.unlink()
        return None

    def write(self, cell: str, rows: pl.DataFrame) -> None:
        """Keeps what was measured of a cell.

        Raises:
            OSError: the sentence names the file and what the system said; or it has other columns
                than the rest.
        """
        content = _parquet(self._checked(cell, rows))
        path = self.folder / PARTS / _name_of(cell, content)
        write_bytes(path, content)

    def _checked(self, cell: str, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows, which have the columns of all the others."""
        if self._schema is None:
            self._schema = rows.schema
        if rows.schema != self._schema:
            differing = _differences(dict(self._schema), dict(rows.schema), now=f"in {cell}")
            raise OSError(
                f"out: {self.folder / PARTS} holds cells of different columns ({differing}); "
                "choose another folder with --out, or replace the run with --overwrite"
            )
        return rows

    def write_rows(self, rows: pl.DataFrame) -> None:
        """Writes all measurements, one row each, as Parquet."""
        write_parquet(self.folder / ROWS, rows)

    def write_run(self, about: dict[str, Any]) -> None:
        """Writes what the run is, and `about` it on what it ran and what it found, as JSON."""
        text = json.dumps({"what": self.what, **about}, indent=2, ensure_ascii=False, default=str)
        write_file(self.folder / RUN, lambda path: path.write_text(text + "\n", encoding="utf-8"))


def _parquet(rows: pl.DataFrame) -> bytes:
    """In memory first: what polars says of a full disk is no OSError."""
    content = io.BytesIO()
    rows.write_parquet(content)
    return content.getvalue()


def _name_of(cell: str, content: bytes) -> str:
    checksum = hashlib.sha256(cell.encode() + content).hexdigest()  # nor is it another cell's
    return f"{cell}.{checksum[:16]}.parquet"


def _differences(
    found: dict[str, Any], wanted: dict[str, Any], inside: str = "", now: str = "now"
) -> str:
    """What differs, in a few words: `width 64 there, 128 now`."""
    words = []
    for name in dict.fromkeys((*found, *wanted)):
        old, new = found.get(name), wanted.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            words.append(_differences(old, new, f"{inside}{name}.", now))
        elif old != new:
            words.append(f"{inside}{name} {_shown(old)} there, {_shown(new)} {now}")
    return "; ".join(word for word in words if word)


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) and value else str(value)


def read_run(folder: Path) -> dict[str, Any] | None:
    """What the run in a folder says of itself, None where there is none.

    Raises:
        OSError: it cannot be read, or is no description of a run.
    """
    path = folder / RUN
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OSError(f"out: cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        found = None
    members = found if isinstance(found, dict) else {}
    if not isinstance(members.get("what"), dict) or not isinstance(members.get("finished"), bool):
        raise OSError(
            f"out: {path} is not what a run says of itself; choose another folder with --out, or "
            "replace the run with --overwrite"
        )
    return members


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Has `write` fill a temporary neighbour, syncs and renames it: a file is whole or not there.

    The neighbour keeps the name's ending, by which writers tell formats apart.

    Raises:
        OSError: the sentence names the file and what the system said.
    """
    temporary = path.with_name(UNFINISHED.replace("*", path.name))
    try:
        write(temporary)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        raise OSError(f"out: cannot write {path}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Has a file with this content, whole or not there.

    Raises:
        OSError: as `write_file`.
    """
    write_file(path, lambda temporary: temporary.write_bytes(content))


def write_parquet(path: Path, rows: pl.DataFrame) -> None:
    """The same with a table as Parquet."""
    write_bytes(path, _parquet(rows))


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

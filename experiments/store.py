"""A run's folder: what is measured is kept cell by cell, and a run goes on where it stopped.

One process at a time holds the folder's lock. What it says of itself, `run.json`, is written first;
a second start with other settings or another version is refused. Each finished cell is a file of
its own in `parts`, written under another name, synced and renamed, with its checksum in its name:
it is whole or it is not there. At the end the parts become `rows.parquet`.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import polars as pl

import jaxnn

ROWS, RUN, PARTS, LOCK = "rows.parquet", "run.json", "parts", ".lock"
SCHEMA_VERSION = 2


class Store:
    """The folder of one run, open for writing.

    Args:
        folder: made where it does not exist.
        what: what the run is, as JSON: a run with another one is not continued.
        names: of the files that the run will leave besides its own.
        overwrite: throws away a run that the folder holds.

    Raises:
        OSError: the folder cannot be written, another process holds it, it holds files of these
            names that no run has written, or another run and `overwrite` is false.
    """

    def __init__(
        self, folder: Path, what: dict[str, Any], names: tuple[str, ...], overwrite: bool
    ) -> None:
        self.folder = folder
        self.what = {"schema": SCHEMA_VERSION, "jaxnn": jaxnn.__version__, **what}
        self.broken: list[str] = []
        self._names = names
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
        found = read_run(self.folder)
        if overwrite:
            self._clear()
        elif found is None:
            taken = [name for name in (ROWS, *self._names) if (self.folder / name).exists()]
            if taken:
                raise FileExistsError(
                    f"out: {self.folder} already holds {', '.join(taken)}, of no run that can be "
                    "continued; choose another folder with --out, or replace with --overwrite"
                )
        else:
            differing = _differences(found.get("what", {}), json.loads(json.dumps(self.what)))
            if differing:
                raise FileExistsError(
                    f"out: {self.folder} holds another run ({differing}); choose another folder "
                    "with --out, or replace it with --overwrite"
                )
            for left in self.folder.rglob(".unfinished-*"):
                left.unlink()
            return
        (self.folder / PARTS).mkdir(exist_ok=True)
        self.write_run({"finished": False})

    def _clear(self) -> None:
        shutil.rmtree(self.folder / PARTS, ignore_errors=True)
        for name in (RUN, ROWS, *self._names):
            (self.folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Gives the folder back. The file of the lock stays: another may be waiting at it."""
        self._lock.release()

    def read(self, cell: str) -> pl.DataFrame | None:
        """What was measured of a cell, None where that is not there or broken; then it is gone."""
        for path in (self.folder / PARTS).glob(f"{cell}.*.parquet"):
            content = path.read_bytes()
            if path.name == _name_of(cell, content):
                return pl.read_parquet(io.BytesIO(content))
            self.broken.append(path.name)
            path.unlink()
        return None

    def write(self, cell: str, rows: pl.DataFrame) -> None:
        """Keeps what was measured of a cell.

        Raises:
            OSError: the sentence names the file and what the system said.
        """
        content = io.BytesIO()
        rows.write_parquet(content)
        path = self.folder / PARTS / _name_of(cell, content.getvalue())
        write_file(path, lambda temporary: temporary.write_bytes(content.getvalue()))

    def write_rows(self, rows: pl.DataFrame) -> None:
        """Writes all measurements, one row each, as Parquet."""
        write_file(self.folder / ROWS, rows.write_parquet)

    def write_run(self, about: dict[str, Any]) -> None:
        """Writes what the run is, and `about` it on what it ran and what it found, as JSON."""
        text = json.dumps({"what": self.what, **about}, indent=2, ensure_ascii=False, default=str)
        write_file(self.folder / RUN, lambda path: path.write_text(text + "\n", encoding="utf-8"))


def claim(folder: Path, names: tuple[str, ...], overwrite: bool) -> None:
    """Makes the folder and makes sure that files of these names can be written into it.

    Raises:
        OSError: it holds one of them already and `overwrite` is false, or it cannot be written.
    """
    taken = [name for name in names if (folder / name).exists()]
    if taken and not overwrite:
        raise FileExistsError(
            f"out: {folder} already holds a run ({', '.join(taken)}); "
            "choose another folder with --out, or replace it with --overwrite"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"out: cannot write into {folder}: {error.strerror}; choose another folder with --out"
        ) from None


def write_rows(folder: Path, rows: pl.DataFrame) -> None:
    """Writes the measurements, one row each, as Parquet."""
    write_file(folder / ROWS, rows.write_parquet)


def write_run(folder: Path, run: dict[str, Any]) -> None:
    """Writes settings, versions, devices and verdicts as JSON."""
    text = json.dumps({"schema": SCHEMA_VERSION, **run}, indent=2, ensure_ascii=False, default=str)
    write_file(folder / RUN, lambda path: path.write_text(text + "\n", encoding="utf-8"))


def _name_of(cell: str, content: bytes) -> str:
    return f"{cell}.{hashlib.sha256(content).hexdigest()[:16]}.parquet"


def _differences(found: dict[str, Any], wanted: dict[str, Any], inside: str = "") -> str:
    """What differs, in a few words: `width 64 there, 128 now`."""
    words = []
    for name in dict.fromkeys((*found, *wanted)):
        there, now = found.get(name), wanted.get(name)
        if isinstance(there, dict) and isinstance(now, dict):
            words.append(_differences(there, now, f"{inside}{name}."))
        elif there != now:
            words.append(f"{inside}{name} {_shown(there)} there, {_shown(now)} now")
    return "; ".join(word for word in words if word)


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) and value else str(value)


def read_run(folder: Path) -> dict[str, Any] | None:
    """What the run in a folder says of itself, None where there is none.

    Raises:
        OSError: it cannot be read, or is no description of a run.
    """
    try:
        found = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise OSError(f"{folder / RUN}: cannot be read: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("what"), dict):
        raise OSError(f"{folder / RUN}: expected the description of a run, made by this program")
    return found


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Has `write` fill a temporary neighbour, syncs and renames it: a file is whole or not there.

    The neighbour keeps the name's ending, by which writers tell formats apart.

    Raises:
        OSError: the sentence names the file and what the system said.
    """
    temporary = path.with_name(f".unfinished-{path.name}")
    try:
        write(temporary)
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise OSError(f"out: cannot write {path}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

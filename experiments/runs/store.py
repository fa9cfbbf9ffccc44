"""The folder of a run: measurements are stored cell by cell, and a stopped run continues.

One process at a time holds the folder's lock. The description of the run, `run.json`, is written
first; a second start with other settings or another version is refused. Each finished cell is a
file of its own in `parts`, written atomically, with a checksum in its name: it is whole or it is
not there. At the end the parts become `rows.parquet`, and `run.json` gets the SHA-256 of every file
that the run has written, by which a file that was changed since is told.
"""

import contextlib
import errno
import hashlib
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import filelock
import polars as pl

import jaxnn
from experiments.runs import files

ROWS, RUN, PARTS, LOCK = "rows.parquet", "run.json", "parts", ".lock"
# The parts of a run: cells. Nothing else in `parts` is touched.
CELL = re.compile(r".+\.[0-9a-f]{16}\.parquet")
DIGESTS = "sha256"  # the entry of run.json with the digests of the files
SCHEMA_VERSION = 3


class Store:
    """The folder of one run, open for writing; OSError says why it cannot be.

    A run with another identity `what`, or files of these `names` that no run has written, are
    replaced only with `overwrite`.
    """

    def __init__(
        self, folder: Path, what: dict[str, Any], names: tuple[str, ...], overwrite: bool
    ) -> None:
        self.folder = folder
        self.what = {"schema": SCHEMA_VERSION, "jaxnn": jaxnn.__version__, **what}
        self.broken: list[str] = []  # names of parts that were found broken, and deleted
        self.changed: list[str] = []  # names of files that were changed since the run wrote them
        self._digests: dict[str, str] = {}
        self._described: dict[str, Any] | None = None  # run.json, until a file is written anew
        self._names = names
        self._parts: dict[str, list[Path]] = {}
        self._schema: pl.Schema | None = None
        self._lock = filelock.FileLock(folder / LOCK)
        try:
            created = _is_new(folder)
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise OSError(
                f"out: {folder} is in use by another process; wait for it, or choose another "
                "folder with --out"
            ) from None
        except OSError as error:
            name = str(folder)
            raise OSError(
                f"out: cannot write into {name if len(name) <= 200 else name[:200] + '…'}: "
                f"{error.strerror or error}; choose another folder with --out"
            ) from None
        try:
            self._claim(overwrite)
        except BaseException:
            self.close()
            if created:
                shutil.rmtree(folder)
            raise

    def _claim(self, overwrite: bool) -> None:
        parts = self.folder / PARTS
        if overwrite:
            self._clear()
        stored = _may_continue(self.folder, self.what, self._names)
        parts.mkdir(exist_ok=True)
        for unfinished in (*self.folder.glob(files.UNFINISHED), *parts.glob(files.UNFINISHED)):
            unfinished.unlink()
        for part in _own(parts):
            self._parts.setdefault(part.name.rsplit(".", 2)[0], []).append(part)
        if stored is None:
            self.write_run({"finished": False})
        elif DIGESTS in stored:
            self.changed = changed(self.folder, stored)
            self._described = {n: v for n, v in stored.items() if n not in ("what", DIGESTS)}

    def _clear(self) -> None:
        """Delete what a run has written, and nothing else."""
        try:
            for part in _own(self.folder / PARTS):
                part.unlink()
            for name in (RUN, ROWS, *self._names):
                (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise OSError(
                f"out: cannot replace {error.filename}: {error.strerror}; choose another folder "
                "with --out"
            ) from None

    def close(self) -> None:
        """Release the folder. The lock's file stays: another process may be waiting for it."""
        self._lock.release()

    def read(self, cell: str) -> pl.DataFrame | None:
        """Return the stored rows of a cell; None if missing or broken, which deletes them."""
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

    def write_cell(self, cell: str, rows: pl.DataFrame) -> None:
        """Store the rows of a cell."""
        content = files.parquet(self._checked(cell, rows))
        files.write(self.folder / PARTS / _name_of(cell, content), content)

    def _checked(self, cell: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows; their columns must be those of all other cells."""
        if self._schema is None:
            self._schema = rows.schema
        if rows.schema != self._schema:
            differing = _differences(dict(self._schema), dict(rows.schema), now=f"in {cell}")
            raise OSError(
                f"out: {self.folder / PARTS} holds cells of different columns ({differing}); "
                "choose another folder with --out, or replace the run with --overwrite"
            )
        return rows

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the run."""
        if self._described is not None and name != RUN:  # which would not be true any more
            described, self._described = self._described, None
            self.write_run(described)
        files.write(self.folder / name, content)
        self._digests[name] = hashlib.sha256(content).hexdigest()

    def remove(self, name: str) -> None:
        """Delete a file of the run that is of before, if there is one."""
        self._digests.pop(name, None)
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise OSError(f"out: cannot delete {error.filename}: {error.strerror}") from None

    def write_run(self, about: dict[str, Any]) -> None:
        """Write run.json: the run's identity, and `about` its machine and results."""
        digests = {name: digest for name, digest in self._digests.items() if name != RUN}
        about = {**about, **({DIGESTS: digests} if digests else {})}
        text = json.dumps({"what": self.what, **about}, indent=2, ensure_ascii=False, default=str)
        self.write(RUN, (text + "\n").encode("utf-8"))


def _may_continue(
    folder: Path, what: dict[str, Any], names: tuple[str, ...]
) -> dict[str, Any] | None:
    """Return the run.json of the run that a folder holds, None if it holds none."""
    stored = read_run(folder)
    if stored is None:
        taken = [name for name in (ROWS, *names) if (folder / name).exists()]
        taken += [PARTS] if _own(folder / PARTS) else []
        if taken:
            raise FileExistsError(
                f"out: {folder} already holds {', '.join(taken)}, of no run that can be "
                "continued; choose another folder with --out, or replace with --overwrite"
            )
        return None
    differing = _differences(stored["what"], json.loads(json.dumps(what)))
    if differing:
        raise FileExistsError(
            f"out: {folder} holds another run ({differing}); choose another folder with --out, or "
            "replace it with --overwrite"
        )
    return stored


def _own(parts: Path) -> list[Path]:
    """The parts that runs have written, sorted."""
    return sorted(p for p in parts.glob("*") if CELL.fullmatch(p.name))


def _is_new(folder: Path) -> bool:
    """Return whether a folder is still to be created."""
    if folder.is_symlink() and not folder.exists():
        raise OSError(errno.ENOENT, "it is a link to nothing")
    if folder.resolve() == Path(folder.resolve().anchor):
        raise OSError(errno.EPERM, "it is the root of all files")
    return not folder.exists()


def _name_of(cell: str, content: bytes) -> str:
    # The checksum covers the name too: a renamed part is not another cell's.
    checksum = hashlib.sha256(cell.encode() + content).hexdigest()
    return f"{cell}.{checksum[:16]}.parquet"


def _differences(
    stored: dict[str, Any], wanted: dict[str, Any], inside: str = "", now: str = "now"
) -> str:
    """Differing entries in a few words: `width 64 there, 128 now`."""
    words = []
    for name in dict.fromkeys((*stored, *wanted)):
        old, new = stored.get(name), wanted.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            words.append(_differences(old, new, f"{inside}{name}.", now))
        elif old != new:
            words.append(f"{inside}{name} {_in_words(old)} there, {_in_words(new)} {now}")
    return "; ".join(word for word in words if word)


def _in_words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) and value else str(value)


def changed(folder: Path, run: dict[str, Any]) -> list[str]:
    """Return the names of files that are not as the run wrote them, by the digests that it has."""
    digests = run.get(DIGESTS)
    found = []
    for name, digest in (digests if isinstance(digests, dict) else {}).items():
        path = folder / name
        if Path(name).name == name and path.is_file():
            try:
                with path.open("rb") as file:
                    same = hashlib.file_digest(file, "sha256").hexdigest() == digest
            except OSError:  # as unreadable as it is, it is reported by what needs it
                continue
            if not same:
                found.append(name)
    return found


def not_as_written(path: Path) -> str:
    """Return the sentence on a file that was changed since a run wrote it."""
    return f"{path} is not as the run wrote it: its SHA-256 is another than {RUN} has"


def read_run(folder: Path) -> dict[str, Any] | None:
    """Return the run.json of a folder, None if there is none."""
    path = folder / RUN
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OSError(f"out: cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        content = None
    members = content if isinstance(content, dict) else {}
    if not isinstance(members.get("what"), dict) or not isinstance(members.get("finished"), bool):
        raise OSError(
            f"out: {path} does not describe a run; choose another folder with --out, or replace "
            "the run with --overwrite"
        )
    return members

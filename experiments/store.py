"""A run's folder: claimed before the work, filled after it, never written over unasked."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

ROWS, RUN = "rows.parquet", "run.json"
SCHEMA_VERSION = 1


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


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Has `write` fill a temporary neighbour, then renames it: a file is whole or not there.

    The neighbour keeps the name's ending, by which writers tell formats apart.

    Raises:
        OSError: the sentence names the file and what the system said.
    """
    temporary = path.with_name(f".unfinished-{path.name}")
    try:
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        raise OSError(f"out: cannot write {path}: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_rows(folder: Path, rows: pl.DataFrame) -> None:
    """Writes the measurements, one row each, as Parquet."""
    write_file(folder / ROWS, rows.write_parquet)


def write_run(folder: Path, run: dict[str, Any]) -> None:
    """Writes settings, versions, devices and verdicts as JSON."""
    text = json.dumps({"schema": SCHEMA_VERSION, **run}, indent=2, ensure_ascii=False, default=str)
    write_file(folder / RUN, lambda path: path.write_text(text + "\n", encoding="utf-8"))

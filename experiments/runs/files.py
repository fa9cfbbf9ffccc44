"""Files that are whole or not there, whatever happens while they are written."""

import contextlib
import io
import os
from pathlib import Path

import polars as pl

UNFINISHED = ".unfinished-*"  # the name of a file while it is written


def write(path: Path, content: bytes) -> None:
    """Write a file atomically: temporary file in the same folder, fsync, rename."""
    temporary = path.with_name(UNFINISHED.replace("*", path.name))
    try:
        temporary.write_bytes(content)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        raise OSError(f"out: cannot write {path}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def parquet(rows: pl.DataFrame) -> bytes:
    """Return a table as Parquet; in memory, for polars reports a full disk as no OSError."""
    content = io.BytesIO()
    rows.write_parquet(content)
    return content.getvalue()


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

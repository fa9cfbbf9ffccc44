"""Kinds of files: those that are read, by their endings, and what to do with others."""

import gzip
import shlex
from pathlib import Path

from experiments.learning import limits

TEXTS = (".csv", ".tsv")
PACKED = tuple(f"{ending}.gz" for ending in TEXTS)
ENDINGS = (*TEXTS, *PACKED, ".parquet", ".npz")
BY_POLARS = {".feather": "read_ipc", ".arrow": "read_ipc", ".ipc": "read_ipc", ".json": "read_json",
             ".jsonl": "read_ndjson", ".ndjson": "read_ndjson", ".avro": "read_avro"}  # fmt: skip
SHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
MAGIC = {
    b"PK\x03\x04": "a zip archive or a workbook; save the sheet as CSV, or unpack the archive with "
    "python -m zipfile -e",
    b"\x1f\x8b": "packed by gzip; let its name end in .csv.gz",
    b"PAR1": "a Parquet file; let its name end in .parquet",
    b"ARROW1": "an Arrow file; let its name end in .feather, and the error message says more",
    b"\xd0\xcf\x11\xe0": "an old workbook; save the sheet as CSV",
    b"%PDF": "a PDF; save its table as CSV",
    b"\x89HDF": "an HDF5 file; save its table as CSV or Parquet",
    b"SQLite format 3": "a database; save its table as CSV or Parquet",
}


def ending_of(path: Path) -> str:
    """Return the one of `ENDINGS` that the name of a file has; empty if it has none."""
    name = path.name.lower()
    return next((ending for ending in ENDINGS if name.endswith(ending)), "")


def not_read(path: Path) -> str:
    """Return how a file that is there, of another kind, becomes one that is read."""
    last = path.suffix.lower()
    if last in BY_POLARS:
        to = str(path.with_suffix(".parquet"))
        call = f"polars.{BY_POLARS[last]}({str(path)!r}).write_parquet({to!r})"
        return f"convert it: python -c {shlex.quote(f'import polars; {call}')}"
    if last in SHEETS:
        return "save its sheet as CSV, in UTF-8"
    if last == ".zip":
        return f"unpack it: python -m zipfile -e {shlex.quote(str(path))} ."
    if last == ".npy":
        return "it is one array without a name; numpy.savez writes a table, a .npz file"
    return "if it is a text with a row a line, let its name end in .csv, else save its table as CSV"


def unpacked(path: Path) -> bytes:
    """Return the content of a text, packed by gzip or not.

    Raises:
        ValueError: it is larger than `limits.MOST_BYTES`, or something else than a text.
        OSError, EOFError: it is no sound archive.
    """
    size = path.stat().st_size
    if not path.name.lower().endswith(".gz"):
        content = b"" if size > limits.MOST_BYTES else path.read_bytes()
    else:
        with gzip.open(path) as file:
            content = file.read(limits.MOST_BYTES + 1)
        size = len(content)
    if size > limits.MOST_BYTES:
        raise ValueError(
            f"it has {size / 1e9:.3g} GB; expected at most {limits.MOST_BYTES / 1e9:.3g}"
        )
    for magic, what in MAGIC.items():
        if content.startswith(magic):
            raise ValueError(f"it is no text but {what}")
    return content

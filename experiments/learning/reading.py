"""Files as tables of typed columns: CSV as people write it, Parquet, NPZ.

`bytes -> records -> separator, header -> texts -> numbers, truth values, dates or texts`. Of
Parquet and NPZ the header is read before the data. All that is wrong becomes one sentence, which
quotes little of the file.
"""

import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import polars as pl

from experiments.learning import limits
from experiments.learning.arrays import read_npz
from experiments.learning.entries import columns_of, decimal_sign, typed_column
from experiments.learning.limits import check_names, check_size
from experiments.learning.records import (
    check_encoding,
    fields_of,
    in_utf8,
    recognised,
    records,
    spoken,
    utf8,
    without_comments,
)
from experiments.learning.words import quoted, short
from experiments.runs import streams

TEXTS = (".csv", ".tsv")
ENDINGS = (*TEXTS, ".parquet", ".npz")
SEPARATOR_NAMES = {"tab": "\t", "\\t": "\t"}
SEPARATOR_LINE = re.compile(rb"sep=([^\w\s]|\t)(?=\r?\n)")
BROKEN = (
    *(ValueError, OSError, EOFError, NotImplementedError, RuntimeError, MemoryError),
    *(SyntaxError, TypeError, OverflowError, RecursionError),
    *(zlib.error, zipfile.BadZipFile),
    *(pl.exceptions.PolarsError, pl.exceptions.PanicException),
)  # that a file which is broken, or made to break its reader, raises


@dataclass(frozen=True)
class Reading:
    """Options of reading a text file."""

    separator: str | None = None
    """Between the columns of a .csv file: a character, or tab; recognised by default."""
    decimal: str | None = None
    """Decimal sign in a .csv file, a point or a comma; recognised by default."""
    encoding: str | None = None
    """Encoding of a .csv file, such as cp1252; by default UTF-8, or what its first bytes say."""


class File(NamedTuple):
    """The columns of a file: numbers, truth values, dates and texts; and how it was read.

    notes: what is unusual about it, in a few words each.
    """

    frame: pl.DataFrame
    notes: list[str]


def read(path: Path, how: Reading | None = None, texts: Sequence[str] = ()) -> File:
    """Return the columns of a file.

    Args:
        path: of a file whose name ends as `ENDINGS` says.
        how: separator, decimal sign and encoding of a .csv file.
        texts: names of columns of a .csv file to leave as texts, whatever they hold.

    Raises:
        ValueError: the file does not exist, or it holds no table.
    """
    how = how or Reading()
    if path.is_dir():
        raise ValueError(f"data: expected a file, got the folder {path}")
    if not path.is_file():
        raise ValueError(f"data: there is no file {path}")
    ending = path.suffix.lower()
    if ending not in TEXTS:
        for name in ("separator", "decimal", "encoding"):
            if getattr(how, name) is not None:
                raise ValueError(f"{name}: expected with a .csv file only, got {path.name}")
    how = _checked(how)
    try:
        with path.open("rb") as file:
            first = file.read(1)
    except OSError as error:
        raise ValueError(f"data: cannot read {path}: {error.strerror}") from None
    try:
        if not first:
            raise ValueError("it is empty")
        if ending in TEXTS:
            read_in = _read_csv(path, how, texts)
        elif ending == ".parquet":
            with streams.without_panics(f"data: cannot use {path}"):
                read_in = _read_parquet(path)
        else:
            read_in = File(read_npz(path), [])
        if read_in.frame.height == 0:
            raise ValueError("it holds no rows")
    except BROKEN as error:
        reason = str(error).strip().partition("\n")[0]
        if not isinstance(error, ValueError):  # not in our words
            reason = f"it is no sound {ending} file ({short(reason) or type(error).__name__})"
        raise ValueError(f"data: cannot use {path}: {reason}") from None
    return read_in


def _checked(how: Reading) -> Reading:
    """Return options with the separator as a character."""
    separator = SEPARATOR_NAMES.get(how.separator or "", how.separator)
    if separator is not None and not re.fullmatch(r"[\t !$-*,/:-@\[-`{-~]", separator):
        raise ValueError(
            f"separator: expected a character such as ; or |, or tab, got {quoted(separator)}"
        )
    if how.decimal not in (None, ".", ","):
        raise ValueError(f"decimal: expected '.' or ',', got {quoted(how.decimal)}")
    if how.encoding is not None:
        check_encoding(how.encoding)
    return replace(how, separator=separator)


def _read_csv(path: Path, how: Reading, texts: Sequence[str]) -> File:
    separator, decimal = how.separator, how.decimal
    size = path.stat().st_size
    if size > limits.MOST_BYTES:
        raise ValueError(
            f"it has {size / 1e9:.3g} GB; expected at most {limits.MOST_BYTES / 1e9:.3g}"
        )
    content, notes = path.read_bytes(), []
    content = utf8(content) if how.encoding is None else in_utf8(content, how.encoding)
    named = SEPARATOR_LINE.match(content)
    if named is not None:  # Excel's; the line stays, empty, for the numbers of those below
        separator, content = separator or named[1].decode(), content[named.end(1) :]
    content, comments = without_comments(content)
    if comments:
        words = "a comment, a line" if len(comments) == 1 else f"{len(comments)} comments, lines"
        notes.append(f"without {words} beginning with #")
    content = content.rstrip() + b"\n" if content.strip() else b""
    if not content:
        raise ValueError("it holds no rows")
    if separator is None:
        separator = recognised(content)
        if separator != ",":
            notes.append(f"columns are separated by {spoken(separator)}")
    header, body, count = records(content, separator, comments)
    del content
    fields = fields_of(header, separator)
    check_size(count, len(fields), path)
    names = [name.strip() or f"column {i}" for i, name in enumerate(fields, start=1)]
    check_names(names)
    if not body:
        raise ValueError("it holds no rows")
    columns = columns_of(body, names, separator, texts)
    if len(columns[0]) != count:
        raise ValueError(f"its {count} lines would be read as {len(columns[0])} rows")
    if decimal is None:
        decimal = decimal_sign([c for c in columns if c.name not in texts])
        if decimal == ",":
            notes.append("numbers have decimal commas")
    elif decimal == separator:
        raise ValueError(f"{decimal} cannot separate columns and decimals")
    typed = [c if c.name in texts else typed_column(c, decimal) for c in columns]
    return File(pl.DataFrame(typed), notes)


def _read_parquet(path: Path) -> File:
    """Return the columns of a Parquet file but those of lists and the like, which it names."""
    lazy = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    schema = lazy.collect_schema()
    check_size(lazy.select(pl.len()).collect().item(), len(schema), path)
    flat = [name for name, dtype in schema.items() if not dtype.is_nested() and dtype != pl.Binary]
    notes = [
        f"column {quoted(name)} is left out, for it holds {short(str(dtype))}"
        for name, dtype in schema.items()
        if name not in flat
    ]
    return File(lazy.select(flat).collect(), notes)

"""Files as tables of typed columns: CSV as people write it, Parquet, NPZ.

`bytes -> records -> separator, header -> texts -> numbers, truth values, dates or texts`. Of
Parquet and NPZ the header is read before the data. All that is wrong becomes one sentence, which
quotes little of the file.
"""

import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import polars as pl

from experiments.learning.arrays import read_npz
from experiments.learning.dates import ORDERS
from experiments.learning.entries import Signs, columns_of, typed
from experiments.learning.formats import ENDINGS, PACKED, TEXTS, ending_of, not_read, unpacked
from experiments.learning.header import HEADERS, NO_HEADER, check_header
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
from experiments.learning.words import argument, counted, quoted, short
from experiments.learning.written import THOUSANDS
from experiments.runs import streams

OF_TEXT = ("separator", "decimal", "thousands", "dates", "header", "encoding")  # options
ZERO_FIRST = re.compile(rb"[^0-9.eE+-]0[0-9]+[^0-9.:/-]")  # an integer, as it seems
HEAD = 1 << 20  # bytes that such ones are looked for in
SPACE = "space"  # a name of one, for a command line
SEPARATOR_NAMES = {"tab": "\t", "\\t": "\t"}
SEPARATOR_LINE = re.compile(rb"sep=([^\w\s]|\t)(?=\r?\n)")
BROKEN = (
    *(ValueError, OSError, EOFError, NotImplementedError, RuntimeError, MemoryError),
    *(SyntaxError, TypeError, OverflowError, RecursionError),
    *(zlib.error, zipfile.BadZipFile),
    *(pl.exceptions.PolarsError, pl.exceptions.PanicException),
)  # that a file which is broken, or made to break its reader, raises


@dataclass(frozen=True)
class Reading(Signs):
    """Options of reading a text file."""

    separator: str | None = None
    """Between the columns of a .csv file: a character, or tab; recognised by default."""
    header: str | None = None
    """The first line of a .csv file: first, if it has names, or none, if it is a row."""
    encoding: str | None = None
    """Encoding of a .csv file, such as cp1252; by default UTF-8, or what its first bytes say."""


class File(NamedTuple):
    """The columns of a file: numbers, truth values, dates and texts; and how it was read.

    notes: what is unusual about it, in a few words each.
    left_out: the names of columns that are in the file, and were not read.
    """

    frame: pl.DataFrame
    notes: list[str]
    left_out: tuple[str, ...] = ()


def everything(_: str) -> bool:
    """Tell that a column is wanted, whatever its name."""
    return True


def check_kind(path: Path, setting: str, known: str = "") -> None:
    """Check that a file is of a kind that is read.

    Raises:
        ValueError: one sentence, on how to convert a file that is there.
    """
    if path.is_dir():
        raise ValueError(f"{setting}: expected a file, got the folder {path}")
    if ending_of(path):
        return
    endings = ", ".join(ENDINGS)
    if path.is_file():
        raise ValueError(
            f"{setting}: {path} is of no kind that is read ({endings}); {not_read(path)}"
        )
    raise ValueError(
        f"{setting}: there is no {quoted(path)}; {known}give a file that ends in {endings}"
    )


def read(
    path: Path,
    how: Reading | None = None,
    texts: Sequence[str] = (),
    wanted: Callable[[str], bool] = everything,
) -> File:
    """Return the columns of a file.

    Args:
        path: of a file whose name ends as `ENDINGS` says.
        how: separator, decimal sign and the like of a .csv file.
        texts: names of columns of a .csv file to leave as texts, whatever they hold.
        wanted: tells by its name whether a column is needed; others are left as texts or left out.

    Raises:
        ValueError: the file does not exist, or it holds no table.
    """
    how = how or Reading()
    if path.is_dir():
        raise ValueError(f"data: expected a file, got the folder {path}")
    if not path.is_file():
        raise ValueError(f"data: there is no file {path}")
    ending = ending_of(path)
    is_text = ending in (*TEXTS, *PACKED)
    if not is_text:
        for name in OF_TEXT:
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
        if is_text:
            read_in = _read_csv(path, how, texts, wanted)
        elif ending == ".parquet":
            with streams.without_panics(f"data: cannot use {path}"):
                read_in = _read_parquet(path, wanted)
        else:
            read_in = File(*read_npz(path, wanted))
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
    thousands = " " if how.thousands == SPACE else how.thousands
    if thousands not in (None, *THOUSANDS):
        raise ValueError(f"thousands: expected , . ' _ or space, got {quoted(thousands)}")
    if thousands is not None and thousands == how.decimal:
        raise ValueError(f"thousands: {thousands} cannot separate thousands and decimals")
    for name, known in (("dates", ORDERS), ("header", HEADERS)):
        got = getattr(how, name)
        if got not in (None, *known):
            raise ValueError(f"{name}: expected {' or '.join(known)}, got {quoted(got)}")
    if how.encoding is not None:
        check_encoding(how.encoding)
    return replace(how, separator=separator, thousands=thousands)


class _Text(NamedTuple):
    """The content of a text, in UTF-8, and what was recognised of it."""

    content: bytes
    comments: dict[int, bytes]
    separator: str
    notes: list[str]


def _text(path: Path, how: Reading) -> _Text:
    separator, notes = how.separator, []
    content = unpacked(path)
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
    return _Text(content, comments, separator, notes)


def _read_csv(
    path: Path, how: Reading, texts: Sequence[str], wanted: Callable[[str], bool]
) -> File:
    content, comments, separator, notes = _text(path, how)
    header, body, count = records(content, separator, comments)
    fields = fields_of(header, separator)
    names = [name.strip() or f"column {i}" for i, name in enumerate(fields, start=1)]
    if how.header == NO_HEADER:
        names = [f"column {i}" for i in range(1, len(fields) + 1)]
        body, count = b"".join((header, b"\n", body)), count + 1
        notes.append(f"without a header; the columns are called {names[0]} to {names[-1]}")
    del content
    check_size(count, len(fields), path)
    if not body:
        raise ValueError("it holds no rows")
    if how.decimal == separator and b'"' not in body:
        raise ValueError(f"{separator} cannot separate columns and decimals")
    ids = [f"{i}" for i in range(len(names))]  # of names that may be there twice
    as_texts = [i for i, name in zip(ids, names, strict=True) if name in texts]
    columns = columns_of(body, ids, separator, as_texts)
    if len(columns[0]) != count:
        raise ValueError(
            f"its {counted(count, 'line')} would be read as {counted(len(columns[0]), 'row')}"
        )
    if how.header is None:
        notes += check_header([f.strip() for f in fields], columns)
    check_names(names)
    columns = [column.alias(name) for column, name in zip(columns, names, strict=True)]

    def raw(chosen: Sequence[str]) -> list[pl.Series]:
        if not chosen:
            return []
        return [c for c in columns_of(body, names, separator, chosen) if c.name in chosen]

    as_they_are = [name for name in names if name in texts or not wanted(name)]
    zeros = ZERO_FIRST.search(body, 0, HEAD) is not None
    columns, said = typed(columns, raw, as_they_are, how, zeros)
    return File(pl.DataFrame(columns), notes + said)


def _read_parquet(path: Path, wanted: Callable[[str], bool]) -> File:
    """Return the columns of a Parquet file but those of lists and the like, which it names."""
    lazy = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    schema = lazy.collect_schema()
    check_size(lazy.select(pl.len()).collect().item(), len(schema), path)
    nested = [n for n, dtype in schema.items() if dtype.is_nested() or dtype == pl.Binary]
    flat = [name for name in schema if name not in nested and wanted(name)]
    notes = [
        f"column {quoted(name)} is left out, for it holds {short(str(schema[name]))}"
        for name in nested
        if wanted(name)
    ]
    left_out = tuple(name for name in schema if name not in flat)
    try:
        return File(lazy.select(flat).collect(), notes, left_out)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        for name in flat:
            try:
                lazy.select(name).collect()
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
                kind = short(str(schema[name]))
                raise ValueError(
                    f"column {quoted(name)} cannot be read, which holds {kind}; leave it "
                    f"out with --drop {argument(name)}"
                ) from None
        raise

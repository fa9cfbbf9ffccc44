"""Files as tables of typed columns: CSV as people write it, Parquet, NPZ.

`bytes -> UTF-8 without comments -> records -> separator, header -> texts -> numbers, truth values,
dates or texts`. A record is what stands between two newlines outside of quotes; polars reads
records only after they were counted, so that a line with too few or too many fields has a number.
Of Parquet and NPZ the header is read before the data: what it claims must fit into memory. All
that is wrong becomes one sentence, which quotes little of the file.
"""

import codecs
import csv
import io
import itertools
import math
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import polars as pl

from experiments.learning.words import counted, listed, quoted, short

TEXTS = (".csv", ".tsv")
ENDINGS = (*TEXTS, ".parquet", ".npz")
MOST_BYTES = 2**31  # of a table as floats, or of a file of text
MOST_COLUMNS = 100_000
MUCH = 2**28  # bytes; from here on a table that its file has pressed together by more than
PRESSED = 500  # was made to burst
SEPARATORS = ("\t", ";", "|", ",")  # in this order, if several fit: commas stand in texts too
SEPARATOR_NAMES = {"tab": "\t", "\\t": "\t"}
HEAD = 1 << 16  # bytes that the separator is recognised in
FIRST = 1000  # rows that types are first read off
CHUNK = 1 << 22  # bytes that are scanned at a time
SEPARATOR_LINE = re.compile(rb"sep=([^\w\s]|\t)(?=\r?\n)")
COMMENT = re.compile(rb"^ *#", re.MULTILINE)
QUOTE, NEWLINE, RETURN = b'"\n\r'
BYTE_ORDER_MARKS = {  # UTF-32 before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
MISSING = (
    *("", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "-NaN", "NULL", "null"),
)
COMMA_NUMBER = r"^[+-]?(\d+(,\d*)?|,\d+)([eE][+-]?\d+)?$"
THOUSANDS = r"^[+-]?[1-9]\d{0,2}(,\d{3})+$"
DATES = ("%Y-%m-%d", "%Y/%m/%d")
TIMES = (
    *("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"),
    *("%Y-%m-%dT%H:%M:%S%.fZ", "%Y-%m-%d %H:%M:%S%.fZ"),
)
BROKEN = (
    *(ValueError, OSError, EOFError, NotImplementedError, RuntimeError, MemoryError),
    *(SyntaxError, TypeError, OverflowError, RecursionError),
    *(zlib.error, zipfile.BadZipFile),
    *(pl.exceptions.PolarsError, pl.exceptions.PanicException),
)  # that a file which is broken, or made to break its reader, raises


@dataclass(frozen=True)
class Reading:
    """How a file of text is read."""

    separator: str | None = None
    """Between the columns of a .csv file: a character, or tab; recognised by default."""
    decimal: str | None = None
    """Decimal sign in a .csv file, a point or a comma; recognised by default."""


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
        how: separator and decimal sign of a .csv file.
        texts: names of columns of a .csv file to leave as texts, whatever they hold.

    Raises:
        ValueError: the file does not exist, or it holds no table.
    """
    how = how or Reading()
    if not path.is_file():
        raise ValueError(f"data: there is no file {path}")
    ending = path.suffix.lower()
    if ending not in TEXTS:
        for name in ("separator", "decimal"):
            if getattr(how, name) is not None:
                raise ValueError(f"{name}: expected with a .csv file only, got {path.name}")
    separator, decimal = _checked(how)
    try:
        with path.open("rb") as file:
            first = file.read(1)
    except OSError as error:
        raise ValueError(f"data: cannot read {path}: {error.strerror}") from None
    try:
        if not first:
            raise ValueError("it is empty")
        if ending in TEXTS:
            read_in = _read_csv(path, separator, decimal, texts)
        else:
            read_in = _read_parquet(path) if ending == ".parquet" else _read_npz(path)
        if read_in.frame.height == 0:
            raise ValueError("it holds no rows")
    except BROKEN as error:
        reason = str(error).strip().partition("\n")[0]
        if not isinstance(error, ValueError):  # not in our words
            reason = f"it is no sound {ending} file ({short(reason) or type(error).__name__})"
        raise ValueError(f"data: cannot use {path}: {reason}") from None
    return read_in


def _checked(how: Reading) -> tuple[str | None, str | None]:
    """Return separator and decimal sign as characters."""
    separator = SEPARATOR_NAMES.get(how.separator or "", how.separator)
    if separator is not None and not re.fullmatch(r"[\t !$-*,/:-@\[-`{-~]", separator):
        raise ValueError(
            f"separator: expected a character such as ; or |, or tab, got {quoted(separator)}"
        )
    if how.decimal not in (None, ".", ","):
        raise ValueError(f"decimal: expected . or ,, got {quoted(how.decimal)}")
    return separator, how.decimal


def _check_size(rows: int, columns: int, path: Path) -> None:
    """Check, before anything is read, that a table fits into memory and its file can hold it."""
    claimed, size = 8 * rows * columns, path.stat().st_size
    _check_width(columns)
    if claimed > MOST_BYTES or (claimed > MUCH and claimed > PRESSED * size):
        raise ValueError(
            f"it claims {rows:.3g} rows of {columns} columns, {claimed / 1e9:.3g} GB, in a file of "
            f"{size / 1e6:.3g} MB; expected at most {MOST_BYTES / 1e9:.3g} GB, and {PRESSED} times "
            "the file"
        )


def _check_width(columns: int) -> None:
    if columns > MOST_COLUMNS:
        raise ValueError(f"expected at most {MOST_COLUMNS} columns, got {columns}")


def _check_names(names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"two of its columns are called {quoted(name)}; rename one of them")
        seen.add(name)


def _read_csv(path: Path, separator: str | None, decimal: str | None, texts: Sequence[str]) -> File:
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"it has {size / 1e9:.3g} GB; expected at most {MOST_BYTES / 1e9:.3g}")
    content, notes = _utf8(path.read_bytes()), []
    named = SEPARATOR_LINE.match(content)
    if named is not None:  # Excel's; the line stays, empty, for the numbers of those below
        separator, content = separator or named[1].decode(), content[named.end(1) :]
    content, comments = _without_comments(content)
    if comments:
        words = "a comment, a line" if len(comments) == 1 else f"{len(comments)} comments, lines"
        notes.append(f"without {words} beginning with #")
    content = content.rstrip() + b"\n" if content.strip() else b""
    if not content:
        raise ValueError("it holds no rows")
    if separator is None:
        separator = _recognised(content)
        if separator != ",":
            notes.append(f"columns are separated by {_spoken(separator)}")
    header, body, count = _records(content, separator, comments)
    del content
    fields = _fields(header, separator)
    _check_size(count, len(fields), path)
    names = [name.strip() or f"column {i}" for i, name in enumerate(fields, start=1)]
    _check_names(names)
    if not body:
        raise ValueError("it holds no rows")
    columns = _columns(body, names, separator, texts)
    if len(columns[0]) != count:
        raise ValueError(f"its {count} lines would be read as {len(columns[0])} rows")
    if decimal is None:
        decimal = _decimal_sign([c for c in columns if c.name not in texts])
        if decimal == ",":
            notes.append("numbers have decimal commas")
    elif decimal == separator:
        raise ValueError(f"{decimal} cannot separate columns and decimals")
    typed = [c if c.name in texts else _typed(c, decimal) for c in columns]
    return File(pl.DataFrame(typed), notes)


def _columns(
    body: bytes, names: list[str], separator: str, texts: Sequence[str]
) -> list[pl.Series]:
    """Return the columns of records: numbers and truth values where polars sees them, or texts."""
    header = separator.join(map(str, range(len(names)))).encode() + b"\n"
    read_csv = partial(
        pl.read_csv,
        header + body,
        separator=separator,
        null_values=list(MISSING),
        schema_overrides={str(i): pl.String for i, name in enumerate(names) if name in texts},
    )
    try:
        frame = read_csv(infer_schema_length=FIRST)
    except pl.exceptions.ComputeError:  # a later row holds something else
        frame = read_csv(infer_schema_length=None)
    frame.columns = names
    stripped = (c.str.strip_chars() if c.dtype == pl.String else c for c in frame)
    return [
        c.set(c.is_in(MISSING).fill_null(False), None) if c.dtype == pl.String else c
        for c in stripped
    ]


def _utf8(content: bytes) -> bytes:
    """Return a text as UTF-8 without a byte order mark, lines ending in newlines."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            try:
                content = content.decode(encoding).encode("utf-8")
            except UnicodeDecodeError:
                raise ValueError(f"it begins as {encoding.upper()} and does not go on so") from None
            break
    content = content.removeprefix(codecs.BOM_UTF8)
    if b"\0" in content:
        raise ValueError("it is no text, or UTF-16 without a mark at its start; save it as UTF-8")
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for begin in range(0, len(content), CHUNK):
            decoder.decode(content[begin : begin + CHUNK])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise ValueError(_not_utf8(content)) from None
    return content if b"\n" in content else content.replace(b"\r", b"\n")


def _not_utf8(content: bytes) -> str:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"0x{content[error.start]:02x}"
    return (
        f"line {line} is no UTF-8 (byte {byte}), and any other encoding would be a guess; "
        "save the file as UTF-8"
    )


def _without_comments(content: bytes) -> tuple[bytes, dict[int, bytes]]:
    """Empty the lines that begin with #, outside of quotes; return them by their number."""
    if not COMMENT.search(content):
        return content, {}
    lines, inside, comments = content.split(b"\n"), 0, {}
    for i, line in enumerate(lines):
        if not inside and line.lstrip(b" ").startswith(b"#"):
            comments[i + 1], lines[i] = line, b""
        inside ^= lines[i].count(b'"') & 1
    return b"\n".join(lines), comments


def _check_comments(comments: dict[int, bytes], header: int, separator: str, count: int) -> None:
    """Check that no comment below the header may be a row: #ff0000 is a colour, too."""
    for line, comment in comments.items():
        if line > header and count and comment.count(separator.encode()) == count:
            raise ValueError(
                f"line {line} begins with # and has as many fields as the header; put quotes "
                "around its first field if it is a row, or delete it if it is a comment"
            )


def _scan(content: bytes, separator: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the end of each record, and how many separators it has, outside of quotes."""
    ends, totals, inside, before = [], [], np.uint8(0), 0
    for begin in range(0, len(content), CHUNK):
        block = np.frombuffer(content, np.uint8, min(CHUNK, len(content) - begin), begin)
        quotes = (block == QUOTE).view(np.uint8)
        is_inside = np.bitwise_xor.accumulate(quotes) ^ inside
        separators = np.flatnonzero((block == ord(separator)) & (is_inside == 0))
        places = np.flatnonzero((block == NEWLINE) & (is_inside == 0))
        ends.append(places + begin)
        totals.append(before + np.searchsorted(separators, places))
        inside, before = is_inside[-1], before + len(separators)
    return np.concatenate(ends), np.diff(np.concatenate(totals), prepend=0)


def _blank(content: bytes, ends: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return whether each record is a line without any entry."""
    begins = np.append(0, ends[:-1] + 1)
    blank: np.ndarray = ends == begins
    for i in np.flatnonzero((counts == 0) & ~blank):
        blank[i] = content[begins[i] : ends[i]].isspace()
    return blank


def _recognised(content: bytes) -> str:
    """Return the separator with which most of the first lines have as many fields as the header."""
    head = content[:HEAD]
    head = head[: head.rfind(b"\n") + 1] or content
    best, most = ",", 0.0
    for separator in SEPARATORS:
        ends, counts = _scan(head, separator)
        counts = counts[~_blank(head, ends, counts)]
        share = np.mean(counts == counts[0]) if len(counts) and counts[0] else 0.0
        if share > most:
            best, most = separator, float(share)
    return best


def _records(
    content: bytes, separator: str, comments: dict[int, bytes]
) -> tuple[bytes, bytes, int]:
    """Return the header, the records below it, and their number.

    Raises:
        ValueError: a quote that is not closed, or a record that is longer or shorter than others.
    """
    _check_quotes(content, separator)
    ends, counts = _scan(content, separator)
    blank = _blank(content, ends, counts)
    first = int(np.argmin(blank))
    _check_width(int(counts[first]) + 1)
    ragged = np.flatnonzero((counts != counts[first]) & ~blank)
    begins = np.append(0, ends[:-1] + 1)
    if comments:
        above = content.count(b"\n", 0, int(begins[first]))
        _check_comments(comments, above + 1, separator, int(counts[first]))
    if len(ragged):
        i = ragged[0]
        line = content.count(b"\n", 0, int(begins[i])) + 1
        raise ValueError(
            f"line {line} has {counted(counts[i] + 1, 'field')}, and the header "
            f"{counts[first] + 1}, separated by {_spoken(separator)}; mend the line, or name the "
            "right --separator"
        )
    # polars would take an empty line for a row.
    cuts = [first, *(np.flatnonzero(blank[first + 1 :]) + first + 1), len(ends)]
    pieces = (
        content[begins[a + 1] : begins[b] if b < len(ends) else len(content)]
        for a, b in itertools.pairwise(cuts)
        if b > a + 1
    )
    return (
        content[begins[first] : ends[first]],
        b"".join(pieces),
        int(np.count_nonzero(~blank[first + 1 :])),
    )


def _check_quotes(content: bytes, separator: str) -> None:
    """Check that quotes stand around whole fields, as polars, too, takes for granted."""
    if b'"' not in content:
        return
    block = np.frombuffer(content, np.uint8)
    before = (ord(separator), NEWLINE, QUOTE)  # a doubled quote closes and opens again
    after = (ord(separator), NEWLINE, RETURN, QUOTE)
    seen, opened = 0, 0
    for begin in range(0, len(content), CHUNK):
        places = np.flatnonzero(block[begin : begin + CHUNK] == QUOTE) + begin
        opening, closing = places[seen % 2 :: 2], places[1 - seen % 2 :: 2]
        is_opening = np.isin(block[opening - 1], before) | (opening == 0)
        is_closing = np.isin(block[closing + 1], after)  # the content ends with a newline
        wrong = list(opening[~is_opening][:1])
        for place in closing[~is_closing][:1]:
            earlier = opening[opening < place]
            wrong.append(earlier[-1] if len(earlier) else opened)
        if wrong:
            raise ValueError(_open_quote(content, int(min(wrong))))
        seen, opened = seen + len(places), int(opening[-1]) if len(opening) else opened
    if seen % 2:
        raise ValueError(_open_quote(content, opened))


def _open_quote(content: bytes, place: int) -> str:
    line = content.count(b"\n", 0, place) + 1
    return (
        f"the quote in line {line} is never closed, or stands inside a field; put quotes around "
        "the whole field, and double those inside it"
    )


def _spoken(separator: str) -> str:
    return "tabs" if separator == "\t" else separator


def _fields(record: bytes, separator: str) -> list[str]:
    text = io.StringIO(record.decode("utf-8"), newline="")
    try:
        return next(csv.reader(text, delimiter=separator))
    except csv.Error:
        raise ValueError("its header has a name of more than 100000 characters") from None


def _decimal_sign(columns: list[pl.Series]) -> str:
    """Return the decimal sign of texts.

    Raises:
        ValueError: some columns have points and others commas, or 1,500 may be 1500 or 1.5.
    """
    commas, points, thousands = [], [], True
    for column in columns:
        if column.dtype.is_float():
            points.append(column.name)
        if column.dtype != pl.String or column.null_count() == len(column):
            continue
        if column.str.contains(COMMA_NUMBER).all():
            with_comma = column.filter(column.str.contains(",", literal=True))
            if len(with_comma):
                commas.append(column.name)
                thousands = thousands and bool(with_comma.str.contains(THOUSANDS).all())
                example = with_comma.drop_nulls()[0]
        elif column.cast(pl.Float64, strict=False).null_count() == column.null_count():
            points.append(column.name)
    if not commas:
        return "."
    if points or thousands:
        other = f" and points in {quoted(points[0])}" if points else ""
        raise ValueError(
            f"column {quoted(commas[0])} has numbers such as {quoted(example)}{other}; say "
            "--decimal , or --decimal ."
        )
    return ","


def _typed(text: pl.Series, decimal: str) -> pl.Series:
    """Return texts as integers, floats, truth values or dates, if all of them are."""
    if text.dtype != pl.String:
        return text
    if text.null_count() == len(text):
        return text.cast(pl.Null)

    def complete(column: pl.Series) -> bool:
        return column.null_count() == text.null_count()

    plain = text
    if decimal == ",":
        is_number = text.str.contains(COMMA_NUMBER).fill_null(False)
        plain = text.str.replace(",", ".", literal=True).set(~is_number, None)
    numbers = plain.cast(pl.Float64, strict=False)
    if complete(numbers):
        for dtype in (pl.Int64, pl.Int128):
            integers = plain.cast(dtype, strict=False)
            if complete(integers):
                return integers
        return numbers
    lower = text.str.to_lowercase()
    if lower.drop_nulls().is_in(("true", "false")).all():
        return (lower == "true").alias(text.name)
    for form in DATES:  # year first: of 03/04/2020 nobody knows the month
        days = text.str.to_date(form, strict=False)
        if complete(days):
            return days
    for form in TIMES:
        times = text.str.to_datetime(form, strict=False, time_unit="us")
        if complete(times):
            return times
    return text


def _read_parquet(path: Path) -> File:
    """Return the columns of a Parquet file but those of lists and the like, which it names."""
    lazy = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    schema = lazy.collect_schema()
    _check_size(lazy.select(pl.len()).collect().item(), len(schema), path)
    flat = [name for name, dtype in schema.items() if not dtype.is_nested() and dtype != pl.Binary]
    notes = [
        f"column {quoted(name)} is left out, for it holds {short(str(dtype))}"
        for name, dtype in schema.items()
        if name not in flat
    ]
    return File(lazy.select(flat).collect(), notes)


def _read_npz(path: Path) -> File:
    """Return each one-dimensional array as a column, each two-dimensional one as several."""
    _check_arrays(path)
    columns: dict[str, pl.Series] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            array = arrays[name]
            for column, values in _split(name, array):
                columns[column] = _series(column, values)
    return File(pl.DataFrame(list(columns.values())), [])


def _split(name: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    if array.ndim == 1:
        return [(name, array)]
    return [(f"{name}[{j}]", array[:, j]) for j in range(array.shape[1])]


def _series(name: str, values: np.ndarray) -> pl.Series:
    if values.dtype.kind == "f":
        values = values.astype(np.float64)
    elif values.dtype.kind == "M":
        values = values.astype("datetime64[us]")
    elif values.dtype.kind == "S":
        values = np.char.decode(values, "ascii")
    native = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="), copy=False))
    return pl.Series(name, native)


def _check_arrays(path: Path) -> None:
    """Check what the headers of an archive of arrays claim, before any data are read."""
    with path.open("rb") as file:
        if file.read(6) == b"\x93NUMPY":
            raise ValueError(
                "it is one array without a name, a .npy file; numpy.savez writes a table"
            )
    shapes: dict[str, tuple[int, ...]] = {}
    size = 0
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name == info.filename:
                raise ValueError(f"its member {quoted(name)} is no array")
            if name in shapes:
                raise ValueError(f"two of its arrays are called {quoted(name)}")
            with archive.open(info) as member:
                shapes[name] = _claimed(name, member, info.file_size)
            size += info.file_size
            if size > MOST_BYTES:
                raise ValueError(
                    f"its arrays claim {size / 1e9:.3g} GB and more; expected at most "
                    f"{MOST_BYTES / 1e9:.3g}"
                )
    columns = [
        column
        for name, shape in shapes.items()
        for column in ([name] if len(shape) == 1 else [f"{name}[{j}]" for j in range(shape[1])])
    ]
    lengths = {name: shape[0] for name, shape in shapes.items()}
    _check_size(max(lengths.values(), default=0), len(columns), path)
    _check_names(columns)
    if len(set(lengths.values())) > 1:
        words = listed([f"{name}: {length}" for name, length in lengths.items()])
        raise ValueError(f"its arrays have different lengths: {words}")


def _claimed(name: str, member: IO[bytes], size: int) -> tuple[int, ...]:
    """Return the shape in the header of an array, which must be that of its bytes."""
    version = np.lib.format.read_magic(member)
    readers: dict[tuple[int, int], Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"array {quoted(name)} is of format {version}; expected 1.0 or 2.0")
    shape, _, dtype = readers[version](member)
    if dtype.kind not in "biufMUS":
        raise ValueError(
            f"array {quoted(name)} holds {quoted(dtype)}; expected numbers, texts, truth values "
            "or dates, and no Python objects, which could run code"
        )
    if len(shape) not in (1, 2) or min(shape) < 0:
        raise ValueError(
            f"array {quoted(name)} has shape {quoted(shape)}; expected (rows,) or (rows, columns)"
        )
    claimed = math.prod(shape) * dtype.itemsize
    _check_width(shape[-1] if len(shape) == 2 else 1)
    if claimed != size - member.tell():
        raise ValueError(
            f"array {quoted(name)} claims shape {quoted(shape)}, {claimed:.3g} bytes, and holds "
            f"{size - member.tell():.3g}"
        )
    return tuple(shape)

"""Records of a text: bytes as UTF-8, without comments, cut at newlines outside of quotes.

polars reads records only after they were counted here: so a line with too few or too many fields,
or with a quote that is not closed, has a number.
"""

import codecs
import csv
import io
import itertools
import re

import numpy as np

from experiments.learning.limits import check_width
from experiments.learning.words import counted, quoted

SEPARATORS = ("\t", ";", "|", ",")  # in this order, if several fit: commas stand in texts too
HEAD = 1 << 16  # bytes that the separator is recognised in
CHUNK = 1 << 22  # bytes that are scanned at a time
COMMENT = re.compile(rb"^ *#", re.MULTILINE)
QUOTE, NEWLINE, RETURN = b'"\n\r'
BYTE_ORDER_MARKS = {  # UTF-32 before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def check_encoding(name: str) -> None:
    """Check that an encoding is one that Python knows, and of texts."""
    try:
        known = "a".encode(name).decode(name) == "a"
    except (LookupError, ValueError):
        known = False
    if not known:
        raise ValueError(
            f"encoding: there is no {quoted(name)}; expected a name such as utf-8, utf-16-le, "
            "latin-1, cp1252, gb18030 or shift_jis"
        )


def in_utf8(content: bytes, encoding: str) -> bytes:
    """Return a text of a known encoding as UTF-8, like `utf8`.

    Raises:
        ValueError: it is not in that encoding, and from which line on.
    """
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
        if "\0" not in text:
            return with_newlines(text.encode("utf-8"))
        line, reason = _line(text[: text.index("\0")]), "a null character"
    except UnicodeDecodeError as error:
        line = _line(content[: error.start].decode(encoding, "replace"))
        reason = f"byte 0x{content[error.start]:02x}"
    except UnicodeError:  # half a character, of which UTF-16 writes two
        raise ValueError(f"it is no {encoding}; name the right --encoding") from None
    raise ValueError(f"line {line} is no {encoding} ({reason}); name the right --encoding")


def _line(above: str) -> int:
    """Return the number of a line, given the text above its end."""
    return max(above.count("\n"), above.count("\r")) + 1


def with_newlines(content: bytes) -> bytes:
    """Return a text whose lines end in newlines, not in carriage returns alone."""
    return content if b"\n" in content else content.replace(b"\r", b"\n")


def utf8(content: bytes) -> bytes:
    """Return a text as UTF-8 without a byte order mark, lines ending in newlines.

    Raises:
        ValueError: it is neither UTF-8 nor begins with another mark, and in which line it is not.
    """
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            try:
                content = content.decode(encoding).encode("utf-8")
            except UnicodeDecodeError:
                raise ValueError(f"it begins as {encoding.upper()} and does not go on so") from None
            break
    content = content.removeprefix(codecs.BOM_UTF8)
    if b"\0" in content:
        raise ValueError(
            "it is no text, or UTF-16 without a mark at its start; say --encoding utf-16-le or "
            "utf-16-be, or save it as UTF-8"
        )
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for begin in range(0, len(content), CHUNK):
            decoder.decode(content[begin : begin + CHUNK])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise ValueError(_not_utf8(content)) from None
    return with_newlines(content)


def _not_utf8(content: bytes) -> str:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = _line(content[: error.start].decode("utf-8"))
        byte = f"0x{content[error.start]:02x}"
    return (
        f"line {line} is no UTF-8 (byte {byte}), and any other encoding would be a guess; "
        "name it, such as --encoding cp1252, or save the file as UTF-8"
    )


def without_comments(content: bytes) -> tuple[bytes, dict[int, bytes]]:
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
        # Inside after an odd number of quotes: a doubled one leaves and enters again. The parity is
        # carried from block to block, so that a field may be longer than a block.
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


def recognised(content: bytes) -> str:
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


def records(content: bytes, separator: str, comments: dict[int, bytes]) -> tuple[bytes, bytes, int]:
    """Return the header, the records below it, and their number.

    Raises:
        ValueError: a quote that is not closed, or a record that is longer or shorter than others.
    """
    _check_quotes(content, separator)
    ends, counts = _scan(content, separator)
    blank = _blank(content, ends, counts)
    first = int(np.argmin(blank))
    check_width(int(counts[first]) + 1)
    ragged = np.flatnonzero((counts != counts[first]) & ~blank)
    begins = np.append(0, ends[:-1] + 1)
    if comments:
        above = content.count(b"\n", 0, int(begins[first]))
        _check_comments(comments, above + 1, separator, int(counts[first]))
    if len(ragged):
        i = ragged[0]
        line = content.count(b"\n", 0, int(begins[i])) + 1
        raise ValueError(
            f"line {line} has {counted(int(counts[i]) + 1, 'field')}, and the header "
            f"{counts[first] + 1}, separated by {spoken(separator)}; mend the line, or name the "
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
        # Quotes open and close in turns. The first that opens inside a field, or closes before its
        # end, is where they went out of step: the one before it was never closed.
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


def spoken(separator: str) -> str:
    """Return a separator as a sentence names it."""
    return "tabs" if separator == "\t" else separator


def fields_of(record: bytes, separator: str) -> list[str]:
    """Return the entries of a header."""
    text = io.StringIO(record.decode("utf-8"), newline="")
    try:
        return next(csv.reader(text, delimiter=separator))
    except csv.Error:
        raise ValueError("its header has a name of more than 100000 characters") from None

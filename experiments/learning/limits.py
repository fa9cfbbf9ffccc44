"""Limits of a table that is read: what its header claims must fit into memory, and its file."""

from collections.abc import Sequence
from pathlib import Path

from experiments.learning.words import quoted

MOST_BYTES = 2**31  # of a table as floats, or of a file of text
MOST_COLUMNS = 100_000
MUCH = 2**28  # bytes; from here on a table that its file has pressed together by more than
PRESSED = 500  # was made to burst


def check_size(rows: int, columns: int, path: Path) -> None:
    """Check, before anything is read, that a table fits into memory and its file can hold it."""
    claimed, size = 8 * rows * columns, path.stat().st_size
    check_width(columns)
    if claimed > MOST_BYTES or (claimed > MUCH and claimed > PRESSED * size):
        raise ValueError(
            f"it claims {rows:.3g} rows of {columns} columns, {claimed / 1e9:.3g} GB, in a file of "
            f"{size / 1e6:.3g} MB; expected at most {MOST_BYTES / 1e9:.3g} GB, and {PRESSED} times "
            "the file"
        )


def check_width(columns: int) -> None:
    """Check the number of columns."""
    if columns > MOST_COLUMNS:
        raise ValueError(f"expected at most {MOST_COLUMNS} columns, got {columns}")


def check_names(names: Sequence[str]) -> None:
    """Check that no two columns have one name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"two of its columns are called {quoted(name)}; rename one of them")
        seen.add(name)

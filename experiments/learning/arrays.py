"""Archives of arrays, .npz, as columns: the headers of all of them are read before any data."""

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl

from experiments.learning import limits
from experiments.learning.limits import check_names, check_size, check_width
from experiments.learning.words import argument, listed, quoted


def read_npz(
    path: Path, wanted: Callable[[str], bool]
) -> tuple[pl.DataFrame, list[str], tuple[str, ...]]:
    """Return each one-dimensional array as a column, each two-dimensional one as several.

    Returns:
        The columns, nothing unusual, and the names of the arrays that were not opened.
    """
    left_out = _check_arrays(path, wanted)
    columns: dict[str, pl.Series] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            if name in left_out:
                continue
            for column, values in _split(name, arrays[name]):
                columns[column] = _series(column, values)
    return pl.DataFrame(list(columns.values())), [], left_out


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
        try:
            values = np.char.decode(values, "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"array {quoted(name)} holds bytes such as {quoted(error.object)} that are no "
                f"UTF-8; {_way_out(name)}"
            ) from None
    native = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="), copy=False))
    return pl.Series(name, native)


def _way_out(name: str) -> str:
    array = argument(name.partition("[")[0])
    return f"unless it is the target, --drop {array} leaves it out"


def _check_arrays(path: Path, wanted: Callable[[str], bool]) -> tuple[str, ...]:
    """Check what the headers of an archive of arrays claim, before any data are read.

    Returns:
        The names of the arrays that are not wanted.
    """
    with path.open("rb") as file:
        if file.read(6) == b"\x93NUMPY":
            raise ValueError(
                "it is one array without a name, a .npy file; numpy.savez writes a table"
            )
    shapes: dict[str, tuple[int, ...]] = {}
    size, left_out = 0, []
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name == info.filename:
                raise ValueError(f"its member {quoted(name)} is no array")
            if name in left_out or not wanted(name):
                left_out.append(name)
                continue
            if name in shapes:
                raise ValueError(f"two of its arrays are called {quoted(name)}")
            with archive.open(info) as member:
                shapes[name] = _claimed(name, member, info.file_size)
            size += info.file_size
            if size > limits.MOST_BYTES:
                raise ValueError(
                    f"its arrays claim {size / 1e9:.3g} GB and more; expected at most "
                    f"{limits.MOST_BYTES / 1e9:.3g}"
                )
    columns = [
        column
        for name, shape in shapes.items()
        for column in ([name] if len(shape) == 1 else [f"{name}[{j}]" for j in range(shape[1])])
    ]
    lengths = {name: shape[0] for name, shape in shapes.items()}
    check_size(max(lengths.values(), default=0), len(columns), path)
    check_names(columns)
    if len(set(lengths.values())) > 1:
        words = listed([f"{name}: {length}" for name, length in lengths.items()])
        raise ValueError(
            f"its arrays have different lengths: {words}; leave out those of no column with --drop"
        )
    return tuple(left_out)


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
            f"or dates, and no Python objects, which could run code; {_way_out(name)}"
        )
    if len(shape) not in (1, 2) or min(shape) < 0:
        raise ValueError(
            f"array {quoted(name)} has shape {quoted(shape)}; expected (rows,) or (rows, "
            f"columns); {_way_out(name)}"
        )
    claimed = math.prod(shape) * dtype.itemsize
    check_width(shape[-1] if len(shape) == 2 else 1)
    if claimed != size - member.tell():
        raise ValueError(
            f"array {quoted(name)} claims shape {quoted(shape)}, {claimed:.3g} bytes, and holds "
            f"{size - member.tell():.3g}"
        )
    return tuple(shape)

"""A diagnosis in words: the sentences of its verdict, and its layers as plain text.

Rows are those of `flow.table()`; a column that a kind of network has not may be absent or None.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

from ..diagnosis import Diagnosis
from ..flow.verdict.findings import is_usual
from ..flow.verdict.verdict import Verdict
from ..texts import clean, cleaned, counted, labels

Rows = Sequence[Mapping[str, Any]]

WIDTH = 34  # characters of a layer's name in a terminal, at most
GAP = "  "  # between columns
MOST_ROWS = 12  # in a terminal; those in the middle are left out
SHORT = ("log10_delta_rms", "log10_delta_theory", "log10_gain", "log10_theta", "log10_spread")
HEADS = {
    "log10_delta_rms": "log₁₀ ‖Δ‖",
    "log10_delta_theory": "theory",
    "log10_gain": "factor",
    "log10_theta": "log₁₀ ‖Δθ‖",
    "log10_mean_square": "log₁₀ state²",
    "log10_spread": "log₁₀ spread",
    "log10_spread_within": "within",
    "cosine": "cosine",
    "rank": "rank",
    "saturated": "saturated",
    "dead": "dead",
}


def sentences(result: Diagnosis, to_try: str) -> list[str]:
    """Return the verdict, one finding after the other; a note comes first, then a plan."""
    return list(map(clean, result.ending(to_try)))


def with_faults(result: Diagnosis, to_try: str) -> Iterator[tuple[str, bool]]:
    """Yield the sentences, and whether each says what is wrong, not how it is or what to do."""
    verdict = result.verdict
    note = [True] if result.note and not verdict.broken else []
    first = [*note, *(not is_usual(found) for found in verdict.told)]
    yield from zip(sentences(result, to_try), chain(first, repeat(False)), strict=False)


def subtitle(result: Diagnosis, code: str) -> str:
    """Say in one line what was measured."""
    layers, examples = result.flow.log_delta_example.shape
    return clean(
        f"{code}, whose code was run: {counted(layers, 'layer')}, "
        f"{counted(examples, 'example')}, {result.loss}"
    )


def number(column: str, value: float | None) -> str:
    """Return a number of a column as text; a size that is zero, infinite or none says so."""
    if value is None or (math.isnan(value) and not column.startswith("log10_delta")):
        return "–"
    if math.isnan(value):
        return "no number"
    if math.isinf(value):
        return "infinite" if value > 0 else "zero"
    return f"{value:.3f}" if column.startswith("log10") else f"{value:.4g}"


def lines(rows: Rows, columns: Sequence[str], most: int) -> list[tuple[str, ...]]:
    """Return the name and the numbers of each layer; of many layers the first and the last."""
    found = [
        (name, *(number(column, row.get(column)) for column in columns))
        for name, row in zip(labels([row["name"] for row in rows]), rows, strict=True)
    ]
    if len(found) <= most + 1:  # a gap takes a line too
        return found
    gap = (f"… {len(found) - 2 * (most // 2)} more", *("…" for _ in columns))
    return [*found[: most // 2], gap, *found[-(most // 2) :]]


def known(rows: Rows, columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that this kind of network has; a missing Δ is worth a column too."""
    return tuple(
        column
        for column in columns
        if column == "log10_delta_rms"
        or not all(row.get(column) is None or math.isnan(row[column]) for row in rows)
    )


def formats(verdict: Verdict) -> list[tuple[str, str, str]]:
    """Return for each number format from which layer down it loses Δ, and up it loses examples."""
    apart = verdict.indistinguishable
    return [
        (
            name,
            "nowhere" if lost is None else f"from {verdict.label(lost)} down",
            "–" if name not in apart else _up(verdict, apart[name]),
        )
        for name, lost in verdict.lost.items()
    ]


def _up(verdict: Verdict, layer: int | None) -> str:
    return "nowhere" if layer is None else f"from {verdict.label(layer)} up"


def plain_table(rows: Rows, printable: Callable[[str], str] = str) -> Iterator[str]:
    """Yield the lines of a table of the layers, most often narrow enough for 80 characters."""
    rows, columns = cleaned(rows), known(rows, SHORT)
    table = [("layer", *(HEADS[name] for name in columns)), *lines(rows, columns, MOST_ROWS)]
    names, *numbers = zip(*table, strict=True)
    fitting = (name if len(name) <= WIDTH else name[: WIDTH - 1] + "…" for name in names)
    aligned = [_aligned(map(printable, cells), str.rjust) for cells in numbers]
    aligned = [_aligned(map(printable, fitting), str.ljust), *aligned]
    yield from map(GAP.join, zip(*aligned, strict=True))


def _aligned(cells: Iterable[str], justify: Callable[[str, int], str]) -> list[str]:
    cells = list(cells)
    widest = max(map(len, cells))
    return [justify(cell, widest) for cell in cells]

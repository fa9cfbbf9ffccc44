"""Results of a sweep: a row for each network, and a line for each cell in words."""

import math
import numbers
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..flow.record.flow import Flow
from ..flow.view.chart import HEIGHT, WIDTH, drawable_rows, load_altair, styled, with_picture
from ..flow.view.table import COLUMNS, LN10
from ..texts import clean, cleaned, counted, listed
from .points import SEED, Point, shown

Row = dict[str, Any]
TITLE = "log₁₀ of the change of ‖Δ‖ from the last layer to the first; points: each seed"
MOST_WORDS = 2  # of a cell, whose seeds may differ


@dataclass(frozen=True)
class SweptNetwork:
    """One network of a sweep: where it stands in the grid, and its flow or why there is none."""

    point: Point
    flow: Flow | None
    word: str = ""
    decades: float = math.nan
    standard_error: float = math.nan
    total: float = math.nan
    reason: str = ""

    @property
    def row(self) -> Row:
        """The values of the axes, then the numbers."""
        log = None if self.flow is None else np.asarray(self.flow.log_delta, np.float64) / LN10
        first, last = (math.nan, math.nan) if log is None else (float(log[0]), float(log[-1]))
        return {
            **{name: shown(value) for name, value in self.point.items()},
            "word": self.word,
            "layers": None if log is None else len(log),
            "decades": self.decades,
            "standard_error": self.standard_error,
            "total": self.total,
            "log10_delta_first": first,
            "log10_delta_last": last,
            "reason": self.reason,
        }


OF_NETWORK = {*SweptNetwork({}, None).row}
OF_LAYER = {"layer", "name", *(name for name, *_ in COLUMNS)}


def check_names(axes: Sequence[str]) -> None:
    """Raise unless the names of axes differ from those of all columns."""
    for name in axes:
        if name in OF_NETWORK | OF_LAYER or name.startswith("log10_"):
            raise ValueError(
                f"{name}: expected an axis with a name of its own, got that of a column of the "
                f"rows; rename this argument of build, such as to {name}_of_build"
            )


class SweepCell(NamedTuple):
    """The networks that differ in their seed alone: means over them, and the rate's error."""

    place: Point  # the values of the axes that take several
    decades: float
    error: float
    total: float
    words: Counter[str]
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        where = ", ".join(f"{name} {value}" for name, value in self.place.items()) or "All seeds"
        if self.reasons and not self.words:
            return f"{where}: not measured. {self.reasons[0]}"
        error = "" if math.isnan(self.error) else f" ± {self.error:.1g}"
        words = " or ".join(word for word, _ in self.words.most_common(MOST_WORDS))
        left = f"; {counted(len(self.reasons), 'seed')} not measured" if self.reasons else ""
        return (
            f"{where}: {words}, {self.decades:+.3g}{error} decades a layer, {self.total:+.3g} "
            f"over the whole network{left}."
        )


@dataclass(frozen=True, repr=False)
class Sweep(Sequence[Row]):
    """The rows of a sweep; `print` it for a line a cell, or put it into a frame.

    `pandas.DataFrame(sweep)` and `polars.DataFrame(sweep)` take it as it is. Each network has a row
    with the values of the axes and

        word, decades, standard_error, total   as `jaxnn.Verdict` has them; decades a layer
        layers                                 their number
        log10_delta_first, log10_delta_last    of the state of the first and the last layer
        reason                                 why there are no numbers, which are nan then

    measured: the networks with their flows, in the order of the rows.
    left: the number of networks that were not measured, since the sweep was stopped.
    """

    measured: tuple[SweptNetwork, ...]
    left: int = 0

    @cached_property
    def _rows(self) -> list[Row]:
        return cleaned([network.row for network in self.measured])

    def __len__(self) -> int:
        return len(self.measured)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def layers(self) -> list[Row]:
        """Return a row for each layer of each network: the axes, then those of `Flow.table`."""
        return [
            {name: shown(value) for name, value in network.point.items()} | row
            for network in self.measured
            if network.flow is not None
            for row in network.flow.table()
        ]

    @cached_property
    def cells(self) -> tuple[SweepCell, ...]:
        """The cells of the grid, each with all its seeds."""
        cells: dict[tuple[Any, ...], list[Row]] = {}
        for row, network in zip(self._rows, self.measured, strict=True):
            place = tuple((name, row[name]) for name in network.point if name != SEED)
            cells.setdefault(place, []).append(row)
        several = {item[0] for place in cells for item in place if item not in next(iter(cells))}
        return tuple(
            _cell({name: value for name, value in place if name in several}, rows)
            for place, rows in cells.items()
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """A line for each cell, and what is missing."""
        stopped = f"Stopped: {counted(self.left, 'network')} not measured." if self.left else ""
        return tuple(filter(None, (*map(clean, map(str, self.cells)), stopped)))

    def __repr__(self) -> str:
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        return with_picture(self.sentences, self.chart)

    def chart(self, x: str | None = None) -> Any:
        """Draw how much the gradient changes over the whole network, a line for each other cell.

        Args:
            x: the axis from left to right; the first with several numbers when None.

        Returns:
            An Altair chart, as of `jaxnn.chart`.

        Raises:
            ValueError: no such axis.
            ImportError: Altair is not installed.
        """
        axes = {name: None for network in self.measured for name in network.point if name != SEED}
        return _chart(self._rows, list(axes), x)


def _cell(place: Point, rows: Sequence[Row]) -> SweepCell:
    known = [row for row in rows if not row["reason"]]
    decades = np.array([row["decades"] for row in known])
    alone = known[0]["standard_error"] if len(known) == 1 else math.nan
    error = float(decades.std(ddof=1) / len(known) ** 0.5) if len(known) > 1 else alone
    total = [row["total"] for row in known]
    return SweepCell(
        place,
        float(decades.mean()) if known else math.nan,
        error,
        float(np.mean(total)) if known else math.nan,
        Counter(row["word"] for row in known),
        tuple(row["reason"] for row in rows if row["reason"]),
    )


def _chart(rows: Sequence[Row], axes: Sequence[str], x: str | None) -> Any:
    """Return the chart of `Sweep` rows: `total` against an axis, else the first of numbers."""
    if x is None:
        x = next((axis for axis in axes if _is_of_numbers(rows, axis)), next(iter(axes), "seed"))
    elif x not in axes:
        raise ValueError(f"x: expected one of the axes {listed(list(axes))}, got {x!r}")
    alt, is_of_numbers = load_altair(), _is_of_numbers(rows, x)
    others = [axis for axis in axes if axis != x and len({row[axis] for row in rows}) > 1]
    drawn = [
        {
            "x": row[x],
            "total": row["total"] if math.isfinite(row["total"]) else None,
            "line": ", ".join(str(row[axis]) for axis in others),
        }
        for row in rows
    ]
    values = sorted({row[x] for row in rows}) if is_of_numbers else []
    # All digits: by itself Vega writes .1 next to 10 as 0.
    ticks = alt.Axis(values=values, labelExpr="'' + datum.value") if values else alt.Axis()
    colour = [alt.Color("line:N", sort=None)] if others else []
    base = alt.Chart(alt.Data(values=drawable_rows(drawn))).encode(
        alt.X(f"x:{'Q' if is_of_numbers else 'N'}", title=x, axis=ticks), *colour
    )
    y = alt.Y("mean(total):Q", title="decades")
    points = base.mark_point(size=20, opacity=0.6).encode(alt.Y("total:Q", title="decades"))
    lines = base.mark_line().encode(y)
    return styled(alt.layer(lines, points).properties(width=WIDTH, height=HEIGHT, title=TITLE))


def _is_of_numbers(rows: Sequence[Row], axis: str) -> bool:
    values = {row.get(axis) for row in rows}
    return len(values) > 1 and all(
        isinstance(value, numbers.Real) and not isinstance(value, bool) for value in values
    )

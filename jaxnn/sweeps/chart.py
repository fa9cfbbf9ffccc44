"""The chart of a sweep: the change of the gradient against one axis, a line for the others."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

from ..flow.view.chart import HEIGHT, WIDTH, drawable_rows, load_altair, styled
from ..texts import listed

TITLE = "log₁₀ of the change of ‖Δ‖ from the last layer to the first; points: each seed"


def sweep_chart(rows: Sequence[dict[str, Any]], axes: Sequence[str], x: str | None) -> Any:
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


def _is_of_numbers(rows: Sequence[dict[str, Any]], axis: str) -> bool:
    values = {row.get(axis) for row in rows}
    return len(values) > 1 and all(
        isinstance(value, numbers.Real) and not isinstance(value, bool) for value in values
    )

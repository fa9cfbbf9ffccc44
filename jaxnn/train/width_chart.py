"""The chart of a coordinate check: sizes and changes of states against width, by layer."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..flow.chart import HEIGHT, WIDTH, drawable_rows, load_altair, styled
from ..texts import counted

TITLES = {
    "log10_size": "Root mean square of the state of each layer, after {}",
    "log10_change": "What the last of {} changes in it; level: the width does not matter",
}


def width_chart(rows: Sequence[dict[str, Any]], steps: int) -> Any:
    """Return the chart.

    Args:
        rows: of `WidthCheck.rows`.
        steps: of the training, after which sizes and changes are drawn, the mean over seeds.
    """
    alt = load_altair()
    panels = []
    for column, title in TITLES.items():
        values = drawable_rows(_means([row for row in rows if row["step"] == steps], column))
        axis = alt.Axis(values=sorted({row["width"] for row in rows}), format="d")
        scale = alt.Scale(type="log", base=2, nice=False)
        line = alt.Chart(alt.Data(values=values)).mark_line(point=alt.OverlayMarkDef(size=25))
        panels.append(
            line.encode(
                alt.X("width:Q", title="width", scale=scale, axis=axis),
                alt.Y("value:Q", title="log₁₀", scale=alt.Scale(zero=False)),
                alt.Color("layer:O", title="layer", scale=alt.Scale(scheme="viridis")),
                alt.Detail("layer:O"),
                tooltip=["layer:O", "name:N", "width:Q", alt.Tooltip("value:Q", format=".3f")],
            ).properties(width=WIDTH, height=HEIGHT, title=title.format(counted(steps, "step")))
        )
    return styled(alt.vconcat(*panels, spacing=18))


def _means(rows: Sequence[dict[str, Any]], column: str) -> list[dict[str, Any]]:
    """Return a row for each width and layer, with the mean over seeds; None if it is no number."""
    seeds: dict[tuple[int, int, str], list[float]] = {}
    for row in rows:
        seeds.setdefault((row["width"], row["layer"], row["name"]), []).append(row[column])
    return [
        {"width": width, "layer": layer, "name": name}
        | {"value": float(np.mean(values)) if np.isfinite(values).all() else None}
        for (width, layer, name), values in seeds.items()
    ]

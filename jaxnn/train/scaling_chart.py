"""Panels of a scaling check: sizes and changes of states against width or depth, by layer."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..flow.view.chart import HEIGHT, WIDTH, drawable_rows, load_altair
from ..texts import counted

FEW = 12  # layers that have an entry each in the legend
SIZES = "Root mean square of the state of each layer, after {}"
CHANGES = "Root mean square of what a step changes in it; level: the size does not matter"


def scaling_panels(rows: Sequence[dict[str, Any]], steps: int, axis: str) -> list[Any]:
    """Return panels of `Scaling.rows`: sizes after the last step, changes of all steps."""
    alt = load_altair()
    last = [row for row in rows if row["step"] == steps]
    drawn = [
        (SIZES.format(counted(steps, "step")), _over_seeds(last, "log10_size", axis)),
        (CHANGES, _over_seeds([row for row in rows if row["step"]], "log10_change", axis)),
    ]
    ticks = alt.Axis(values=sorted({row[axis] for row in rows}), format="d")
    kind = "O" if max(row["layer"] for row in rows) <= FEW else "Q"
    panels = []
    for title, means in drawn:
        values = alt.Data(values=drawable_rows(means))
        line = (
            alt.Chart(values)
            .mark_line(point=alt.OverlayMarkDef(size=25))
            .encode(
                alt.X(
                    f"{axis}:Q",
                    title=axis,
                    scale=alt.Scale(type="log", base=2, nice=False),
                    axis=ticks,
                ),
                alt.Y("value:Q", title="log₁₀", scale=alt.Scale(zero=False)),
                alt.Color(f"layer:{kind}", title="layer", scale=alt.Scale(scheme="viridis")),
                alt.Detail("layer:O"),
                tooltip=["layer:O", "name:N", f"{axis}:Q", alt.Tooltip("value:Q", format=".3f")],
            )
        )
        panels.append(line.properties(width=WIDTH, height=HEIGHT, title=title))
    return panels


def _over_seeds(rows: Sequence[dict[str, Any]], column: str, axis: str) -> list[dict[str, Any]]:
    """Return a row for each size and layer, the mean over seeds of the rms over steps.

    None stands for what is no number.
    """
    logs: dict[tuple[int, int, str], dict[int, list[float]]] = {}
    for row in rows:
        place = row[axis], row["layer"], row["name"]
        logs.setdefault(place, {}).setdefault(row["seed"], []).append(row[column])
    means = []
    for (size, layer, name), seeds in logs.items():
        with np.errstate(divide="ignore", over="ignore"):
            of_seeds = [
                np.log10(np.mean(10 ** (2 * np.array(values)))) / 2 for values in seeds.values()
            ]
        value = float(np.mean(of_seeds)) if np.isfinite(of_seeds).all() else None
        means.append({axis: size, "layer": layer, "name": name, "value": value})
    return means

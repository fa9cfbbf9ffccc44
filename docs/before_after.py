"""The picture "before and after": the gradient by layer of a network, as it is and cured.

    python docs/before_after.py RUN

takes a finished run of `python -m experiments cures FILE.py:NAME`, writes the numbers of its
first cure into `docs/data/before_after.csv`, and draws them as `docs/before_after.svg`. Without a
run it draws what is stored. The picture has no background, and its ink follows the reader's scheme,
dark or light; its letters can be read at a width of 390 pixels.
"""

import csv
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxnn.texts import power_of_ten

DOCS = Path(__file__).parent
DATA, PICTURE = DOCS / "data" / "before_after.csv", DOCS / "before_after.svg"
BEFORE = "as it is"
WIDTH, HEIGHT = 640, 382
LEFT, RIGHT, TOP, BOTTOM = 84, 24, 66, 62  # margins
STEP = 5  # decades between lines of the grid
TITLE = "The gradient of each layer, before training"

STYLE = """
text { font: 22px Arial, "Liberation Sans", sans-serif; fill: #24292f; }
.title { font-weight: bold; }
.quiet { fill: #57606a; font-size: 20px; }
.grid { stroke: #808080; stroke-opacity: .3; }
.line { fill: none; stroke-width: 5; stroke-linejoin: round; stroke-linecap: round; }
.before { stroke: #c4432b; } text.before { fill: #c4432b; stroke: none; }
.after { stroke: #2a78c2; } text.after { fill: #2a78c2; stroke: none; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .quiet { fill: #9aa4af; }
  .before { stroke: #ff7b62; } text.before { fill: #ff7b62; }
  .after { stroke: #6cb6ff; } text.after { fill: #6cb6ff; }
}
"""


class Sizes(NamedTuple):
    """log₁₀ ‖Δ[l]‖ / ‖Δ[L]‖ of each layer, in decades, before and after."""

    before: list[float]
    after: list[float]


def main() -> None:
    """Store the numbers of a run, if one is named, and draw."""
    if sys.argv[1:]:
        store(of_run(Path(sys.argv[1])))
    PICTURE.write_text(drawn(read()), encoding="utf-8")


def of_run(folder: Path) -> Sizes:
    """Return the numbers of a run: of the network as it is, and of its first cure."""
    import polars as pl

    from experiments.cures import cures_report
    from experiments.cures.columns import DELTA

    found = cures_report.means(cures_report.at_best(pl.read_parquet(folder / "rows.parquet")))
    found = found.filter(quantity=DELTA).sort("layer")
    names = [BEFORE, next(n for n in found["change"].unique(maintain_order=True) if n != BEFORE)]
    return Sizes(*(found.filter(change=name)["value"].to_list() for name in names))


def store(sizes: Sizes) -> None:
    """Write the numbers."""
    with DATA.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("layer", *Sizes._fields))
        for layer, values in enumerate(zip(*sizes, strict=True), 1):
            writer.writerow((layer, *(f"{v:.3f}" for v in values)))


def read() -> Sizes:
    """Return the numbers that are stored."""
    with DATA.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return Sizes(*([float(row[name]) for row in rows] for name in Sizes._fields))


Scale = Callable[[float], float]


def axes(title: str, count: int, lowest: float) -> tuple[Scale, Scale, list[str]]:
    """Return where a layer and a size stand, and title, grid and ends of the axes.

    Args:
        count: layers.
        lowest: the smallest size, in decades; the largest is 1.
    """
    low = STEP * math.floor(lowest / STEP)

    def x(layer: float) -> float:
        return LEFT + (layer - 1) / (count - 1) * (WIDTH - LEFT - RIGHT)

    def y(decades: float) -> float:
        return TOP + decades / low * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text class="title" x="8" y="32">{title}</text>']
    for decades in range(0, low - 1, -STEP):
        power = f'10<tspan dy="-9" font-size="15">\N{MINUS SIGN}{-decades}</tspan>'
        height = y(decades)
        parts += [
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" '
            f'y2="{height:.1f}"/>',
            f'<text class="quiet" text-anchor="end" x="{LEFT - 10}" y="{height + 7:.1f}">'
            f"{power if decades else 1}</text>",
        ]
    parts += [
        f'<text class="quiet" x="{LEFT}" y="{HEIGHT - 18}">layer 1, at the input</text>',
        f'<text class="quiet" text-anchor="end" x="{WIDTH - RIGHT}" y="{HEIGHT - 18}">'
        f"layer {count}</text>",
    ]
    return x, y, parts


def drawn(sizes: Sizes) -> str:
    """Return the picture."""
    count = len(sizes.before)
    x, y, parts = axes(TITLE, count, min(sizes.before + sizes.after))

    def line(name: str, values: Sequence[float]) -> str:
        points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(values, 1))
        return f'<polyline class="line {name}" points="{points}"/>'

    middle = (count + 1) / 2
    at = round(middle)
    parts += [
        line("before", sizes.before),
        line("after", sizes.after),
        f'<text class="after" text-anchor="middle" x="{x(middle):.1f}" '
        f'y="{y(min(sizes.after[at - 3 : at + 3])) + 34:.1f}">cured by jaxnn</text>',
        f'<text class="before" x="{x(at) + 16:.1f}" y="{y(sizes.before[at - 1]) + 26:.1f}">'
        "as it is</text>",
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n'
        f"<title>{TITLE}: {power_of_ten(sizes.before[0])} of the last one's as it is, and about "
        f"the same in all layers cured</title>\n<style>{STYLE}</style>\n"
        + "\n".join(parts)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    main()

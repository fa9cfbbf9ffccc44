"""The picture and the table of 80 transformers: the loss after training, by two exponents before.

    python docs/trained_tokens.py

draws the rows of `python -m experiments.laws.trained_tokens` as `docs/trained_tokens.svg`, in the
style of the picture "before and after". `docs/hooks.py` puts the table of rank correlations into
the page where it has `<!-- table: tokens -->`.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from before_after import BOTTOM, DOCS, HEIGHT, LEFT, RIGHT, STYLE, TOP, WIDTH
from scipy.stats import rankdata

DATA, PICTURE = DOCS / "data" / "trained_tokens.csv", DOCS / "trained_tokens.svg"
TITLE = "Test loss by the distance of both exponents from 0"
TASKS = {"digits": "after", "copy": "before"}  # with the class of the style
LABELS = {"digits": ("naming a digit", 0.005, 1.25), "copy": ("copying symbols", 0.0, 0.018)}
LOSSES = (0.003, 0.01, 0.1, 1.0, 3.0)  # of the grid, without the ends
DISTANCES = (0.0, 0.1, 0.2, 0.3, 0.4)
RESAMPLED, SEED = 4000, 0
POINTS = """circle.before { fill: #c4432b; stroke: none; }
circle.after { fill: #2a78c2; stroke: none; }
@media (prefers-color-scheme: dark) {
  circle.before { fill: #ff7b62; } circle.after { fill: #6cb6ff; }
}
"""

Measured = Mapping[str, np.ndarray]


def main() -> None:
    """Draw."""
    PICTURE.write_text(drawn(read()), encoding="utf-8")


def read(data: Path = DATA) -> dict[str, Measured]:
    """Return λ_angle, λ_gradient and the loss of each network, by task."""
    with data.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        task: {
            name: np.array([float(row[name]) for row in rows if row["task"] == task])
            for name in ("angle", "gradient", "loss")
        }
        for task in TASKS
    }


def distance(measured: Measured) -> np.ndarray:
    """Return how far both exponents are from 0 together."""
    return np.hypot(measured["angle"], measured["gradient"])


def rank_correlation(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Return Spearman's rank correlation with its 95 % interval, by networks drawn again."""
    rng = np.random.default_rng(SEED)
    again = rng.integers(0, len(x), (RESAMPLED, len(x)))
    ranks = [rankdata(np.vstack([v, v[again]]), axis=1) for v in (x, y)]
    a, b = (v - v.mean(axis=1, keepdims=True) for v in ranks)
    values = np.sum(a * b, axis=1) / np.sqrt(np.sum(a**2, axis=1) * np.sum(b**2, axis=1))
    low, high = np.quantile(values[1:], (0.025, 0.975))
    return float(values[0]), float(low), float(high)


def markdown() -> str:
    """Return the table of rank correlations of the loss with sizes of the exponents."""
    lines = [
        "| task | loss, smallest to largest | √(λ_angle² + λ_gradient²) | λ_angle | λ_gradient |"
    ]
    lines.append("|:---|---:|---:|---:|---:|")
    for task, measured in read().items():
        loss = measured["loss"]
        sizes = (distance(measured), np.abs(measured["angle"]), np.abs(measured["gradient"]))
        cells = ("{:.2f} ({:.2f} to {:.2f})".format(*rank_correlation(v, loss)) for v in sizes)
        ends = f"{loss.min():.2g} to {loss.max():.2g}"
        lines.append(f"| {LABELS[task][0]} | {ends} | {' | '.join(cells)} |")
    return "\n".join(lines)


def drawn(tasks: Mapping[str, Measured]) -> str:
    """Return the picture."""
    low, *inner, high = LOSSES

    def x(value: float) -> float:
        return LEFT + value / DISTANCES[-1] * (WIDTH - LEFT - RIGHT)

    def y(loss: float) -> float:
        return TOP + np.log(high / loss) / np.log(high / low) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text class="title" x="8" y="32">{TITLE}</text>']
    for loss in inner:
        parts += [
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(loss):.1f}" '
            f'y2="{y(loss):.1f}"/>',
            f'<text class="quiet" text-anchor="end" x="{LEFT - 10}" y="{y(loss) + 7:.1f}">'
            f"{loss:g}</text>",
        ]
    parts += [
        f'<text class="quiet" text-anchor="middle" x="{x(value):.1f}" y="{HEIGHT - 36}">{value:g}'
        "</text>"
        for value in DISTANCES
    ]
    parts.append(
        f'<text class="quiet" text-anchor="end" x="{WIDTH - RIGHT}" y="{HEIGHT - 8}">'
        "√(λ_angle² + λ_gradient²), nats a block</text>"
    )
    for task, kind in TASKS.items():
        measured = tasks[task]
        parts += [
            f'<circle class="{kind}" r="6" cx="{x(at):.1f}" cy="{y(loss):.1f}"/>'
            for at, loss in zip(distance(measured), measured["loss"], strict=True)
        ]
        words, at, loss = LABELS[task]
        parts.append(f'<text class="{kind}" x="{x(at):.1f}" y="{y(loss):.1f}">{words}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n'
        f"<title>{TITLE}</title>\n<style>{STYLE}{POINTS}</style>\n"
        + "\n".join(parts)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    main()

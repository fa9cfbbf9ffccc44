"""The picture "three lines": a network checked up, the change that makes it learn, and both losses.

    python docs/three_lines.py measure

checks up the program of the README, writes what that gives into `docs/data/three_lines.json`, and
draws it as `docs/three_lines.svg`. Without an argument it draws what is stored. The picture moves
once, for less than five seconds; `three_lines-still.svg` is for those who asked their system for no
motion. Neither has a background, and their ink follows the reader's scheme, dark or light.
"""

import json
import re
import sys
import textwrap
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DOCS = Path(__file__).parent
DATA, PICTURE = DOCS / "data" / "three_lines.json", DOCS / "three_lines.svg"
STILL = DOCS / "three_lines-still.svg"
STEPS = 200  # of a training
WIDTH, PLOT = 560, 162  # of the picture; the height of its plot
LEFT, RIGHT, BOTTOM = 44, 96, 50  # margins of the plot
ADVICE, LINE = 118, 24  # where the advice stands, and the height of a line
CHARACTERS = 58  # of a line
STYLE = """
text { font: 19px Arial, "Liberation Sans", sans-serif; fill: #24292f; }
.code { font: 17px ui-monospace, Menlo, Consolas, monospace; fill: #57606a; }
.quiet { fill: #57606a; font-size: 17px; }
.axis { stroke: #808080; stroke-opacity: .5; }
.curve { fill: none; stroke-width: 3.5; stroke-linejoin: round; stroke-dasharray: 1; }
.ill { fill: #c4432b; } .curve.ill { fill: none; stroke: #c4432b; }
.well { fill: #2a78c2; } .curve.well { fill: none; stroke: #2a78c2; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .code, .quiet { fill: #9aa4af; }
  .ill { fill: #ff7b62; } .curve.ill { fill: none; stroke: #ff7b62; }
  .well { fill: #6cb6ff; } .curve.well { fill: none; stroke: #6cb6ff; }
}
"""
MOTION = """
.second, .third { animation: shown .5s 1.2s both; } .third { animation-delay: 2.4s; }
.curve { animation: drawn 2s 2.8s linear both; }
@keyframes shown { from { opacity: 0; } }
@keyframes drawn { from { stroke-dashoffset: 1; } to { stroke-dashoffset: 0; } }
"""


class Told(NamedTuple):
    """The results of the three lines, which the picture shows.

    learns: the first sentence, up to its numbers.
    change: the sentence on the change that makes it learn.
    before, after: the loss at each step, as it is and with that change.
    """

    learns: str
    change: str
    before: list[float]
    after: list[float]


def main() -> None:
    """Measure if that is asked for, and draw."""
    if sys.argv[1:] == ["measure"]:
        DATA.write_text(json.dumps(measured()._asdict()) + "\n", encoding="utf-8")
    PICTURE.write_text(drawn(read(), MOTION), encoding="utf-8")
    STILL.write_text(drawn(read()), encoding="utf-8")


def measured() -> Told:
    """Return what the program of the README gives, as it is and with the change."""
    import torch

    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    program = re.search(r"^```python\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    assert program is not None
    scope: dict[str, Any] = {}
    exec(program[1], scope)
    checkup = scope["checkup"]
    trials = checkup.trials
    cure = next(cure for cure in checkup.diagnosis.cures if cure.kind == trials.answer.names[0])

    def losses(model: Any) -> list[float]:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        course = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(scope["xs"]), scope["ys"])
            loss.backward()
            optimizer.step()
            course.append(round(loss.item(), 3))
        return course

    learns, _, _ = checkup.sentences[0].partition(":")
    return Told(f"{learns}.", next(trials.sentences()), losses(scope["model"]), losses(cure.model))


def read() -> Told:
    """Return what is stored."""
    return Told(**json.loads(DATA.read_text(encoding="utf-8")))


def in_words(told: Told) -> str:
    """Return the picture for those who do not see it."""
    before, after = (f"from {v[0]:.2g} to {v[-1]:.2g}" for v in (told.before, told.after))
    return f"{told.learns} {told.change} The loss goes {before} as it is, {after} with the change."


def drawn(told: Told, motion: str = "") -> str:
    """Return the picture, which moves if it has the style for that."""
    steps = min(len(told.before), len(told.after))
    most = max(told.before[:steps] + told.after[:steps])
    lines = textwrap.wrap(told.change, CHARACTERS)
    top = ADVICE + LINE * len(lines) + 36
    bottom = top + PLOT
    height = bottom + BOTTOM

    def curve(kind: str, losses: list[float]) -> str:
        xs = LEFT + np.arange(steps) / (steps - 1) * (WIDTH - LEFT - RIGHT)
        ys = bottom - np.array(losses[:steps]) / most * PLOT
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
        label = {"ill": "as it is", "well": "changed"}[kind]
        return (
            f'<polyline class="curve {kind}" pathLength="1" points="{points}"/>\n'
            f'<text class="{kind}" x="{WIDTH - RIGHT + 10}" y="{ys[-1] + 6:.1f}">{label}</text>'
        )

    advised = "".join(
        f'<tspan x="8" y="{ADVICE + LINE * i}">{escape(line)}</tspan>'
        for i, line in enumerate(lines)
    )
    below = f"loss over {steps} steps"
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">
<title>{escape(in_words(told))}</title>
<style>{STYLE}{motion}</style>
<g><text class="code" x="8" y="24">jaxnn.checkup(model, adam, xs, ys, loss=loss)</text>
<text class="ill" x="8" y="52">{told.learns}</text></g>
<g class="second"><text class="code" x="8" y="90">checkup.trials.answer</text>
<text class="well">{advised}</text></g>
<g class="third"><text class="code" x="8" y="{top - 22}">train(model)</text>
<path class="axis" d="M{LEFT} {top}V{bottom}H{WIDTH - RIGHT}" fill="none"/>
<text class="quiet" x="8" y="{top + 12}">{most:.2g}</text>
<text class="quiet" x="26" y="{bottom + 4}">0</text>
<text class="quiet" x="{LEFT}" y="{height - 20}">{below}</text>
{curve("ill", told.before)}
{curve("well", told.after)}</g>
</svg>
"""


if __name__ == "__main__":
    main()

"""The picture "why gradients vanish": slope times weight, layer after layer.

    python docs/why_vanish.py

measures three networks of 30 layers of 64 units, and draws the gradient of each layer, relative to
that of the last one, as `docs/why_vanish.svg`: in the style of the picture "before and after".
"""

import jax
import numpy as np
from before_after import DOCS, STYLE, WIDTH, axes

import jaxnn

PICTURE = DOCS / "why_vanish.svg"
TITLE = "The gradient that arrives in each layer"
LAYERS, UNITS = 30, 64
LINES = (  # name, activation, weights, class of the style, where its label stands: layer, shift
    ("relu, He: × 1.0 a layer", "relu", "he_normal", "after", 18, -12),
    ("relu, Glorot: × 0.7", "relu", "glorot_normal", "middle", 6, 34),
    ("sigmoid, Glorot: × 0.24", "sigmoid", "glorot_normal", "before", 12, 26),
)
MIDDLE = """.middle { stroke: #6e7781; } text.middle { fill: #57606a; stroke: none; }
@media (prefers-color-scheme: dark) { text.middle { fill: #9aa4af; } }
"""


def main() -> None:
    """Measure and draw."""
    measured = {name: sizes(activation, weights) for name, activation, weights, *_ in LINES}
    PICTURE.write_text(drawn(measured), encoding="utf-8")


def sizes(activation: str, weights: str) -> list[float]:
    """Return log₁₀ ‖Δ[l]‖ / ‖Δ[L]‖ of each hidden layer."""
    net = jaxnn.Network((UNITS,) * (LAYERS + 1) + (1,), activation, "binary")
    params = jaxnn.init(net, jax.random.key(1), weights, stacked=True)
    xs = jax.random.normal(jax.random.key(2), (64, UNITS))
    flow = jaxnn.gradient_flow((net, params), xs, (xs[:, 0] > 0).astype(int))
    decades = np.asarray(flow.log_delta[:LAYERS], np.float64) / np.log(10)
    return [round(float(v), 2) for v in decades - decades[-1]]


def drawn(measured: dict[str, list[float]]) -> str:
    """Return the picture."""
    x, y, parts = axes(TITLE, LAYERS, min(map(min, measured.values())))
    for name, _, _, kind, at, shift in LINES:
        values = measured[name]
        points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(values, 1))
        parts += [
            f'<polyline class="line {kind}" points="{points}"/>',
            f'<text class="{kind}" x="{x(at) + 8:.1f}" y="{y(values[at - 1]) + shift:.1f}">'
            f"{name}</text>",
        ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 382" role="img">\n'
        f"<title>{TITLE}</title>\n<style>{STYLE}{MIDDLE}</style>\n"
        + "\n".join(parts)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    main()

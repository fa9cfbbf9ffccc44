"""A small network drawn with all of its numbers: x, θ, b, z, a, and every Δ of the derivation.

It is SVG without a script, whose ink is that of the page it stands in, light or dark. Units are
circles; on each edge stands θ[i]_jk, and below it Δθ[i]_jk. With units a distance S apart, a label
at the fraction f of its edge from unit j to unit k stands at height S ((1 - f) j + f k) but for a
constant. The labels of the n edges that lead to a unit stand in a group in front of it: with
f = (n + 1)/(n + 2) they are S/(n + 2) apart, and groups twice as far.
"""

import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ...arrays.compiled import Numbers
from ...network.network import Network
from ...network.params import Pairs, unstack
from ...passes.backprop import Deltas, deltas
from ...passes.forward import Trace, loss, trace

POSITIVE, NEGATIVE = "#3b82c4", "#d9662b"
MOST_UNITS, MOST_LAYERS = 6, 4
RADIUS = 47
LABEL = 34  # pixels for the two lines of an edge's label
EDGE, REACH = 218, 52  # the least pixels between two columns of circles; half a label, and a bit
SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉"
NARROW, ROW = 380, 150  # the width for a phone, and the pixels between two layers there
STYLE = "font-family:system-ui,sans-serif;font-size:13px;font-variant-numeric:tabular-nums"


class Drawing(NamedTuple):
    """A picture: `svg` is its text, `narrow` that for a phone; notebooks show it by themselves."""

    svg: str
    narrow: str

    def _repr_svg_(self) -> str:
        return self.svg


class _DrawnNumbers(NamedTuple):
    """Everything that is drawn, as NumPy arrays."""

    theta: list[np.ndarray]
    b: list[np.ndarray]
    trace: Trace
    deltas: Deltas
    loss: float
    y: float


class _Point(NamedTuple):
    x: float
    y: float


def draw(net: Network, params: Pairs, x: Numbers, y: Numbers, *, narrow: bool = False) -> Drawing:
    """Draw a network with every number of one example.

    Args:
        net: the network, of at most 6 units a layer and 4 layers of weights, with one output.
        params: L pairs (θ, b).
        x: one example, (n[0],).
        y: its label.
        narrow: layers below one another and the weights in tables, for a phone; otherwise layers
            from left to right and the weights on their edges.

    Raises:
        ValueError, TypeError: a larger network, or as `jaxnn.deltas`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0))
        >>> draw(net, params, jnp.ones(3), 1).svg[:4]
        '<svg'
    """
    sizes = net.sizes
    if max(sizes) > MOST_UNITS or len(sizes) > MOST_LAYERS + 1 or sizes[-1] != 1:
        raise ValueError(
            f"sizes: expected at most {MOST_UNITS} units a layer, {MOST_LAYERS} layers of weights "
            f"and one output to draw, got {sizes}"
        )
    numbers = _numbers(net, params, x, y)
    of_phone = _narrow(sizes, numbers)
    return Drawing(of_phone if narrow else _wide(sizes, numbers), of_phone)


def _numbers(net: Network, params: Pairs, x: Numbers, y: Numbers) -> _DrawnNumbers:
    params = unstack(params)
    layers = [tuple(map(np.asarray, layer)) for layer in params]
    theta, b = ([layer[i] for layer in layers] for i in (0, 1))
    label = float(np.asarray(y).reshape(()))
    value = float(loss(net, params, x, y))
    return _DrawnNumbers(theta, b, trace(net, params, x), deltas(net, params, x, y), value, label)


def number(value: float) -> str:
    """Return a number of three digits or so, with a true minus sign.

    Example:
        >>> [number(v) for v in (0.0, -0.12345, 12.3456, 1.5e-5)]
        ['0', '−0.123', '12.3', '1.5e−05']
    """
    size = abs(value)
    if size == 0:
        text = "0"
    elif not np.isfinite(size):
        text = f"{value:g}"
    elif 1e-3 <= size < 1e3:
        text = f"{value:.3f}" if size < 10 else f"{value:.1f}"
    else:
        text = f"{value:.1e}"
    return text.replace("-", "−")


def _text(at: _Point, words: str, name: str = "", **style: str) -> str:
    """Return a line of text; a name tells a program which number it is."""
    more = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in style.items())
    named = f' data-name="{name}"' if name else ""
    return f'<text x="{at.x:.0f}" y="{at.y:.0f}"{named}{more}>{words}</text>'


def _unit(numbers: _DrawnNumbers, layer: int, k: int, at: _Point) -> Iterator[str]:
    """Yield a circle with a, z and Δz inside it, and b below it; of an input with x and Δx."""
    trace, deltas = numbers.trace, numbers.deltas
    yield (
        f'<circle cx="{at.x:.0f}" cy="{at.y:.0f}" r="{RADIUS}" fill="none" stroke="currentColor" '
        'stroke-opacity="0.5"/>'
    )
    if layer == 0:
        lines = [("x", trace.a[0][k], "a"), ("Δx", deltas.a[0][k], "delta_a")]
    else:
        lines = [
            ("z", trace.z[layer - 1][k], "z"),
            ("a", trace.a[layer][k], "a"),
            ("Δz", deltas.z[layer - 1][k], "delta_z"),
        ]
    for i, (letter, value, name) in enumerate(lines):
        place = _Point(at.x, at.y + 5 + 17 * (i - (len(lines) - 1) / 2))
        weight = "600" if letter in ("x", "a") else "400"
        words = f"{letter}{SUBSCRIPTS[k + 1]} {number(float(value))}"
        yield _text(place, words, f"{name} {layer} {k}", font_weight=weight)
    if layer:
        words = f"b{SUBSCRIPTS[k + 1]} {number(float(numbers.b[layer - 1][k]))}"
        place = _Point(at.x, at.y + RADIUS + 15)
        yield _text(place, words, f"b {layer - 1} {k}", fill_opacity="0.75")


def _edge(theta: float, largest: float, start: _Point, end: _Point) -> str:
    colour = POSITIVE if theta >= 0 else NEGATIVE
    width = 0.6 + 4.4 * abs(theta) / (largest or 1)
    return (
        f'<line x1="{start.x:.0f}" y1="{start.y:.0f}" x2="{end.x:.0f}" y2="{end.y:.0f}" '
        f'stroke="{colour}" stroke-width="{width:.2f}"/>'
    )


def _edges(
    numbers: _DrawnNumbers, places: Sequence[Sequence[_Point]], down: bool
) -> Iterator[tuple[str, int, int, int, _Point, _Point]]:
    """Yield every edge between the rims of two circles, with its indices i, j, k and its ends."""
    largest = max(float(np.abs(theta).max()) for theta in numbers.theta)
    for i, theta in enumerate(numbers.theta):
        for j, start in enumerate(places[i]):
            for k, end in enumerate(places[i + 1]):
                if down:
                    below = RADIUS + (20 if i else 0)  # where b stands
                    low, high = _Point(start.x, start.y + below), _Point(end.x, end.y - RADIUS)
                else:
                    low, high = _Point(start.x + RADIUS, start.y), _Point(end.x - RADIUS, end.y)
                yield _edge(float(theta[j, k]), largest, low, high), i, j, k, low, high


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    # In less than four fifths of its width it is moved sideways instead of becoming too small.
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" role="img" aria-label="The network with its numbers" '
        f'text-anchor="middle" fill="currentColor" style="max-width:100%;height:auto;'
        f'min-width:{0.8 * width:.0f}px;{STYLE}">'
        f"{''.join(parts)}</svg>"
    )


def _ending(numbers: _DrawnNumbers) -> str:
    return f"y {numbers.y:g}, loss {number(numbers.loss)}"


def _wide(sizes: Sequence[int], numbers: _DrawnNumbers) -> str:
    labelled = [LABEL * (n + 2) for n, above in pairwise(sizes) if above > 1]
    apart = max([*labelled, 2.6 * RADIUS])
    height = apart * (max(sizes) - 1) + 2 * RADIUS + 76
    columns = [RADIUS + 45.0]
    for n, above in pairwise(sizes):
        edge = max(EDGE, REACH * (n + 2)) if above > 1 else EDGE
        columns.append(columns[-1] + edge + 2 * RADIUS)
    width = columns[-1] + RADIUS + 45
    middle = height / 2 - 4
    places = [
        [_Point(x, middle + apart * (j - (n - 1) / 2)) for j in range(n)]
        for x, n in zip(columns, sizes, strict=True)
    ]
    edges, labels, holes = [], [], []
    for line, i, j, k, start, end in _edges(numbers, places, down=False):
        f = (sizes[i] + 1) / (sizes[i] + 2) if sizes[i + 1] > 1 else 0.6
        at = _Point(start.x + f * (end.x - start.x), start.y + f * (end.y - start.y))
        edges.append(line)
        holes.append(f'<rect x="{at.x - 44:.0f}" y="{at.y - 17:.0f}" width="88" height="34"/>')
        theta, change = float(numbers.theta[i][j, k]), float(numbers.deltas.theta[i][j, k])
        up, below = _Point(at.x, at.y - 2), _Point(at.x, at.y + 13)
        ends = SUBSCRIPTS[j + 1] + SUBSCRIPTS[k + 1]
        labels.append(_text(up, f"θ{ends} {number(theta)}", f"theta {i} {j} {k}"))
        labels.append(_text(below, f"Δθ{ends} {number(change)}", f"delta_theta {i} {j} {k}"))
    name = f"labels-{zlib.crc32(''.join(labels).encode()):08x}"  # of this picture on its page
    mask = (
        f'<mask id="{name}" maskUnits="userSpaceOnUse" x="0" y="0" width="{width}" '
        f'height="{height}"><rect width="{width}" height="{height}" fill="white"/>'
        f'<g fill="black">{"".join(holes)}</g></mask>'
    )
    hidden = (f"hidden layer {i}" for i in range(1, len(sizes) - 1))
    names = ("input x = a[0]", *hidden, f"output ŷ = a[{len(sizes) - 1}]")
    heads = [_text(_Point(x, 18), name) for x, name in zip(columns, names, strict=True)]
    units = [
        part
        for i, column in enumerate(places)
        for k, at in enumerate(column)
        for part in _unit(numbers, i, k, at)
    ]
    last = places[-1][0]
    ending = _text(_Point(last.x, last.y + RADIUS + 36), _ending(numbers), "loss")
    group = f'<g mask="url(#{name})">{"".join(edges)}</g>'
    return _svg(width, height, [mask, group, *heads, *units, *labels, ending])


def _narrow(sizes: Sequence[int], numbers: _DrawnNumbers) -> str:
    places = [
        [_Point(NARROW * (k + 0.5) / n, RADIUS + 8 + (2 * RADIUS + ROW - 60) * i) for k in range(n)]
        for i, n in enumerate(sizes)
    ]
    edges = [line for line, *_ in _edges(numbers, places, down=True)]
    units = [
        part
        for i, row in enumerate(places)
        for k, at in enumerate(row)
        for part in _unit(numbers, i, k, at)
    ]
    y = places[-1][0].y + RADIUS + 34
    parts = [*edges, *units, _text(_Point(NARROW / 2, y), _ending(numbers), "loss")]
    for i, theta in enumerate(numbers.theta):
        y += 36
        head = f"θ[{i}], and below it Δθ[{i}]; row j leads from unit j, column k to unit k"
        parts.append(_text(_Point(NARROW / 2, y), head, font_size="11px"))
        for j, k in np.ndindex(theta.shape):
            at = _Point(NARROW * (k + 0.5) / theta.shape[1], y + 24 + 44 * j)
            parts.append(_text(at, number(float(theta[j, k])), f"theta {i} {j} {k}"))
            below = _Point(at.x, at.y + 16)
            change = number(float(numbers.deltas.theta[i][j, k]))
            name = f"delta_theta {i} {j} {k}"
            parts.append(_text(below, change, name, fill_opacity="0.75"))
        y += 44 * theta.shape[0]
    return _svg(NARROW, y + 16, parts)

"""Charts of flows, for a notebook or a file; with the extra `charts` (Altair)."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np

from ...distribution import install_command
from ...texts import drawable
from ..formats.ranges import FORMATS, NOISE
from .table import assert_one, findings_as_html

Altair = Any  # a chart of Altair, or a channel of one
Panel = tuple[str, list[Altair]]  # its title, and what is drawn
Json = Any

# Told apart on white and on black, and by most colour-blind readers in this order.
CATEGORIES = (
    *("#3b82c4", "#d9662b", "#3a9d5d", "#b45cc4"),
    *("#b5851f", "#d04a6b", "#6c7fd0", "#2a9aa0"),
)
MUTED = "#888888"
FAINT = "#8884"
FONT = "Arial, Liberation Sans, Helvetica, sans-serif"  # of one width here and in a browser
INK = "#010203"  # of text in `svg`, where the colour of the page takes its place
WIDTH, HEIGHT = 560, 200
DRAWN = (
    *("log10_delta_rms", "log10_delta_smallest", "log10_delta_largest", "log10_gain"),
    *("log10_spread", "log10_delta_theory"),
)
FEW = 60  # layers that are drawn as points too


def chart(*flows: Any, names: Sequence[str] | None = None) -> Any:
    """Draw flows: the gradient by layer, what each layer does to it, and what is left of examples.

    The band is that of the examples, the line their root mean square, a dashed line what theory
    says of it, if a flow has that. Dotted lines are the smallest normal numbers of formats, where
    the gradient comes near them, and in the panel of examples, of flows with a spread, their
    rounding.

    Args:
        flows: of `jaxnn.gradient_flow`, each of one network, outside `jit`.
        names: of the flows, for the legend; their numbers by default.

    Returns:
        An Altair chart: it shows itself in Jupyter and marimo, `.save("flow.png")` writes a
        picture, and `.save("flow.html", inline=True)` a page that needs no network.

    Raises:
        ImportError: Altair is not installed.
        ValueError, TypeError: no flow, other names than flows, or a traced flow.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0))
        >>> flow = jaxnn.gradient_flow((net, params), jnp.ones((2, 3)), jnp.array([0, 1]))
        >>> jaxnn.chart(flow).save("flow.png")  # doctest: +SKIP
    """
    for flow in flows:
        assert_one(flow)
    alt = load_altair()
    if not flows:
        raise ValueError("flows: expected at least one, got none")
    labels = [str(i + 1) for i in range(len(flows))] if names is None else list(map(str, names))
    if len(labels) != len(flows) or len(set(labels)) != len(labels):
        raise ValueError(
            f"names: expected a name of its own for each of {len(flows)} flows, got {labels}"
        )
    rows = [
        {"flow": label, **_drawable(row)}
        for label, flow in zip(labels, flows, strict=True)
        for row in flow.table()
    ]
    rows, labels = drawable_rows((rows, labels))  # no other text is a user's
    drawn = [
        alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=title)
        for title, layers in by_layer(rows, labels)
    ]
    return styled(alt.vconcat(*drawn, data=alt.Data(values=rows), spacing=18))


def styled(chart: Altair) -> Any:
    """Return a chart in the house's style."""
    return (
        chart.configure_axis(labelFontSize=12, titleFontSize=12, titleFontWeight="normal")
        .configure_title(anchor="start", fontSize=13, fontWeight="normal", frame="group")
        .configure_legend(labelFontSize=12, title=None, orient="top", symbolOpacity=1)
    )


def drawable_rows(rows: Json) -> Any:
    """Return what a chart shows, with texts that end neither the engine nor a page's script."""
    return drawable(_in_script(rows))


def _in_script(value: Json) -> Any:
    """Return a value whose texts cannot end the script in which Altair writes them into a page."""
    if isinstance(value, str):
        # A joiner is not seen.
        return value.replace("</", "<\u200d/").replace("<!", "<\u200d!")
    if isinstance(value, dict):
        return {name: _in_script(inner) for name, inner in value.items()}
    return [*map(_in_script, value)] if isinstance(value, list | tuple) else value


def svg(chart: Altair) -> str:
    """Return an Altair chart as SVG that needs no script and has the ink of the page around it.

    Its ids are those of no other picture of the process, so that several stand on one page.
    """
    try:
        import vl_convert
    except ImportError:
        raise ImportError(
            f"jaxnn.chart: expected vl-convert to be installed; {install_command('charts')}"
        ) from None
    spec: dict[str, Any] = drawable(chart.to_dict())
    config = spec.setdefault("config", {})
    config["background"] = "transparent"
    config["font"] = FONT
    config["view"] = {"stroke": FAINT} | config.get("view", {})
    lines = dict.fromkeys(("gridColor", "domainColor", "tickColor"), FAINT)
    lines["titleFontWeight"] = "normal"
    for name, settings in (("axis", lines), ("legend", {}), ("header", {})):
        config[name] = {"labelColor": INK, "titleColor": INK} | settings | config.get(name, {})
    title = {"color": INK, "subtitleColor": INK, "anchor": "start", "fontWeight": "normal"}
    config["title"] = title | config.get("title", {})
    version = ".".join(load_altair().SCHEMA_VERSION.lstrip("v").split(".")[:2])
    text: str = vl_convert.vegalite_to_svg(spec, vl_version=version)
    # In less than four fifths of its width it is moved sideways instead of becoming too small.
    least = 0.8 * float(re.findall(r'width="([\d.]+)"', text)[0])
    style = f'style="max-width:100%;height:auto;min-width:{least:.0f}px"'
    text = text.replace("<svg ", f"<svg {style} ", 1)
    return text.replace(INK, "currentColor").replace("\n", " ")


def by_layer(rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> Iterator[Panel]:
    """Yield the panels for rows of labelled flows; None where there is no number to draw."""
    alt = load_altair()
    axis = alt.Axis(tickMinStep=1, format="d")
    base = alt.Chart().encode(
        alt.X("layer:Q", title="layer", axis=axis, scale=alt.Scale(nice=False)),
        alt.Color(
            "flow:N",
            scale=alt.Scale(domain=[*labels], range=[*CATEGORIES]),
            legend=alt.Legend() if len(labels) > 1 else None,
        ),
        tooltip=["name:N", "layer:Q", *(alt.Tooltip(f"{n}:Q", format=".3f") for n in DRAWN)],
    )
    few = max(row["layer"] for row in rows) <= FEW
    thick = base.mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=18) if few else False)

    def known(*columns: str) -> list[float]:
        return [v for row in rows for name in columns if (v := row.get(name)) is not None]

    def line(column: str, title: str, zero: bool = False) -> Altair:
        return thick.encode(alt.Y(f"{column}:Q", title=title, scale=alt.Scale(zero=zero)))

    def dashed(column: str) -> list[Altair]:
        dashes = base.mark_line(strokeDash=[5, 3]).encode(alt.Y(f"{column}:Q"))
        return [dashes] if known(column) else []

    ends = (alt.Y("log10_delta_smallest:Q"), alt.Y2("log10_delta_largest:Q"))
    theory = dashed("log10_delta_theory")
    tiny = {n: float(np.log10(float(jnp.finfo(n).tiny))) for n in FORMATS}  # type: ignore[no-untyped-call]
    yield (
        "Gradient of an example: root mean square, and the smallest to the largest"
        + "; dashed: theory" * len(theory),
        [
            base.mark_area(opacity=0.18).encode(*ends),
            line("log10_delta_rms", "log₁₀ ‖Δ‖"),
            *theory,
            *_limits(alt, tiny, known("log10_delta_rms", "log10_delta_theory")),
        ],
    )
    yield (
        "Effect of the layer above on the gradient",
        [line("log10_gain", "decades a layer, downwards", zero=True)],
    )
    if known("log10_spread"):
        noise = {
            n: float(np.log10(NOISE * float(jnp.finfo(n).eps)))  # type: ignore[no-untyped-call]
            for n in FORMATS
            if not n.startswith("float8")
        }
        yield (
            "What differs between examples; dotted: rounding",
            [
                line("log10_spread", "log₁₀, relative to the state"),
                *_limits(alt, noise, known("log10_spread")),
            ],
        )


def with_picture(sentences: Iterable[str], draw: Callable[[], Altair]) -> str:
    """Return sentences as HTML, and below them their chart if it can be drawn."""
    try:
        picture = svg(draw())
    except ImportError:  # without the extra `charts`
        picture = ""
    return findings_as_html(sentences) + picture


def load_altair() -> Any:
    """Return Altair, or raise an ImportError that says how to install it."""
    try:
        import altair
    except ImportError:
        raise ImportError(
            f"jaxnn.chart: expected Altair to be installed; {install_command('charts')}"
        ) from None
    return altair


def _drawable(row: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of a row that are drawn, null where there is none to draw."""
    numbers = {name: row[name] for name in DRAWN if name in row}
    finite = {name: v if np.isfinite(v) else None for name, v in numbers.items()}
    return {"layer": row["layer"], "name": row["name"], **finite}


def _limits(alt: ModuleType, levels: dict[str, float], values: list[float]) -> list[Any]:
    """Return dotted lines with names at the levels that lie between the values, or near them."""
    if not values:
        return []
    low, high = min(values), max(values)
    room = 0.1 * (high - low)
    near: list[dict[str, Any]] = []
    for name, level in sorted(levels.items(), key=lambda item: item[1]):
        if not low - room <= level <= high + room:
            continue
        if near and level - near[-1]["level"] < room / 2:  # one label: two would overlap
            near[-1]["format"] += f", {name}"
        else:
            near.append({"format": name, "level": level})
    if not near:
        return []
    base = alt.Chart(alt.Data(values=near))
    y = alt.Y("level:Q")
    rule = base.mark_rule(strokeDash=[2, 3], color=MUTED).encode(y)
    text = base.mark_text(align="left", baseline="bottom", dx=4, color=INK, fontSize=11)
    return [rule, text.encode(y, x=alt.value(0), text="format:N")]

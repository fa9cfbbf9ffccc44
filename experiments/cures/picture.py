"""The picture of the cures: the gradient of each change, and a map of what then trains.

Of the article's remedies gradient and correlation stand against depth, theory dashed; of a network
its gradient against the layer; of several networks there is the map alone.
"""

import textwrap
from collections.abc import Mapping, Sequence
from functools import partial

import altair as alt
import polars as pl

from experiments.cures import cures_report
from experiments.cures.columns import ACCURACY, DELTA, DISTANCE, GRADIENT, LOSS
from experiments.cures.cures_report import ChangeRow
from experiments.cures.cures_theory import Predicted
from experiments.pages import charts, palette
from experiments.pages.tables import NOT_MEASURED
from experiments.runs.missing import Missing

TITLE = "What cures vanishing and exploding gradients?"
READING = "Lines: mean over seeds, with the range; dashed: mean-field theory. Flat is cured."
PLOT, PANEL, NARROW = (500, 280), (250, 200), 230  # pixels
CELL = (46, 22)  # of the map
WORDS = 100  # characters of a line under the title
FLOOR = 1e-6  # of 1 - correlation: what is less stands here
DARK = 0.6  # an accuracy whose tile is light, with dark text
COLOURS = [palette.MUTED, palette.CATEGORIES[-1], *palette.CATEGORIES[:-1]]
TITLES = {
    GRADIENT: "log₁₀ ‖Δz[1]‖ / ‖Δz[L]‖: the first layer's gradient over the last hidden layer's",
    DELTA: "log₁₀ ‖Δ[l]‖ / ‖Δ[L]‖: each layer's gradient over the last one's, before training",
    DISTANCE: "1 - correlation of two examples' z[L]",
    ACCURACY: "Training accuracy",
    LOSS: "Training loss",
}


def figure(
    rows: pl.DataFrame, predicted: Mapping[str, Predicted], missing: Missing, words: str
) -> charts.Figure:
    """Return the gradient of each change, and below it what training reaches."""
    of = cures_report.lines(rows, missing)
    means = cures_report.means(cures_report.at_best(rows, missing))
    aim = ACCURACY if ACCURACY in rows["quantity"] else LOSS
    several = len({(line.network, line.framework) for line in of}) > 1
    quantities = (GRADIENT, DISTANCE) if of[0].is_of_article else () if several else (DELTA,)
    theory = {line.name: predicted.get(line.change, {}) for line in of}
    names = {line.change: line.name for line in of}
    means = means.with_columns(pl.col("change").replace(names).alias("name"))
    data = {quantity: _plot(means.filter(quantity=quantity), theory) for quantity in quantities}
    data["tiles"] = _tiles(of, aim)
    drawn = partial(_chart, data, list(names.values()), aim, words)
    return charts.Figure(drawn(False), data, narrow=partial(drawn, True))


def _plot(means: pl.DataFrame, theory: Mapping[str, Predicted]) -> pl.DataFrame:
    """Return the lines of a plot: a name, x, a mean with its range, theory, and their places."""
    at = means.select("name", "quantity", "depth").iter_rows()
    of_theory = [theory[name].get((quantity, depth)) for name, quantity, depth in at]
    x = pl.coalesce("layer", "depth").alias("x")
    frame = means.select("name", "quantity", x, "value", "least", "most").with_columns(
        pl.Series("theory", of_theory, pl.Float64)
    )
    value = pl.col("value", "least", "most", "theory")
    squeezed = value.sign() * value.abs().log1p()
    floored = pl.when(quantity=DISTANCE).then(value.clip(FLOOR))
    return frame.with_columns(floored.otherwise(squeezed).name.suffix("_at"))


def _tiles(of: Sequence[ChangeRow], aim: str) -> pl.DataFrame:
    """Return what is reached by name, and depth or network; empty if it was not measured."""
    tiles = list[tuple[str, str, float | None, str]]()
    for line in of:
        place = "" if line.is_of_article else f"{line.network} ({line.framework})"
        for depth, mean in line.of(aim).items():
            text = f"{mean.value:.2f}".removeprefix("0")
            tiles.append((line.name, place or str(depth), mean.value, text))
        missing = [depth for quantity, depth in sorted(line.missing) if quantity == aim]
        tiles += [(line.name, place or str(depth), None, NOT_MEASURED) for depth in missing]
    columns = {"name": pl.String, "at": pl.String, "value": pl.Float64, "text": pl.String}
    return pl.DataFrame(tiles, columns, orient="row")


def _chart(
    data: Mapping[str, pl.DataFrame], names: list[str], aim: str, words: str, narrow: bool
) -> charts.Chart:
    """Return the picture; the narrow one has all panels in a column."""
    pixels = NARROW if narrow else None
    plots = [name for name in data if name != "tiles"]
    panels = []
    for name, (width, height) in zip(plots, (PLOT, PANEL), strict=False):
        legend = alt.Legend(orient="top" if narrow else "right", columns=1, values=names)
        shown = legend if name == plots[0] else None
        colour = alt.Color("name:N", sort=None, title=None, legend=shown).scale(
            domain=names, range=COLOURS[: len(names)]
        )
        size = {"width": pixels or width, "height": height}
        title = charts.titled(TITLES[name], "", pixels)
        panels.append(alt.layer(*_lines(data[name], name, colour)).properties(title=title, **size))
    count = data["tiles"]["at"].n_unique()
    title = charts.titled(TITLES[aim], "with the best step size", pixels)
    panels.append(
        alt.layer(*_map(names, aim, 0 if plots else -40)).properties(
            width=CELL[0] * max(count, 1), height=CELL[1] * len(names), title=title
        )
    )
    lines = [*textwrap.wrap(words, WORDS), *([READING] if plots else [])]
    below = (alt.vconcat if narrow else alt.hconcat)(*panels[1:], spacing=34)
    whole = alt.vconcat(panels[0], below, spacing=28) if panels[1:] else alt.vconcat(*panels)
    return whole.properties(title=charts.headline(TITLE, lines, pixels))


def _lines(frame: pl.DataFrame, quantity: str, colour: alt.Color) -> list[charts.Chart]:
    """Return the lines of a quantity with their ranges, and theory dashed."""
    base = alt.Chart(alt.NamedData(quantity))
    xs = sorted({*frame["x"], 1})
    x = alt.X("x:Q", title="layer").axis(format="d").scale(zero=False, nice=False)
    if quantity != DELTA:
        x = alt.X("x:Q", title="hidden layers L").scale(type="log", base=2, domain=[xs[0], xs[-1]])
        x = x.axis(format="d", labelOverlap=True, values=charts.doublings(xs))
    if quantity == DISTANCE:
        y = alt.Y("value_at:Q", title=None).axis(
            format="~e", values=[10.0**k for k in range(-6, 1)]
        )
        y = y.scale(type="log", domain=[FLOOR, 2], nice=False, clamp=True)
    else:
        numbers = pl.concat([frame[n] for n in ("value", "theory")])
        sizes = numbers.filter(numbers.is_finite()).abs().to_list()
        y = alt.Y("value_at:Q", title=None, axis=charts.squeezed_axis(max(sizes, default=1.0)))
    valid = base.transform_filter("isValid(datum.value_at)")
    tooltip = ["name:N", "x:Q", *(alt.Tooltip(f"{n}:Q", format=".3g") for n in ("value", "theory"))]
    drawn = valid.mark_line(strokeWidth=1.8, point=len(xs) < 20, aria=False)
    dashed = charts.dashed(base.transform_filter("isValid(datum.theory_at)"), 1.1, clip=True)
    spread = valid.mark_rule(aria=False).encode(x, y, alt.Y2("most_at:Q"), colour)
    return [
        drawn.encode(x, y, colour, tooltip=tooltip),
        spread.encode(alt.Y("least_at:Q", title=None)),
        dashed.encode(x, alt.Y("theory_at:Q", title=None), detail="name:N"),
    ]


def _map(names: list[str], aim: str, angle: float) -> list[charts.Chart]:
    """Return a map of what is reached, a line a change; names of networks are slanted."""
    everywhere = alt.Chart(alt.NamedData("tiles")).encode(
        alt.X("at:O", sort=None, title=None).axis(
            labelAngle=angle, labelLimit=0, domain=False, ticks=False
        ),
        alt.Y("name:N", title=None).scale(domain=names).axis(domain=False, ticks=False),
    )
    measured = everywhere.transform_filter("isValid(datum.value)")
    scale = alt.Scale(scheme=palette.SEQUENTIAL)
    scale = scale if aim == LOSS else alt.Scale(scheme=palette.SEQUENTIAL, domain=[0, 1])
    tiles = measured.mark_rect(aria=False).encode(alt.Color("value:Q", scale=scale, legend=None))
    is_light = f"datum.value > {DARK}" if aim == ACCURACY else "false"
    ink = alt.condition(is_light, alt.value(palette.RIM), alt.value(palette.OVER_MAP))
    text = measured.mark_text(fontSize=12, aria=False).encode(text="text:N", color=ink)
    unmeasured = everywhere.transform_filter("!isValid(datum.value)")
    signs = unmeasured.mark_text(fontSize=12, color=palette.INK, aria=False)
    return [tiles, text, charts.not_measured(unmeasured), signs.encode(text="text:N")]

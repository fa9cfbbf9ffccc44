"""The picture of the remedies: gradient and correlation against depth, and what then trains.

A panel is defined once, over named data: on the page with the reader's remedy in bold, in the file
without one. A remedy has one colour everywhere, whichever others there are.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import altair as alt
import polars as pl

from experiments.pages import charts, palette
from experiments.pages.tables import NOT_MEASURED
from experiments.remedies import report
from experiments.remedies.columns import ACCURACY, GRADIENT
from experiments.remedies.report import Case
from experiments.remedies.table import REMEDIES
from experiments.runs.schema import COUNT, FLAG, REAL, TEXT
from jaxnn.texts import counted

TITLE = "What cures vanishing and exploding gradients?"
READING = (
    "points: median over seeds, with their range; dashed: mean-field theory, which takes the width "
    "to be far above L"
)
# Of the file, which is legible where it is 800 pixels wide: width and height of the first plot, and
# of that below it, at least.
PLOT, PANEL = (500, 270), (250, 150)
CELL = (46, 22)  # of the map of accuracies
NARROW, NARROW_CELL = 230, 34  # the widths on a phone, where the names of the map stand on the left
GAP, LINE = 34, 15  # between panels, and the height of a line's name
FLOOR = 1e-6  # of 1 - correlation: what is less stands here
DARK = 0.6  # an accuracy whose tile is light, with dark text

NAMES = [remedy.name for remedy in REMEDIES.values()]
COLOURS = [palette.MUTED, palette.CATEGORIES[-1], *palette.CATEGORIES[:-1]]
HEAD = {
    "name": "remedy",
    "depth": "hidden layers",
    "gradient": "log₁₀ ‖Δz[1]‖/‖Δz[L]‖, median",
    "gradient_theory": "theory",
    "distance": "1 - correlation, median",
    "distance_theory": "theory",
    "accuracy": "training accuracy",
}


# The data of the picture.
LINES: dict[str, pl.DataType] = {"name": TEXT, "depth": COUNT}
LINES |= dict.fromkeys(("gradient", "least", "most", "gradient_theory"), REAL)
LINES |= dict.fromkeys(("distance", "distance_drawn", "distance_theory", "accuracy"), REAL)
TRAINED = {"name": TEXT, "depth": TEXT, "accuracy": REAL, "rate": REAL, "text": TEXT}
TRAINED |= {"measured": FLAG}


class Drawn(NamedTuple):
    """The data of the picture by name, one line on what was measured, and the steps of training.

    data: `lines`, a row a remedy and depth, with theory; `trained`, a row a remedy and depth with
        its accuracy, if it was measured.
    names: of the remedies, in the order of the table.
    """

    data: dict[str, pl.DataFrame]
    names: list[str]
    subtitle: str
    steps: int

    @classmethod
    def of(cls, rows: pl.DataFrame, cases: Sequence[Case], subtitle: str, steps: int) -> "Drawn":
        """Put theory next to the medians of the rows."""
        middle = report.medians(rows.filter(pl.col("quantity") == GRADIENT))
        spread = {
            (remedy, quantity, depth): (least, most)
            for remedy, quantity, depth, _, least, most, _ in middle.iter_rows()
        }
        lines, trained = list[tuple[Any, ...]](), list[tuple[Any, ...]]()
        for case in cases:
            for depth in sorted({*case.gradient, *case.accuracy}):
                far = case.distance.get(depth)
                line = (
                    *(case.name, depth, case.gradient.get(depth)),
                    *spread.get((case.remedy, GRADIENT, depth), (None, None)),
                    *(case.gradient_theory.get(depth), far, _floored(far)),
                    *(case.distance_theory.get(depth), case.accuracy.get(depth)),
                )
                lines.append(line)
            trained += [
                (case.name, str(depth), value, case.rates[depth], text(value), True)
                for depth, value in case.accuracy.items()
            ]
            trained += [
                (case.name, str(depth), None, None, NOT_MEASURED, False)
                for depth in sorted(case.missing.get(ACCURACY, ()))
            ]
        data = {
            "lines": pl.DataFrame(lines, LINES, orient="row"),
            "trained": pl.DataFrame(trained, TRAINED, orient="row"),
        }
        return cls(data, [case.name for case in cases], subtitle, steps)

    @property
    def depths(self) -> list[int]:
        """The depths at which a gradient was measured."""
        measured = self.data["lines"].filter(pl.col("gradient").is_not_null())
        return sorted(measured["depth"].unique())

    @property
    def trained(self) -> str:
        """Words under the title of the accuracies; some depths have no such network."""
        count, tiles = len(self.names) * len(self.trained_depths), self.data["trained"]
        blank = "; blank: there is none" if tiles.height < count else ""
        unmeasured = "" if tiles["measured"].all() else f"; {NOT_MEASURED}: not measured"
        return f"after {self.steps} steps{unmeasured}{blank}"

    @property
    def trained_depths(self) -> list[str]:
        """The depths of the networks that were trained."""
        return sorted(self.data["trained"]["depth"].unique(), key=int)


def text(accuracy: float) -> str:
    """Return the text on the tile of an accuracy."""
    return f"{accuracy:.2f}".removeprefix("0")


def _floored(distance: float | None) -> float | None:
    """A distance with a place on the axis: 0 and what is nearly 0 stand at its lower end."""
    return None if distance is None or math.isnan(distance) else max(distance, FLOOR)


def figure(drawn: Drawn) -> charts.Figure:
    """Return the gradient against depth; below it correlation against depth, and accuracies."""
    domain = charts.squeezed_domain(_sizes(drawn))
    height = max(PLOT[1], LINE * len(drawn.names))
    data = drawn.data | {"ends": _ends(drawn, domain, height)}
    made = partial(_chart, drawn, domain, height)
    choices: dict[str, str | bool] = {"scale": "logarithmic", "theory": True}
    return charts.Figure(made(narrow=False), data, choices, narrow=partial(made, narrow=True))


def _chart(drawn: Drawn, domain: tuple[float, float], height: int, narrow: bool) -> charts.Chart:
    """Return the picture; the narrow one has all panels in a column, and a legend on top."""
    legend = alt.Legend(orient="top", columns=1, values=drawn.names) if narrow else None
    pixels = NARROW if narrow else None
    layers = [*gradients(drawn, domain=domain, legend=legend), *([] if narrow else _labels(drawn))]
    headline = alt.layer(*layers).properties(
        width=NARROW if narrow else PLOT[0],
        height=height,
        title=charts.titled(
            "log₁₀ ‖Δz[1]‖ / ‖Δz[L]‖: the first layer's gradient over the last hidden layer's",
            "flat is cured; linear near 0, logarithmic beyond ±1",
            pixels,
        ),
    )
    below = (alt.vconcat if narrow else alt.hconcat)(
        alt.layer(*distances(drawn)).properties(
            width=NARROW if narrow else PANEL[0],
            height=max(PANEL[1], CELL[1] * len(drawn.names)),
            title=charts.titled(
                "1 - correlation of two examples' z[L]", "down: all examples look alike", pixels
            ),
        ),
        alt.layer(*accuracies(drawn)).properties(
            width=(NARROW_CELL if narrow else CELL[0]) * max(len(drawn.trained_depths), 1),
            height=CELL[1] * len(drawn.names),
            title=charts.titled("Training accuracy", drawn.trained, pixels),
        ),
        spacing=GAP,
    )
    title = charts.headline(TITLE, [drawn.subtitle, READING], pixels)
    return alt.vconcat(headline, below, spacing=28, title=title)


def _colour(legend: alt.Legend | None = None) -> alt.Color:
    scale = alt.Scale(domain=NAMES, range=COLOURS)
    return alt.Color("name:N", sort=None, title=None, scale=scale, legend=legend)


def key(drawn: Drawn) -> alt.Legend:
    """Return a legend of the remedies, as many side by side as have room."""
    columns = alt.ExprRef("max(1, floor(width / 150))")
    return alt.Legend(orient="top", columns=columns, values=drawn.names)


def _depth(drawn: Drawn) -> alt.X:
    depths = drawn.depths or [1]
    return alt.X(
        "depth:Q",
        title="hidden layers L",
        scale=alt.Scale(type="log", base=2, nice=False, domain=[depths[0], depths[-1]]),
        axis=alt.Axis(format="d", values=charts.doublings(depths), labelOverlap=True),
    )


def _lines() -> charts.Chart:
    return alt.Chart(alt.NamedData("lines"))


def _bold(chart: charts.Chart, chosen: str | None) -> list[charts.Chart]:
    """Return the lines of a chart, and over them the chosen one in bold, if one is."""
    lines = [chart.mark_line(strokeWidth=1.8, opacity=0.85, aria=False)]
    if chosen is not None:
        lines.append(chart.transform_filter(chosen).mark_line(strokeWidth=4, aria=False))
    return lines


def _tooltip(*fields: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("name:N", title=HEAD["name"]),
        alt.Tooltip("depth:Q", title=HEAD["depth"], format="d"),
        *(alt.Tooltip(f"{name}:Q", title=HEAD[name], format=".3g") for name in fields),
    ]


def gradients(
    drawn: Drawn,
    chosen: str | None = None,
    domain: tuple[float, float] | None = None,
    legend: alt.Legend | None = None,
) -> list[charts.Chart]:
    """Return the gradient's ratio against depth, theory dashed.

    Args:
        chosen: an expression for the remedy that is bold.
        domain: of the vertical axis, if it is fixed.
        legend: of the colours, where no remedy is bold.
    """
    range_of_y = {"padding": 10} if domain is None else {"domain": list(domain)}
    axis = charts.squeezed_axis(max(map(abs, _sizes(drawn)), default=1.0))
    y = alt.Y(
        "place:Q", title=None, scale=alt.Scale(zero=False, nice=False, **range_of_y), axis=axis
    )
    x, colour = _depth(drawn), _colour(key(drawn) if chosen else legend)

    def placed(column: str) -> charts.Chart:
        base = _lines().transform_filter(f"isValid(datum.{column})")
        return charts.switched(base, "place", f"pow(10, datum.{column})", charts.squeezed(column))

    measured = placed("gradient").encode(x, y, colour)
    spread = charts.switched(
        placed("least"), "upper", "pow(10, datum.most)", charts.squeezed("most")
    )
    predicted = placed("gradient_theory").transform_filter("theory")
    dashed = charts.dashed(predicted, 1.1).encode(x, y, detail="name:N")
    # At least a decade where the axis is free: of one depth all lines are one point.
    least = charts.switched(_lines(), "place", "0", "-0.5")
    decade = charts.switched(least, "upper", "1", "0.5").mark_rule(opacity=0, aria=False)
    return [
        *([decade.encode(x, y, alt.Y2("upper:Q"))] if domain is None else []),
        *_bold(measured, chosen),
        spread.mark_rule(aria=False).encode(x, y, alt.Y2("upper:Q"), colour),
        measured.mark_point(filled=True, size=32, opacity=1, aria=False).encode(
            tooltip=_tooltip("gradient", "gradient_theory")
        ),
        dashed,
    ]


def distances(drawn: Drawn, chosen: str | None = None) -> list[charts.Chart]:
    """Return 1 - correlation against depth, theory dashed; less than `FLOOR` stands there."""
    y = alt.Y(
        "distance_drawn:Q",
        title=None,
        scale=alt.Scale(type="log", domain=[FLOOR, 2], nice=False, clamp=True),
        axis=alt.Axis(format="~e", values=[10.0**k for k in range(-6, 1)]),
    )
    x, colour = _depth(drawn), _colour()
    measured = _lines().transform_filter("isValid(datum.distance_drawn)").encode(x, y, colour)
    predicted = _lines().transform_filter("theory && datum.distance_theory > 0")
    places = (x, alt.Y("distance_theory:Q", title=None))
    dashed = charts.dashed(predicted, 1.1, clip=True).encode(*places, detail="name:N")
    return [
        *_bold(measured, chosen),
        measured.mark_point(filled=True, size=26, opacity=1, aria=False).encode(
            tooltip=_tooltip("distance", "distance_theory")
        ),
        dashed,
    ]


def accuracies(drawn: Drawn, chosen: str | None = None) -> list[charts.Chart]:
    """Return a map of accuracies, a line a remedy, which its colour is the key to."""
    everywhere = alt.Chart(alt.NamedData("trained"))
    base = everywhere.transform_filter("datum.measured")
    unmeasured = everywhere.transform_filter("!datum.measured")
    depths = alt.X(
        "depth:O",
        title="hidden layers L",
        scale=alt.Scale(domain=drawn.trained_depths),
        axis=alt.Axis(labelAngle=0, domain=False, ticks=False),
    )
    y = alt.Y(
        "name:N",
        title=None,
        scale=alt.Scale(domain=drawn.names),
        axis=alt.Axis(labelLimit=200, labelPadding=18, domain=False, ticks=False),
    )
    tiles = base.mark_rect(aria=False).encode(
        depths,
        y,
        alt.Color(
            "accuracy:Q", scale=alt.Scale(scheme=palette.SEQUENTIAL, domain=[0, 1]), legend=None
        ),
        tooltip=[
            alt.Tooltip("name:N", title=HEAD["name"]),
            alt.Tooltip("depth:O", title=HEAD["depth"]),
            alt.Tooltip("accuracy:Q", title=HEAD["accuracy"], format=".3f"),
            alt.Tooltip("rate:Q", title="step size", format="~g"),
        ],
    )
    ink = alt.condition(
        f"datum.accuracy > {DARK}", alt.value(palette.RIM), alt.value(palette.OVER_MAP)
    )
    text = base.mark_text(fontSize=12, aria=False).encode(depths, y, text="text:N", color=ink)
    keys = (
        _lines()
        .transform_aggregate(groupby=["name"])
        .mark_point(filled=True, size=60, opacity=1, aria=False)
        .encode(y, _colour(), x=alt.value(-10))
    )
    signs = unmeasured.mark_text(fontSize=12, color=palette.INK, aria=False)
    frames = charts.not_measured(unmeasured)
    gaps = (frames.encode(depths, y), signs.encode(depths, y, text="text:N"))
    layers = [tiles, text, *gaps, keys]
    if chosen is not None:
        frame = everywhere.transform_filter(chosen).mark_rect(
            filled=False, stroke=palette.ALARM, strokeWidth=2, aria=False
        )
        layers.append(frame.encode(depths, y))
    return layers


def _sizes(drawn: Drawn) -> list[float]:
    """Every log₁₀ that has a place on the first plot."""
    lines = drawn.data["lines"]
    values = (lines[name].to_list() for name in ("gradient", "least", "most", "gradient_theory"))
    return [v for column in values for v in column if v is not None and math.isfinite(v)]


def _ends(drawn: Drawn, domain: tuple[float, float], height: int) -> pl.DataFrame:
    """The names of the lines with the decades that they end at, none over another."""
    low, high = domain
    deepest = (
        drawn.data["lines"]
        .filter(pl.col("gradient").is_finite())
        .sort("depth")
        .group_by("name", maintain_order=True)
        .last()
    )
    wanted = charts.squeezed_places(deepest["gradient"])
    texts = [
        f"{_decades(value)} {name}{f' (at {depth})' if depth < drawn.depths[-1] else ''}"
        for name, value, depth in deepest.select("name", "gradient", "depth").iter_rows()
    ]
    places = charts.apart(wanted, LINE * (high - low) / height, high)
    frame = {"name": deepest["name"], "text": texts, "place": places}
    return pl.DataFrame(frame, {"name": pl.String, "text": pl.String, "place": pl.Float64})


def _decades(value: float) -> str:
    """A number of decades in front of a name, with a minus sign; 0.0 has none."""
    text = f"{value:+.{1 if abs(value) < 9.95 else 0}f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text


def _labels(drawn: Drawn) -> list[charts.Chart]:
    """The names of the lines, right of the first plot, under a heading."""
    deepest = drawn.depths[-1] if drawn.depths else 0
    heading = charts.heading_of_names("ends", f"decades at {counted(deepest, 'layer')}")
    return [*charts.name_lines("ends", alt.Y("place:Q"), _colour()), heading]

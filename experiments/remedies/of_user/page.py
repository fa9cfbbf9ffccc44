"""Picture and report of a network of the user's own: its gradient and its training, cured or not.

A panel is defined once, over named data, for the file and for the page.
"""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import altair as alt
import polars as pl

from experiments.pages import charts, palette, report
from experiments.remedies import rates
from experiments.remedies.columns import ACCURACY, BEFORE
from experiments.remedies.of_user import report as words
from experiments.remedies.of_user.report import Case

TITLE = "Does {} train, as it is and cured?"
PLOT, PANEL, GAP = (500, 240), (225, 180), 50  # of the file, which is legible at 800 pixels
HEIGHT = 240
LINE = 100  # characters under the title of the file
HEAD = {
    "name": "change",
    "step": "step",
    "mean": "mean over seeds",
    "least": "least",
    "most": "most",
}
READING = (
    "log₁₀ of each layer's gradient over the last one's, before training, the median over seeds. "
    "Flat is cured; 1 is next to the input.",
    "Over all the data, with the best step size of each change. Line: mean over seeds; shaded: "
    "from the least to the most.",
    "What is reached after all steps with each step size that was tried.",
)


class Drawn(NamedTuple):
    """The data of the picture by name, and the words around it.

    data: `layers`, a row a change and layer; `curves`, a row a change and step; `rates`, a row a
        change and step size.
    names: of the changes.
    aim: accuracy or loss.
    of: the network.
    subtitle: one line on what was trained.
    """

    data: dict[str, pl.DataFrame]
    names: list[str]
    aim: str
    of: str
    subtitle: str

    @classmethod
    def of_rows(cls, rows: pl.DataFrame, cases: Sequence[Case], of: str, subtitle: str) -> "Drawn":
        """Take the rows that are drawn, with their means and ranges over seeds."""
        aim = rates.aim(rows)
        aimed = rows.filter(pl.col("quantity") == aim)
        data = {
            "layers": words.shapes(rows).select(pl.col("remedy").alias("name"), "layer", "value"),
            "curves": _over_seeds(rates.at_best(aimed), "step"),
            "rates": _over_seeds(rates.ends(aimed), "rate"),
        }
        return cls(data, [case.name for case in cases], aim, of, subtitle)

    @property
    def titles(self) -> tuple[str, str, str]:
        """The titles of the panels."""
        return (
            "log₁₀ ‖Δ[l]‖ / ‖Δ[L]‖: each layer's gradient over the last one's",
            f"{self.aim.capitalize()} by step",
            f"{self.aim.capitalize()} by step size",
        )


def _over_seeds(rows: pl.DataFrame, at: str) -> pl.DataFrame:
    """Return mean, least and most over seeds by change and place."""
    value = pl.col("value")
    finite = value.filter(value.is_finite())
    of = rows.group_by(pl.col("remedy").alias("name"), at, maintain_order=True)
    return of.agg(
        finite.mean().alias("mean"), finite.min().alias("least"), finite.max().alias("most")
    ).sort(at, maintain_order=True)


def panels(drawn: Drawn) -> list[charts.Chart]:
    """Return the gradient by layer, the curves, and what each step size reaches."""
    cures = [name for name in drawn.names if name != BEFORE]
    scale = alt.Scale(
        domain=[BEFORE, *cures], range=[palette.MUTED, *palette.CATEGORIES[: len(cures)]]
    )
    legend = alt.Legend(orient="top", columns=alt.ExprRef("max(1, floor(width / 150))"))
    colour = alt.Color("name:N", sort=None, title=None, scale=scale, legend=legend)
    of_layer = alt.X(
        "layer:Q",
        title="layer",
        axis=alt.Axis(format="d", tickMinStep=1),
        scale=alt.Scale(zero=False, nice=False),
    )
    gradient = (
        _named("layers")
        .transform_filter("isValid(datum.value)")
        .mark_line(strokeWidth=2.5, aria=False)
        .encode(
            of_layer,
            alt.Y("value:Q", title=None),
            colour,
            tooltip=["name:N", "layer:Q", alt.Tooltip("value:Q", format=".3g")],
        )
    )
    of_step = alt.X(
        "step:Q",
        title="step",
        axis=alt.Axis(format="d", labelOverlap=True),
        scale=alt.Scale(nice=False),
    )
    of_rate = alt.X(
        "rate:Q",
        title="step size",
        scale=alt.Scale(type="log"),
        axis=alt.Axis(format="~g", labelOverlap=True, tickCount=4),
    )
    return [
        alt.layer(gradient),
        *(
            _reached(drawn, name, x, colour)
            for name, x in (("curves", of_step), ("rates", of_rate))
        ),
    ]


def _named(name: str) -> charts.Chart:
    return alt.Chart(alt.NamedData(name))


def _reached(drawn: Drawn, name: str, x: alt.X, colour: alt.Color) -> charts.Chart:
    """Return means with their ranges; accuracies from 0 to 1, losses as they are."""
    scale = alt.Scale(domain=[0, 1]) if drawn.aim == ACCURACY else alt.Scale(zero=False)
    base = _named(name).transform_filter("isValid(datum.mean)")
    y = alt.Y("mean:Q", title=None, scale=scale)
    least, most = alt.Y("least:Q", title=None, scale=scale), alt.Y2("most:Q")
    tooltip = [
        "name:N",
        x.shorthand,
        *(alt.Tooltip(f"{n}:Q", title=HEAD[n], format=".3g") for n in ("mean", "least", "most")),
    ]
    spread = (
        base.mark_area(opacity=0.2, aria=False) if name == "curves" else base.mark_rule(aria=False)
    )
    lines = base.mark_line(strokeWidth=2, point=name == "rates", aria=False)
    return alt.layer(
        spread.encode(x, least, most, colour), lines.encode(x, y, colour, tooltip=tooltip)
    )


def figure(drawn: Drawn) -> charts.Figure:
    """Return the gradient by layer; below it the curves, and what each step size reaches."""
    first, *others = panels(drawn)
    sizes = (PLOT, PANEL, PANEL)
    titled = [
        chart.properties(width=width, height=height, title=title)
        for chart, (width, height), title in zip([first, *others], sizes, drawn.titles, strict=True)
    ]
    title = charts.headline(TITLE.format(drawn.of), textwrap.wrap(drawn.subtitle, LINE))
    below = alt.hconcat(*titled[1:], spacing=GAP)
    return charts.Figure(alt.vconcat(titled[0], below, spacing=28, title=title), drawn.data)


def page(drawn: Drawn, cases: Sequence[Case], verdicts: tuple[str, ...]) -> report.Page:
    """Return the page."""
    each = zip(drawn.titles, READING, panels(drawn), strict=True)
    heads = ("change", "log₁₀ ‖Δ[1]‖ / ‖Δ[L]‖", "best step size", "loss", "accuracy")
    return report.Page(
        title=TITLE.format(drawn.of),
        subtitle=drawn.subtitle,
        answer=report.Answer(verdicts[-1]),
        verdicts=verdicts[:-1],
        choices=(),
        panels=tuple(
            report.Panel(title, reading, chart.properties(height=HEIGHT))
            for title, reading, chart in each
        ),
        data=drawn.data,
        numbers=report.Numbers("curves", HEAD),
        tables=(
            report.Table(
                "After training; ± standard error over seeds",
                heads,
                tuple(words.lines(list(cases))),
            ),
        ),
    )

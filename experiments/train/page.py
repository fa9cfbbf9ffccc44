"""The report of a training run: the reader chooses a quantity of the gradient."""

import polars as pl

from experiments.pages import report
from experiments.train import picture
from experiments.train import report as words
from experiments.train.picture import Drawn

HEIGHT = 260
HEAD = {"epoch": "epoch", "set": "set", "curve": "curve", "value": "value"}
HELD_OUT = {
    "parity": "Rows that nothing was trained or chosen on. Dashes: a perfect prediction.",
    "confusion": "Rows that nothing was trained or chosen on: their class, and the predicted one.",
}


def page(drawn: Drawn, rows: pl.DataFrame) -> report.Page:
    """Return the page."""
    quantities = tuple(picture.QUANTITIES.values())
    return report.Page(
        title=f"Training on {drawn.table.name}",
        subtitle=drawn.subtitle,
        answer=report.Answer(drawn.verdicts[0]),
        verdicts=tuple(drawn.verdicts[1:]),
        choices=(report.Choice("quantity", "by layer", quantities, quantities[0]),),
        panels=_panels(drawn),
        data=drawn.data,
        numbers=report.Numbers("curves", HEAD),
        tables=(_exported(rows),),
    )


def _panels(drawn: Drawn) -> tuple[report.Panel, ...]:
    panels = [
        report.Panel(
            f"Learning curve: {name}",
            "After each epoch, from 0, which is before training.",
            picture.curve(drawn, name),
        )
        for name in drawn.curves
    ]
    panels.append(
        report.Panel(
            "The gradient while it trains",
            "The batch is always the same: what changes is the network. Layer 1 is the first.",
            picture.heat(drawn, "quantity"),
        )
    )
    for kind, reading in HELD_OUT.items():
        if kind in drawn.data:
            panels += [report.Panel("Held-out rows", reading, c) for c in picture.held_out(drawn)]
    return tuple(p._replace(chart=p.chart.properties(height=HEIGHT)) for p in panels)


def _exported(rows: pl.DataFrame) -> report.Table:
    heads, lines = words.cells(rows)
    return report.Table(words.TITLE.capitalize(), heads, tuple(lines))

"""The depth sweep's report: one case at a time, layer by layer, and all of them against depth."""

import polars as pl

from experiments.depth import depth_report as words
from experiments.depth import picture
from experiments.depth.depth_report import Case
from experiments.depth.picture import Drawn
from experiments.pages import charts, run_page

HEIGHT, FIRST = 220, 300
CHOSEN = "datum.activation == activation && datum.label == label"
# How to read each panel: the measurement, theory if there is any, and the measurement again.
READING = {
    "Size of the gradient": (
        "Line: median over seeds, {measured}; shaded: all seeds.",
        "Dashed: mean-field theory, grey: where 95 % of draws of a finite width are.",
        "Red: from here on towards the input plain backpropagation has no number.",
    ),
    "Factor of each layer": (
        "Line: median over seeds.",
        "Dashed: mean-field theory.",
        "Below 1, whose logarithm is 0, gradients vanish.",
    ),
    "Signal": ("Line: median over seeds.", "Dashed: mean-field theory."),
    "What differs between examples": (
        "Deviation of z[l] from the mean of the batch, relative to z[l]. Line: median over seeds.",
        "Dashed: mean-field theory, for examples that are equally long and correlate alike.",
        "Where a line falls and levels off, there is rounding, not input.",
    ),
}


def _in_words(reading: tuple[str, ...], has_theory: bool) -> str:
    measured, theory, *more = reading
    return " ".join((measured, *([theory] if has_theory else []), *more))


def page(drawn: Drawn, rows: pl.DataFrame, gaps: pl.DataFrame) -> run_page.Page:
    """Return the page."""
    return run_page.Page(
        title=picture.TITLE,
        subtitle=drawn.subtitle,
        answer=run_page.Answer(*words.answer(drawn.cases, rows)),
        verdicts=(),  # in a table
        choices=_choices(rows, drawn.has_theory),
        panels=_panels(drawn),
        data=drawn.data,
        numbers=run_page.Numbers("layers", drawn.head),
        tables=(_verdicts(drawn.cases, gaps), _by_depth(rows, gaps)),
    )


def _choices(rows: pl.DataFrame, has_theory: bool) -> tuple[run_page.Choice, ...]:
    activation, label = (
        run_page.Choice(name, text, tuple(rows[name].unique(maintain_order=True)), rows[name][0])
        for name, text in (("activation", "activation"), ("label", "weights"))
    )
    depths = tuple(sorted(rows["depth"].unique()))
    depth = run_page.Choice("depth", "hidden layers", depths, depths[-1])
    theory = run_page.Choice("theory", "theory", (), True)
    return (activation, label, depth, *([theory] if has_theory else []))


def _panels(drawn: Drawn) -> tuple[run_page.Panel, ...]:
    by_layer = picture.panels_by_layer(drawn, CHOSEN).items()
    panels = [
        run_page.Panel(
            title,
            _in_words(reading, drawn.has_theory).format(measured=drawn.measured),
            _high(picture.named([*layers, picture.hovered(drawn, CHOSEN)], what)),
        )
        for (title, reading), (what, layers) in zip(READING.items(), by_layer, strict=False)
    ]
    against_depth = run_page.Panel(
        "The first layer's gradient against depth",
        "Of the whole batch; all activations and weights, the chosen one bold. Hollow: no number "
        "in plain backpropagation, which starts at the red point; a gradient that is zero (▼) or "
        "not finite stands at the edge.",
        _high(picture.named(picture.first_layer(drawn, CHOSEN), "‖Δz[1]‖"), FIRST),
    )
    return (against_depth, *panels)


def _high(chart: charts.Chart, height: int = HEIGHT) -> charts.Chart:
    return chart.properties(height=height)


def _verdicts(cases: list[Case], gaps: pl.DataFrame) -> run_page.Table:
    head = ("activation, weights", "gradient", "decades a layer", "theory", "remarks")
    rows = [
        (
            case.name,
            f"{case.word or 'no rate'}{case.deeper}",
            case.value or "–",
            case.theory or "–",
            case.loss.strip("; ").replace("; ", ", ") or f"numbers everywhere in {case.dtype}",
        )
        for case in cases
    ]
    rows += [(name, "not measured", *3 * ("–",)) for name in words.unmeasured(cases, gaps)]
    return run_page.Table("Verdicts, from the deepest network; ± standard error", head, tuple(rows))


def _by_depth(rows: pl.DataFrame, gaps: pl.DataFrame) -> run_page.Table:
    texts = words.by_depth(rows, gaps)
    depths = sorted({depth for cells in texts.values() for depth in cells})
    lines = ((name, *(cells.get(depth, "") for depth in depths)) for name, cells in texts.items())
    head = ("activation, weights", *map(str, depths))
    return run_page.Table(words.TITLE, head, tuple(lines))

"""The report of the remedies: one of them in bold among the others, and all numbers."""

from collections.abc import Sequence

import altair as alt

from experiments.pages import report
from experiments.remedies import picture
from experiments.remedies.columns import ACCURACY, GRADIENT
from experiments.remedies.picture import Drawn
from experiments.remedies.report import Case

HEIGHT = 260
CHOSEN = "datum.name == name"


def page(drawn: Drawn, cases: Sequence[Case], verdicts: tuple[str, ...]) -> report.Page:
    """Return the page."""
    names = tuple(drawn.names)
    return report.Page(
        title=picture.TITLE,
        subtitle=drawn.subtitle,
        answer=report.Answer(verdicts[-1]),
        verdicts=verdicts[:-1],
        choices=(report.Choice("name", "remedy", names, names[0]), *report.SCALE_AND_THEORY),
        panels=_panels(drawn),
        data=drawn.data,
        numbers=report.Numbers("lines", picture.HEAD),
        tables=(_gradients(cases), _accuracies(drawn, cases)),
    )


def _panels(drawn: Drawn) -> tuple[report.Panel, ...]:
    gradients, distances, accuracies = (
        alt.layer(*layers(drawn, CHOSEN)).properties(height=HEIGHT)
        for layers in (picture.gradients, picture.distances, picture.accuracies)
    )
    return (
        report.Panel(
            "The first layer's gradient over the last hidden layer's",
            "Points: median over seeds, with their range. Dashed: mean-field theory. Flat is "
            "cured. The chosen remedy is bold.",
            gradients,
        ),
        report.Panel(
            "1 - correlation of two examples",
            "In the last hidden layer, the mean over pairs. Down: all examples look alike, and no "
            "gradient tells them apart. Less than 1e-6 stands at the lower edge.",
            distances,
        ),
        report.Panel(
            "Training accuracy",
            f"{drawn.trained.capitalize()}. The dots have the colours of the lines.",
            accuracies,
        ),
    )


def _gradients(cases: Sequence[Case]) -> report.Table:
    depths = sorted({d for c in cases for d in (*c.gradient, *c.missing.get(GRADIENT, ()))})
    rows = ((case.name, *(case.cell(GRADIENT, d, "+.2f") for d in depths)) for case in cases)
    caption = "log₁₀ ‖Δz[1]‖ / ‖Δz[L]‖ by hidden layers, median over seeds"
    return report.Table(caption, ("remedy", *map(str, depths)), tuple(rows))


def _accuracies(drawn: Drawn, cases: Sequence[Case]) -> report.Table:
    depths = list(map(int, drawn.trained_depths))
    rows = ((case.name, *(case.cell(ACCURACY, d, ".3f") for d in depths)) for case in cases)
    caption = "Training accuracy by hidden layers, median over seeds (the best step size)"
    return report.Table(caption, ("remedy", *map(str, depths)), tuple(rows))

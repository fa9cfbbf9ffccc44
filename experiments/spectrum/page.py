"""The spectrum's report: one activation and kind of weights at a time, against depth."""

from experiments.pages import report
from experiments.runs import runtime
from experiments.spectrum import picture
from experiments.spectrum import report as words
from experiments.spectrum.picture import Drawn
from experiments.spectrum.report import Case

HEIGHT = 260
ACTIVATION = "datum.activation == activation"
WEIGHTS = "datum.weights == weights"


def page(drawn: Drawn) -> report.Page:
    """Return the page."""
    means = drawn.data["depths"]
    depths = sorted(means["depth"].unique())
    head = ("activation, weights", *map(str, depths))
    return report.Page(
        title=picture.TITLE,
        subtitle=drawn.subtitle,
        answer=report.Answer(words.answer(drawn.cases)),
        verdicts=(),
        choices=_choices(drawn),
        panels=_panels(drawn),
        data=drawn.data,
        numbers=report.Numbers("depths", picture.HEAD),
        tables=(
            _verdicts(drawn.cases),
            report.Table(words.TITLE, head, tuple(words.lines(means, depths, drawn.cases))),
        ),
    )


def _choices(drawn: Drawn) -> tuple[report.Choice, ...]:
    columns = ((name, drawn.data["depths"][name]) for name in words.CASE)
    cases = (
        report.Choice(name, name, tuple(values.unique(maintain_order=True)), values[0])
        for name, values in columns
    )
    return (*cases, *report.SCALE_AND_THEORY)


def _panels(drawn: Drawn) -> tuple[report.Panel, ...]:
    return (
        report.Panel(
            "Singular values of ∂z[L]/∂z[1]",
            "All s > 0 of all seeds and inputs: light band from the smallest to the largest, dark "
            "band the middle 80 %, line the median. Below the red line an SVD of the product "
            f"itself, in {runtime.dtype_name()}, sees rounding only.",
            picture.spread(drawn, f"{ACTIVATION} && {WEIGHTS}").properties(
                height=HEIGHT, title=picture.axis_title("s")
            ),
        ),
        report.Panel(
            "Variance of s² / mean s²",
            "Points: mean over seeds, ± 2 standard errors; hollow where the width is too small for "
            "the prediction. Dashed: free probability, at infinite width. The chosen weights are "
            "bold.",
            picture.variances(drawn, ACTIVATION, WEIGHTS).properties(
                height=HEIGHT, title="variance"
            ),
        ),
    )


def _verdicts(cases: list[Case]) -> report.Table:
    head = ("activation, weights", "variance", "predicted", "at depth", "singular values span")
    rows = (
        (
            case.name,
            *(number or "–" for number in (case.variance, case.predicted, case.depth)),
            f"{case.span}; {case.seeds}" if case.seeds else case.span,
        )
        for case in cases
    )
    caption = "Verdicts, at the largest depth that can be compared with theory"
    return report.Table(caption, head, tuple(rows))

"""Scores: right, partly or missed, and the shares of them with Wilson's intervals.

Something is right if the first thing said that is no symptom is it: whoever does what they hear
first does the right thing. It is partly right if it comes later, or if only symptoms are said.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from experiments.casebook.case import Case
from experiments.casebook.said import Reply, Said

MARKS = RIGHT, PARTLY, MISSED = "right", "partly", "missed"
NONE = "none"  # where there is no place to name
SILENT = "silent"  # a twin of which nothing is said
MEAN_OF, LASTING, SHARE, LEAST = 10, 5, 0.2, 0.05  # of a loss that shows a fault


class Score(NamedTuple):
    """Marks of a case: one of `MARKS` each, place perhaps `NONE`; and the other rules said.

    step: at which the cause is named, `BEFORE` before training; None if it is not.
    """

    cause: str
    advice: str
    place: str
    others: tuple[str, ...]
    step: int | None


def score(case: Case, answer: Reply) -> Score:
    """Return the marks of what is said of an ill program."""
    expected = case.causes | case.symptoms
    names = [said.rule for said in answer.said]
    causes = [said for said in answer.said if said.rule in case.causes]
    advised = [said.rule for said in answer.said if said.advises]
    return Score(
        cause=_mark(names, case.causes, case.symptoms),
        advice=_mark(advised, case.advice, case.symptoms, is_enough=False),
        place=_place(case, answer, causes),
        others=tuple(dict.fromkeys(name for name in names if name not in expected)),
        step=causes[0].step if causes else None,
    )


def _mark(
    names: Sequence[str],
    right: frozenset[str],
    symptoms: frozenset[str],
    is_enough: bool = True,
) -> str:
    """Return the mark of rules in the order in which they speak.

    is_enough: whether a symptom alone makes it partly right, as it does not of advice.
    """
    first = next((name for name in names if name in right or name not in symptoms), None)
    if first in right:
        return RIGHT
    half_right = right | symptoms if is_enough else right
    return PARTLY if half_right & {*names} else MISSED


def _place(case: Case, answer: Reply, causes: Sequence[Said]) -> str:
    """Return right if the cause is named in its place, partly if only a symptom is."""
    if not case.place:
        return NONE
    if any(answer.is_at(said, case.place) for said in causes):
        return RIGHT
    symptoms = [said for said in answer.said if said.rule in case.symptoms]
    is_near = any(answer.is_at(said, case.place) for said in symptoms)
    return PARTLY if is_near else MISSED


def shown_at(losses: Sequence[float], twin: Sequence[float]) -> int | None:
    """Return the step at which a loss shows a fault; None if it does not.

    The mean of the last ten losses has then been more than 20 % above that of the twin, and by 5 %
    of the twin's first loss, for five steps. In practice there is no twin, and it is seen later.
    """
    ours, theirs = (
        np.array([np.mean(series[max(0, i - MEAN_OF + 1) : i + 1]) for i in range(len(series))])
        for series in (losses, twin)
    )
    with np.errstate(invalid="ignore"):
        is_worse = ~(ours - theirs <= np.maximum(SHARE * theirs, LEAST * theirs[0]))
    lasting = np.convolve(is_worse, np.ones(LASTING), "valid") == LASTING
    return int(np.argmax(lasting)) + LASTING - 1 if lasting.any() else None


def wilson(count: int, total: int) -> tuple[float, float]:
    """Return Wilson's interval of 95 % of a share.

    Example:
        >>> [round(v, 3) for v in wilson(8, 10)]
        [0.49, 0.943]
    """
    if total == 0:
        return 0.0, 1.0
    low, high = stats.binomtest(count, total).proportion_ci(method="wilson")
    return float(low), float(high)


def share(marks: Iterable[str], mark: str = RIGHT) -> str:
    """Return how many have a mark, in words: 8 of 10 (80 %, 49 to 94)."""
    counted = [one for one in marks if one != NONE]
    count, total = counted.count(mark), len(counted)
    low, high = (f"{100 * end:.0f}" for end in wilson(count, total))
    percent = f"{100 * count / total:.0f} %" if total else "–"
    return f"{count} of {total} ({percent}, {low} to {high})"

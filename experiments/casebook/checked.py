"""Cures: the first advice of a checkup, made as the change that it stands for, and trained.

An answer of trials was chosen by such a score: that there is one is news, not that it learns.
"""

import math
from typing import NamedTuple

import numpy as np

import jaxnn
from experiments.casebook.case import Case
from experiments.casebook.program import CaseProgram
from experiments.casebook.scores import MISSED, NONE, PARTLY, RIGHT, SILENT
from jaxnn.models import Program
from jaxnn.rehearsal.course import Course
from jaxnn.trials.race import AS_IT_IS, LEAST, MARGIN, ROUNDS, Tried, made_of
from jaxnn.trials.setup import Setup

# Of an ill program, which may learn without a change; of a twin; and of what has no advice or one
# that no change stands for.
OUTCOMES = LEARNS, FAILS, LEARNED, ADVISED, WORDS = "learns", "fails", "learned", "advised", "words"


class Checked(NamedTuple):
    """The outcome of the first advice for a program, in columns of the casebook."""

    cured: str
    changes: str = ""
    meant: str = NONE
    as_it_is: float = math.nan
    with_it: float = math.nan


def checked(case: Case, program: CaseProgram, is_cured: bool) -> Checked:
    """Return the outcome for an ill program, or whether a twin is advised."""
    is_of_torch = hasattr(program.model, "register_forward_hook")
    optimizer = program.optimizer(program.model) if is_of_torch else program.optimizer
    given = {"model": program.model, "optimizer": optimizer, "loss": program.loss}
    given |= {"each": program.each, **dict(zip(("xs", "ys"), program.first, strict=True))}
    try:
        checkup = jaxnn.checkup(**given)
    except ValueError:  # which says what to do
        return Checked(WORDS)
    trials = checkup.trials
    answer = trials.answer if trials else None
    outcome = WORDS if checkup.advice else SILENT
    if is_cured:
        return Checked(ADVISED if answer else outcome)
    made: Tried | None
    if trials and answer and checkup.advice == answer.advice:
        before, made = trials.as_it_is.value, answer
    else:
        findings = *checkup.upheld, *checkup.diagnosis.verdict.findings
        changes = [v.changes for v in findings if v.advice and v.advice == checkup.advice]
        before, made = _made(Program.of(**given), changes[0] if changes else (), checkup.course)
    least = np.nanmax([before + MARGIN, LEAST])
    if made is None:
        return Checked(LEARNED if least > 1 else outcome, as_it_is=before)
    names = frozenset(made.names)
    meant = RIGHT if names <= case.changes else PARTLY if names & case.changes else MISSED
    meant = meant if case.changes else NONE
    cured = LEARNED if least > 1 else LEARNS if made.value >= least else FAILS
    listed = " ".join(sorted(name.replace(" ", "_") for name in names))
    return Checked(cured, listed, meant, before, made.value)


def _made(program: Program, changes: tuple[str, ...], course: Course) -> tuple[float, Tried | None]:
    """Return the score as it is, and the first change that applies, the best of its ways."""
    setup = Setup.of(program)
    ways = (list(made_of(setup, names=[name])) for name in changes)
    tried = [Tried.of(AS_IT_IS, setup), *next(filter(None, ways), ())]
    for one in tried:
        one.train(ROUNDS[-1], course.constant if np.isfinite(course.constant) else course.start)
    made = (one for one in tried[1:] if not one.reason)
    return tried[0].score.value, max(made, key=lambda one: one.value, default=None)

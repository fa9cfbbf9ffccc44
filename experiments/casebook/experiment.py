"""The experiment `casebook`: do findings and alarms name cause, place and fix of known faults?

Each program of `programs/` has a fault that people met and asked about, and a twin that differs by
the published fix alone. Both are given to `jaxnn.diagnose`, and trained under `jaxnn.watch`; what
these say, as rules and places, is compared with a table that stands before the rules do. A part of
the cases serves to write rules, others only score them. Both are given to `jaxnn.checkup`, too,
whose first advice is made and trained.

`settings -> cells (case, ill or cured) -> what is said -> a row each -> scores, table, verdicts`
"""

import json
import time
import warnings
from dataclasses import dataclass, replace
from functools import partial

import jax
import numpy as np
import polars as pl

from experiments.casebook import casebook_report, said
from experiments.casebook.case import CURED, PACKAGES, PARTS, PROGRAMS, SEEN, cases
from experiments.casebook.checked import checked
from experiments.casebook.columns import COLUMNS
from experiments.casebook.said import BEFORE, Reply
from experiments.casebook.scores import MISSED, NONE, SILENT, Score, score
from experiments.runs import cell_sweep, experiment, runtime
from experiments.runs.experiment import Conclusion, Experiment
from experiments.runs.store import Store


@dataclass(frozen=True)
class Settings(runtime.Options):
    """Programs that do not train, and what is said of them."""

    cases: runtime.Names = ()
    """Names of cases; all of them if none is named."""
    frameworks: runtime.Names = ()
    """Some of jax, linen, nnx, equinox, keras and torch; by default those that are installed."""
    parts: tuple[str, ...] = SEEN
    """write: cases that rules are written on; score: cases that score them; scored: cases that were
    blind and have been scored; blind: cases for the end, when no rule will be changed any more. By
    default all but the blind ones."""
    quick: runtime.Flag = False
    """One case of each kind of fault, the first that is installed."""
    seed: int = 0
    """Draws batches."""


@dataclass(frozen=True)
class Cell(cell_sweep.Point):
    """One program."""

    case: str
    program: str


@dataclass(frozen=True)
class Plan(experiment.Plan):
    """Checked settings with the cells that they name."""

    settings: Settings
    cells: tuple[Cell, ...]

    def estimate(self) -> str:
        """Return the cost of the run in words."""
        return f"{len(self.cells)} programs, each judged and trained, some seconds each"


def prepare(settings: Settings) -> Plan:
    """Check the settings."""
    runtime.check(settings, ("parts",))
    runtime.check_known("cases", settings.cases, (case.name for case in cases()))
    runtime.check_known("frameworks", settings.frameworks, PACKAGES)
    runtime.check_known("parts", settings.parts, PARTS)
    chosen = [
        case
        for case in cases()
        if case.is_installed
        and case.part in settings.parts
        and (not settings.cases or case.name in settings.cases)
        and (not settings.frameworks or case.framework in settings.frameworks)
    ]
    if settings.quick:
        firsts = {case.fault: case for case in reversed(chosen)}
        chosen = [case for case in chosen if firsts[case.fault] is case]
    if not chosen:
        raise ValueError("cases: expected some whose framework is installed, got none")
    return Plan(settings, tuple(Cell(case.name, one) for case in chosen for one in PROGRAMS))


def measure(plan: Plan, store: Store) -> tuple[list[pl.DataFrame | None], bool]:
    """Measure the programs that are missing."""
    return cell_sweep.measure(plan, store, partial(measured, seed=plan.settings.seed))


def measured(cell: Cell, seed: int = 0) -> pl.DataFrame:
    """Return the row of a program."""
    case = next(case for case in cases() if case.name == cell.case)
    is_cured = cell.program == CURED
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages
        answer = said.answer(replace(case.program(is_cured), seed=seed))
        made = checked(case, case.program(is_cured), is_cured)
    seconds = time.perf_counter() - started
    jax.clear_caches()  # type: ignore[no-untyped-call]
    marks = of_twin(answer) if is_cured else score(case, answer)
    row = {
        "case": case.name,
        "program": cell.program,
        **{name: getattr(case, name) for name in casebook_report.OF_CASE},
        "before": ", ".join(str(one) for one in answer.said if one.step == BEFORE),
        "during": ", ".join(f"{one}: {one.step}" for one in answer.said if one.step != BEFORE),
        "cause": marks.cause,
        "advice": marks.advice,
        "place": marks.place,
        "at": np.nan if marks.step is None else float(marks.step),
        **made._asdict(),
        "others": " ".join(marks.others),
        "losses": json.dumps([float(f"{value:.4g}") for value in answer.trained.losses]),
        "score": answer.trained.score,
        "seconds": seconds,
        "records": "\n".join(one.record() for one in answer.said),
    }
    return pl.DataFrame([row], {name: column.dtype for name, column in COLUMNS.items()})


def of_twin(answer: Reply) -> Score:
    """Return the marks of what is said of a healthy twin: whatever it is, is wrong."""
    rules = tuple(dict.fromkeys(one.rule for one in answer.said))
    return Score(MISSED if rules else SILENT, NONE, NONE, rules, None)


def conclude(plan: Plan, frames: list[pl.DataFrame | None]) -> Conclusion:
    """Score what is said, in words."""
    rows, missing = cell_sweep.gathered(plan, frames)
    return Conclusion(
        rows,
        verdicts=casebook_report.verdicts(rows),
        figures={},
        about=runtime.frameworks(),
        missing=missing,
    )


EXPERIMENT = Experiment(
    name="casebook",
    settings=Settings,
    columns=COLUMNS,
    figures=(),
    prepare=prepare,
    measure=measure,
    conclude=conclude,
    table=casebook_report.table,
)

"""Findings of `diagnose` before a program trains, and alarms of `watch` while it does.

program -> jaxnn.diagnose of its first examples -> told findings, the worst first
        -> jaxnn.watch of its training          -> alarms, in the order of their steps
"""

import json
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

import jaxnn
from experiments.casebook.case import INPUTS, OF_INPUTS, OF_OUTPUT, OUTPUT, REFUSED
from experiments.casebook.program import CaseProgram, Trained
from jaxnn.flow import Found
from jaxnn.flow.verdict.findings import is_usual
from jaxnn.flow.verdict.verdict import Verdict

BEFORE = -1  # the step of what is said before training
NOT_TRAINED = Trained([], math.nan)


class Said(NamedTuple):
    """One thing that is said.

    step: of the training, or `BEFORE`.
    rule, layer, path, values: as in `jaxnn.rules.Found`; of an alarm no values.
    advises: whether advice comes with it.
    """

    step: int
    rule: str
    layer: int | None = None
    path: str = ""
    advises: bool = False
    values: dict[str, Any] = {}  # noqa: RUF012

    def __str__(self) -> str:
        where = self.path or ("" if self.layer is None else str(self.layer))
        return self.rule + (f" at {where}" if where else "")

    def record(self) -> str:
        """Return it as a line of JSON."""
        return json.dumps(self._asdict(), default=_plain)


@dataclass(frozen=True)
class Reply:
    """All that is said of a program.

    said: in the order in which a person hears it; what is healthy is not in it.
    arrays: layer and path of each parameter array.
    layers: of the network as it was cut.
    trained: what the training left.
    """

    said: list[Said]
    arrays: list[tuple[int, str]] = field(default_factory=list)
    layers: int = 0
    trained: Trained = NOT_TRAINED

    def is_at(self, said: Said, place: str) -> bool:
        """Tell whether something said is about a place, as a `Case` has it."""
        if place == INPUTS:
            return said.rule in OF_INPUTS or said.layer == 1
        if place == OUTPUT:
            return said.rule in OF_OUTPUT or said.layer == self.layers
        layers = {layer for layer, path in self.arrays if place in path}
        return place in said.path if said.path else said.layer in layers


def answer(program: CaseProgram) -> Reply:
    """Return all that is said of a program before its training and during it."""
    before, arrays, layers = _before(program)
    during, trained = _during(program)
    return Reply([*before, *during], arrays, layers, trained)


def _before(program: CaseProgram) -> tuple[list[Said], list[tuple[int, str]], int]:
    xs, ys = program.first
    try:
        diagnosis = jaxnn.diagnose(program.model, xs, ys, loss=program.loss, each=program.each)
        verdict, parameters = diagnosis.verdict, diagnosis.flow.parameters
    except ValueError:
        return [Said(BEFORE, REFUSED, advises=True)], [], 0
    arrays = list(zip(parameters.layers, parameters.paths, strict=True))
    return list(told(verdict)), arrays, len(verdict.names)


def told(verdict: Verdict) -> Iterator[Said]:
    """Yield what a verdict tells but for what is usual in a healthy network."""
    for found in verdict.told:
        if not is_usual(found):
            advises = bool(found.advice)
            yield Said(BEFORE, found.rule, found.layer, found.path, advises, dict(found.values))


def _during(program: CaseProgram) -> tuple[list[Said], Trained]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jaxnn.errors.TrainingWarning)
        try:
            watch = jaxnn.watch(
                program.model,
                program.batch_of(0)[0],
                loss=program.loss,
                each=program.each,
                every=program.every,
            )
        except ValueError:
            return [Said(0, REFUSED, advises=True)], NOT_TRAINED
        trained = program.train(program, watch)
        alarms = watch.watched.alarms
    return list(map(_of_alarm, alarms)), trained


def _of_alarm(alarm: Found) -> Said:
    """Return an alarm; what could not be measured is a refusal, whose error says what to do."""
    if alarm.rule == "measurement":
        return Said(alarm.step, REFUSED, advises=True)
    return Said(alarm.step, alarm.rule, alarm.layer, alarm.path, bool(alarm.advice))


def _plain(value: Any) -> Any:
    """Return what JSON has no word for as a list or a text."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)

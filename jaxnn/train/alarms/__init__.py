"""Alarms: faults of a training, recognised in what its watch has recorded.

    measurements and steps so far -> rules -> sights -> of each rule one alarm in a training

A rule speaks where it is clear, and else is silent. Its docstring says what it sees and what that
means; with what the rule advises it is a row of the guide. Sizes are Euclidean norms; a weight is a
parameter array of two axes or more. `states` has the rules on states and gradients, `updates` those
on what a step does to the parameters, `losses` those on the loss. To add an alarm, enter a function
in `ALARMS` in one of them and its cases in `tests/test_alarms.py`; CONTRIBUTING.md walks through
it. `order` has those on what several batches show together.

A rule on the loss or on an update names a cause only if another number agrees; else it says what
was seen. Failures of the watch itself are alarms too, each at its first: see `FAILURES`.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from ..journal import FILE
from ..measurements import Measurements
from ..watched import Alarm, Watched
from . import losses, order, states, updates  # which enter their rules
from .table import ALARMS

__all__ = [
    "ALARMS",
    "FAILURES",
    "alarms_of",
    "guide",
    "is_of_step",
    "losses",
    "order",
    "states",
    "updates",
]

FAILURES = {  # of a part of the watch, with its error message
    "measurement": "the gradient could not be measured ({})",
    "alarms": "alarms could not be looked for ({})",
    "value": "the loss of the step is not known ({})",
    "file": f"what was measured is not in {FILE} ({{}}), only in memory",
    "write": "the function in write= failed ({})",
    "callback": "the function in callback= failed ({})",
}


class Silent(Protocol):
    """Names of rules and arrays about which nothing need be said."""

    @property
    def rules(self) -> frozenset[str]:
        """Names of rules."""

    def has(self, path: str, /) -> bool:
        """Tell whether nothing need be said of an array."""


def alarms_of(
    watched: Watched, silent: Silent | None = None, *, is_step: bool = False
) -> list[Alarm]:
    """Return the alarms that the last measurement gives rise to, of rules that were silent.

    With is_step those that the last step gives rise to, which is not measured: of some rules on
    the loss alone.
    """
    is_silent = None if silent is None else silent.has
    seen, first = Measurements(watched, is_step=is_step, is_silent=is_silent), dict[str, Alarm]()
    ignore = set[str]() if silent is None else {*silent.rules}
    if is_step:
        ignore |= ALARMS.keys() - losses.EVERY_STEP
    spoken = {alarm.rule for alarm in watched.alarms}
    with np.errstate(all="ignore"):  # inf and nan are numbers here, neither large nor small
        for found in ALARMS.found(seen, ignore, spoken):
            text = f"Step {seen.step}: {found.text}."
            alarm = Alarm(seen.step, found.rule, text, found.layer, found.path)
            first.setdefault(found.rule, alarm)
    return [*first.values()]


def is_of_step(rule: str) -> bool:
    """Tell of an alarm whether it is on what the optimiser's steps do."""
    in_updates = rule in ALARMS and ALARMS[rule].sees.__module__ == updates.__name__
    return in_updates or rule in losses.EVERY_STEP


def guide() -> Iterator[tuple[str, ...]]:
    """Yield the rows of the guide: rule, what was seen, what it means, what to try."""
    for name, _, seen, means in ALARMS.paragraphs():
        rule = ALARMS[name]
        advice = ", see ".join(filter(None, (str(rule.advises), rule.see)))
        yield name, seen, means, advice[:1].upper() + advice[1:]

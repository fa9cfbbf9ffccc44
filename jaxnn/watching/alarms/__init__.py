"""Alarms: faults of a training, recognised in what its watch has recorded.

    measurements and steps so far -> rules -> sights -> of each rule one alarm in a training

A rule speaks where it is clear, and else is silent. Its docstring says what it sees and what that
means; with what the rule advises it is a row of the guide. Sizes are Euclidean norms; a weight is a
parameter array of two axes or more. `states` has the rules on states and gradients, `updates` those
on what a step does to the parameters, `losses` those on the loss. To add an alarm, enter a function
in `ALARMS` in one of them and its cases in `tests/test_alarms.py`; CONTRIBUTING.md walks through
it.

A rule on the loss or on an update names a cause only if another number agrees; else it says what
was seen. Failures of the watch itself are alarms too, each at its first: see `FAILURES`.
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np

from ...flow.verdict.findings import FINDINGS
from ...rules import Found
from ...texts import listed, told
from ..journal import FILE
from ..measurements import ALARMS as ALARMS
from ..measurements import Measurements
from ..watched import Watched, is_within
from . import losses as losses  # which enter their rules
from . import states as states
from . import updates as updates

FAILURES = {  # of a part of the watch, with its error message
    "measurement": "the gradient could not be measured ({})",
    "alarms": "alarms could not be looked for ({})",
    "value": "the loss of the step is not known ({})",
    "file": f"what was measured is not in {FILE} ({{}}), only in memory",
    "write": "the function in write= failed ({})",
    "callback": "the function in callback= failed ({})",
}


class Intended(NamedTuple):
    """Rules that give no alarm, and arrays that none is on."""

    rules: frozenset[str] = frozenset()
    # their paths, or what these begin with, such as the name of a module
    arrays: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, names: Collection[str], adversarial: bool = False, paths: Collection[str] | None = None
    ) -> "Intended":
        """Return what is so on purpose, by names of rules and paths of arrays."""
        if not isinstance(names, tuple | list | set | frozenset):
            raise TypeError(
                "intended: expected a tuple of names of rules and paths of arrays, got "
                f"{told(names)}"
            )
        if not isinstance(adversarial, bool):
            raise TypeError(f"adversarial: expected True or False, got {told(adversarial)}")
        rules = frozenset(name for name in names if name in {*ALARMS, *FINDINGS, *FAILURES})
        of_games = {name for name, rule in ALARMS.items() if rule.of_games and adversarial}
        arrays = tuple(name for name in names if name not in rules)
        for array in arrays:
            if not isinstance(array, str) or not (
                paths is None or any(is_within(path, array) for path in paths)
            ):
                known = f" or paths such as {listed([*paths][:2])}" if paths else ""
                raise ValueError(
                    f"intended: expected names of rules such as {listed([*ALARMS][:2])}{known}, "
                    f"got {told(array)}"
                )
        return cls(rules | of_games, arrays)

    def has(self, path: str) -> bool:
        """Tell whether an array is as it is on purpose."""
        return any(is_within(path, array) for array in self.arrays)

    def covers(self, rule: str, path: str) -> bool:
        """Tell whether nothing need be said by a rule of an array."""
        return rule in self.rules or (bool(path) and self.has(path))


def alarms_of(
    watched: Watched, silent: Intended | None = None, *, is_step: bool = False
) -> list[Found]:
    """Return the alarms that the last measurement gives rise to, of rules that were silent.

    With is_step those that the last step gives rise to, which is not measured: of some rules on
    the loss alone.
    """
    is_silent = None if silent is None else silent.has
    seen, first = Measurements(watched, is_step=is_step, is_silent=is_silent), dict[str, Found]()
    ignore = set[str]() if silent is None else {*silent.rules}
    if is_step:
        ignore |= {name for name, rule in ALARMS.items() if not rule.every_step}
    spoken = {alarm.rule for alarm in watched.alarms}
    with np.errstate(all="ignore"):  # inf and nan are numbers here, neither large nor small
        for found in ALARMS.found(seen, ignore, spoken):
            text = f"Step {seen.step}: {found.text}."
            first.setdefault(found.rule, found._replace(text=text, step=seen.step))
    return [*first.values()]


def guide() -> Iterator[tuple[str, ...]]:
    """Yield the rows of the guide: rule, what was seen, what it means, what to try."""
    for name, _, seen, means in ALARMS.paragraphs():
        rule = ALARMS[name]
        advice = str(rule.advises).removesuffix(".")
        yield name, seen, means, ", see ".join(filter(None, (advice, rule.see)))

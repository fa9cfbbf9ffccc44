"""Change of Δ over the steps of a recurrent module, which the rate of the layers does not see."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..record.flow import Recurrences
from .rates import CLEAR, LN10, MOST_ONCE, UNCLEAR, Rate, mean_and_error, word_of

FEWEST = 3  # steps that a rate through time is told from


class TimeChange(NamedTuple):
    """The change of Δ through the steps of one call of a module."""

    module: str
    word: str  # as a verdict has it
    rate: float  # decades a step
    error: float  # its standard error
    total: float
    late: int  # from this step, counted from 0
    early: int  # to this one
    steps: int  # of the call
    gates: tuple[int, int] | None  # entries of its biases for the gates that keep its state

    @property
    def ill(self) -> bool:
        """True if it makes a thousand: what the first step holds is then hardly learnt."""
        return abs(self.total) >= MOST_ONCE

    def over(self, rate: Rate) -> Rate:
        """Return its rate instead of that of the layers, if it is ill, and more than theirs."""
        if not self.ill or abs(self.total) <= abs(rate.total):
            return rate
        return replace(
            rate,
            word=self.word,
            decades=self.rate,
            standard_error=self.error,
            total=self.total,
            repeated=self.total,
            law=None,
            layers=abs(self.late - self.early) + 1,
            outliers=(),
            others=(),
        )


def largest_change(recurrences: Recurrences | None) -> TimeChange | None:
    """Return the largest change through time of all calls; None if none vanishes or explodes."""
    if recurrences is None:
        return None
    clear = [c for c in _changes(recurrences) if c.word in ("vanishing", "exploding")]
    return max(clear, key=lambda change: abs(change.total), default=None)


def decades_a_step(recurrences: Recurrences | None, module: str) -> float:
    """Return the rate inside a module, of several calls that with the most; nan without any."""
    changes = [] if recurrences is None else _changes(recurrences)
    inside = [change for change in changes if change.module == module]
    return max(inside, key=lambda change: abs(change.total)).rate if inside else np.nan


def _changes(recurrences: Recurrences) -> list[TimeChange]:
    changes = (_change(recurrences.of(call)) for call in range(len(recurrences.counts)))
    return [change for change in changes if change is not None]


def _change(call: Recurrences) -> TimeChange | None:
    log = np.asarray(call.log_delta, np.float64) / LN10
    known = np.flatnonzero(np.isfinite(log))
    if len(known) < FEWEST:
        return None
    late, early = int(known[-1]), int(known[0])
    if call.both_ways[0]:  # the end at which Δ enters is not known
        late, early = (int(known[at(log[known])]) for at in (np.argmax, np.argmin))
    towards = log[early : late + 1][::-1] if early < late else log[late : early + 1]
    factors = np.diff(towards)
    factors = factors[np.isfinite(factors)]
    rate, error = mean_and_error(factors, np.zeros(len(factors)))
    total = float(log[early] - log[late])
    word = UNCLEAR if abs(rate) < CLEAR * error else word_of(rate, total, error)
    return TimeChange(call.names[0], word, rate, error, total, late, early, len(log), call.gates[0])

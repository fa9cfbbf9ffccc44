"""The course of a rehearsal: its losses, and whether the network learns the examples.

learner, batches -> a step after the other -> losses
losses, that of a constant answer
-> does it learn these examples by heart, in part, not at all, or can that not be told?
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..texts import counted
from ..train.learner import Batch, Learner

log = logging.getLogger("jaxnn.rehearsal")

HEART, NOTHING = 0.1, 0.9  # of the loss of a constant answer: by heart below, nothing above
STILL = 0.01  # of the loss at the start: a change that is none
GOES_ON = 0.5  # of the fall in the first half, in the second one
FEWEST = 10  # steps after which it can be told that a network does not learn
LAST = 20  # the last loss is the median of a twentieth of all


@dataclass(frozen=True)
class Course:
    """The losses of a rehearsal."""

    losses: Float[np.ndarray, " S"]  # before each step
    constant: float  # of the best constant answer; nan if not known, -inf of a loss without end
    steps: int  # that were asked for
    batches: int = 1  # different ones
    interrupted: bool = False  # by Ctrl-C
    seconds: float = 0.0  # after which the clock ended it; 0 if it did not

    @property
    def start(self) -> float:
        """The mean loss of all batches at the start; that of the first if its step raised it."""
        first = self.losses[: self.batches]
        return float(min(np.mean(first), first[0]))

    @property
    def end(self) -> float:
        """The median of the last losses."""
        return float(np.median(self.losses[-max(self.batches, len(self.losses) // LAST, 1) :]))

    @property
    def learns(self) -> bool | None:
        """True if the loss falls, and below that of a constant answer; None if nobody can tell."""
        if not len(self.losses):
            return None
        if not np.isfinite(self.losses).all() or np.isneginf(self.constant):
            return False
        if self._gain > 1 - NOTHING:
            return True
        return None if len(self.losses) < FEWEST or self._still_falls else False

    @property
    def by_heart(self) -> bool:
        """True if nearly nothing is left of a loss that cannot fall below 0."""
        return bool(self.learns and 0 <= self.end <= HEART * self._reference)

    @property
    def needs_trials(self) -> bool:
        """True if changes could tell why nothing is learned."""
        return len(self.losses) > 0 and not self.learns and self.is_whole

    @property
    def in_part(self) -> bool:
        """True if it learns the examples, but not by heart."""
        return bool(self.learns) and not self.by_heart

    @property
    def is_whole(self) -> bool:
        """True if neither Ctrl-C nor the clock ended it."""
        return not self.interrupted and not self.seconds

    @property
    def end_text(self) -> str:
        """The sentence on what ended it; "" if nothing did."""
        taken = len(self.losses)
        after = f"after {counted(taken, 'step')} of {self.steps}"
        if self.seconds:
            needed = 1.2 * self.seconds * self.steps / max(taken, 1)
            return (
                f"Its {self.seconds:.3g} seconds were over {after}, and no change was tried: "
                f"give it seconds={needed:.2g}, or fewer steps."
            )
        return f"It was stopped {after}." if self.interrupted else ""

    @property
    def _reference(self) -> float:
        return self.start if np.isnan(self.constant) else self.constant

    @property
    def _gain(self) -> float:
        """The fall below the loss of a constant answer, relative to it."""
        return (self._reference - self.end) / max(abs(self._reference), np.finfo(float).tiny)

    @property
    def _still_falls(self) -> bool:
        middle = float(np.median(self.losses[len(self.losses) // 2 :][: max(self.batches, 5)]))
        first, second = self.start - middle, middle - self.end
        return second > GOES_ON * first > 0 and first + second > STILL * abs(self.start)

    def __str__(self) -> str:
        these = "this batch" if self.batches == 1 else f"these {self.batches} batches"
        if not len(self.losses):
            return f"It cannot be told whether it learns {these}: no step was taken."
        after = f"in {counted(len(self.losses), 'step')}"
        if not np.isfinite(self.losses).all():
            first = int(np.flatnonzero(~np.isfinite(self.losses))[0])
            when = f"from step {first} on" if first else "from the start"
            return f"It does not learn {these}: the loss is {self.losses[first]} {when}."
        course = f"{self._moved} {after}"
        constant = f"; a constant answer reaches {self.constant:.3g}"
        if np.isneginf(self.constant):
            constant = "; a constant answer lowers it without end"
        constant = "" if np.isnan(self.constant) else constant
        if self.by_heart:
            return f"It learns {these} by heart: {course}."
        if self.learns:
            return f"It learns {these} in part: {course}{constant}."
        if self.learns is None:
            why = "and still does" if self._still_falls else "which is too few"
            return f"It cannot be told whether it learns {these}: {course}, {why}{constant}."
        return f"It does not learn {these}: {course}{constant}."

    @property
    def _moved(self) -> str:
        start, end = self.start, self.end
        if abs(end - start) <= STILL * abs(start):
            return f"the loss stays at {start:.3g}"
        return f"the loss {'falls' if end < start else 'rises'} from {start:.3g} to {end:.3g}"


def rehearsed(
    learner: Learner,
    batches: Sequence[Batch],
    steps: int,
    constant: float = np.nan,
    seconds: float = np.inf,
) -> Course:
    """Train for some steps, the batches in turn.

    Ctrl-C, the clock, and a loss without a number end it.
    """
    seen: list[float] = []
    interrupted, over, until = False, 0.0, time.monotonic() + seconds
    try:
        for number in range(steps):
            seen.append(learner.step(batches[number % len(batches)]))
            log.debug("rehearsal: step %d of %d, loss %.3g", number + 1, steps, seen[-1])
            if not np.isfinite(seen[-1]):
                break
            if time.monotonic() > until and number + 1 < steps:
                over = seconds
                break
    except KeyboardInterrupt:
        interrupted = True
    return Course(np.array(seen, float), constant, steps, len(batches), interrupted, over)

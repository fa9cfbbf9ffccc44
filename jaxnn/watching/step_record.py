"""The record of single steps: the loss of each, and the sizes of its update and gradient.

    step, loss, sizes -> the last 10,000 in memory, the first few for good -> chunks for the file

Between two measurements of the flow this is all that is known, so it is what shows a loss that
jumps. A step that comes again, as after a checkpoint, replaces what was recorded from it on.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

MOST, FIRST = 10_000, 10  # steps in memory: of the last ones, and of the first ones
CHUNK = 100  # steps on a line of the file


class Step(NamedTuple):
    """One step; nan of what was not handed over."""

    step: int
    loss: float
    log10_update: float = math.nan  # of the norm of the change of all parameters; of JAX
    # of the norm of the gradient that the optimiser took; of PyTorch
    log10_gradient: float = math.nan


class Steps:
    """The steps of a training, the last one last.

    They stand in a row of an array each, in the order of `Step`, from `_begin` to `_end`: rules ask
    for columns of them at every step.
    """

    def __init__(self) -> None:
        self.first: list[Step] = []
        self._rows = np.empty((2 * MOST, len(Step._fields)))
        self._begin = self._end = 0

    def __len__(self) -> int:
        return self._end - self._begin

    def add(self, step: Step) -> None:
        """Add a step, in the place of all that were recorded from it on."""
        while len(self) and self.step >= step.step:
            self._end -= 1
        while self.first and self.first[-1].step >= step.step:
            self.first.pop()
        if self._end == len(self._rows):
            self._rows[:MOST] = self._rows[-MOST:]
            self._begin, self._end = 0, MOST
        self._rows[self._end] = step
        self._end += 1
        self._begin = max(self._begin, self._end - MOST)
        if len(self.first) < FIRST:
            self.first.append(step)

    @property
    def step(self) -> int:
        """The number of the last step; -1 before the first."""
        return int(self._rows[self._end - 1, 0]) if len(self) else -1

    def column(self, name: str, count: int = MOST) -> Float[np.ndarray, " count"]:
        """Return a number of the last steps, or of as many as there are."""
        begin = max(self._begin, self._end - count)
        return self._rows[begin : self._end, Step._fields.index(name)].copy()

    def table(self) -> list[dict[str, Any]]:
        """Return a row for each step."""
        rows = self._rows[self._begin : self._end].tolist()
        return [Step(int(step), *numbers)._asdict() for step, *numbers in rows]


def line_of(steps: Iterable[Step], time: int) -> dict[str, Any]:
    """Return steps as a line of the file, a list for each number."""
    columns = zip(*steps, strict=True)
    return {"kind": "steps", "time": time} | {
        name: [*column] for name, column in zip(Step._fields, columns, strict=True)
    }


def steps_of(line: dict[str, Any]) -> Iterable[Step]:
    """Yield the steps on a line of the file."""
    return map(Step, *(line[name] for name in Step._fields))

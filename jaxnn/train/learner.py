"""Learners: a network that is trained, step by step.

JAX and torch have one each; what trains a network, a rehearsal or a race, knows this class alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, PyTree

from ..evidence.trial import Trial
from ..models import Program


class Batch(NamedTuple):
    """A batch of examples with what the loss takes next to the output."""

    xs: PyTree
    ys: PyTree = None


Known = dict[Any, dict[Any, Any]]


class Learner(ABC):
    """A program whose network is trained on copies; it is left as it is."""

    watch: Any = None  # of the steps, from `watched` on
    taken = 0  # steps

    def __init__(self, program: Program, times: float = 1.0, known: Known | None = None):
        # times: of each step; known: programs of learners like it, which may be its own.
        self.program, self.times, self.known = program, times, {} if known is None else known

    @abstractmethod
    def watched(self, every: int, intended: Collection[str]) -> None:
        """Have the steps watched, and measured every so many."""

    @abstractmethod
    def step(self, batch: Batch) -> float:
        """Take the next step of the optimiser; return the loss before it."""

    @abstractmethod
    def trial(self, batch: Batch) -> Trial:
        """Return the network as it is after these steps, with a batch to make experiments with."""

    def output(self, batch: Batch) -> np.ndarray | None:
        """Return the output for a batch after these steps; None if that is no array of floats."""
        return self.trial(batch).first

    @cached_property
    def count(self) -> int:
        """The number of examples, if they can be split into batches; else 0."""
        lengths = self._lengths()
        count = lengths.pop() if len(lengths) == 1 else 0
        try:
            if count:
                self._try(np.arange(count // 2))
        except Exception:  # of the user's functions, which may want all of them
            return 0
        return count

    @abstractmethod
    def _lengths(self) -> set[int]:
        """Return the lengths of all that is given; 0 of what has no rows."""

    @abstractmethod
    def _try(self, rows: Int[np.ndarray, " b"]) -> None:
        """Compute the loss of some of the examples, or its shape."""

"""A network with one batch, as something to make experiments with: numbers in, numbers out.

xs, last layer times a factor -> output
output, ys in another order   -> loss, its slope ∂loss/∂output
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..models import Program

Arrays = Mapping[str, np.ndarray]
MOST_ENTRIES = 1_000_000  # of an array of weights that is looked at


class LossSlope(NamedTuple):
    """A loss of a batch, and its derivative by the output."""

    value: float
    of_output: np.ndarray


class Trial(ABC):
    """A network with one batch and a loss."""

    def __init__(self, program: Program):
        self.program = program

    @property
    @abstractmethod
    def xs(self) -> Arrays:
        """The floats that go in, the examples first, by names such as xs['image']."""

    @property
    def tokens(self) -> Arrays:
        """The integers that go in, such as numbers of letters, the examples first, by name."""
        return {}

    @property
    def lengths(self) -> set[int]:
        """The numbers of rows of all parameters, if what is beyond them is no error."""
        return set()

    @property
    @abstractmethod
    def ys(self) -> np.ndarray | None:
        """The labels, if they are one array."""

    @property
    @abstractmethod
    def weights(self) -> Arrays:
        """The weights that are trained, (…, in, out), by path, but for large ones, each once."""

    @property
    def arrays(self) -> Arrays:
        """The weights, and arrays of several axes that are no weights, such as queries."""
        return self.weights

    @abstractmethod
    def output(
        self, xs: Arrays | None = None, factor: float = 1.0, rows: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Return the output, (B, …), if it is one array of floats."""
        # xs: what takes the place of inputs and tokens, of the rows alone if some are taken;
        # factor: of all parameters of the last layer; rows: the examples, of all arrays that go in.

    @property
    def is_random(self) -> bool:
        """Whether the output takes random numbers."""
        return False

    @property
    def counts(self) -> set[int]:
        """The lengths of the first axes of all arrays that go in, of integers too."""
        return {len(v) for v in self.xs.values()}

    def draws(self, count: int) -> np.ndarray | None:
        """Return the output with several random numbers, (count, B, …); None if it takes none."""
        return None

    @abstractmethod
    def slope(
        self, output: np.ndarray, order: np.ndarray | None = None, ys: np.ndarray | None = None
    ) -> LossSlope | None:
        """Return the loss of an output, and its slope; None without a loss."""
        # order: of the labels alone; ys: what takes their place, if they are one array.

    @cached_property
    def first(self) -> np.ndarray | None:
        """The output as it is."""
        return self.output()

    @property
    def untouched_norms(self) -> tuple[str, ...]:
        """Norms that are in use with the statistics that they were made with, by name."""
        return ()

    @property
    def stopped(self) -> tuple[str, ...]:
        """Arrays that nothing but a stop_gradient of their own takes, by path: they are to stay."""
        return ()

    @property
    def resting_norms(self) -> tuple[str, ...]:
        """Norms in train mode whose statistics a batch does not change, by name."""
        return ()

    @property
    def overwritten(self) -> tuple[str, ...]:
        """Inputs and labels that a step changes in place, if the next step then is another one."""
        return ()

    @property
    def drops_in_eval(self) -> bool:
        """True if dropout acts in eval mode too."""
        return False

    @property
    def dropped(self) -> float:
        """The largest share of numbers that dropout leaves out; 0 without any."""
        return 0.0

    @property
    def unregistered(self) -> tuple[str, ...]:
        """Parameters that the output depends on and the module does not list, by name."""
        return ()

    @property
    def repeated(self) -> tuple[str, ...]:
        """Names under which one module with parameters follows itself, as in [layer] * 3."""
        return ()


def as_wide(v: np.ndarray) -> np.ndarray:
    """Return numbers in float64, whose sums are exact enough."""
    return np.asarray(v).astype(np.float64)

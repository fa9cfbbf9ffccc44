"""Evidence: what numbers of one batch show of its data, of the end of the network, of its weights.

Trial, of JAX or torch -> Evidence, numbers of NumPy -> rules of a verdict
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple, TypeVar

import numpy as np

from .data import BatchData
from .end import End
from .parameters import KnownParameters, Noise
from .tokens import Beyond, Unread, beyond_of, unread_of
from .trial import Trial

T = TypeVar("T")


class HeldOut(NamedTuple):
    """Answers to half of the examples by a copy that has learned the others."""

    examples: int  # how many others
    share: float  # of all orders of their labels, those with a loss no larger than in their own


@dataclass(frozen=True)
class Evidence:
    """Measurements of one batch; None for those that could not be had."""

    data: BatchData | None = None
    end: End | None = None
    parameters: KnownParameters | None = None
    noise: Noise | None = None
    unread: Unread | None = None
    beyond: Beyond | None = None
    overwritten: tuple[str, ...] | None = None  # inputs and labels that a step changes in place
    held_out: HeldOut | None = None  # of a checkup, whose copy has learned half of the examples
    uphill: bool = False  # of a checkup, whose optimiser adds what has the sign of the gradient

    @classmethod
    def of(cls, trial: Trial) -> "Evidence":
        """Make the experiments. What fails, in functions of the user's, is left out."""
        with np.errstate(all="ignore"):
            return cls(
                _tried(BatchData.of, trial),
                _tried(End.of, trial),
                _tried(KnownParameters.of, trial),
                _tried(Noise.of, trial),
                _tried(unread_of, trial),
                _tried(beyond_of, trial),
                _tried(attrgetter("overwritten"), trial),
            )


def _tried(experiment: Callable[[Trial], T], trial: Trial) -> T | None:
    """Return what an experiment shows; None if it ends in an error, as of a loss that asserts."""
    try:
        return experiment(trial)
    except Exception:
        return None

"""Errors with a class of their own; any other bad input is a ValueError or a TypeError.

Each is a subclass of a built-in error, whose message is one line.
"""

from typing import Any, Literal

import numpy as np

__all__ = [
    "DisagreementError",
    "NoTwinError",
    "NonFiniteError",
    "TrainingWarning",
]


def __dir__() -> list[str]:
    return __all__


Where = Literal["signal", "loss", "gradient", "update"]


class NonFiniteError(FloatingPointError):
    """The loss or a parameter is no longer finite; the message names the origin.

    No result is lost: see `state` and `losses`.

    Attributes:
        step: the number of steps done, `State.step`, before the first loss that is nan or inf, or
            before a parameter is, if earlier.
        where: what left the range first: the signal z, the loss itself, the gradient Δ or, if all
            three are finite, the update that the optimiser computed.
        layer: the layer l = 1 … L of z[l], of Δz[l] or Δ(θ, b)[l-1], or of (θ, b)[l-1].
        state: the last good State, with finite parameters and before a step whose loss was finite
            (if any): training may be continued from it, with a smaller step size.
        losses: of the steps of all epochs up to that one, (E, S); nan of steps not taken.
    """

    def __init__(
        self, sentence: str, step: int, where: Where, layer: int, state: Any, losses: np.ndarray
    ):
        super().__init__(sentence)
        self.step = step
        self.where, self.layer = where, layer
        self.state = state
        self.losses = losses


class DisagreementError(ValueError):
    """Passes down through a module of PyTorch do not agree, and none is known to be right."""


class NoTwinError(ValueError):
    """The wide twin of a network was requested, but one of its layers has none."""


class TrainingWarning(UserWarning):
    """A fault in a watched training; the message is that of the alarm."""

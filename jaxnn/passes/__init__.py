"""Passes: up and down the layers, and what is recorded on the way."""

from .backprop import Deltas, mean_loss
from .forward import Trace, loss

__all__ = ["Deltas", "Trace", "loss", "mean_loss"]


def __dir__() -> list[str]:
    return __all__

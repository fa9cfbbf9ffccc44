"""Training: any optax optimiser along the hand-written gradient, by steps, epochs or as a whole.

All take (net, params or state, xs, ys, optimizer).
"""

from .fitting import Fit, History, fit, split
from .scores import Scores, evaluate
from .steps import State, each_epoch, epoch, start, step

__all__ = [
    "Fit",
    "History",
    "Scores",
    "State",
    "each_epoch",
    "epoch",
    "evaluate",
    "fit",
    "split",
    "start",
    "step",
]

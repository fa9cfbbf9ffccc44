"""Training: any optax optimiser along the hand-written gradient, by steps, epochs or as a whole.

All take (net, params or state, xs, ys, optimizer).
"""

from .callbacks import hugging_face_callback, lightning_callback
from .cost import Cost, cost_of
from .fitting import Fit, History, fit, split
from .reading import read_watch
from .scaling_answer import Scaling, ScalingCheck
from .scores import Scores, evaluate
from .steps import State, each_epoch, epoch, start, step
from .torch_watch import TorchWatch
from .watched import Alarm, Watched
from .writers import to_csv, to_mlflow, to_tensorboard, to_wandb

__all__ = [
    "Alarm",
    "Cost",
    "Fit",
    "History",
    "Scaling",
    "ScalingCheck",
    "Scores",
    "State",
    "TorchWatch",
    "Watched",
    "cost_of",
    "each_epoch",
    "epoch",
    "evaluate",
    "fit",
    "hugging_face_callback",
    "lightning_callback",
    "read_watch",
    "split",
    "start",
    "step",
    "to_csv",
    "to_mlflow",
    "to_tensorboard",
    "to_wandb",
]


def __dir__() -> list[str]:
    return __all__

"""Training: any optax optimiser along the hand-written gradient, by steps, epochs or as a whole.

All take (net, params or state, xs, ys, optimizer).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .callbacks import hugging_face_callback as hugging_face_callback
    from .callbacks import lightning_callback as lightning_callback
    from .fitting import Fit as Fit
    from .fitting import History as History
    from .fitting import fit as fit
    from .fitting import split as split
    from .reading import read_watch as read_watch
    from .scaling_answer import Scaling as Scaling
    from .scaling_answer import ScalingCheck as ScalingCheck
    from .scores import Scores as Scores
    from .scores import evaluate as evaluate
    from .steps import State as State
    from .steps import epoch as epoch
    from .steps import start as start
    from .steps import step as step
    from .torch_watch import TorchWatch as TorchWatch
    from .watched import Watched as Watched
else:
    from ..exports import on_demand

    __getattr__, __dir__, __all__ = on_demand(__name__)

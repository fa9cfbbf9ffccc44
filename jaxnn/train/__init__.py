"""Training: any optax optimiser along the hand-written gradient, by steps, epochs or as a whole.

All take (net, params or state, xs, ys, optimizer).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .fitting import Fit as Fit
    from .fitting import fit as fit
    from .scores import Scores as Scores
    from .scores import evaluate as evaluate
    from .steps import State as State
    from .steps import epoch as epoch
    from .steps import start as start
    from .steps import step as step
else:
    from ..exports import on_demand

    __getattr__, __dir__, __all__ = on_demand(__name__)

"""PyTorch: skip connections around a whole cut, found in torch's graph.

    out = u + branches      u the state below, as it is

As `jaxnn.recognition.skips` has it for programs.
"""

from collections.abc import Sequence

import numpy as np

from ..graph.branches import terms_of
from .autograd_steps import graph_below
from .hooks import CutState


def log_branches(states: Sequence[CutState]) -> np.ndarray | None:
    """Return for each state ln of the norm of what is added to the one below, relative to that.

    nan of the first, of one without a skip connection around its cut, and where the state below is
    zero; -inf where nothing is added. None if no cut has one.
    """
    logs = np.full(len(states), np.nan)
    skips = [at for at in range(1, len(states)) if _is_skip(states[at - 1], states[at])]
    for at in skips:
        before, after = (state.parts[0].value for state in states[at - 1 : at + 1])
        wide = np.float64 if after.dtype.itemsize == 8 else np.float32
        stream = _norm(before.astype(wide))
        branch = _norm(np.subtract(after.astype(wide), before.astype(wide)))
        with np.errstate(divide="ignore"):
            logs[at] = np.log(branch / stream) if stream else np.nan
    return logs if skips else None


def _norm(values: np.ndarray) -> float:
    return float(np.sqrt(np.sum(np.square(values, dtype=np.float64))))


def _is_skip(below: CutState, state: CutState) -> bool:
    """Tell whether a state is the sum of the one below, as it is, and of something else."""
    if below.parts[0].shape != state.parts[0].shape:
        return False
    stream, top = (v.parts[0].edge for v in (below, state))
    streams, others = terms_of(graph_below((top,)), top, (stream,))
    return bool(streams) and others

"""PyTorch: skip connections around a whole cut, found in torch's graph.

    out = u + branches      u the state below, as it is

As `jaxnn.recognition.skips` has it for programs: the way back from the output leads through sums
alone to the state below, and another term is none.
"""

from collections.abc import Sequence

import numpy as np

from .autograd_parts import SUM
from .hooks import CutState

ALONG = (  # what leaves a state what it is
    *("ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0", "AliasBackward0"),
    *("ToCopyBackward0", "CloneBackward0", "SqueezeBackward1", "UnsqueezeBackward0"),
)


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
    stream, others, waiting = False, False, [state.parts[0].edge]
    while waiting:
        node, number = waiting.pop()
        if (node, number) == below.parts[0].edge:
            stream = True
        elif node is not None and node.name() == SUM:
            terms = node.next_functions
            waiting.append(terms[0])
            # torch.add(u, v, alpha=c) is u + c v.
            if len(terms) > 1 and node._saved_alpha == 1:
                waiting.append(terms[1])
            else:
                others = True
        elif node is not None and node.name() in ALONG:
            waiting.append(node.next_functions[0])
        else:
            others |= node is not None
    return stream and others

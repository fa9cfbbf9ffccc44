"""Pairs that nobody means, see `jaxnn.chain.label_pairs`, in a loss of PyTorch.

Torch is never imported: the user has done so.
"""

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..chain.label_pairs import Shape, other_shape, refusal
from .dispatch import each_operation
from .tensors import tensors_in
from .types import Arguments, Named, OpOverload, Output


def refusing_pairs(output: Output, ys: object) -> AbstractContextManager[Any]:
    """Return a context in which a loss that broadcasts outputs and labels to pairs is refused."""
    ours: Shape = () if output is None else tuple(output.shape)
    theirs = other_shape(ours)
    if theirs is None or theirs not in {tuple(v.shape) for v in tensors_in(ys)}:
        return nullcontext()
    square, expanded = (ours[0], ours[0]), dict[int, tuple[Any, Shape]]()

    def run(f: OpOverload, args: Arguments, kwargs: Named) -> Any:
        out = f(*args, **kwargs)
        given = tensors_in(args)
        shapes = [expanded[id(v)][1] if id(v) in expanded else tuple(v.shape) for v in given]
        makes_pairs = any(tuple(v.shape) == square for v in (*given, *tensors_in(out)))
        if makes_pairs and {ours, theirs} <= {*shapes}:
            raise refusal(ours, theirs)
        if "expand" in str(f):
            expanded[id(out)] = out, shapes[0]
        return out

    return each_operation(sys.modules["torch"], run)

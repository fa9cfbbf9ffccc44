"""Labels that nobody means in a loss of PyTorch: pairs, see `jaxnn.chain.label_pairs`; no classes.

Torch is never imported: the user has done so.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..chain.label_pairs import Shape, other_shape, refusal
from .dispatch import each_operation
from .tensors import is_tensor, tensors_in
from .types import Arguments, Named, OpOverload, Output

IGNORED = -100  # the label that torch leaves out


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

    return each_operation(run)


def number_outside(output: Any, ys: object) -> str | None:
    """Return a sentence on labels that are numbers of no class of the output; None without any."""
    if not is_tensor(output) or not is_tensor(ys) or output.ndim < 2 or ys.is_floating_point():
        return None
    classes, labels = output.shape[1], ys.unique().tolist()
    outside = [v for v in labels if not 0 <= v < classes and v != IGNORED]
    if tuple(ys.shape) != (output.shape[0], *output.shape[2:]) or not outside:
        return None
    return (
        f"ys: expected classes from 0 to {classes - 1}, for the output has {classes} columns, got "
        f"{outside[0]}"
    )

"""Hooks: modules of PyTorch with a skip around each of some, a norm in front, or other units.

state + f(state) / √L          f(state / rms)          σ in place of the activation

All are copies.
"""

import copy
import itertools
import sys
from collections.abc import Sequence
from typing import Any

from ..pytorch.inputs import called
from ..pytorch.module import recording
from ..pytorch.restore import unchanged
from ..pytorch.tensors import tensors_in
from .structure import EPS

# Modules of torch that apply a function to each entry, in the folder of its activations.
ACTIVATIONS = "torch.nn.modules.activation"
NONE = ("GLU", "MultiheadAttention", "PReLU", "Softmax", "Softmax2d", "LogSoftmax", "Softmin")


def with_skips(module: Any, names: Sequence[str], scale: float) -> Any:
    """Return a copy whose modules of these names return state + scale · f(state)."""

    def hook(_: Any, args: Any, output: Any) -> Any:
        return args[0] + scale * output

    made = copy.deepcopy(module)
    for name in names:
        made.get_submodule(name).register_forward_hook(hook)
    return made


def with_norms(module: Any, names: Sequence[str]) -> Any:
    """Return a copy whose modules of these names take their state over its root mean square."""

    def hook(_: Any, args: Any) -> Any:
        state, *more = args
        square = state.square().mean(dim=tuple(range(1, state.ndim)), keepdim=True)
        return (state * (square + EPS).rsqrt(), *more)

    made = copy.deepcopy(module)
    for name in names:
        made.get_submodule(name).register_forward_pre_hook(hook)
    return made


def with_units(module: Any, names: Sequence[str], gain: float, slope: float) -> Any | None:
    """Return a copy with g (max(z, 0) + s min(z, 0)) in place of activations; None without any.

    Args:
        module: a torch.nn.Module.
        names: of modules in it, all of which have to hold activations that are modules of torch.
        gain: g.
        slope: s.
    """

    def hook(_: Any, args: Any, output: Any) -> Any:
        del output
        return gain * (args[0].clamp(min=0) + slope * args[0].clamp(max=0))

    made = copy.deepcopy(module)
    inside = [list(filter(_is_activation, made.get_submodule(n).modules())) for n in names]
    if not all(inside):
        return None
    for activation in {id(each): each for of in inside for each in of}.values():
        if hasattr(activation, "inplace"):  # else what goes in is overwritten before the hook
            activation.inplace = False
        activation.register_forward_hook(hook)
    return made


def _is_activation(module: Any) -> bool:
    kind = type(module)
    return kind.__module__ == ACTIVATIONS and kind.__name__ not in NONE


def follow(module: Any, names: Sequence[str], inputs: Any) -> bool:
    """Tell whether modules keep the shape of their state, each called once, with that below's."""
    states: list[tuple[Any, Any]] = []

    def look(_: Any, args: Any, output: Any) -> None:
        states.append((args[0] if args else None, output))

    known, handles = dict(module.named_modules()), []
    if not all(name in known for name in names):
        return False
    torch = sys.modules["torch"]
    with recording(torch), unchanged(torch, module, tensors_in(inputs)):
        try:
            handles += [known[name].register_forward_hook(look) for name in names]
            called(module, inputs)
        finally:
            for handle in handles:
                handle.remove()
    keep = all(getattr(x, "shape", 0) == getattr(y, "shape", None) for x, y in states)
    links = itertools.pairwise(states)
    return keep and len(states) == len(names) and all(below[1] is x for below, (x, _) in links)

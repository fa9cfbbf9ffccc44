"""Hooks: copies of a module of PyTorch, some of its parts in another form or of other units."""

import sys
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from threading import get_ident
from typing import Any

from jaxtyping import PyTree

from ..interrupts import registered
from ..pytorch.call import recording
from ..pytorch.copies import copied
from ..pytorch.inputs import called
from ..pytorch.restore import unchanged
from ..pytorch.tensors import tensors_in
from .patient import Form, Leaky

Module = Any  # of torch, which is not imported
Tensor = Any

# Modules of torch that apply a function to each entry, in the folder of its activations.
ACTIVATIONS = "torch.nn.modules.activation"
NONE = ("GLU", "MultiheadAttention", "PReLU", "Softmax", "Softmax2d", "LogSoftmax", "Softmin")


def with_form(module: Module, names: Sequence[str], form: Form) -> Module:
    """Return a copy whose modules f of these names are state -> out(state, f(into(state)))."""
    # Of the modules that are being called, the innermost last; replicas have a thread each.
    states: defaultdict[int, list[Tensor]] = defaultdict(list)

    def before(_: Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        states[get_ident()].append(args[0])
        return form.into(args[0]), *args[1:]

    def after(_: Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        del args  # with what the module was given in place of the state
        return form.out(states[get_ident()].pop(), output)

    made = copied(module)
    for name in names:
        made.get_submodule(name).register_forward_pre_hook(before)
        made.get_submodule(name).register_forward_hook(after)
    return made


def with_units(module: Module, names: Sequence[str], sigma: Leaky) -> Module | None:
    """Return a copy with other units in place of activations; None if there are none."""

    def hook(_: Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        del output
        z = args[0]
        return sigma.gain * (z.clamp(min=0) + sigma.slope * z.clamp(max=0))

    made = copied(module)
    inside = [list(filter(_is_activation, made.get_submodule(n).modules())) for n in names]
    if not names or not all(inside):
        return None
    for activation in {id(one): one for layer in inside for one in layer}.values():
        if hasattr(activation, "inplace"):  # else what goes in is overwritten before the hook
            activation.inplace = False
        activation.register_forward_hook(hook)
    return made


def opened(module: Module) -> Module:
    """Return a copy in whose calls `detach` and `no_grad` do nothing."""
    torch = sys.modules["torch"]
    stops = torch.Tensor.detach, torch.detach

    def dispatched(_: Any, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        if function is torch._C._set_grad_enabled:
            return None
        if function is torch.Tensor.numpy:  # for which hooks detach first
            return function(args[0].detach(), *args[1:], **(kwargs or {}))
        return args[0] if function in stops else function(*args, **(kwargs or {}))

    mode = type("Open", (torch.overrides.TorchFunctionMode,), {"__torch_function__": dispatched})
    kind = type(module)

    def call(self: Module, *args: Any, **kwargs: Any) -> Any:
        with mode():
            return kind.__call__(self, *args, **kwargs)

    made = copied(module)
    made.__class__ = type(kind.__name__, (kind,), {"__call__": call, "__module__": kind.__module__})
    return made


def activations(module: Module, names: Sequence[str]) -> list[str]:
    """Return the names of the activations that are modules of torch, inside of some modules."""
    return [
        f"{name}.{inside}" if inside else name
        for name in names
        for inside, one in module.get_submodule(name).named_modules()
        if _is_activation(one)
    ]


def hidden_activations(module: Module) -> list[str]:
    """Return the names of the activations in front of the last parameters of a module."""
    modules = [*module.named_modules()]
    learns = [bool([*one.parameters(recurse=False)]) for _, one in modules]
    last = max((i for i, is_one in enumerate(learns) if is_one), default=0)
    return [name for name, one in modules[:last] if _is_activation(one)]


def _is_activation(module: Module) -> bool:
    kind = type(module)
    return kind.__module__ == ACTIVATIONS and kind.__name__ not in NONE


def keep_their_shape(module: Module, names: Sequence[str], inputs: PyTree) -> bool:
    """Tell whether modules keep the shape of their state, each called once."""
    states: list[tuple[Any, Any]] = []

    def look(_: Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        states.append((args[0] if args else None, output))

    known = dict(module.named_modules())
    if not all(name in known for name in names):
        return False
    looking = registered(partial(known[name].register_forward_hook, look) for name in names)
    with recording(), unchanged(module, tensors_in(inputs)), looking:
        called(module, inputs)
    keep = all(getattr(x, "shape", 0) == getattr(y, "shape", None) for x, y in states)
    return keep and len(states) == len(names)

"""Hooks: copies of a module of PyTorch, some of its parts in another form or of other units."""

import sys
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, PyTree

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


class Layer(NamedTuple):
    """A layer: a module, with those of a `Sequential` between the layer below and it."""

    name: str
    between: tuple[str, ...] = ()
    below: str = ""  # the module of the layer below, if there are any between
    place: int = 0  # among the modules of its `Sequential`

    @property
    def modules(self) -> tuple[str, ...]:
        """The names of its modules, in the order in which they are called."""
        return *self.between, self.name


def layers_of(module: Module, names: Sequence[str]) -> list[Layer]:
    """Return the layers of some modules; in a `Sequential` activations are of the layer above."""
    known = dict(module.named_modules())
    plain, made = sys.modules["torch"].nn.Sequential.forward, list[Layer]()
    for name in names:
        holder, dot, _ = name.rpartition(".")
        row: Any = known.get(holder)
        # One with a forward pass of its own may take its modules in another order.
        is_plain = getattr(type(row), "forward", None) is plain
        entries = [f"{holder}{dot}{key}" for key in row._modules] if is_plain else [name]
        before = entries[: entries.index(name)] if name in entries else []
        start = max((i for i, entry in enumerate(before) if entry in names), default=len(before))
        below = before[start] if before[start + 1 :] else ""
        made.append(Layer(name, tuple(before[start + 1 :]), below, len(before)))
    return made


def with_form(module: Module, layers: Sequence[Layer], form: Form) -> Module:
    """Return a copy whose layers f are state -> out(state, f(into(state)))."""
    # Of the layers that are being called, the innermost last; replicas have a thread each.
    states: defaultdict[int, list[Tensor]] = defaultdict(list)
    begun = set[int]()  # by threads: what is called next is the first of a layer's modules

    def below(_: Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        del args, output
        begun.add(get_ident())

    def first(_: Module, args: tuple[Tensor, ...], waits: bool) -> Any:
        if waits and get_ident() not in begun:  # a module may stand in several places
            return args
        begun.discard(get_ident())
        states[get_ident()].append(args[0])
        return form.into(args[0]), *args[1:]

    def last(_: Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        del args  # with what the module was given in place of the state
        return form.out(states[get_ident()].pop(), output)

    made = copied(module)
    begins = {made.get_submodule(layer.modules[0]): bool(layer.below) for layer in layers}
    for module, waits in begins.items():
        module.register_forward_pre_hook(partial(first, waits=waits))
    for layer in layers:
        if layer.below:
            made.get_submodule(layer.below).register_forward_hook(below)
        made.get_submodule(layer.name).register_forward_hook(last)
    for overwriting in are_overwriting(made, layers):
        overwriting.inplace = False  # else the state is overwritten that the skip takes
    return made


def are_overwriting(module: Module, layers: Sequence[Layer]) -> list[Module]:
    """Return the modules of layers that may write into what they are given."""
    names = {name for layer in layers for name in layer.modules}
    inside = (one for name in names for one in module.get_submodule(name).modules())
    return [one for one in inside if getattr(one, "inplace", False)]


def with_units(module: Module, layers: Sequence[Layer], sigma: Leaky) -> Module | None:
    """Return a copy with other units in place of activations; None if a layer has none."""

    def hook(_: Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        del output
        z = args[0]
        return sigma.gain * (z.clamp(min=0) + sigma.slope * z.clamp(max=0))

    made = copied(module)
    inside = [activations(made, [layer]) for layer in layers]
    if not layers or not all(inside):
        return None
    named = (made.get_submodule(name) for names in inside for name in names)
    for activation in {id(one): one for one in named}.values():
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


def activations(module: Module, layers: Sequence[Layer]) -> list[str]:
    """Return the names of the activations that are modules of torch, in some layers."""
    return [
        f"{name}.{inside}" if inside else name
        for layer in layers
        for name in layer.modules
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


def keep_their_shape(
    module: Module, layers: Sequence[Layer], inputs: PyTree
) -> Bool[np.ndarray, " L"]:
    """Tell of each layer whether it keeps the shape of its state, and is called once."""
    entered, left = defaultdict[str, list[Any]](list), defaultdict[str, list[Any]](list)

    def look(_: Module, args: tuple[Tensor, ...], output: Tensor, name: str) -> None:
        entered[name].append(getattr(args[0], "shape", None) if args else None)
        left[name].append(getattr(output, "shape", None))

    known = dict(module.named_modules())
    names = {name for layer in layers for name in (layer.name, layer.below) if name in known}
    hooks = (partial(known[name].register_forward_hook, partial(look, name=name)) for name in names)
    with recording(), unchanged(module, tensors_in(inputs)), registered(hooks):
        called(module, inputs)

    def keeps(layer: Layer) -> bool:
        before = left[layer.below] if layer.below else entered[layer.name]
        return len(before) == 1 and before == left[layer.name] != [None]

    return np.array([*map(keeps, layers)])

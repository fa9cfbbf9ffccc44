"""PyTorch: random states, buffers, `.grad` and hooks, which a measurement leaves as they were.

They are put back after an error too, so that a training goes on as if nothing had been measured.
"""

import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..interrupts import undivided
from .custom_functions import own_gradients
from .tensors import is_tensor
from .types import Module, torch

BACKWARD = ("_backward_hooks", "_backward_pre_hooks")
OF_TENSORS = ("_backward_hooks", "_post_accumulate_grad_hooks")


@undivided
def unchanged(
    module: Module, inputs: Iterable[Any], acting: frozenset[int] = frozenset()
) -> Iterator[None]:
    """Leave a module, its mode and all random states as they were; `acting` hooks act meanwhile."""
    modules, parameters = [*module.modules()], [*module.parameters()]
    buffers, inputs = [*module.buffers()], [*inputs]
    others = [v for m in modules for v in vars(m).values() if is_tensor(v)]
    with (
        same_random_states((*parameters, *buffers, *inputs)),
        same_modes(modules),
        same_buffers(modules, buffers),
        few_backward_hooks(modules, [*parameters, *inputs], acting),
        own_gradients((*parameters, *buffers, *inputs, *others)),
    ):
        yield


@undivided
def holding(parameters: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[None]:
    """Give some parameters other numbers, in their own memory, and theirs back at the end."""
    before = {name: parameters[name].detach().clone() for name in values}
    try:
        for name, v in values.items():
            parameters[name].data.copy_(v.detach())
        yield
    finally:
        for name, v in before.items():
            parameters[name].data.copy_(v)


@undivided
def same_random_states(tensors: Iterable[Any] = (), generator: Any = None) -> Iterator[None]:
    """Put back the random states of Python, NumPy, torch, a generator and devices of tensors."""
    states: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        (random.setstate, (random.getstate(),)),
        (np.random.set_state, (np.random.get_state(),)),  # noqa: NPY002, users draw from it
    ]
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        states.append((torch.set_rng_state, (torch.get_rng_state(),)))
    if torch is not None and isinstance(generator, torch.Generator):
        states.append((generator.set_state, (generator.get_state(),)))
    for device in {tensor.device for tensor in tensors}:
        if torch is not None and device.type not in ("cpu", "meta"):
            module = torch.get_device_module(device)
            place = () if device.type == "mps" else (device,)  # one device, which is not named
            states.append((module.set_rng_state, (module.get_rng_state(*place), *place)))
    try:
        yield
    finally:
        for put_back, state in states:
            put_back(*state)


@undivided
def same_modes(modules: list[Any]) -> Iterator[None]:
    """Put back which modules are in training mode."""
    modes = [(m, m.training) for m in modules]
    try:
        yield
    finally:
        for m, is_training in modes:
            if m.training != is_training:
                m.training = is_training


@undivided
def same_buffers(modules: list[Any], buffers: list[Any]) -> Iterator[None]:
    """Put back buffers, such as running means, whether they are assigned or changed in place."""
    registered = [
        (kept, kept.copy())
        for m in modules
        for kept in (m._buffers, m._non_persistent_buffers_set)
        if isinstance(kept, dict | set)  # TorchScript has them elsewhere
    ]
    values = [(buffer, buffer.detach().clone()) for buffer in buffers]
    try:
        yield
    finally:
        for kept, old in registered:
            kept.clear()
            kept.update(old)
        with torch.no_grad():
            for buffer, value in values:
                if not buffer.equal(value):
                    buffer.copy_(value)


@undivided
def few_backward_hooks(
    modules: list[Any], parameters: list[Any], acting: frozenset[int]
) -> Iterator[None]:
    """Take off backward hooks of modules and parameters, those for all too, but for a few."""
    common = vars(torch.nn.modules.module)
    hooks = [getattr(m, name) for m in modules for name in BACKWARD]
    hooks += [common[f"_global{name}"] for name in BACKWARD]
    hooks += [getattr(p, name) for p in parameters for name in OF_TENSORS]
    taken = [(kept, kept.copy()) for kept in hooks if kept]
    try:
        for kept, old in taken:
            kept.clear()
            kept.update({key: hook for key, hook in old.items() if id(hook) in acting})
        yield
    finally:
        for kept, old in taken:
            added = kept.copy()  # by forward, which has done so for later calls
            kept.clear()
            kept.update(old | added)

"""PyTorch: where a gradient stops, though the loss depends on what lies below.

    loss = f(w₂, detach(g(w₁)))     on w₁ and w₂ by its value, on w₂ alone in torch's graph

What is used is in the record of the pass up, but for what goes through NumPy or a Python number.
"""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import numpy as np

from ..interrupts import registered
from .cuts import lies_in, modules_of
from .inputs import called_with
from .module_calls import Calls
from .restore import unchanged
from .tensors import tensors_in
from .types import Inputs, Module, torch

SMALL = 0.01  # of the parameters: less that stops is a note
MOST = 0.5  # of them: so many that are not used are more than a note
PASSES = 8  # in which a layer that is left out at random is called


class Stopped(NamedTuple):
    """Place at which a gradient stops, though the loss depends on the layers below."""

    after: str  # the last module that is called of those without a gradient
    parts: tuple[str, ...]  # the modules up to there that get none, or parameters of other modules
    share: float  # of these in the numbers of all parameters
    # Detached, frozen, if none of them requires a gradient, unused, as far as is seen, or among:
    # frozen between layers that learn.
    why: str


def stopped(module: Module, reached: set[int], calls: Calls, used: set[int]) -> Stopped | None:
    """Return where the gradient stops; None if it comes to all parameters that are used."""
    every = {id(p): p for p in module.parameters()}
    trained = {path for path, p in every.items() if p.requires_grad}
    come, frozen = trained & reached, set(every) - trained
    total = sum(p.numel() for p in every.values())

    def share(parameters: set[int]) -> float:
        return sum(every[path].numel() for path in parameters) / total if total else 0.0

    used = used & (trained - come)
    bottom, among = _frozen_layers(module, frozen, come, calls)
    among = among if share(frozen) < MOST else set()  # beside adapters all others are frozen
    for why, least, below in (
        ("detached", SMALL, used),
        ("frozen", SMALL, bottom),
        ("unused", MOST, trained - come - used),
        ("among", SMALL, among),
    ):
        if below and share(below) >= least:
            parts = _parts(module, below, below | frozen)
            inside = [name for name in calls.last if any(lies_in(name, part) for part in parts)]
            after = max(inside, key=calls.last.__getitem__, default=parts[-1])
            return Stopped(after, parts, share(below), why)
    return None


def are_left_out(module: Module, parts: Iterable[str], inputs: Inputs) -> bool:
    """Tell whether other passes alone call what lies in some parts, as with random depth."""
    called: list[Module] = []

    def note(m: Module, *_: object) -> None:
        called.append(m)

    inside = [m for name, m in modules_of(module).items() if any(lies_in(name, p) for p in parts)]
    hooks = [partial(m.register_forward_hook, note) for m in inside]
    with registered(hooks), unchanged(module, tensors_in(inputs)), torch.no_grad():
        for number in range(PASSES):
            called_with(module, inputs)
            if called:
                return number > 0  # the first draws what the measured pass has drawn
    return False


def _frozen_layers(
    module: Module, frozen: set[int], come: set[int], calls: Calls
) -> tuple[set[int], set[int]]:
    """Return the frozen parameters of modules that return before any with a gradient does.

    And those of modules between two of these.
    """
    known = modules_of(module)
    owners = [
        name for name, m in known.items() if any(id(p) in come for p in m.parameters(recurse=False))
    ]
    first = min((calls.first.get(name, np.inf) for name in owners), default=np.inf)
    last = max((calls.first.get(name, -np.inf) for name in owners), default=-np.inf)
    # Those inside of a module that has such a parameter itself, as beside an adapter, are neither.
    beside = [name for name in owners if name]
    apart = {
        name: m
        for name, m in known.items()
        if name in calls.first and name and not any(lies_in(name, owner) for owner in beside)
    }
    before = [m for name, m in apart.items() if calls.first[name] < first]
    between = [m for name, m in apart.items() if first < calls.first[name] < last]
    bottom = frozen & {id(p) for m in before for p in m.parameters()}
    inside = {id(p) for m in between for p in m.parameters(recurse=False)}
    return bottom, (frozen & inside) - bottom


def _parts(module: Module, below: set[int], without: set[int]) -> tuple[str, ...]:
    """Return the largest modules of parameters without a gradient, and parameters of others."""
    known = modules_of(module)
    parts: list[str] = []
    for name, m in known.items():
        inside = {id(p) for p in m.parameters()}
        if (
            name
            and inside & below
            and inside <= without
            and not any(lies_in(name, p) for p in parts)
        ):
            parts.append(name)
    rest = [
        f"{name}.{path}" if name else path
        for name, m in known.items()
        for path, p in m.named_parameters(recurse=False)
        if id(p) in below and not any(lies_in(name, part) for part in parts)
    ]
    return (*parts, *rest)

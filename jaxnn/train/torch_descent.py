"""Descent in PyTorch: a copy of a module and of its optimiser, and the gradient of its loss.

Torch is never imported: the user has done so.
"""

import copy
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jaxtyping import PyTree

from ..interrupts import undivided
from ..pytorch.call import Call, recording
from ..pytorch.copies import copied
from ..pytorch.cuts import unwrapped
from ..pytorch.inputs import called, entering
from ..pytorch.restore import unchanged
from ..pytorch.tensors import tensors_in
from ..pytorch.types import Inputs, Loss, Module, Output, Tensor
from ..texts import told

Optimizer = Any  # of torch, or (parameters) -> one

RATE = 1e-3  # of Adam, where no optimiser is given


def differentiated(
    module: Module, learned: Iterable[Tensor], xs: Inputs, ys: PyTree, loss: Loss | None
) -> tuple[Tensor, Output]:
    """Give parameters their gradients; return the loss and the output."""
    value, output = loss_and_output(module, xs, ys, loss)
    learned = [*learned]
    # Not `backward`, which would reach what else the loss holds, such as the original.
    gradients = sys.modules["torch"].autograd.grad(value, learned, allow_unused=True)
    for p, g in zip(learned, gradients, strict=True):
        p.grad = g
    return value, output


def loss_and_output(
    module: Module, xs: Inputs, ys: PyTree, loss: Loss | None
) -> tuple[Tensor, Output]:
    """Return the mean loss of a batch, by default the module's own, and the output."""
    output = called(module, xs)
    return Call(module, xs, ys, loss, None).top(output, len(entering(xs)[2]))[0], output


def copies(module: Module, optimizer: Optimizer | None) -> tuple[Module, Any]:
    """Return a copy of a module, and one of its optimiser that holds the copy's parameters."""
    torch = sys.modules["torch"]
    memo: dict[int, Any] = {}
    module = unwrapped(module)
    other_module = copied(module, memo)
    if not any(p.requires_grad for p in other_module.parameters()):
        count = len([*other_module.parameters()])
        raise ValueError(
            f"model: expected a parameter that is trained, got {count} that are all frozen "
            "(requires_grad=False); call model.requires_grad_(True)"
        )
    if optimizer is None:
        learned = [p for p in other_module.parameters() if p.requires_grad]
        return other_module, torch.optim.Adam(learned, RATE)
    if not isinstance(optimizer, torch.optim.Optimizer):
        if callable(optimizer):
            return other_module, _made_by(optimizer, other_module)
        raise TypeError(
            "optimizer: expected a torch.optim.Optimizer, or a function of parameters that returns "
            f"one, got {type(optimizer).__name__}"
        )
    # A scheduler has put a step of the original in its place, which would move the original.
    state = {name: v for name, v in vars(optimizer).items() if name != "step"}
    other = object.__new__(type(optimizer))
    memo[id(optimizer)] = other
    other.__setstate__(copy.deepcopy(state, memo))
    return other_module, other


def _made_by(factory: Callable[..., Any], module: Module) -> Any:
    """Return the optimiser that a function makes of the parameters of a module."""
    made = factory(module.parameters())
    if not hasattr(made, "param_groups"):
        raise TypeError(
            "optimizer: expected a function of parameters that returns a torch.optim.Optimizer, "
            f"got one that returns {told(made)}"
        )
    return made


def check_factory(optimizer: Any, module: Module) -> Any:
    """Return a function of parameters that returns an optimiser; raise unless it is one."""
    if callable(optimizer) and not isinstance(optimizer, sys.modules["torch"].optim.Optimizer):
        _made_by(optimizer, module)
        return optimizer
    raise TypeError(
        "optimizer: expected a function of parameters that returns a torch.optim.Optimizer, since "
        "each change is trained on a copy, such as lambda parameters: torch.optim.SGD(parameters, "
        f"0.1), got {type(optimizer).__name__}"
    )


@undivided
def original_kept(module: Module, batches: Iterable[Iterable[Any]]) -> Iterator[None]:
    """Leave a module, its inputs and all random states as they were, also after an error."""
    torch = sys.modules["torch"]
    with recording(torch), unchanged(torch, module, tensors_in([*map(list, batches)])):
        yield

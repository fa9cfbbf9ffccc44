"""Learners of PyTorch: a copy of a module and of its optimiser, and the gradient of its loss.

Torch is never imported: the user has done so.
"""

import copy
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from ..evidence.torch_trial import TorchTrial
from ..interrupts import undivided
from ..models import Program
from ..pytorch.call import recording
from ..pytorch.copies import copied
from ..pytorch.cuts import unwrapped
from ..pytorch.inputs import called, entering
from ..pytorch.restore import unchanged
from ..pytorch.tensors import PLAIN, is_tensor, owned, tensors_in
from ..pytorch.types import Module, Output, Tensor
from ..texts import told
from ..watching.recorder import WatchOptions
from ..watching.torch_watch import TorchWatch
from .learner import Batch, Learner

RATE = 1e-3  # of Adam, where no optimiser is given


class TorchLearner(Learner):
    """A module of PyTorch in training."""

    @cached_property
    def copy(self) -> tuple[Program, Any, list[Tensor]]:
        """The copy that takes the steps, its optimiser, and what has gradients."""
        module, optimizer = copies(self.program)
        for group in optimizer.param_groups if self.program.step is None else ():
            group["lr"] = group["lr"] * self.times
        in_optimizer = (p for group in optimizer.param_groups for p in group["params"])
        parameters = {id(p): p for p in (*module.parameters(), *in_optimizer)}
        learned = [p for p in parameters.values() if p.requires_grad]
        return self.program.but(model=module), optimizer, learned

    def watched(self, every: int, intended: Collection[str]) -> None:
        self.watch = TorchWatch(self.copy[0], WatchOptions(every, intended=intended))

    def step(self, batch: Batch) -> float:
        if self.program.step is not None:
            return self._own_step(batch)
        copy, optimizer, learned = self.copy
        of_batch, number = copy.but(xs=batch.xs, ys=batch.ys), self.taken
        value = differentiated(of_batch, learned)
        loss, first = float(value), [value]

        def closure() -> Tensor:
            """Return the loss; those of optimisers that ask again, such as LBFGS, are new."""
            return first.pop() if first else differentiated(of_batch, learned)

        if self.watch is not None and not np.isfinite(loss):
            self.watch.first = number + 1  # so that it is measured
        with nullcontext() if self.watch is None else self.watch(number, *batch, value=loss):
            optimizer.step(closure)
        self.taken += 1
        return loss

    def _own_step(self, batch: Batch) -> float:
        """Take a step as the user's function does; return the loss that it returns."""
        copy, optimizer, learned = self.copy
        watch, batch = self.watch, owned(batch)
        before = [] if self.times == 1 else [(p, p.detach().clone()) for p in learned]
        with nullcontext() if watch is None else watch.stepping(self.taken, *batch) as begun:
            value = copy.step(copy.model, optimizer, *batch)
        for p, old in before:
            p.data.sub_(old).mul_(self.times).add_(old)
        if not hasattr(value, "__float__"):
            raise TypeError(
                "step: expected step(model, optimizer, xs, ys) to return the loss, a number, "
                f"got {told(value)}"
            )
        loss = float(value.detach() if is_tensor(value) else value)
        if watch is not None:
            watch.end(begun, loss)
        self.taken += 1
        return loss

    def trial(self, batch: Batch) -> TorchTrial:
        return TorchTrial(self.copy[0].but(xs=batch.xs, ys=batch.ys))

    def _lengths(self) -> set[int]:
        given = jax.tree.leaves((self.program.xs, self.program.ys))
        data = [v for v in given if type(v) not in PLAIN]
        return {len(v) if is_tensor(v) and v.ndim else 0 for v in data}  # a graph has no rows

    def _try(self, rows: Int[np.ndarray, " b"]) -> None:
        xs, ys = self._rows(rows)
        with original_kept(self.program):
            loss_and_output(self.program.but(xs=xs, ys=ys))

    def _rows(self, rows: Int[np.ndarray, " b"]) -> Batch:
        """Return some examples."""
        data = self.program.xs, self.program.ys
        chosen = sys.modules["torch"].tensor(rows)
        return Batch(*jax.tree.map(lambda v: v[chosen] if is_tensor(v) else v, data))


def differentiated(program: Program, learned: Sequence[Tensor]) -> Tensor:
    """Give parameters their gradients; return the loss."""
    value, _ = loss_and_output(program)
    # Not `backward`, which would reach what else the loss holds, such as the original.
    gradients = sys.modules["torch"].autograd.grad(value, learned, allow_unused=True)
    for p, g in zip(learned, gradients, strict=True):
        p.grad = g
    return value.detach()


def loss_and_output(program: Program) -> tuple[Tensor, Output]:
    """Return the mean loss of a batch, by default the module's own, and the output."""
    output = called(program.model, program.xs)
    return program.call.top(output, len(entering(program.xs)[2]))[0], output


def copies(program: Program) -> tuple[Module, Any]:
    """Return a copy of a module, and one of its optimiser that holds the copy's parameters."""
    torch, optimizer = sys.modules["torch"], program.optimizer
    memo: dict[int, Any] = {}
    other_module = copied(unwrapped(program.model), memo)
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
    return other_module, copied_optimizer(optimizer, memo)


def copied_optimizer(optimizer: Any, memo: dict[int, Any]) -> Any:
    """Return a copy of an optimiser that holds what `memo` has for its parameters, by their id."""
    # A scheduler has put a step of the original in its place, which would move the original.
    state = {name: v for name, v in vars(optimizer).items() if name != "step"}
    other = object.__new__(type(optimizer))
    memo[id(optimizer)] = other
    other.__setstate__(copy.deepcopy(state, memo))
    return other


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
def original_kept(program: Program) -> Iterator[None]:
    """Leave a module, its inputs and all random states as they were, also after an error."""
    tensors = tensors_in([program.xs, program.ys])
    with recording(), unchanged(program.model, tensors):
        yield

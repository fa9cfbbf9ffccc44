"""A rehearsal in PyTorch: a copy of the module, and of the optimiser over its parameters.

Torch is never imported: the user has done so.
"""

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import PyTree

from ..evidence.torch_trial import TorchTrial
from ..pytorch.cuts import COMPILED
from ..pytorch.inputs import called, entering
from ..pytorch.module import Call, prediction_of, recording
from ..pytorch.restore import unchanged
from ..pytorch.tensors import is_tensor, tensors_in
from ..train.first_batch import OF_BATCH
from ..train.torch_watch import TorchWatch
from ..train.watch import watch as watch_of
from .course import Batch, Losses

Module = Any
Tensor = Any
Optimizer = Any  # of torch, or (parameters) -> one

RATE = 1e-3  # of Adam, where no optimiser is given


class TorchTrainee:
    """A copy of a module of PyTorch in a rehearsal."""

    def __init__(
        self,
        module: Module,
        optimizer: Optimizer | None,
        batch: Batch,
        every: int,
        *,
        loss: Callable[[PyTree, PyTree], Tensor] | None,
        cuts: Any,
        each: str,
    ):
        del batch, each  # a module takes any batch
        self.module, self.optimizer = copies(module, optimizer)
        self.loss = loss
        self.watch: TorchWatch = watch_of(
            self.module, loss=loss, cuts=cuts, every=every, ignore=OF_BATCH
        )
        in_optimizer = (p for group in self.optimizer.param_groups for p in group["params"])
        parameters = {id(p): p for p in (*self.module.parameters(), *in_optimizer)}
        self._learned = [p for p in parameters.values() if p.requires_grad]

    def step(self, number: int, batch: Batch) -> Losses:
        """Take one step of the optimiser, watched; return the losses before it."""
        value, losses = self._differentiated(batch)
        first = [value]

        def closure() -> Tensor:
            """Return the loss; those of optimisers that ask again, such as LBFGS, are new."""
            return first.pop() if first else self._differentiated(batch)[0]

        if not np.isfinite(losses.value):
            self.watch.first = number + 1  # so that it is measured
        with self.watch(number, *batch, value=losses.value):
            self.optimizer.step(closure)
        return losses

    def trial(self, batch: Batch) -> TorchTrial:
        """Return the module as it is now, with a batch to make experiments with."""
        return TorchTrial(self.module, *batch, self.loss)

    def _differentiated(self, batch: Batch) -> tuple[Tensor, Losses]:
        """Give the copies of the parameters their gradients; return the loss, and as numbers."""
        xs, ys = batch
        output = called(self.module, xs)
        call = Call(self.module, xs, ys, self.loss, None)
        value = call.top(output, len(entering(xs)[2]))[0]
        # Not `backward`, which would reach what else the loss holds, such as the original.
        grad = sys.modules["torch"].autograd.grad
        gradients = grad(value, self._learned, allow_unused=True)
        for p, g in zip(self._learned, gradients, strict=True):
            p.grad = g
        return value, Losses(float(value.detach()), self._of_constant(output, ys))

    def _of_constant(self, output: PyTree, ys: PyTree) -> float:
        """Return the loss of the mean output, given to each example; nan without several ones."""
        prediction = output if is_tensor(output) else prediction_of(output)
        if self.loss is None or ys is None or prediction is None:
            return np.nan
        if not prediction.ndim or len(prediction) < 2:
            return np.nan
        with sys.modules["torch"].no_grad():
            mean = prediction.mean(0, keepdim=True).expand_as(prediction)
            try:
                return float(self.loss(mean, ys).mean())
            except Exception:  # of a loss that takes more than the prediction
                return np.nan


def copies(module: Module, optimizer: Optimizer | None) -> tuple[Module, Any]:
    """Return a copy of a module, and one of its optimiser that holds the copy's parameters."""
    torch = sys.modules["torch"]
    memo: dict[int, Any] = {}
    module = getattr(module, COMPILED, module)
    try:
        copied = copy.deepcopy(module, memo)
    except Exception as error:
        raise ValueError(
            "model: expected a module that copy.deepcopy copies, since a copy is trained, got "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
    if optimizer is None:
        return copied, torch.optim.Adam([p for p in copied.parameters() if p.requires_grad], RATE)
    if not isinstance(optimizer, torch.optim.Optimizer):
        if callable(optimizer):
            return copied, optimizer(copied.parameters())
        raise TypeError(
            "optimizer: expected a torch.optim.Optimizer, or a function of parameters that returns "
            f"one, got {type(optimizer).__name__}"
        )
    # A scheduler has put a step of the original in its place, which would move the original.
    state = {name: v for name, v in vars(optimizer).items() if name != "step"}
    other = object.__new__(type(optimizer))
    memo[id(optimizer)] = other
    other.__setstate__(copy.deepcopy(state, memo))
    return copied, other


@contextmanager
def original_kept(module: Module, batches: list[Batch]) -> Iterator[None]:
    """Leave a module, its inputs and all random states as they were, also after an error."""
    torch = sys.modules["torch"]
    with recording(torch), unchanged(torch, module, tensors_in([*map(list, batches)])):
        yield

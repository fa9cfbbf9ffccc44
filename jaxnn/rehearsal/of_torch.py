"""A rehearsal in PyTorch: a copy of the module, and of the optimiser over its parameters.

Torch is never imported: the user has done so.
"""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from jaxtyping import PyTree

from ..evidence.torch_trial import TorchTrial
from ..train.torch_descent import Optimizer, copies, differentiated
from ..train.torch_watch import TorchWatch
from ..train.watch import watch as watch_of
from .course import Batch

Module = Any
Tensor = Any


class TorchTrainee:
    """A copy of a module of PyTorch in a rehearsal."""

    def __init__(
        self,
        module: Module,
        optimizer: Optimizer | None,
        batch: Batch,
        every: int,
        intended: Collection[str] = (),
        *,
        loss: Callable[[PyTree, PyTree], Tensor] | None,
        cuts: Any,
        each: str,
    ):
        del batch, each  # a module takes any batch
        self.module, self.optimizer = copies(module, optimizer)
        self.loss = loss
        self.watch: TorchWatch = watch_of(
            self.module, loss=loss, cuts=cuts, every=every, intended=intended
        )
        in_optimizer = (p for group in self.optimizer.param_groups for p in group["params"])
        parameters = {id(p): p for p in (*self.module.parameters(), *in_optimizer)}
        self._learned = [p for p in parameters.values() if p.requires_grad]

    def step(self, number: int, batch: Batch) -> float:
        """Take one step of the optimiser, watched; return the loss before it."""
        value = self._differentiated(batch)
        loss = float(value.detach())
        first = [value]

        def closure() -> Tensor:
            """Return the loss; those of optimisers that ask again, such as LBFGS, are new."""
            return first.pop() if first else self._differentiated(batch)

        if not np.isfinite(loss):
            self.watch.first = number + 1  # so that it is measured
        with self.watch(number, *batch, value=loss):
            self.optimizer.step(closure)
        return loss

    def trial(self, batch: Batch) -> TorchTrial:
        """Return the module as it is now, with a batch to make experiments with."""
        return TorchTrial(self.module, *batch, self.loss)

    def _differentiated(self, batch: Batch) -> Tensor:
        """Give the copies of the parameters their gradients; return the loss."""
        return differentiated(self.module, self._learned, *batch, self.loss)[0]

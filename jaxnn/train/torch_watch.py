"""A watch of a training in PyTorch: the flow before the optimiser's step, the update after it.

Torch is never imported: the user has done so.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PyTree

from ..flow.measure.torch_flow import torch_flow
from ..flow.record.flow import Flow
from ..pytorch.tensors import log_norm
from ..pytorch.types import Module
from .recorder import Number, Options, Recorder
from .steps import check_integer

Tensor = Any  # of torch, which is not imported
TorchLoss = Callable[[PyTree, PyTree], Tensor]
Cuts = str | Sequence[str] | None


class TorchWatch(Recorder):
    """The watch of one training in PyTorch; made by `jaxnn.watch`, called in every step.

    flow: the last one measured, for `jaxnn.verdict` and `jaxnn.chart`; None before the first.
    """

    def __init__(self, module: Module, loss: TorchLoss | None, cuts: Cuts, options: Options):
        super().__init__(options)
        self.module, self.loss, self.cuts = module, loss, cuts

    @contextmanager
    def __call__(
        self, step: int, inputs: PyTree, ys: PyTree = None, *, value: Number | None = None
    ) -> Iterator[None]:
        """Watch one step of the optimiser, which is taken inside of the `with`.

        Args:
            inputs: what the module was called with.
            ys: what the loss takes next to the output.
            value: the loss of the step, a number or a tensor.
        """
        begun = self.begin(step, inputs, ys)
        yield
        self.end(begun, value)

    def begin(self, step: int, inputs: PyTree, ys: PyTree = None) -> "Begun | None":
        """Measure before a step of the optimiser; None if its number is not due, or on failure."""
        begun = None
        if not isinstance(step, int) or step % self.every == 0:
            with self.recording(step):
                number = check_integer("step", step, 0)
                if number % self.every == 0:
                    begun = self._begun(number, inputs, ys)
        return begun

    def _begun(self, step: int, inputs: PyTree, ys: PyTree) -> "Begun":
        flow = torch_flow(
            self.module,
            inputs,
            ys,
            loss=self.loss,
            cuts=self.cuts,
            entries=self.options.entries,
        )
        parameters = dict(self.module.named_parameters())
        before = {path: parameters[path].detach().clone() for path in flow.parameters.paths}
        return Begun(step, flow, before)

    def end(self, begun: "Begun | None", value: Number | None = None) -> None:
        """Record what was measured before a step, and its update, after it."""
        if begun is None:
            return
        with self.recording(begun.step):
            parameters, before = dict(self.module.named_parameters()), begun.before.items()
            log_update = [log_norm(parameters[path].detach() - v) for path, v in before]
            self.measured(begun.step, begun.flow, np.array(log_update), value)

    def _writes(self) -> bool:
        """Tell whether this process writes, if several train together."""
        distributed = sys.modules["torch"].distributed
        is_alone = not (distributed.is_available() and distributed.is_initialized())
        return bool(is_alone or distributed.get_rank() == 0)


class Begun(NamedTuple):
    """A measurement before a step: its number, the flow, and the parameters by their paths."""

    step: int
    flow: Flow
    before: dict[str, Tensor]

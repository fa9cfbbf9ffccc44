"""A watch of a training in PyTorch: `torch_flow` before the optimiser's step, the update after it.

Torch is never imported: the user has done so.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import PyTree

from ..flow.measure.torch_flow import torch_flow
from ..flow.record.flow import Flow
from ..network.checks import check_loss
from ..pytorch.tensors import log_norm
from .recorder import Number, Options, Recorder
from .steps import check_integer
from .watched import Alarm
from .writers import Writer

Tensor = Any  # of torch, which is not imported
TorchLoss = Callable[[PyTree, PyTree], Tensor]
Cuts = str | Sequence[str] | None


class Handle(Protocol):
    """A hook that is registered."""

    def remove(self) -> None: ...


class Module(Protocol):
    """What is asked of a torch.nn.Module."""

    training: bool

    def named_parameters(self) -> Iterable[tuple[str, Tensor]]: ...

    def register_forward_hook(self, hook: Callable[..., None], *, with_kwargs: bool) -> Handle: ...


class TorchWatch(Recorder):
    """The watch of one training in PyTorch; made by `jaxnn.torch_watch`, called in every step.

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
            step: its number.
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
            formats=self.options.formats,
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


def torch_watch(
    module: Module,
    *,
    loss: TorchLoss | None = None,
    cuts: Cuts = None,
    every: int = 100,
    folder: Path | str | None = None,
    callback: Callable[[Alarm], Any] | None = None,
    ignore: tuple[str, ...] = (),
    positions: bool = False,
    formats: bool = False,
    write: Writer | None = None,
) -> TorchWatch:
    """Watch a training in PyTorch: measure the flow of its gradient every so many steps.

    Around the optimiser's step, after `backward`:

        with watch(step, xs, ys, value=loss):
            optimizer.step()

    A training goes on as if nothing had been measured, see `jaxnn.torch_flow`; between measurements
    nothing is done. Whatever fails, of the measurement, the file, `write` or `callback`, it goes on
    too: the first failure of each is an alarm, and `TorchWatch.failures` counts them.

    Args:
        module: a torch.nn.Module.
        loss: as for `jaxnn.torch_flow`: (output, ys) -> a loss of each example, or one number.
        cuts: likewise.
        every: the number of steps from one measurement to the next; the first is at step 0.
        folder: as for `jaxnn.watch`.
        callback: takes each `jaxnn.train.Alarm`, which is also a Python warning, of the category
            `jaxnn.errors.TrainingWarning`.
        ignore: rules that give no alarm, see `jaxnn.train.alarms`.
        positions: whether Δ and what differs between examples are recorded at each position too.
        formats: whether exponents of entries are recorded too, as for `jaxnn.torch_flow`.
        write: takes the step and the numbers of each measurement, as for `jaxnn.watch`.

    Returns:
        TorchWatch.

    Raises:
        TypeError: something that is no module of PyTorch; a callback or a writer that is no
            function; no folder.
        ValueError: an `every` below 1; an unknown rule; a folder to which another process writes.

    Example (where torch is installed):
        >>> import jaxnn
        >>> import torch  # doctest: +SKIP
        >>> model, mse = torch.nn.Linear(8, 1), torch.nn.MSELoss()  # doctest: +SKIP
        >>> watch = jaxnn.torch_watch(model, loss=mse)  # doctest: +SKIP
    """
    loss = check_loss(loss)
    if not hasattr(module, "register_forward_hook"):
        raise TypeError(f"module: expected a torch.nn.Module, got {type(module).__name__}")
    options = Options(every, folder, callback, ignore, positions, formats, write=write)
    return TorchWatch(module, loss, cuts, options)

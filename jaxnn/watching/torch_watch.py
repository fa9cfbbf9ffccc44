"""A watch of a training in PyTorch: the flow before the optimiser's step, the update after it.

    begin -> a flow, if the step is due; a hook on all optimisers, if it is looked at -> the step
    -> end -> a record

The hook is called as an optimiser begins its step, when gradients are unscaled and clipped: it sees
which parameters the optimiser holds, and what it takes as their gradients. Torch is never imported:
the user has done so.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import PyTree

from ..arrays.arguments import check_integer
from ..arrays.compiled import MOST_LIGHT
from ..evidence.evidence import Evidence
from ..evidence.torch_trial import TorchTrial
from ..flow.measure.torch_flow import torch_flow
from ..flow.measure.updates import Update
from ..flow.record.flow import Flow
from ..interrupts import registered
from ..models import Program
from ..pytorch.cuts import parameters_of
from ..pytorch.tensors import log_norm, log_norms, numbers_of, tensors_in
from .label_order import LabelOrder, label_order
from .recorder import FEW_ENTRIES, Number, Recorder, WatchOptions
from .watched import LN10

Tensor = Any  # of torch, which is not imported
TorchLoss = Callable[[PyTree, PyTree], Tensor]


class TorchWatch(Recorder):
    """The watch of one training in PyTorch; made by `jaxnn.watch`, called in every step.

    flow: the last one measured, for `jaxnn.verdict` and `jaxnn.chart`; None before the first.
    """

    def __init__(self, program: Program, options: WatchOptions):
        super().__init__(options, [name for name, _ in program.model.named_parameters()])
        self.program, self.module = program, program.model
        self._is_short = False  # once a flow is measured, before which parameters may be lazy
        self._since: int | None = None  # the last step that was due, or the first one at all

    @contextmanager
    def __call__(
        self, step: int, inputs: PyTree, ys: PyTree = None, *, value: Number | None = None
    ) -> Iterator[None]:
        """Watch one step of the optimiser, which is taken inside of the `with`.

        Args:
            inputs: what the module was called with.
            ys: what the loss takes next to the output.
            value: the loss of the step, a number or a tensor. It is recorded at every step,
                measured or not.
        """
        with self.stepping(step, inputs, ys) as begun:
            yield
        self.end(begun, value)

    @contextmanager
    def stepping(self, step: int, inputs: PyTree, ys: PyTree = None) -> Iterator["Begun | None"]:
        """Do what a call does but for the record, which `end` makes of what this yields."""
        begun = self._measured_before(step, inputs, ys)
        if begun is None or not self._is_looked_at(begun):
            yield begun
            return
        with registered([partial(self._hooked, begun)]):
            yield begun

    def begin(self, step: int, inputs: PyTree, ys: PyTree = None) -> "Begun | None":
        """Do what a call does before the step of the optimiser; None on failure.

        Steps whose numbers jump, as where gradients of several batches are added up, are due once
        `every` have gone by.
        """
        begun = self._measured_before(step, inputs, ys)
        if begun is not None and self._is_looked_at(begun):
            begun.hook = self._hooked(begun)
        return begun

    def _is_looked_at(self, begun: "Begun") -> bool:
        return begun.flow is not None or bool(self.is_looked_at(begun.step, self._is_short))

    def _measured_before(self, step: int, inputs: PyTree, ys: PyTree) -> "Begun | None":
        begun = None
        with self._lock, self.guarded("measurement", step):
            begun = Begun(check_integer("step", step, 0))
            if self.is_next(begun.step):
                self.note_undone(_few_of(parameters_of(self.module)))
        if begun is not None and self._is_now(begun.step):
            with self.recording(step):
                self._measure(begun, inputs, ys)
        return begun

    def _is_now(self, step: int) -> bool:
        since = step if self._since is None else self._since
        is_now = bool(self.is_due(step)) or step - since >= self.every
        self._since = step if is_now else since
        return is_now

    def _measure(self, begun: "Begun", inputs: PyTree, ys: PyTree) -> None:
        of_step = self.program.but(xs=inputs, ys=ys)
        flow = torch_flow(of_step)
        parameters = parameters_of(self.module)
        self._is_short = sum(v.numel() for v in parameters.values()) <= MOST_LIGHT
        begun.before = {path: parameters[path].detach().clone() for path in flow.parameters.paths}
        begun.flow = flow
        labels = tensors_in(ys)
        begun.labels = label_order(numbers_of(labels[0])) if len(labels) == 1 else None
        if self._needs_evidence():
            last = flow.parameters.of_last_layer
            begun.evidence = Evidence.of(TorchTrial(of_step, last))

    def _hooked(self, begun: "Begun") -> Any:
        """Have torch hand over each optimiser that begins a step; return the handle of the hook."""
        optimizers = sys.modules["torch.optim.optimizer"]
        taken = partial(self._taken, begun)
        return optimizers.register_optimizer_step_pre_hook(lambda optimizer, *_: taken(optimizer))

    def _taken(self, begun: "Begun", optimizer: Any) -> None:
        """Note what an optimiser holds, and the sizes of the gradients that it takes."""
        with self._lock, self.guarded("measurement", begun.step):
            groups = optimizer.param_groups
            rates = {v: group.get("lr", math.nan) for group in groups for v in group["params"]}
            begun.rates |= {id(v): float(rate) for v, rate in rates.items()}
            moved = [v for v in rates if v.grad is not None]
            scale = _scale(optimizer)
            sizes = np.array(log_norms([v.grad for v in moved])) - math.log(scale)
            begun.log_gradient |= {id(v): size for v, size in zip(moved, sizes, strict=True)}

    def end(self, begun: "Begun | None", value: Number | None = None) -> None:
        """Record a step after it, with its update if its flow was measured before it."""
        if begun is None:
            return
        begun.unhook()
        sizes = begun.sizes()
        if begun.flow is None:
            self.stepped(begun.step, value, **sizes)
            return
        with self.recording(begun.step):
            parameters = parameters_of(self.module)
            after = {path: parameters[path] for path in begun.before}
            self.last = begun.step, _few_of(begun.before), _few_of(after)
            begun.note_skipped(after.values())
            update = begun.update([*after.values()])
            self.measured(begun.step, begun.flow, update, value, begun.labels, **sizes)
            if begun.evidence is not None:
                self._judge(begun.step, begun.flow, begun.evidence)

    def _writes(self) -> bool:
        """Tell whether this process writes, if several train together."""
        distributed = sys.modules["torch"].distributed
        is_alone = not (distributed.is_available() and distributed.is_initialized())
        return bool(is_alone or distributed.get_rank() == 0)


@dataclass
class Begun:
    """A step that is being taken."""

    step: int
    flow: Flow | None = None  # before the step, None if it is not measured
    # the parameters by their paths, of a step that is measured
    before: dict[str, Tensor] = field(default_factory=dict)
    # of the parameters that the optimisers hold which take the step, by their identity the step
    # sizes
    rates: dict[int, float] = field(default_factory=dict)
    # of them, ln of the norm of the gradient that the optimiser takes
    log_gradient: dict[int, float] = field(default_factory=dict)
    hook: Any = None  # of torch's optimisers
    evidence: Evidence | None = None  # of the first batch
    labels: LabelOrder | None = None  # their order

    def unhook(self) -> None:
        """Leave torch's optimisers as they were."""
        if self.hook is not None:
            self.hook.remove()

    def sizes(self) -> dict[str, float]:
        """Return log₁₀ of the norm of all gradients together; nothing if there was no optimiser."""
        if not self.log_gradient:
            return {}
        logs = np.fromiter(self.log_gradient.values(), float)
        with np.errstate(invalid="ignore"):  # of gradients that are infinite or nan
            return {"log10_gradient": float(np.logaddexp.reduce(2 * logs)) / 2 / LN10}

    def update(self, after: Sequence[Tensor]) -> Update:
        """Return what the step has done to the parameters, given them after it."""
        before = self.before.values()
        changes = [v.detach() - b for v, b in zip(after, before, strict=True)]
        gradients = [self.log_gradient.get(id(v), math.nan) for v in after]
        rates = [self.rates.get(id(v), math.nan) for v in after]
        held = [float(id(v) in self.rates) if self.rates else math.nan for v in after]
        return Update(
            np.array([log_norm(v) for v in changes]),
            np.array(log_norms(after)),
            np.array([_moved(v) for v in changes]),
            np.array(gradients),
            np.array(held),
            np.array(rates),
        )

    def note_skipped(self, parameters: Iterable[Tensor]) -> None:
        """Note gradients that are not finite, where no optimiser takes them."""
        asked = [v for v in parameters if v.grad is not None and not self.rates]
        sizes = log_norms([v.grad for v in asked])
        bad = [v for v, size in zip(asked, sizes, strict=True) if not size < math.inf]
        self.log_gradient |= {id(v): math.inf for v in bad}


def _few_of(parameters: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Return a few entries of each array, in memory of their own."""
    rows = {path: v.detach()[(0,) * (v.ndim - 1)] for path, v in parameters.items()}
    return {path: numbers_of(v.reshape(-1)[:FEW_ENTRIES].clone()) for path, v in rows.items()}


def _scale(optimizer: Any) -> float:
    """Return what a fused optimiser divides gradients by itself, given by a GradScaler."""
    scale = getattr(optimizer, "grad_scale", None)
    return 1.0 if scale is None else float(scale)


def _moved(change: Tensor) -> float:
    """Return the share of entries that change, in rows in which any does; nan of wide dtypes."""
    if change.element_size() >= 4 or not change.ndim:
        return math.nan
    differs = change != 0
    rows = differs.any(-1, keepdim=True).expand_as(differs)
    return float(differs.sum()) / max(float(rows.sum()), 1.0)

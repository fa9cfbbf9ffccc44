"""Trainers of PyTorch, taken as they are: a LightningModule, or a Trainer of transformers.

    the module, its own step -> a copy whose output is the loss of a batch, its optimiser, batches

Their packages are never imported: a trainer is known by its methods.
"""

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple, cast

from jaxtyping import PyTree

from ..pytorch.call import prediction_of
from ..pytorch.copies import copied
from ..pytorch.types import Module, Output, Tensor, torch
from .learner import Batch
from .torch_learner import copied_optimizer

OF_LIGHTNING = "training_step", "configure_optimizers"
OF_TRANSFORMERS = "compute_loss", "create_optimizer", "get_train_dataloader"
Step = Callable[[Module, Any], Output]  # (module, batch) -> its loss, and what else is known


class StepOutput(NamedTuple):
    """The loss of a step, and what the module has made of the inputs."""

    loss: Tensor
    logits: Tensor | None = None


def taken_from(
    model: Any, optimizer: Any, xs: PyTree, ys: PyTree, count: int
) -> tuple[Any, Any, list[Batch]] | None:
    """Return a copy that takes a trainer's steps, its optimiser, and batches; None of others."""
    is_lightning = _has(model, OF_LIGHTNING)
    if not is_lightning and not _has(model, OF_TRANSFORMERS):
        return None
    module, step = model, cast(Step, _step_of_lightning)
    if not is_lightning:
        module, step = model.model, _step_of_transformers(model)
        xs = model.get_train_dataloader() if xs is None else xs
    batches = _batches(xs, ys, count)
    if not batches:
        raise ValueError("xs: expected batches, got none")
    memo: dict[int, Any] = {}
    other = _stepping(copied(module, memo), step, is_alone=hasattr(batches[0], "shape")).train()
    if optimizer is None:
        optimizer = (_optimizer_of_lightning if is_lightning else _optimizer_of_transformers)(model)
    if hasattr(optimizer, "param_groups"):
        optimizer = copied_optimizer(optimizer, memo)
    return other, optimizer, [Batch(dict(v) if isinstance(v, Mapping) else v) for v in batches]


def _has(model: Any, names: tuple[str, ...]) -> bool:
    return not isinstance(model, type) and all(hasattr(model, name) for name in names)


def _batches(xs: PyTree, ys: PyTree, count: int) -> list[Any]:
    """Return batches as a step takes them: one, pairs of two lists, or the first of a loader."""
    if ys is not None:
        return [*zip(xs, ys, strict=True)] if isinstance(ys, list) else [(xs, ys)]
    is_one = isinstance(xs, tuple | Mapping) or hasattr(xs, "shape")
    return [xs] if is_one or not isinstance(xs, Iterable) else [*islice(xs, count)]


def _stepping(module: Module, step: Step, is_alone: bool) -> Module:
    """Return a module that has the parts of another, and whose forward pass is a step's."""

    class Stepping(torch.nn.Module):  # type: ignore[misc]
        def forward(self, *args: Any, **named: Any) -> Output:
            self.whole.training = self.training
            return step(self.whole, named or (args[0] if is_alone else args))

    made = Stepping()
    parts = {name: v for name, v in vars(module).items() if name in PARTS}
    made.__dict__.update(parts, whole=module)
    return made


PARTS = "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"


def _step_of_transformers(trainer: Any) -> Step:
    def step(module: Module, batch: Any) -> Output:
        value, output = trainer.compute_loss(module, dict(batch), return_outputs=True)
        return StepOutput(value, prediction_of(output))

    return step  # no partial, with which a copy of the module would copy the trainer


def _optimizer_of_transformers(trainer: Any) -> Any:
    other = copy.copy(trainer)  # it keeps what it makes
    other.create_optimizer()
    return other.optimizer


def _step_of_lightning(module: Module, batch: Any) -> Output:
    module.__dict__.update(log=_unheard, log_dict=_unheard)  # which take a trainer
    takes = len(inspect.signature(module.training_step).parameters)
    value = module.training_step(*(batch, 0)[:takes])
    return StepOutput(value["loss"] if isinstance(value, Mapping) else value)


def _unheard(*_: Any, **__: Any) -> None:
    """Log nothing."""


def _optimizer_of_lightning(module: Any) -> Any:
    """Return the one optimiser of a LightningModule, without its schedulers."""
    made = module.configure_optimizers()
    if isinstance(made, tuple) and isinstance(made[0], list | tuple):
        made = made[0]
    several = made if isinstance(made, list | tuple) else [made]
    if len(several) != 1 or not getattr(module, "automatic_optimization", True):
        raise ValueError(
            "model: expected a LightningModule whose steps Lightning takes, of one optimiser, got "
            f"one of {len(several)}; hand over step=f, which takes its step, see jaxnn.checkup"
        )
    return several[0]["optimizer"] if isinstance(several[0], Mapping) else several[0]

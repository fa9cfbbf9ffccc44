"""PyTorch: a module as it is called, and where its gradient starts: a loss, or a cotangent."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

from ..interrupts import undivided
from ..network.checks import calling_loss
from .custom_functions import no_checkpoints
from .label_pairs import number_outside, refusing_pairs
from .tensors import first_tensor, has_gradient, is_tensor, owned
from .types import Inputs, Loss, Module, Output, Tensor, torch


class Call(NamedTuple):
    """A module, what it is called with, and where the gradient of it starts."""

    module: Module
    inputs: Inputs
    ys: object
    loss: Loss | None
    cotangent: Tensor | None
    entry: str = "copy"  # see `entering`

    def top(self, output: Output, examples: int) -> tuple[Tensor, Tensor | None]:
        """Return the tensor to go down from, and its cotangent; None for that of a number."""
        if self.cotangent is not None:
            return _with_cotangent(output, self.cotangent)
        ys, loss = owned(self.ys), self.loss
        if loss is None:
            value = own_loss(output)
            if value is None:
                raise TypeError(
                    "loss, cotangent: expected one of them, got none, and the module returns no "
                    "loss of its own, one number, as models do that are given labels"
                )
            return value, None
        if output is None:
            raise ValueError("module: expected its forward to return an output, got None")

        def tried(shape: tuple[int, ...]) -> Any:
            return loss(for_criterion(loss, output), ys.new_zeros(shape))

        prediction = prediction_of(output)
        try:
            with refusing_pairs(prediction, ys), calling_loss(ys, examples, prediction, tried):
                value = loss(for_criterion(loss, output), ys)
        except (IndexError, RuntimeError) as error:  # as torch has it of a number of no class
            if (outside := number_outside(prediction, ys)) is None:
                raise
            raise ValueError(outside) from error
        if is_tensor(value) and tuple(value.shape[:1]) == (examples,):
            value = value.mean()
        if not is_tensor(value) or value.numel() != 1:
            shape = getattr(value, "shape", None)
            raise ValueError(
                "loss: expected loss(output, ys) to return a tensor with one number, or for each "
                "example one or several, "
                f"got {type(value).__name__ if shape is None else f'shape {tuple(shape)}'}; "
                f"the first axis of the inputs, {examples} long, counts the examples, and modules "
                "with steps first need batch_first=True"
            )
        if not value.requires_grad:
            raise ValueError(
                "loss: expected loss(output, ys) to have a gradient, got a tensor without one; "
                "compute it in torch, without detach or item"
            )
        return value, None


@undivided
def recording() -> Iterator[None]:
    """Let torch record its graph, and run what is compiled as it was before, so that hooks act."""
    compiler = getattr(torch, "compiler", None)
    stance = getattr(compiler, "set_stance", None)
    eager = stance("force_eager") if stance is not None else nullcontext()
    with torch.inference_mode(False), torch.enable_grad(), eager, no_checkpoints():
        yield


def prediction_of(output: Output) -> Any:
    """Return what a criterion takes of an output: its logits, or the first tensor in it."""
    logits = getattr(output, "logits", None)
    return logits if is_tensor(logits) else first_tensor(output)


def own_loss(output: Output) -> Any:
    """Return the loss that a module computes itself, one number; None if it does not."""
    value = getattr(output, "loss", None)
    if value is None and isinstance(output, Mapping):
        value = output.get("loss")
    if value is None and isinstance(output, tuple | list) and len(output):
        value = output[0]
    if value is None:
        value = output
    return value if has_gradient(value) and value.numel() == 1 and value.ndim < 2 else None


def for_criterion(loss: Loss | None, output: Output) -> Any:
    """Return the output as a loss takes it: torch's own ones take a tensor."""
    package = getattr(loss, "__module__", None) or ""
    is_own = package.startswith("torch.nn")
    return prediction_of(output) if is_own and not is_tensor(output) else output


def _with_cotangent(output: Output, cotangent: Tensor | None) -> tuple[Any, Any]:
    if not is_tensor(cotangent):
        got = type(cotangent).__name__
        raise TypeError(f"cotangent: expected a tensor like the output, got {got}")
    out = prediction_of(output)
    shape, given = None if out is None else tuple(out.shape), tuple(cotangent.shape)
    if shape != given:
        raise ValueError(f"cotangent: expected the shape of the output, {shape}, got {given}")
    if not out.requires_grad:
        raise ValueError(
            "cotangent: expected an output with a gradient, got a tensor without one; leave "
            "detach or item out of the module"
        )
    return out, cotangent.detach().to(out)

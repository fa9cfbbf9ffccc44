"""PyTorch: what a module takes, where torch refuses what came in."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from traceback import walk_tb
from typing import Any

from ..arrays.arguments import Shape, misfit
from ..texts import label
from .tensors import is_tensor
from .types import Module, Tensor, torch

REFUSALS = RuntimeError, ValueError, IndexError


@contextmanager
def named_misfits(module: Module) -> Iterator[None]:
    """Say of an error inside which layer it is in, what that takes, and what came in."""
    try:
        yield
    except REFUSALS as error:
        if _is_ours(error) or (sentence := _in_words(module, error)) is None:
            raise
        raise ValueError(f"{sentence}; {type(error).__name__}: {error}") from error


def _is_ours(error: Exception) -> bool:
    """Tell a sentence of this package, as of a hook, from what its frames hand on of torch."""
    *_, (frame, _) = walk_tb(error.__traceback__)
    package = __name__.partition(".")[0]
    return isinstance(error, ValueError) and frame.f_globals["__name__"].startswith(package)


def _in_words(module: Module, error: Exception) -> str | None:
    names = {id(m): name for name, m in module.named_modules()}
    calls = [
        (frame.f_locals["self"], frame.f_locals["args"])
        for frame, _ in walk_tb(error.__traceback__)
        if frame.f_code is torch.nn.Module._call_impl.__code__
    ]
    layer, args = next(((m, v) for m, v in reversed(calls) if id(m) in names), (None, ()))
    if layer is None or not args or not is_tensor(args[0]):
        return None
    name = label(1, [names[id(layer)]]) if names[id(layer)] else "the module"
    came = args[0]
    hint = _hint(layer, came, args[1:])
    return hint and f"layer {name} ({type(layer).__name__}): {hint}"


def _hint(layer: Any, came: Tensor, others: tuple[Any, ...]) -> str | None:
    rows = getattr(layer, "num_embeddings", None)
    if rows is not None and not came.is_floating_point() and came.numel():
        ends = came.min().item(), came.max().item()
        if not 0 <= ends[0] <= ends[1] < rows:
            return (
                f"expected integers from 0 to {rows - 1}, a row of the table for each, got "
                f"{ends[0]} to {ends[1]}"
            )
    trial = copy.deepcopy(layer)

    def takes(shape: Shape) -> bool:
        try:
            with torch.no_grad():
                trial(came.new_zeros(shape), *others)
        except REFUSALS:
            return False
        return True

    arrays = chain(layer.parameters(), layer.buffers())
    return misfit(takes, tuple(came.shape), (size for v in arrays for size in v.shape))

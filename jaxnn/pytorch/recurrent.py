"""PyTorch: time inside recurrent modules, nn.RNN, nn.LSTM and nn.GRU, which no cut divides.

    Δ of what enters such a module, at each of its steps, on a pass of its own

It enters as a view, so that what leads around the module is not counted. A step without a gradient,
or with one that has left the range, has -inf.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from .cuts import modules_of
from .tensors import is_a, is_tensor, log_norms
from .types import Arguments, Module, Named, Tensor


class Steps(NamedTuple):
    """A call of a recurrent module.

    name: of the module.
    log_delta: ln ‖Δ‖ of what enters at each step, over the examples.
    is_both_ways: whether it is bidirectional.
    gates: the entries of its biases for the gates that keep its state; None if it has no such gate
        or no biases.
    """

    name: str
    log_delta: np.ndarray
    is_both_ways: bool
    gates: tuple[int, int] | None


class _Call(NamedTuple):
    name: str
    module: Any
    edge: Any
    sizes: Any  # of a packed sequence, the examples at each step
    axis: int


class Recurrent:
    """The calls of recurrent modules on one pass up."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []

    @contextmanager
    def hooked(self, module: Module) -> Iterator[None]:
        """Put hooks on the recurrent modules, and take them off in the end."""
        handles = []
        try:
            for name, m in modules_of(module).items():
                if is_a(m, "RNNBase"):
                    handles.append(
                        m.register_forward_pre_hook(
                            lambda m, args, named, name=name: self._enter(name, m, args, named),
                            with_kwargs=True,
                        )
                    )
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, name: str, module: Module, args: Arguments, named: Named) -> Any:
        value: Any = args[0] if args else named.get("input")
        sizes = None if is_tensor(value) else getattr(value, "batch_sizes", None)
        tensor = value if sizes is None else value.data
        if not is_tensor(tensor):
            return None
        # A tensor of its own for this call: its Δ is then what comes through this call alone.
        tensor = tensor.view_as(tensor) if tensor.requires_grad else tensor.detach()
        tensor.requires_grad_()
        edge = sys.modules["torch"].autograd.graph.get_gradient_edge(tensor)
        axis = 1 if sizes is None and module.batch_first and tensor.ndim == 3 else 0
        self.calls.append(_Call(name, module, edge, sizes, axis))
        value = tensor if sizes is None else value._replace(data=tensor)
        return ((value, *args[1:]), named) if args else (args, {**named, "input": value})

    def steps(self, top: Tensor, cotangent: Tensor | None) -> tuple[Steps, ...]:
        """Go down to what enters; top: the tensor to go down from."""
        if not self.calls:
            return ()
        grads = sys.modules["torch"].autograd.grad(
            top,
            [call.edge for call in self.calls],
            cotangent,
            retain_graph=True,
            allow_unused=True,
        )
        pairs = zip(self.calls, grads, strict=True)
        return tuple(_steps(call, grad) for call, grad in pairs if grad is not None)


def _steps(call: _Call, grad: Tensor) -> Steps:
    whole = call.sizes is None
    of_steps = grad.unbind(call.axis) if whole else grad.split(call.sizes.tolist())
    m = call.module
    has_gates = m.bias and (is_a(m, "LSTM") or is_a(m, "GRU"))
    gates = (m.hidden_size, 2 * m.hidden_size) if has_gates else None
    return Steps(call.name, np.array(log_norms(of_steps)), m.bidirectional, gates)

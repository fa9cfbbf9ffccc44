"""PyTorch: time inside recurrent modules, nn.RNN, nn.LSTM and nn.GRU, which no cut divides.

    Δ of what enters such a module, at each of its steps, on a pass of its own
    where that leaves the range, going down through the steps one by one, as `unrolled.py` has it

A step without a gradient has -inf, and one whose gradient has left the range has nan.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from ..interrupts import registered
from .tensors import is_a, is_tensor, log_norms, tensors_in
from .types import Arguments, GradientEdge, Module, Named, Output, Tensor, torch
from .unrolled import Returned, unrolled

GATED = "LSTM", "GRU", "LSTMCell", "GRUCell"
MARGIN = 26  # powers of two above the smallest normal number, for entries below the norm


class RecurrentSteps(NamedTuple):
    """A call of a recurrent module."""

    name: str  # of the module
    log_delta: np.ndarray  # ln ‖Δ‖ of what enters at each step, over the examples
    is_both_ways: bool
    # The entries of its biases for the gates that keep its state; None without such a gate or
    # biases.
    gates: tuple[int, int] | None


def gates_of(module: Module) -> dict[str, tuple[int, int]]:
    """Return the biases in a module that hold a gate which keeps a state, and its entries."""
    # The second quarter of an LSTM's, and the second third of a GRU's.
    return {
        f"{name}.{bias}".lstrip("."): (m.hidden_size, 2 * m.hidden_size)
        for name, m in module.named_modules()
        if any(is_a(m, kind) for kind in GATED)
        for bias, _ in m.named_parameters(recurse=False)
        if bias.startswith("bias_hh")
    }


class _RecurrentCall(NamedTuple):
    """A call of a recurrent module."""

    name: str
    module: Module
    edge: GradientEdge  # of what enters
    x: Tensor  # its numbers
    starts: list[Tensor]  # the states before the first step; empty for zeros
    sizes: Tensor | None  # of a packed sequence the examples at each step
    order: Tensor | None  # of a packed sequence the place of each example by its length
    axis: int  # of the steps
    made: Sequence[Tensor] = ()  # the output, and the states after the last step
    edges: Sequence[GradientEdge] = ()  # of what is made

    def by_step(self, v: Tensor) -> list[Tensor]:
        """Return the parts of a tensor at each step, (examples, units)."""
        if self.sizes is not None:
            return list(v.split(self.sizes.tolist()))
        return [part if part.ndim > 1 else part[None] for part in v.unbind(self.axis)]

    def returned(self, tensors: Sequence[Tensor]) -> Returned:
        """Return the numbers of an output and of last states in the order of its steps."""
        out, *ends = tensors
        return Returned(self.by_step(out), self.states(ends))

    def states(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return states in that order, (layers and directions, examples, units)."""
        wide = [v if v.ndim > 2 else v[:, None] for v in tensors]
        return wide if self.order is None else [v.index_select(1, self.order) for v in wide]


class Recurrent:
    """The calls of recurrent modules on one pass up."""

    def __init__(self) -> None:
        self.calls: list[_RecurrentCall] = []

    def hooked(self, known: Mapping[str, Any]) -> AbstractContextManager[None]:
        """Put hooks on the recurrent ones of some modules, and take them off in the end."""
        return registered(self._hooks(known))

    def _hooks(self, known: Mapping[str, Any]) -> Iterator[Callable[[], Any]]:
        for name, m in known.items():
            if is_a(m, "RNNBase"):
                enter = partial(self._enter, name)
                yield partial(m.register_forward_pre_hook, enter, with_kwargs=True)
                yield partial(m.register_forward_hook, self._leave)

    def _enter(self, name: str, module: Module, args: Arguments, named: Named) -> Any:
        value: Any = args[0] if args else named.get("input")
        sizes = None if is_tensor(value) else getattr(value, "batch_sizes", None)
        tensor = value if sizes is None else value.data
        if not is_tensor(tensor):
            return None
        # A tensor of its own for this call: its Δ is then what comes through this call alone.
        tensor = tensor.view_as(tensor) if tensor.requires_grad else tensor.detach()
        tensor.requires_grad_()
        edge = torch.autograd.graph.get_gradient_edge(tensor)
        axis = 1 if sizes is None and module.batch_first and tensor.ndim == 3 else 0
        starts = [v.detach() for v in tensors_in(args[1] if len(args) > 1 else named.get("hx"))]
        order = None if sizes is None else value.sorted_indices
        x = tensor.detach()
        self.calls.append(_RecurrentCall(name, module, edge, x, starts, sizes, order, axis))
        value = tensor if sizes is None else value._replace(data=tensor)
        return ((value, *args[1:]), named) if args else (args, {**named, "input": value})

    def _leave(self, module: Module, args: Arguments, output: Output) -> None:
        del args
        is_usual = isinstance(output, tuple) and len(output) == 2  # a user's own may return others
        if is_usual and self.calls and self.calls[-1].module is module:
            out, ends = output
            tensors = [out if is_tensor(out) else out.data, *tensors_in(ends)]
            edges = list(map(torch.autograd.graph.get_gradient_edge, tensors))
            made = [v.detach() for v in tensors]
            self.calls[-1] = self.calls[-1]._replace(made=made, edges=edges)

    def steps(self, top: Tensor, cotangent: Tensor | None) -> tuple[RecurrentSteps, ...]:
        """Go down to what enters and what is returned; top: the tensor to go down from."""
        if not self.calls:
            return ()
        grads = iter(
            torch.autograd.grad(
                top,
                [edge for call in self.calls for edge in (call.edge, *call.edges)],
                cotangent,
                retain_graph=True,
                allow_unused=True,
            )
        )
        of_calls = [
            (call, next(grads), list(islice(grads, len(call.edges)))) for call in self.calls
        ]
        return tuple(_steps(*of_call) for of_call in of_calls if of_call[1] is not None)


def _steps(call: _RecurrentCall, of_x: Tensor, of_made: list[Tensor | None]) -> RecurrentSteps:
    m = call.module
    gates = next(iter(gates_of(m).values()), None)
    plain = np.array(log_norms(call.by_step(of_x)))
    lowest = torch.finfo(of_x.dtype).smallest_normal * 2.0**MARGIN
    # Zeros alone are of steps that nothing reads: what leaves the range passes its end.
    is_normal = np.isfinite(plain) & (plain >= np.log(lowest))
    is_known = is_normal | (is_normal | np.isneginf(plain)).all()
    exact = None if is_known.all() or not call.made else _unrolled(call, of_made, lowest)
    log_delta = np.where(is_known, plain, np.nan if exact is None else exact)
    return RecurrentSteps(call.name, log_delta, m.bidirectional, gates)


def _unrolled(
    call: _RecurrentCall, of_made: list[Tensor | None], lowest: float
) -> list[float] | None:
    """Return what going down step by step has; None if it starts from what has left the range."""
    pairs = zip(call.made, of_made, strict=True)
    delta = call.returned([v.new_zeros(v.shape) if grad is None else grad for v, grad in pairs])
    if not all(_is_whole(v, lowest) for v in (*delta.steps, *delta.ends)):
        return None
    starts = call.states(call.starts) or [v.new_zeros(v.shape) for v in delta.ends]
    xs, made = call.by_step(call.x), call.returned(call.made)
    return unrolled(call.module, xs, starts, made, delta)


def _is_whole(delta: Tensor, lowest: float) -> bool:
    """Tell whether a gradient is zero or in the range."""
    largest = float(delta.abs().max()) if delta.numel() else 0.0
    return largest == 0 or lowest <= largest < np.inf

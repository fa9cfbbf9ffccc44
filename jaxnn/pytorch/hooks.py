"""PyTorch: what cuts return, recorded on the one pass up by hooks; torch is not imported here."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ..arrays.rows import in_bfloat16, is_narrow
from ..interrupts import registered, undivided
from .tensors import (
    first_tensor,
    has_gradient,
    is_a,
    mapped,
    memory_of,
    name_of_dtype,
    numbers_of,
    tensors_in,
)
from .types import Arguments, Module, Output, Tensor, torch

UNKNOWN = None, False  # value and place of the examples
CHANNELS = ("out_channels", "num_features", "num_channels")  # of convolutions, norms of images


class StatePart(NamedTuple):
    """A tensor with a gradient among those that a cut returns."""

    # Its place in torch's graph, (node, number of the output), before anything changes it.
    edge: tuple[Any, int]
    handle: Any  # the same, as torch takes it
    shape: tuple[int, ...]
    dtype: Any
    value: np.ndarray
    number: int | None = None  # of its value in the record of operations
    is_apart: bool = False  # each example's gradient there is known to be made of its own above


class CutState(NamedTuple):
    """The output of one call of a cut; states[l - 1] is state l."""

    cut: str  # the name of the module
    name: str  # that, with a number if it is called several times
    kind: type  # the class of the module
    # The first is the state; others belong to it if they are needed, see `autograd_gates.py`.
    parts: tuple[StatePart, ...]
    channels: int = -1  # the axis of the channels, 1 of a convolution's output and -1 of others


class StateRecorder:
    """Records of one forward pass, filled by hooks.

    strict: whether an output that is no state is an error, as it is of a cut that was named.
    apart: whether a state is a copy, between what a cut has computed and what it returns. A hook of
        the user's on either tensor then lies below the state or above it, and is called once on the
        way from the state above to the one below, as in plain backpropagation.
    """

    def __init__(
        self,
        strict: bool,
        apart: bool = False,
        value: Callable[[Tensor], tuple[int | None, bool]] = lambda _: UNKNOWN,
    ) -> None:
        self.apart, self.value = apart, value
        self.states: list[CutState] = []
        self.tensors: list[Tensor] = []  # that the states are, until it is closed
        self.called: set[str] = set()
        self.strict = strict
        self.open = True
        self.memory: int | None = None  # of the last state

    def is_state(self, tensor: Tensor) -> bool:
        """Tell whether a tensor is in the memory of the last state."""
        return memory_of(tensor) == self.memory

    @property
    def has_hooks(self) -> bool:
        """True if the user has put hooks on tensors that are states."""
        return any(getattr(tensor, "_backward_hooks", None) for tensor in self.tensors)

    def hooked(self, chosen: Mapping[str, Any]) -> AbstractContextManager[None]:
        """Put hooks on the cuts, and take them off in the end."""
        return registered(self._hooks(chosen))

    def _hooks(self, chosen: Mapping[str, Any]) -> Iterator[Callable[[], Any]]:
        for name, cut in chosen.items():
            if hasattr(cut, "_c"):  # of torch.jit, which forbids or forgets hooks
                self._refused(
                    f"cut {name}: expected a module that runs in Python, got one of TorchScript, "
                    "which takes no hooks; put the module there that it was made of, or leave it "
                    "out of cuts"
                )
                continue
            yield partial(cut.register_forward_hook, partial(self._up, name))

    def closed(self) -> list[CutState]:
        """Return the states, after which calls of cuts count no more."""
        # Checkpointed layers are called again on the way down.
        self.open, self.tensors = False, []
        self.value = lambda _: (
            UNKNOWN
        )  # else graph and record would stay until Python looks for cycles
        return self.states

    def _up(self, name: str, module: Module, args: Arguments, output: Output) -> Any:
        if not self.open:
            return None
        self.called.add(name)
        tensors = [t for t in tensors_in(output) if has_gradient(t)]
        if not tensors:
            return self._refused(f"cut {name}: expected an output of {_without(output)}")
        if is_narrow(_typed(tensors[0])):
            return self._refused(
                f"cut {name}: expected an output of {in_bfloat16(_typed(tensors[0]))}"
            )
        changed: Any = None
        if len(tensors) > 1 or self.apart:
            # One may be computed from another, as the h of an LSTMCell from its c: with a copy of
            # each, Δ of one is that with the others fixed.
            changed = _copied(output)
            tensors = [t for t in tensors_in(changed) if has_gradient(t)]
        if has_steps_first(module) and tensors[0].ndim == 3:
            # The state has the examples first, and goes on as the module has returned it.
            tensors[0] = tensors[0].transpose(0, 1)
            changed = tensors[0].transpose(0, 1), changed[1]
        parts = tuple(_part(t, *self.value(t)) for t in tensors)
        self.states.append(CutState(name, name, type(module), parts, channels_of(module, parts[0])))
        self.tensors += tensors
        if self.apart:
            changed = _copied(changed)
        self.memory = memory_of(first_tensor(output if changed is None else changed))
        return changed

    def _refused(self, sentence: str) -> None:
        if self.strict:
            raise ValueError(sentence)


class TensorHooks:
    """Hooks that are put on tensors, such as those that clip gradients."""

    def __init__(self) -> None:
        self.tensor, self.are_used = torch.Tensor, False

    @undivided
    def watched(self) -> Iterator[None]:
        """Note whether any are put."""
        before = self.tensor.register_hook

        def register_hook(tensor: Tensor, hook: Callable[[Tensor], Any]) -> Any:
            self.are_used = True
            return before(tensor, hook)

        try:
            self.tensor.register_hook = register_hook
            yield
        finally:
            self.tensor.register_hook = before


def has_steps_first(module: Module) -> bool:
    """Tell a recurrent module that returns (steps, examples, units)."""
    return is_a(module, "RNNBase") and not module.batch_first


def channels_of(module: Module, part: StatePart) -> int:
    """Return the axis of the channels of what a module returns, told by sizes of its layers."""
    if len(part.shape) < 3:
        return -1
    every = [*module.modules()]
    first = {n for m in every for name in CHANNELS for n in _sizes(m, name)}
    if part.shape[1] not in first:
        return -1
    last = {n for m in every for n in _sizes(m, "out_features")}
    last.update(n for m in every for n in _sizes(m, "normalized_shape")[-1:])
    # Convolutions or norms of images have as many channels, and no other layer as many features as
    # the last axis.
    return -1 if part.shape[-1] in last and part.shape[1] not in last else 1


def _sizes(module: Module, name: str) -> list[int]:
    """Return the integers that an attribute is, or holds: a user's own may be anything."""
    value = getattr(module, name, ())
    several = value if isinstance(value, tuple | list) else (value,)
    return [size for size in several if isinstance(size, int)]


def numbered(states: list[CutState]) -> list[CutState]:
    """Return states whose names have a number where a cut is called several times."""
    times = Counter(state.cut for state in states)
    so_far: Counter[str] = Counter()
    named = []
    for state in states:
        if times[state.cut] > 1:
            named.append(state._replace(name=f"{state.cut} {so_far[state.cut]}"))
            so_far[state.cut] += 1
        else:
            named.append(state)
    return named


def _without(output: Output) -> str:
    tensor = first_tensor(output)
    got = type(output).__name__ if tensor is None else f"{name_of_dtype(tensor)} without one"
    return (
        f"floats with a gradient, got {got}; let its parameters, or the inputs, require a "
        "gradient, or leave it out of cuts"
    )


class _Typed(NamedTuple):
    dtype: Any


def _typed(tensor: Tensor) -> _Typed:
    return _Typed(jnp.dtype(name_of_dtype(tensor)))


def _part(tensor: Tensor, number: int | None, is_apart: bool) -> StatePart:
    handle = torch.autograd.graph.get_gradient_edge(tensor)
    dtype = jnp.dtype(name_of_dtype(tensor))
    value = numbers_of(tensor).astype(dtype)  # a copy: it may be changed in place
    return StatePart(tuple(handle[:2]), handle, tuple(tensor.shape), dtype, value, number, is_apart)


def _copied(value: object) -> Any:
    """Return what a module returns with a copy of each tensor of a gradient."""
    return mapped(value, lambda v: v.clone() if has_gradient(v) else v)

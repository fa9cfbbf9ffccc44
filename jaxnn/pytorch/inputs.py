"""PyTorch: what a module is called with, and the tensor of it whose Δ is that of the inputs.

A tensor, a tuple of arguments or a dict of them by name; as one of them a dict of tensors, or an
object that has them by name, such as a Data or a Batch of torch_geometric.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..texts import told
from .tensors import is_tensor, owned
from .types import Inputs, Module

T = TypeVar("T")

ENTRIES = "copy", "leaf", "plain"
LEAVES = "requires_grad flags of leaf variables"  # in what torch says of x.requires_grad = True


def entering(inputs: Inputs, entry: str = "copy") -> tuple[list[Any], dict[str, Any], Any]:
    """Return what the module is called with, and the first tensor of it, with a gradient.

    All are copies, as a module may change them in place. The first is the user's own tensor if it
    requires a gradient, so that a loss may close over it. Of entries a "copy" may be changed in
    place, as torch forbids for a leaf; "leaf" is the tensor itself, and "plain" one without a
    gradient.
    """
    args, by_name = arguments_of(inputs)
    if hasattr(inputs, "batch_sizes"):
        raise ValueError(
            "inputs: expected the examples on the first axis, got a PackedSequence, which has the "
            "steps of all of them there; unpack it with torch.nn.utils.rnn.pad_packed_sequence("
            "…, batch_first=True)"
        )
    values: Any = by_name or args
    places = [*by_name] or [*range(len(args))]
    for place in places:
        values[place] = _owned(values[place])
    holders = [(values, place) for place in places if is_tensor(values[place])]
    if not holders:
        holders = [(v, name) for v in map(values.__getitem__, places) for name in _names_in(v)]
    if not holders:
        got = type(inputs).__name__
        if hasattr(inputs, "__array__"):
            got = f"{told(inputs)}; make a tensor of it with torch.as_tensor"
        raise TypeError(
            "inputs: expected a tensor, a tuple of arguments or a dict of them by name, with a "
            f"tensor among them, got {got}"
        )
    holder, key = holders[0]
    x = holder[key]
    if x.ndim and not len(x):
        raise ValueError(
            f"inputs: expected at least one example, got a tensor of shape {tuple(x.shape)}"
        )
    if not x.ndim:
        raise ValueError("inputs: expected the examples on the first axis, got a single number")
    if x.is_floating_point():
        if entry == "plain" or not x.requires_grad:
            x = x.detach().clone().requires_grad_(entry != "plain")
        holder[key] = x.clone() if entry == "copy" else x
    return args, by_name, x


def arguments_of(inputs: Inputs) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a module, and those by name."""
    if isinstance(inputs, Mapping):
        return [], dict(inputs)
    return list(inputs) if isinstance(inputs, tuple | list) else [inputs], {}


def _owned(value: Any) -> Any:
    """Return an argument whose tensors are copies."""
    if isinstance(value, Mapping) or not (names := _names_in(value)):
        return owned(value)
    graph = copy.copy(value)
    for name in names:
        graph[name] = owned(graph[name])
    return graph


def _names_in(value: Inputs) -> list[Any]:
    """Return the names of the tensors of a dict or a graph, nodes first."""
    keys = getattr(value, "keys", None)
    if keys is None or not hasattr(value, "__setitem__"):
        return []
    names = [name for name in (keys() if callable(keys) else keys) if is_tensor(value[name])]
    nodes = getattr(value, "num_nodes", None)
    of_nodes = [name for name in names if value[name].ndim and len(value[name]) == nodes]
    return [*of_nodes, *names]


def called(module: Module, inputs: Inputs) -> Any:
    """Return the output of a module."""
    return called_with(module, inputs)[0]


def called_with(module: Module, inputs: Inputs) -> tuple[Any, Any]:
    """Return the output of a module, and the first tensor that it was called with."""

    def run(entry: str) -> tuple[Any, Any]:
        args, named, x = entering(inputs, entry)
        return module(*args, **named), x

    return entered(run)


def entered(run: Callable[[str], T]) -> T:
    """Return what is made with the first entry that a module takes, see `entering`."""
    # A module that sets x.requires_grad takes a leaf, and where x is a slice of what it is given,
    # as in wav2vec2 of transformers, one without a gradient.
    for entry in ENTRIES[:-1]:
        try:
            return run(entry)
        except RuntimeError as error:
            if LEAVES not in str(error):
                raise
    return run(ENTRIES[-1])

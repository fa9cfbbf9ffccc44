"""A network of PyTorch: its flow, and the same numbers by torch's plain gradient.

    arguments  ->  jaxnn.gradient_flow                  ->  Δ of each parameter, of each state, Δx
               ->  torch.autograd.grad of the loss   ->  Δ of each parameter, of each state, Δx

The loss is the module's own if it returns one, else a random linear one of all of its outputs.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

import jaxnn
from experiments.menagerie.catalogue import called, mapped
from experiments.menagerie.comparison import TINY, NormComparison, Pair, largest, rounding
from jaxnn.pytorch.zero_heads import drawn

Inputs: TypeAlias = "torch.Tensor | tuple[Any, ...] | dict[str, Any]"  # one, several, or by names
Output = object  # tensors in tuples, lists and dicts, or something of a package's own


class Plain(NamedTuple):
    """The norms of Δ by plain gradients.

    states: numbers of an example and norm, of each call of a module; None without a gradient.
    arrays: of each parameter.
    x: of the first input; None if it has none.
    """

    states: list[tuple[int, float] | None]
    arrays: dict[str, float]
    x: float | None

    def with_below(self, below: "Plain", layers: dict[str, int], head: tuple[str, ...]) -> "Plain":
        """Return it with the numbers of all that lies below a head of zeros, which hands none."""
        layer = min(layers[name] for name in head)
        states = [
            low if own and not own[1] else own
            for own, low in zip(self.states, below.states, strict=True)
        ]
        arrays = {n: v if layers[n] >= layer else below.arrays[n] for n, v in self.arrays.items()}
        return Plain(states, arrays, below.x)


def compared(arguments: dict[str, Any], seed: int) -> NormComparison:
    """Measure a network in float64 if it takes that, and compare it."""
    torch.manual_seed(0)
    dtype, model, inputs = _widest(arguments["model"], arguments["xs"])
    torch.manual_seed(1)
    flow = jaxnn.gradient_flow(model, inputs, seed, loss=linear_loss, cuts=arguments.get("cuts"))
    known, parameters = np.exp(np.asarray(flow.log_delta)), flow.parameters
    torch.manual_seed(1)
    plain = _plain(model, inputs, flow.names, seed)
    if flow.drawn:
        layers = dict(zip(parameters.paths, parameters.layers, strict=True))
        torch.manual_seed(1)
        with drawn(dict(model.named_parameters()), flow.drawn):
            plain = plain.with_below(_plain(model, inputs, flow.names, seed), layers, flow.drawn)
    if len(plain.states) != len(known):
        raise ValueError(
            f"expected {len(plain.states)} states, as torch calls cuts, got {len(known)}"
        )
    own = dict(zip(parameters.paths, np.exp(np.asarray(parameters.log_delta)), strict=True))
    least = max([TINY, *(rounding(dtype) * norm for norm in plain.arrays.values())])
    of_arrays = [Pair(n, float(own.get(n, 0.0)), v, least) for n, v in plain.arrays.items()]
    states = [
        Pair(f"state {name}", float(ours), state[1])
        for name, size, ours, state in zip(flow.names, flow.sizes, known, plain.states, strict=True)
        # Of several tensors the flow has all, and plain torch here the first.
        if state is not None and state[0] == size and not np.isnan(ours)
    ]
    of_input = []
    if plain.x is not None and not np.isnan(flow.log_delta_input):
        of_input = [Pair("input", math.exp(float(flow.log_delta_input)), plain.x)]
    worst = largest([*of_arrays, *states, *of_input])
    counts = len(flow.names), len(of_arrays), len(of_arrays), len(states)
    return NormComparison(*counts, worst.difference, worst.name, dtype, int(np.isnan(known).sum()))


def linear_loss(output: Output, seed: int) -> Any:
    """Return the module's own loss, else Σ ⟨c, tensor⟩ over the tensors of an output, c normal."""
    own = getattr(output, "loss", None)
    if isinstance(own, torch.Tensor):
        return own
    found = [v for v in tensors(output) if v.requires_grad and v.is_floating_point()]
    generator = torch.Generator().manual_seed(seed)
    return sum((torch.randn(v.shape, generator=generator, dtype=v.dtype) * v).sum() for v in found)


def tensors(output: Output) -> Iterator[Any]:
    """Yield the tensors of an output."""
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, dict | tuple | list):
        for value in output.values() if isinstance(output, dict) else output:
            yield from tensors(value)


def _plain(model: torch.nn.Module, inputs: Inputs, names: Iterable[str], seed: int) -> Plain:
    module = getattr(model, "_orig_mod", model)
    known, edges = dict(module.named_modules()) | {type(module).__name__: module}, []

    def stored(_: torch.nn.Module, __: object, output: Output) -> None:
        v = next(v for v in tensors(output) if v.is_floating_point() and v.requires_grad)
        edges.append((v[0].numel(), torch.autograd.graph.get_gradient_edge(v)))

    hooks = [known[n].register_forward_hook(stored) for n in dict.fromkeys(names) if n in known]
    x = next(v for v in tensors(inputs))
    xs = [x.clone().requires_grad_()] if x.is_floating_point() else []
    given = mapped(lambda v: xs[0] if xs and v is x else v, inputs)
    loss = linear_loss(called(module, given), seed)
    for hook in hooks:
        hook.remove()
    parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
    wanted = [*(e for _, e in edges), *parameters.values(), *xs]
    grads = torch.autograd.grad(loss, wanted, allow_unused=True)
    norms = [None if g is None else float(g.norm()) for g in grads]
    of_states = [None if v is None else (n, v) for (n, _), v in zip(edges, norms, strict=False)]
    own = zip(parameters, norms[len(edges) :], strict=False)
    return Plain(of_states, {n: v for n, v in own if v is not None}, norms[-1] if xs else None)


def _widest(model: torch.nn.Module, inputs: Inputs) -> tuple[str, Any, Any]:
    """Return a module and inputs in float64, or in float32 if its code does not take float64."""

    def as_floats(dtype: torch.dtype) -> Any:
        return mapped(lambda v: v.to(dtype) if _is_float(v) else v, inputs)

    try:
        batch = as_floats(torch.float64)
        with torch.no_grad():
            called(model.double(), batch)
    except RuntimeError:
        return "float32", model.float(), as_floats(torch.float32)
    return "float64", model, batch


def _is_float(v: object) -> bool:
    return isinstance(v, torch.Tensor) and v.is_floating_point()

"""A network of PyTorch: its flow, and the same numbers by torch's plain gradient.

    arguments  ->  jaxnn.gradient_flow                  ->  Δ of each parameter, of each state, Δx
               ->  torch.autograd.grad of the loss   ->  Δ of each parameter, of each state, Δx

The loss is the module's own if it returns one, else a random linear one of all of its outputs.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
import torch

import jaxnn
from experiments.menagerie.expected import called
from experiments.menagerie.of_jax import TINY, Comparison, largest, relative, rounding

Inputs: TypeAlias = "torch.Tensor | tuple[Any, ...] | dict[str, Any]"  # one, several, or by names
Output = object  # tensors in tuples, lists and dicts, or something of a package's own


def compared(arguments: dict[str, Any], seed: int) -> Comparison:
    """Measure a network in float64 if it takes that, and compare it.

    Raises:
        Exception: whatever the library, or the network itself, ends in.
    """
    torch.manual_seed(0)
    dtype, model, inputs = _widest(arguments["model"], arguments["xs"])
    torch.manual_seed(1)
    flow = jaxnn.gradient_flow(model, inputs, seed, loss=linear_loss, cuts=arguments.get("cuts"))
    torch.manual_seed(1)
    states, of_parameters, of_input = _plain(model, inputs, flow.names, seed)
    parameters = flow.parameters
    own = dict(zip(parameters.paths, np.exp(np.asarray(parameters.log_delta)), strict=True))
    least = max([TINY, *(rounding(dtype) * norm for norm in of_parameters.values())])
    differences = {
        name: relative(float(own.get(name, 0.0)), norm, least)
        for name, norm in of_parameters.items()
    }
    deltas = np.exp(np.asarray(flow.log_delta))
    if len(states) != len(deltas):
        raise ValueError(f"expected {len(states)} states, as torch calls cuts, got {len(deltas)}")
    compared = 0
    for name, size, ours, state in zip(flow.names, flow.sizes, deltas, states, strict=True):
        # Of several tensors the flow has all, and plain torch here the first.
        if state is not None and state[0] == size and not np.isnan(ours):
            differences[f"state {name}"] = relative(float(ours), state[1])
            compared += 1
    if of_input is not None and not np.isnan(flow.log_delta_input):
        differences["input"] = relative(math.exp(float(flow.log_delta_input)), of_input)
    where = largest(differences)
    unmeasured = int(np.isnan(deltas).sum())
    count, layers = len(of_parameters), len(flow.names)
    return Comparison(layers, count, count, compared, differences[where], where, dtype, unmeasured)


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
    elif isinstance(output, dict):
        for value in output.values():
            yield from tensors(value)
    elif isinstance(output, tuple | list):
        for value in output:
            yield from tensors(value)


def _plain(
    model: torch.nn.Module, inputs: Inputs, names: Iterable[str], seed: int
) -> tuple[list[Any], dict[str, float], float | None]:
    module = getattr(model, "_orig_mod", model)
    known, edges = dict(module.named_modules()), []

    def stored(_: torch.nn.Module, __: object, output: Output) -> None:
        v = next(v for v in tensors(output) if v.is_floating_point() and v.requires_grad)
        edges.append((v[0].numel(), torch.autograd.graph.get_gradient_edge(v)))

    hooks = [known[n].register_forward_hook(stored) for n in dict.fromkeys(names) if n in known]
    given = [inputs] if isinstance(inputs, torch.Tensor) else inputs
    named: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
    placed = [] if isinstance(given, dict) else list(given)
    x = next(v for v in [*placed, *named.values()] if isinstance(v, torch.Tensor))
    xs = []
    if x.is_floating_point():
        x = x.clone().requires_grad_()
        xs = [x]
        if placed:
            placed[0] = x
        else:
            named[next(iter(named))] = x
    loss = linear_loss(module(*placed, **named), seed)
    for hook in hooks:
        hook.remove()
    parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
    wanted = [*(e for _, e in edges), *parameters.values(), *xs]
    grads = torch.autograd.grad(loss, wanted, allow_unused=True)
    states = [
        None if g is None else (n, float(g.norm())) for (n, _), g in zip(edges, grads, strict=False)
    ]
    own = grads[len(edges) : len(edges) + len(parameters)]
    norms = {n: float(g.norm()) for n, g in zip(parameters, own, strict=True) if g is not None}
    return states, norms, float(grads[-1].norm()) if xs and grads[-1] is not None else None


def _widest(model: torch.nn.Module, inputs: Inputs) -> tuple[str, Any, Any]:
    """Return a module and inputs in float64, or in float32 if its code does not take float64."""
    try:
        batch = _as_floats(inputs, torch.float64)
        with torch.no_grad():
            called(model.double(), batch)
    except RuntimeError:
        return "float32", model.float(), _as_floats(inputs, torch.float32)
    return "float64", model, batch


def _as_floats(inputs: Inputs, dtype: torch.dtype) -> Any:
    if isinstance(inputs, torch.Tensor):
        return inputs.to(dtype) if inputs.is_floating_point() else inputs
    if isinstance(inputs, dict):
        return {name: _as_floats(v, dtype) for name, v in inputs.items()}
    return tuple(_as_floats(v, dtype) for v in inputs) if isinstance(inputs, tuple) else inputs

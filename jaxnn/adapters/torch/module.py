"""PyTorch: a module run as it is, with hooks on its cuts, and gone down from again and again.

How that is measured stands in `hooks.py`. Torch is never imported: the user has done so.
"""

import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .hooks import (
    Pass,
    Rule,
    Run,
    State,
    agreed,
    check_paths,
    first_tensor,
    is_a,
    is_tensor,
    tensors_in,
)
from .restoring import unchanged

NAMED = 8  # modules, at most, that an error message lists


class Measured(NamedTuple):
    """A module's states, and the pass down that is right.

    states: the outputs of its cuts.
    values: their numbers.
    found: Δ of each state and of the input.
    mixes: for each state whether examples meet below it.
    """

    states: list[State]
    values: list[np.ndarray]
    found: Pass
    mixes: np.ndarray


def measured(module: Any, inputs: Any, ys: Any, loss: Any, cotangent: Any, cuts: Any) -> Measured:
    """Measure a module of PyTorch, from cut to cut; see `jaxnn.torch_flow`."""
    if not hasattr(module, "register_forward_hook") or "torch" not in sys.modules:
        raise TypeError(f"module: expected a torch.nn.Module, got {type(module).__name__}")
    if (loss is None) == (cotangent is None):
        raise TypeError("loss, cotangent: expected one of them, got both or none")
    torch = sys.modules["torch"]
    chosen = _chosen(module, cuts)
    run = Run()
    with torch.enable_grad(), unchanged(torch, module, tensors_in(inputs)), run.hooked(chosen):
        args, named, x = _entering(inputs)
        output = module(*args, **named)
        states = run.closed()
        _check_states(run, chosen, x)
        given, cotangent = _top(output, ys, loss, cotangent)
        edge = torch.autograd.graph.get_gradient_edge
        bottom = edge(x) if x.requires_grad else None
        is_whole = check_paths(edge(given), states, bottom)
        targets = [states[0].edge, *([x] if bottom and is_whole else [])]

        def down(rule: Rule | None = None, probe: bool = False) -> Pass:
            with run.going_down(Pass(states, rule, probe)) as going:
                _, *below = torch.autograd.grad(
                    given, targets, cotangent, retain_graph=True, allow_unused=True
                )
            for grad in below:
                if grad is not None:
                    going.arrived(0, grad)
            return going

        found, mixes = agreed(down, states)
    return Measured(states, run.values, found, mixes)


def _chosen(module: Any, cuts: Any) -> dict[str, Any]:
    """Return the cuts by name."""
    if cuts is None:
        return _default_cuts(module)
    known = dict(module.named_modules())
    names = {id(m): name for name, m in known.items()}
    cuts = [cuts] if isinstance(cuts, str) or not isinstance(cuts, Iterable) else list(cuts)
    if not cuts:
        raise ValueError("cuts: expected at least one module, got none")
    chosen = {}
    for cut in cuts:
        name = cut if isinstance(cut, str) else names.get(id(cut))
        if name not in known:
            got = repr(cut) if isinstance(cut, str) else f"a {type(cut).__name__}"
            raise ValueError(
                f"cuts: expected modules of {type(module).__name__}, or their names, such as "
                f"{_listed(known)}, got {got}"
            )
        chosen[name or type(module).__name__] = known[name]
    return chosen


def _default_cuts(module: Any) -> dict[str, Any]:
    children = dict(module.named_children())
    if is_a(module, "Sequential") and children:
        trained = [name for name, m in children.items() if next(m.parameters(), None) is not None]
        names = list(children)
        trailing = names[names.index(trained[-1]) + 1 :] if trained else names
        return {name: children[name] for name in trained + trailing}
    if is_a(getattr(module, "layers", None), "ModuleList"):
        return {f"layers.{name}": layer for name, layer in module.layers.named_children()}
    raise ValueError(
        f"cuts: expected them for a {type(module).__name__}, which is no Sequential and has no "
        f"ModuleList `layers`: modules that everything passes through, or their names; it has "
        f"{_listed(children)}"
    )


def _listed(names: Iterable[str]) -> str:
    names = [name for name in names if name]
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "") or "no modules in it"


def _entering(inputs: Any) -> tuple[list[Any], dict[str, Any], Any]:
    """Return what the module is called with, and the first tensor of it, as a leaf."""
    by_name = dict(inputs) if isinstance(inputs, Mapping) else {}
    args = list(inputs) if isinstance(inputs, tuple | list) else [] if by_name else [inputs]
    for place in (*enumerate(args), *by_name.items()):
        if is_tensor(place[1]):
            break
    else:
        raise TypeError(
            "inputs: expected a tensor, a tuple of arguments or a dict of them by name, with a "
            f"tensor among them, got {type(inputs).__name__}"
        )
    key, x = place
    if x.is_floating_point():
        x = x.detach().clone().requires_grad_()
        # A module may change what it is given in place, which torch forbids for a leaf.
        (by_name if isinstance(key, str) else args)[key] = x.clone()
    return args, by_name, x


def _check_states(run: Run, chosen: dict[str, Any], x: Any) -> None:
    states = run.states
    called = {state.cut for state in states}
    for name in chosen:
        if name not in called:
            raise ValueError(
                f"cut {name}: expected it to be called when the module runs, and it is not; leave "
                "it out of cuts"
            )
    for state, value in zip(states, run.values, strict=True):
        if state.shape[:1] != tuple(x.shape[:1]) or not state.shape or 0 in state.shape:
            raise ValueError(
                f"cut {state.name}: expected an output with the examples first, as in the inputs, "
                f"{tuple(x.shape)}, got shape {state.shape}; transformers and recurrent networks "
                "need batch_first=True"
            )
        if not np.isfinite(value).all():
            raise ValueError(
                f"cut {state.name}: expected an output of finite numbers, got inf or nan; make the "
                "weights smaller or the float wider"
            )


def _top(output: Any, ys: Any, loss: Any, cotangent: Any) -> tuple[Any, Any]:
    """Return the tensor to go down from, and its cotangent; None for that of a number."""
    if cotangent is not None:
        if not is_tensor(cotangent):
            got = type(cotangent).__name__
            raise TypeError(f"cotangent: expected a tensor like the output, got {got}")
        out = first_tensor(output)
        shape, given = None if out is None else tuple(out.shape), tuple(cotangent.shape)
        if shape != given:
            raise ValueError(f"cotangent: expected the shape of the output, {shape}, got {given}")
        if not out.requires_grad:
            raise ValueError(
                "cotangent: expected an output with a gradient, got a tensor without one; leave "
                "detach or item out of the module"
            )
        return out, cotangent.detach().to(out)
    if not callable(loss):
        got = type(loss).__name__
        raise TypeError(f"loss: expected a function loss(output, ys), got {got}")
    value, first = loss(output, ys), first_tensor(output)
    if is_tensor(value) and first is not None and tuple(value.shape) == tuple(first.shape[:1]):
        value = value.mean()
    if not is_tensor(value) or value.numel() != 1:
        shape = getattr(value, "shape", None)
        raise ValueError(
            "loss: expected loss(output, ys) to return a tensor with one number, or one for each "
            f"example, got {type(value).__name__ if shape is None else f'shape {tuple(shape)}'}"
        )
    if not value.requires_grad:
        raise ValueError(
            "loss: expected loss(output, ys) to have a gradient, got a tensor without one; compute "
            "it in torch, without detach or item"
        )
    return value, None

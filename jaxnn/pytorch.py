"""PyTorch: the flow of a module, which torch itself runs; and networks of Linear modules as ours.

How it is measured stands in `hooks.py`. Torch is never imported: the user has done so.
"""

import sys
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .chain_flow import ChainFlow, sizes_of_delta, smallest_of
from .compiled import compiled
from .hooks import (
    Pass,
    Rule,
    Run,
    State,
    agreed,
    check_paths,
    first_tensor,
    is_tensor,
    name_of_dtype,
    numbers_of,
    tensors_in,
)
from .layers import Layer
from .network import Network
from .restoring import unchanged
from .tasks import Task

NAMED = 8  # modules, at most, that an error message lists

ACTIVATIONS = {
    "Identity": "identity",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "ReLU": "relu",
    "LeakyReLU": "leaky_relu",
    "ELU": "elu",
    "SELU": "selu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "SiLU": "silu",
    "GELU": "gelu",
    "Mish": "mish",
    "Hardtanh": "hard_tanh",
    "ReLU6": "relu6",
}
# What they have to be set to, so that they are ours.
SETTINGS: dict[str, dict[str, Any]] = {
    "LeakyReLU": {"negative_slope": 0.01},
    "ELU": {"alpha": 1.0},
    "Softplus": {"beta": 1.0, "threshold": 20.0},
    "Hardtanh": {"min_val": -1.0, "max_val": 1.0},
}


def torch_flow(
    module: Any,
    inputs: Any,
    loss_or_cotangent: Any,
    cuts: Any = None,
) -> ChainFlow:
    """Return what happens to a gradient in a module of PyTorch, from cut to cut.

    Torch runs the module as it is, once, in the mode that it is in, and goes back two times or
    more. A training goes on as if nothing had been measured: parameters, their `.grad`, buffers,
    hooks and the random states of torch, NumPy and Python are left as they were, also after an
    error.

    Backward hooks of modules are taken off meanwhile: the gradient is that without them. Hooks that
    `forward` puts on tensors belong to the network, and see gradients scaled by powers of two, two
    times or more. Not undone is what `forward` keeps in plain attributes, writes into parameters or
    into inputs after the first, draws from a generator of its own, or assigns in TorchScript;
    forward hooks are called as in any call.

    Args:
        module: a torch.nn.Module.
        inputs: what it is called with: a tensor, a tuple of arguments, or a dict of them by name.
            The examples come first in the first tensor and in the output of each cut: transformers
            need `batch_first=True`.
        loss_or_cotangent: output -> a tensor with one number, such as a batch's mean loss; or a
            tensor like the output, or like the first tensor in it.
        cuts: modules, or their names: those whose outputs are the states. Everything has to pass
            through each of them in torch's graph: whole blocks, not what is inside a skip
            connection. Of an output with several tensors the first one is the state. If None, the
            children of a Sequential, where those without parameters, such as activations, join the
            next one that has some; or the children of `module.layers`, as of a TransformerEncoder.

    Returns:
        ChainFlow, for `jaxnn.verdict`, as of a chain: a layer for each call of a cut, in their
        order. `log_theta` is nan: Δθ is a sum over examples, which have different powers of two
        here. `log_delta_input` belongs to the first tensor of the inputs; it is nan if that has no
        floats, or enters at each step of a recurrent network. `mixes` is found where it matters,
        where exponents of their own make examples wrong. `linear` is True: what is found not to be
        linear is an error.

    Raises:
        TypeError: something that is no module of PyTorch, or neither a loss nor a cotangent.
        ValueError: no cuts that could be chosen, or an unknown one; a cut that is not called, has
            an output without a gradient or without the examples first, or is not reached by the
            gradient; one that something goes around, by name, whatever the numbers are; a gradient
            that something clips; a state that is inf or nan; a loss that is not one number, or a
            cotangent that does not fit.

    Example (where torch is installed):
        >>> import jaxnn
        >>> import torch  # doctest: +SKIP
        >>> block = torch.nn.TransformerEncoderLayer(
        ...     64, 4, 128, batch_first=True
        ... )  # doctest: +SKIP
        >>> model = torch.nn.TransformerEncoder(block, 4)  # doctest: +SKIP
        >>> xs, ys = torch.randn(2, 8, 16, 64)  # doctest: +SKIP
        >>> loss = lambda output: (output - ys).square().mean()  # doctest: +SKIP
        >>> flow = jaxnn.torch_flow(model, xs, loss)  # doctest: +SKIP
        >>> flow.names[0], flow.log_delta.shape  # doctest: +SKIP
        ('layers.0', (4,))
    """
    if not hasattr(module, "register_forward_hook") or "torch" not in sys.modules:
        raise TypeError(f"module: expected a torch.nn.Module, got {type(module).__name__}")
    torch = sys.modules["torch"]
    chosen = _chosen(module, cuts)
    run = Run()
    with torch.enable_grad(), unchanged(torch, module, tensors_in(inputs)), run.hooked(chosen):
        args, named, x = _entering(inputs)
        output = module(*args, **named)
        states = run.closed()
        _check_states(states, chosen, x)
        given, cotangent = _top(output, loss_or_cotangent)
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
    return _flow_of(states, found, mixes)


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
    if _is_a(module, "Sequential") and children:
        trained = [name for name, m in children.items() if next(m.parameters(), None) is not None]
        names = list(children)
        trailing = names[names.index(trained[-1]) + 1 :] if trained else names
        return {name: children[name] for name in trained + trailing}
    if _is_a(getattr(module, "layers", None), "ModuleList"):
        return {f"layers.{name}": layer for name, layer in module.layers.named_children()}
    raise ValueError(
        f"cuts: expected them for a {type(module).__name__}, which is no Sequential and has no "
        f"ModuleList `layers`: modules that everything passes through, or their names; it has "
        f"{_listed(children)}"
    )


def _is_a(module: Any, name: str) -> bool:
    """Tell a module of torch.nn, or of a subclass, by the name of its class."""
    return any(c.__name__ == name and _of_torch(c) for c in type(module).__mro__)


def _of_torch(kind: type) -> bool:
    return kind.__module__.startswith("torch.nn.")


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


def _check_states(states: list[State], chosen: dict[str, Any], x: Any) -> None:
    called = {state.cut for state in states}
    for name in chosen:
        if name not in called:
            raise ValueError(
                f"cut {name}: expected it to be called when the module runs, and it is not; leave "
                "it out of cuts"
            )
    for state in states:
        if state.shape[:1] != tuple(x.shape[:1]) or not state.shape or 0 in state.shape:
            raise ValueError(
                f"cut {state.name}: expected an output with the examples first, as in the inputs, "
                f"{tuple(x.shape)}, got shape {state.shape}; transformers and recurrent networks "
                "need batch_first=True"
            )
        if not np.asarray(state.signal["log_mean_square"]) < np.inf:
            raise ValueError(
                f"cut {state.name}: expected an output of finite numbers, got inf or nan; make the "
                "weights smaller or the float wider"
            )


def _top(output: Any, loss_or_cotangent: Any) -> tuple[Any, Any]:
    """Return the tensor to go down from, and its cotangent; None for that of a number."""
    if is_tensor(loss_or_cotangent):
        out = first_tensor(output)
        shape, given = None if out is None else tuple(out.shape), tuple(loss_or_cotangent.shape)
        if shape != given:
            raise ValueError(f"cotangent: expected the shape of the output, {shape}, got {given}")
        if not out.requires_grad:
            raise ValueError(
                "cotangent: expected an output with a gradient, got a tensor without one; leave "
                "detach or item out of the module"
            )
        return out, loss_or_cotangent.detach().to(out)
    if not callable(loss_or_cotangent):
        raise TypeError(
            "loss_or_cotangent: expected a function of the output or a tensor like it, got "
            f"{type(loss_or_cotangent).__name__}"
        )
    value = loss_or_cotangent(output)
    if not is_tensor(value) or value.numel() != 1:
        got = getattr(value, "shape", None)
        raise ValueError(
            "loss: expected loss(output) to return a tensor with one number, got "
            f"{type(value).__name__ if got is None else f'shape {tuple(got)}'}; take the mean"
        )
    if not value.requires_grad:
        raise ValueError(
            "loss: expected loss(output) to have a gradient, got a tensor without one; compute it "
            "in torch, without detach or item"
        )
    return value, None


def _flow_of(states: list[State], found: Pass, mixes: np.ndarray) -> ChainFlow:
    dtypes = [state.dtype for state in states]
    double = any(d.itemsize == 8 for d in dtypes)
    dtype = jax.dtypes.canonicalize_dtype(np.float64 if double else np.float32)
    signal = {
        name: np.stack([state.signal[name] for state in states]).astype(dtype)
        for name in states[0].signal
    }
    rows = (
        found.exponent.astype(np.int32),
        found.largest.astype(dtype),
        np.square(found.norm).astype(dtype),
    )
    return ChainFlow(
        **_fields(*rows, found.reached[0], signal, mixes, smallest_of(dtypes)),
        names=tuple(state.name for state in states),
        sizes=tuple(int(np.prod(state.shape[1:])) for state in states),
        dtype=smallest_of(dtypes),
    )


@compiled
def _fields(
    exponent: Any, largest: Any, square: Any, has_input: Any, signal: Any, mixes: Any, dtype: Any
) -> dict[str, Any]:
    """Return the arrays of a flow; row 0 of the first three is the input, if there is Δ of it."""
    sizes = sizes_of_delta(exponent, largest, square, dtype)
    return {
        **{name: v[1:] for name, v in sizes.items()},
        **signal,
        "log_delta_input": jnp.where(has_input, sizes["log_delta"][0], jnp.nan),
        "log_theta": jnp.full(len(mixes), jnp.nan, sizes["log_delta"].dtype),
        "mixes": mixes,
        "linear": jnp.ones(len(mixes), bool),
    }


# Networks


def from_torch(module: Any, task: str | Task = "regression") -> tuple[Network, tuple[Layer, ...]]:
    """Convert a Sequential of Linear modules with one activation between them.

    Args:
        module: a torch.nn.Sequential of Linear, activation, Linear, …, Linear. The activation is
            the same throughout, one of torch's that is in `jaxnn.ACTIVATIONS`; none at all is
            the identity. What follows the last Linear belongs to the task.
        task: regression, binary or multiclass, see `jaxnn.TASKS`.

    Returns:
        net: the network.
        params: copies of its parameters, of NumPy: θ[i] is the transpose of `weight`, b[i] is
            `bias`, or zeros if there is none.

    Raises:
        TypeError: something that is no Sequential.
        ValueError: a child that does not fit, by name.

    Example (where torch is installed):
        >>> import jaxnn
        >>> import torch  # doctest: +SKIP
        >>> model = torch.nn.Sequential(
        ...     torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)
        ... )  # doctest: +SKIP
        >>> net, params = jaxnn.from_torch(model, task="binary")  # doctest: +SKIP
        >>> net  # doctest: +SKIP
        Network(sizes=(3, 4, 1), activation='tanh', task='binary')
    """
    if not _is_a(module, "Sequential"):
        raise TypeError(
            f"module: expected a torch.nn.Sequential, got {type(module).__name__}; "
            "jaxnn.torch_flow measures any module"
        )
    linears: list[tuple[str, Any]] = []
    activations: list[tuple[str, str]] = []
    before = "an activation"
    for name, child in module.named_modules(remove_duplicate=False):
        if not name or "." in name:
            continue
        if _of_torch(type(child)) and type(child).__name__ == "Linear":
            if before == "Linear":
                activations.append((name, "identity"))
            linears.append((name, child))
            before = "Linear"
            continue
        if before != "Linear":
            raise _misfit(name, child, "Linear")
        activations.append((name, _activation_of(name, child)))
        before = "an activation"
    if before != "Linear":
        last = (
            f"ends with {activations[-1][0]}, {activations[-1][1]}" if activations else "is empty"
        )
        raise ValueError(
            f"module: expected a Linear at the end, and it {last}; what follows the last Linear "
            "belongs to the task"
        )
    for name, activation in activations:
        if activation != activations[0][1]:
            raise ValueError(
                f"child {name}: expected {activations[0][1]} before it, the one activation of the "
                f"network, got {activation}"
            )
    for (_, below), (name, above) in pairwise(linears):
        if below.out_features != above.in_features:
            raise ValueError(
                f"child {name}: expected in_features={below.out_features}, as come out below, got "
                f"{above.in_features}"
            )
    params = tuple(_layer(linear) for _, linear in linears)
    sizes = (len(params[0].theta), *(len(layer.b) for layer in params))
    return Network(sizes, activations[0][1] if activations else "identity", task), params


def _activation_of(name: str, child: Any) -> str:
    kind = type(child).__name__
    if not _of_torch(type(child)) or kind not in ACTIVATIONS:
        raise _misfit(name, child, "Linear or an activation")
    for setting, expected in SETTINGS.get(kind, {}).items():
        if getattr(child, setting) != expected:
            raise ValueError(
                f"child {name}: expected a {kind} with {setting}={expected}, got "
                f"{getattr(child, setting)}"
            )
    return "gelu_tanh" if getattr(child, "approximate", "none") == "tanh" else ACTIVATIONS[kind]


def _misfit(name: str, child: Any, expected: str) -> ValueError:
    return ValueError(
        f"child {name}: expected {expected}, got {type(child).__name__}; jaxnn.torch_flow measures "
        "any module"
    )


def _layer(linear: Any) -> Layer:
    theta = _values(linear.weight).T.copy()  # a copy, and in the order of rows
    bias: Any = linear.bias
    return Layer(theta, np.zeros_like(theta[0]) if bias is None else _values(bias))


def _values(tensor: Any) -> Any:
    return numbers_of(tensor).astype(jnp.dtype(name_of_dtype(tensor)))

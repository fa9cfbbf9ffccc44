"""Networks of PyTorch's Linear modules as ours. Torch is never imported: the user has done so."""

from itertools import pairwise
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..network.activations import ACTIVATIONS
from ..network.network import Network
from ..network.params import Layer
from .tensors import is_a, name_of_dtype, numbers_of, of_torch
from .types import Module, Tensor

# What torch's activations have to be set to, so that they are ours.
SETTINGS: dict[str, dict[str, Any]] = {
    "LeakyReLU": {"negative_slope": 0.01},
    "ELU": {"alpha": 1.0},
    "Softplus": {"beta": 1.0, "threshold": 20.0},
    "Hardtanh": {"min_val": -1.0, "max_val": 1.0},
}


def from_torch(module: Module) -> tuple[Network, tuple[Layer, ...]]:
    """Convert a Sequential of Linear, activation, Linear, …, Linear to a Network with its params.

    The activations are those of torch that are in `jaxnn.network.ACTIVATIONS`, none at all the
    identity. What follows the last Linear belongs to the task, which is regression;
    `dataclasses.replace(net, task="binary")` has another. θ[i] is the transpose of `weight`, b[i]
    is `bias`, or zeros if there is none. What does not fit is an error, by name.
    """
    if not is_a(module, "Sequential"):
        raise TypeError(
            f"module: expected a torch.nn.Sequential, got {type(module).__name__}; "
            "jaxnn.gradient_flow measures any module"
        )
    linears: list[tuple[str, Any]] = []
    activations: list[tuple[str, str]] = []
    before = "an activation"
    for name, child in module.named_modules(remove_duplicate=False):
        if not name or "." in name:
            continue
        if of_torch(type(child)) and type(child).__name__ == "Linear":
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
    for (_, below), (name, above) in pairwise(linears):
        if below.out_features != above.in_features:
            raise ValueError(
                f"child {name}: expected in_features={below.out_features}, as come out below, got "
                f"{above.in_features}"
            )
    params = tuple(_layer(linear) for _, linear in linears)
    sizes = (len(params[0].theta), *(len(layer.b) for layer in params))
    return Network(sizes, [activation for _, activation in activations], "regression"), params


def _activation_of(name: str, child: Module) -> str:
    kind = type(child).__name__
    ours = {name.replace("_", ""): name for name in ACTIVATIONS}.get(kind.lower())
    if not of_torch(type(child)) or ours is None:
        raise _misfit(name, child, "Linear or an activation")
    for setting, expected in SETTINGS.get(kind, {}).items():
        if getattr(child, setting) != expected:
            raise ValueError(
                f"child {name}: expected a {kind} with {setting}={expected}, got "
                f"{getattr(child, setting)}"
            )
    return "gelu_tanh" if getattr(child, "approximate", "none") == "tanh" else ours


def _misfit(name: str, child: Module, expected: str) -> ValueError:
    return ValueError(
        f"child {name}: expected {expected}, got {type(child).__name__}; "
        "jaxnn.gradient_flow measures any module"
    )


def _layer(linear: Module) -> Layer:
    theta = _values(linear.weight).T.copy()  # a copy, and in the order of rows
    bias: Any = linear.bias
    return Layer(theta, np.zeros_like(theta[0]) if bias is None else _values(bias))


def _values(tensor: Tensor) -> Any:
    return numbers_of(tensor).astype(jnp.dtype(name_of_dtype(tensor)))

"""The networks in PyTorch, the packages that initialise them there, and their training by torch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional as f

from experiments.remedies.rivals.networks import CLASSES, Network, Params

LOSS = f.cross_entropy
UNITS = {
    "softplus": f.softplus,
    "mish": f.mish,
    "hard tanh": f.hardtanh,
    "selu": f.selu,
    "celu": f.celu,
    "leaky relu": lambda z: f.leaky_relu(z, 0.2),
    "relu6": f.relu6,
    "softsign": f.softsign,
    "arctan": torch.atan,
    "sine": torch.sin,
    "log-sigmoid": f.logsigmoid,
    "hard swish": f.hardswish,
    "hard sigmoid": lambda z: (z / 6 + 0.5).clamp(0, 1),
    "squareplus": lambda z: (z + (z * z + 4).sqrt()) / 2,
    "relu": f.relu,
    "tanh": torch.tanh,
    "swish": f.silu,
    "elu": f.elu,
}


class _Units(torch.nn.Module):
    def __init__(self, units: str) -> None:
        super().__init__()
        self.units = units

    def forward(self, z: torch.Tensor) -> Any:
        return UNITS[self.units](z)


class _Residual(torch.nn.Module):
    def __init__(self, branch: torch.nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, z: torch.Tensor) -> Any:
        return z + self.branch(z)


def built(of: Network, layers: list[Params]) -> torch.nn.Sequential:
    """Return a module."""
    made = [_linear(p) for p in layers]
    blocks = [torch.nn.Sequential(_Units(of.units), one) for one in made[1:]]
    inner = [_Residual(one) if of.skip else one for one in blocks[:-1]]
    return torch.nn.Sequential(made[0], *inner, blocks[-1])


def _linear(p: Params) -> torch.nn.Linear:
    made = torch.nn.Linear(*p["w"].shape)
    with torch.no_grad():
        made.weight.copy_(torch.tensor(p["w"].T))
        made.bias.copy_(torch.tensor(p["b"]))
    return made


def _params(module: torch.nn.Module) -> Params:
    linear = [one for one in module.modules() if isinstance(one, torch.nn.Linear)]
    listed = [
        {"w": one.weight.detach().numpy().T.copy(), "b": one.bias.detach().numpy().copy()}
        for one in linear
    ]
    first, *blocks, head = listed
    stacked = {k: np.stack([p[k] for p in blocks]) for k in ("w", "b")}
    return {"first": first, "blocks": stacked, "head": head}


def anyinit(of: Network, layers: list[Params], xs: np.ndarray, ys: np.ndarray) -> Params:
    """Return what the package anyinit makes of a network, by measurement."""
    import anyinit as package

    module = built(of, layers)
    package.initialize(module, "empirical", torch.tensor(xs))
    return _params(module)


STEPS, RATE = 200, 0.01


def gradinit(of: Network, layers: list[Params], xs: np.ndarray, ys: np.ndarray) -> Params:
    """Return what the package gradinit makes of a network: factors learned by Adam."""
    from gradinit import GradInitWrapper

    module, x, y = built(of, layers), torch.tensor(xs[:64]), torch.tensor(ys[:64]).long()
    with GradInitWrapper(module) as wrapper:
        optimiser = torch.optim.Adam(module.parameters(), lr=RATE)
        for _ in range(STEPS):
            loss = f.cross_entropy(module(x)[:, :CLASSES], y)
            optimiser.zero_grad()
            wrapper.grad_loss(loss, norm=2).backward()
            optimiser.step()
            wrapper.clamp_scales()
    return _params(module)


def trained(
    module: torch.nn.Module,
    states: list[Mapping[str, torch.Tensor]],
    rates: list[float],
    rows: np.ndarray,
    data: tuple[np.ndarray, np.ndarray],
    points: tuple[int, ...],
) -> np.ndarray:
    """Return the accuracy of each state dict with its step size after some steps of Adam.

    Args:
        module: with hooks, if its structure was changed.
        states: of the K networks that are trained side by side.
        rates: of each.
        rows: the examples of each step, (K, S, b).
        data: all examples and labels.
        points: steps.
    """
    names = [name for name, p in module.named_parameters() if p.requires_grad]
    p = {name: torch.stack([s[name].detach() for s in states]) for name in names}
    x, y = torch.tensor(data[0]), torch.tensor(data[1]).long()

    def loss(p: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
        return f.cross_entropy(torch.func.functional_call(module, p, (x,)), y)

    gradient = torch.func.vmap(torch.func.grad(loss))
    m, v = ({k: torch.zeros_like(w) for k, w in p.items()} for _ in range(2))
    made, chosen = [], torch.tensor(rows)
    for step in range(1, points[-1] + 1):
        batch = chosen[:, step - 1]
        g = gradient(p, x[batch], y[batch])
        for k, w in p.items():
            m[k] = 0.9 * m[k] + 0.1 * g[k]
            v[k] = 0.999 * v[k] + 0.001 * g[k] ** 2
            eta = torch.tensor(rates).view(-1, *[1] * (w.ndim - 1))
            update = eta * (m[k] / (1 - 0.9**step)) / ((v[k] / (1 - 0.999**step)).sqrt() + 1e-8)
            p[k] = w - update
        if step in points:
            with torch.no_grad():
                out = [
                    torch.func.functional_call(module, {k: w[i] for k, w in p.items()}, (x,))
                    for i in range(len(states))
                ]
            made.append([float((o.argmax(1) == y).double().mean()) for o in out])
    return np.array(made).T


def given(xs: np.ndarray, ys: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return examples and their classes as torch takes them."""
    return torch.tensor(xs), torch.tensor(ys).long()

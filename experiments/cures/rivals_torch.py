"""The rivals: what other initialisations, norms and packages make of a dense network in PyTorch.

anyinit and LSUV by the packages of these names; GradInit by a package of that name, which is not
its authors': Adam learns a factor on each parameter. While the norm of the gradient is above 1, it
lowers that, else the loss.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from experiments.cures.dense import IllDense

EXAMPLES, OF_GRADINIT = 256, 64  # that they are made with
STEPS, RATE = 200, 0.01  # of GradInit
LIKE_RELU = 2**0.5  # the gain that is recommended for relu
GAINS = {"tanh": 5 / 3, "hard tanh": 5 / 3, "softsign": 5 / 3, "arctan": 5 / 3, "sine": 5 / 3}
GAINS |= {"hard sigmoid": 1.0, "selu": 3 / 4, "log-sigmoid": 1.0}
NORM, RESIDUAL = "with a norm", "residual with a norm"
PACKAGES = {"LSUV": "lsuv", "anyinit": "anyinit", "GradInit": "gradinit"}


def names() -> list[str]:
    """Return the rivals that are installed."""
    return [n for n in CHANGES if n not in PACKAGES or importlib.util.find_spec(PACKAGES[n])]


def made(of: IllDense, seed: int, rival: str) -> dict[str, Any]:
    """Return what `jaxnn.diagnose` takes, of a network as a rival makes it."""
    if rival in (NORM, RESIDUAL):
        of = of._replace(norm=True, skip=of.skip or rival == RESIDUAL)
    given = of.built("torch", seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        CHANGES[rival](of, given["model"], given["xs"][:EXAMPLES], given["ys"][:EXAMPLES])
    return given


Change = Callable[[IllDense, nn.Module, torch.Tensor, torch.Tensor], None]


def _drawn(draw: Callable[[IllDense, torch.Tensor], Any]) -> Change:
    """Return the change that draws all matrices, and sets all biases to 0."""

    def change(of: IllDense, module: nn.Module, *data: torch.Tensor) -> None:
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                draw(of, layer.weight)
                nn.init.zeros_(layer.bias)

    return change


def _lsuv(of: IllDense, module: nn.Module, xs: torch.Tensor, ys: torch.Tensor) -> None:
    from lsuv import lsuv_with_singlebatch

    lsuv_with_singlebatch(module, xs, verbose=False)


def _anyinit(of: IllDense, module: nn.Module, xs: torch.Tensor, ys: torch.Tensor) -> None:
    import anyinit

    anyinit.initialize(module, "empirical", xs)


def _gradinit(of: IllDense, module: nn.Module, xs: torch.Tensor, ys: torch.Tensor) -> None:
    from gradinit import GradInitWrapper

    x, y = xs[:OF_GRADINIT], ys[:OF_GRADINIT]
    with GradInitWrapper(module) as wrapper:
        optimiser = torch.optim.Adam(module.parameters(), lr=RATE)
        for _ in range(STEPS):
            loss = nn.functional.cross_entropy(module(x), y)
            optimiser.zero_grad()
            wrapper.grad_loss(loss, norm=2).backward()
            optimiser.step()
            wrapper.clamp_scales()


_he = _drawn(lambda of, w: nn.init.kaiming_normal_(w, nonlinearity="relu"))
CHANGES: dict[str, Change] = {
    "He": _he,
    "Glorot": _drawn(lambda of, w: nn.init.xavier_uniform_(w)),
    "orthogonal weights": _drawn(lambda of, w: nn.init.orthogonal_(w)),
    "orthogonal with gain": _drawn(
        lambda of, w: nn.init.orthogonal_(w, GAINS.get(of.units, LIKE_RELU))
    ),
    "LSUV": _lsuv,
    "anyinit": _anyinit,
    "GradInit": _gradinit,
    NORM: _he,
    RESIDUAL: _he,
}

"""anyinit's weights for the plain networks, of PyTorch as it takes them."""

from typing import Any

import anyinit
import torch

from experiments.cures.networks import BATCH
from jaxnn.curing.patients import OfTorch

MODES = "analytic", "empirical"


def by_anyinit(name: str, settings: Any, mode: str) -> OfTorch:
    """Return the same network of PyTorch as anyinit draws it, by theory or by measuring."""
    torch.manual_seed(settings.seed)
    n, units = settings.width, {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "ReLU"}
    units |= {"gelu": "GELU", "silu": "SiLU"}
    blocks = (
        torch.nn.Sequential(torch.nn.Linear(n, n), getattr(torch.nn, units[name])())
        for _ in range(settings.depth)
    )
    module = torch.nn.Sequential(*blocks)
    x, c = torch.randn(2, BATCH, n)
    anyinit.initialize(module, mode, (BATCH, n) if mode == "analytic" else x)
    options = {"loss": None, "cotangent": c, "cuts": None}
    return OfTorch(dict(module.named_parameters()), module, x, None, options)

"""Plain networks of PyTorch with the weights of anyinit, measured by jaxnn."""

from typing import Any

import anyinit
import torch

import jaxnn
from experiments.cures.networks import BATCH

ACTIVATIONS = {
    "sigmoid": torch.nn.Sigmoid,
    "tanh": torch.nn.Tanh,
    "relu": torch.nn.ReLU,
    "gelu": torch.nn.GELU,
    "silu": torch.nn.SiLU,
}


def measured(name: str, settings: Any) -> list[tuple[str, float, float]]:
    """Return mode, rate and whole change, in decades, by theory and by measuring."""
    found = []
    for mode in ("analytic", "empirical"):
        torch.manual_seed(settings.seed)
        n = settings.width
        module = torch.nn.Sequential(
            *(
                torch.nn.Sequential(torch.nn.Linear(n, n), ACTIVATIONS[name]())
                for _ in range(settings.depth)
            )
        )
        x, c = torch.randn(2, BATCH, n)
        anyinit.initialize(module, mode, (BATCH, n) if mode == "analytic" else x)
        judged = jaxnn.verdict(jaxnn.torch_flow(module, x, cotangent=c))
        found.append((mode, judged.decades, judged.total))
    return found

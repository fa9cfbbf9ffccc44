"""The dense networks in PyTorch."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from experiments.cures.dense import Arrays, IllDense

LOSS = nn.functional.cross_entropy
array = torch.tensor


class _Function(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.forward = function


UNITS: dict[str, Callable[[], nn.Module]] = {  # that torch.nn has under another name, or not
    "hard tanh": nn.Hardtanh,
    "hard swish": nn.Hardswish,
    "hard sigmoid": nn.Hardsigmoid,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky relu": partial(nn.LeakyReLU, 0.2),
    "log-sigmoid": nn.LogSigmoid,
    "swish": nn.SiLU,
    "arctan": partial(_Function, torch.atan),
    "sine": partial(_Function, torch.sin),
    "squareplus": partial(_Function, lambda z: (z + (z * z + 4).sqrt()) / 2),
} | {name.lower(): getattr(nn, name) for name in ("Softplus", "Mish", "Softsign", "Tanh")}
UNITS |= {name.lower(): getattr(nn, name) for name in ("SELU", "CELU", "ELU")}


class _Residual(nn.Module):
    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, z: torch.Tensor) -> Any:
        return z + self.branch(z)


def built(of: IllDense, arrays: Arrays) -> nn.Sequential:
    """Return a module."""
    first, *linear = [nn.Linear(*w.shape) for w, _ in arrays]
    for layer, (w, b) in zip([first, *linear], arrays, strict=True):
        layer.weight.data, layer.bias.data = torch.tensor(w.T), torch.tensor(b)
    norms = [nn.LayerNorm(of.width)] if of.norm else []
    blocks = [nn.Sequential(*norms, UNITS[of.units](), layer) for layer in linear]
    inner = [_Residual(block) if of.skip else block for block in blocks[:-1]]
    return nn.Sequential(first, *inner, blocks[-1])

"""The networks in PyTorch: its own layers, as it draws them."""

from typing import Any

import torch
from torch import nn

from experiments.cures import recipes
from experiments.cures.recipes import HEADS, Parts, Recipe

UNITS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


def arguments(made: Recipe, seed: int) -> dict[str, Any]:
    """Return what `jaxnn.diagnose` takes: a Sequential, its data and the cotangent."""
    torch.manual_seed(seed)
    xs, c = map(torch.tensor, recipes.data(made, seed, channels_last=False))
    model = nn.Sequential(*map(_layer, made.layers))
    cuts = "0.cell" if made.is_recurrent else None
    return {"model": model, "xs": xs, "cotangent": c, "cuts": cuts}


def _layer(parts: Parts) -> nn.Module:
    made = [_part(part) for part in parts]
    return made[0] if len(made) == 1 else nn.Sequential(*made)


def _part(part: recipes.Part) -> nn.Module:
    match part:
        case recipes.Linear(n, m):
            return nn.Linear(n, m)
        case recipes.Convolution(n):
            return nn.Conv2d(n, n, 3, padding=1)
        case recipes.Units(name):
            return UNITS[name]()
        case recipes.LayerNorm(n):
            return nn.LayerNorm(n)
        case recipes.BatchNorm(n):
            return nn.BatchNorm2d(n)
        case recipes.Attention(n):
            return _Attention(n)
        case recipes.AcrossTokens(parts):
            return _AcrossTokens(_layer(parts))
        case recipes.Residual(parts):
            return _Residual(_layer(parts))
        case recipes.Lstm(n):
            return _Lstm(n)


class _Attention(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(n, HEADS, batch_first=True)

    def forward(self, x: torch.Tensor) -> Any:
        return self.attend(x, x, x, need_weights=False)[0]


class _AcrossTokens(nn.Module):
    def __init__(self, parts: nn.Module) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, x: torch.Tensor) -> Any:
        return self.parts(x.transpose(1, 2)).transpose(1, 2)


class _Residual(nn.Module):
    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: torch.Tensor) -> Any:
        return x + self.branch(x)


class _Lstm(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(n, n)

    def forward(self, xs: torch.Tensor) -> Any:
        h = c = xs.new_zeros(len(xs), xs.shape[-1])
        for x in xs.unbind(1):
            h, c = self.cell(x, (h, c))
        return h

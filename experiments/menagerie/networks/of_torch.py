"""Networks of layers of PyTorch."""

from typing import Any

import torch
from torch import nn


def dense(count: int) -> nn.Sequential:
    return nn.Sequential(*(layer for _ in range(count) for layer in (nn.Linear(8, 8), nn.Tanh())))


def convolutions() -> nn.Sequential:
    block = lambda n: (nn.Conv2d(n, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*block(3), *block(8), *block(8), nn.Flatten(), nn.Linear(32, 10))


def encoder(**options: Any) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)
    return nn.TransformerEncoder(layer, 4)


def bag() -> nn.Sequential:
    return nn.Sequential(nn.EmbeddingBag(20, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))


def normed() -> nn.Sequential:
    norm = nn.utils.parametrizations.weight_norm
    return nn.Sequential(*(layer for _ in range(4) for layer in (norm(nn.Linear(8, 8)), nn.GELU())))


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTMCell(8, 8), nn.Linear(8, 4)

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        h = c = xs.new_zeros(len(xs), 8)
        for x in xs.unbind(1):
            h, c = self.cell(x, (h, c))
        return self.head(h)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for attend in self.blocks:
            x = x + attend(x, x, x)[0]
        return x

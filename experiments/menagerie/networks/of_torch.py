"""Networks of layers of PyTorch."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm as weight_norm


def repeated(layers: Callable[[], tuple[nn.Module, ...]], count: int = 4) -> nn.Sequential:
    return nn.Sequential(*(layer for _ in range(count) for layer in layers()))


def convolutions() -> nn.Sequential:
    block = lambda n: (nn.Conv2d(n, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*block(3), *block(8), *block(8), nn.Flatten(), nn.Linear(32, 10))


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

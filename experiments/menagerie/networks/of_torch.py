"""Networks of PyTorch: `torch.nn`."""

import torch
from torch import nn

from experiments.menagerie import inputs


def _batch(xs: inputs.Batch) -> torch.Tensor:
    return torch.from_numpy(xs)


def arguments(model: nn.Module, xs: inputs.Batch, more: int = 0) -> inputs.Arguments:
    """Return a module with a batch, or with several equal ones for as many arguments."""
    return {"model": model, "xs": (1 + more) * (_batch(xs),) if more else _batch(xs)}


def _convolutions() -> inputs.Arguments:
    block = lambda n: (nn.Conv2d(n, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
    model = nn.Sequential(*block(3), *block(8), *block(8), nn.Flatten(), nn.Linear(32, 10))
    return arguments(model, inputs.images_channels_first())


def _encoder_norm_first() -> inputs.Arguments:
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=True)
    xs = {
        "src": _batch(inputs.sequences()),
        "mask": nn.Transformer.generate_square_subsequent_mask(6).bool(),
    }
    return {"model": nn.TransformerEncoder(layer, 4), "xs": xs}


def _dense(count: int) -> nn.Sequential:
    return nn.Sequential(*(layer for _ in range(count) for layer in (nn.Linear(8, 8), nn.Tanh())))


def _parametrized() -> inputs.Arguments:
    norm = nn.utils.parametrizations.weight_norm
    model = nn.Sequential(
        *(layer for _ in range(4) for layer in (norm(nn.Linear(8, 8)), nn.GELU()))
    )
    return arguments(model, inputs.vectors())


class _Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTMCell(8, 8), nn.Linear(8, 4)

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        h = c = xs.new_zeros(len(xs), 8)
        for x in xs.unbind(1):
            h, c = self.cell(x, (h, c))
        return self.head(h)


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for attend in self.blocks:
            x = x + attend(x, x, x)[0]
        return x


NETWORKS: inputs.Networks = {
    "sequential": ("nn.Sequential of Linear and Tanh", lambda: _dense(8), inputs.vectors),
    "convolutions": ("nn.Conv2d, BatchNorm2d, MaxPool2d", _convolutions),
    "encoder": (
        "nn.TransformerEncoder",
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 4),
        inputs.sequences,
    ),
    "encoder_norm_first": ("nn.TransformerEncoder, norm_first, with a mask", _encoder_norm_first),
    "decoder": (
        "nn.TransformerDecoder with its memory",
        lambda: arguments(
            nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 4),
            inputs.sequences(),
            1,
        ),
    ),
    "transformer": (
        "nn.Transformer",
        lambda: arguments(nn.Transformer(8, 2, 3, 3, 16, batch_first=True), inputs.sequences(), 1),
    ),
    "lstm": (
        "nn.LSTM of three layers",
        lambda: nn.LSTM(8, 8, 3, batch_first=True),
        inputs.sequences,
    ),
    "gru": (
        "nn.GRU, bidirectional",
        lambda: nn.GRU(8, 8, 2, batch_first=True, bidirectional=True),
        inputs.sequences,
    ),
    "lstm_cells": (
        "nn.LSTMCell in a loop",
        lambda: {"model": _Cells(), "xs": _batch(inputs.sequences()), "cuts": "cell"},
    ),
    "attention": ("nn.MultiheadAttention with skips", lambda: _Attention(), inputs.sequences),
    "compiled": (
        "torch.compile of nn.Sequential",
        lambda: torch.compile(_dense(4)),
        inputs.vectors,
    ),
    "embedding_bag": (
        "nn.EmbeddingBag and Linear",
        lambda: nn.Sequential(nn.EmbeddingBag(20, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)),
        inputs.tokens,
    ),
    "parametrized": ("nn.utils.parametrizations.weight_norm of Linear", _parametrized),
}

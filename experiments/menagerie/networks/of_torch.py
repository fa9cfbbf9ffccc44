"""Networks of PyTorch: `torch.nn`."""

from typing import Any

import torch
from torch import nn

from experiments.menagerie import inputs


def _batch(xs: Any) -> Any:
    return torch.from_numpy(xs)


def sequential() -> dict[str, Any]:
    """nn.Sequential of Linear and Tanh."""
    model = nn.Sequential(*(layer for _ in range(8) for layer in (nn.Linear(8, 8), nn.Tanh())))
    return {"model": model, "xs": _batch(inputs.vectors())}


def convolutions() -> dict[str, Any]:
    """nn.Conv2d, BatchNorm2d, MaxPool2d."""
    block = lambda n: (nn.Conv2d(n, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
    model = nn.Sequential(*block(3), *block(8), *block(8), nn.Flatten(), nn.Linear(32, 10))
    return {"model": model, "xs": _batch(inputs.images_channels_first())}


def encoder() -> dict[str, Any]:
    """nn.TransformerEncoder."""
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 4)
    return {"model": model, "xs": _batch(inputs.sequences())}


def encoder_norm_first() -> dict[str, Any]:
    """nn.TransformerEncoder, norm_first, with a mask."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=True)
    xs = {
        "src": _batch(inputs.sequences()),
        "mask": nn.Transformer.generate_square_subsequent_mask(6).bool(),
    }
    return {"model": nn.TransformerEncoder(layer, 4), "xs": xs}


def decoder() -> dict[str, Any]:
    """nn.TransformerDecoder with its memory."""
    model = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 4)
    return {"model": model, "xs": (_batch(inputs.sequences()), _batch(inputs.sequences()))}


def transformer() -> dict[str, Any]:
    """nn.Transformer."""
    model = nn.Transformer(8, 2, 3, 3, 16, batch_first=True)
    return {"model": model, "xs": (_batch(inputs.sequences()), _batch(inputs.sequences()))}


def lstm() -> dict[str, Any]:
    """nn.LSTM of three layers."""
    return {"model": nn.LSTM(8, 8, 3, batch_first=True), "xs": _batch(inputs.sequences())}


def gru() -> dict[str, Any]:
    """nn.GRU, bidirectional."""
    return {
        "model": nn.GRU(8, 8, 2, batch_first=True, bidirectional=True),
        "xs": _batch(inputs.sequences()),
    }


class _Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTMCell(8, 8), nn.Linear(8, 4)

    def forward(self, xs: Any) -> Any:
        h = c = xs.new_zeros(len(xs), 8)
        for x in xs.unbind(1):
            h, c = self.cell(x, (h, c))
        return self.head(h)


def lstm_cells() -> dict[str, Any]:
    """nn.LSTMCell in a loop."""
    return {"model": _Cells(), "xs": _batch(inputs.sequences()), "cuts": "cell"}


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(4))

    def forward(self, x: Any) -> Any:
        for attend in self.blocks:
            x = x + attend(x, x, x)[0]
        return x


def attention() -> dict[str, Any]:
    """nn.MultiheadAttention with skips."""
    return {"model": _Attention(), "xs": _batch(inputs.sequences())}


def compiled() -> dict[str, Any]:
    """torch.compile of nn.Sequential."""
    model = torch.compile(
        nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(8, 8), nn.Tanh())))
    )
    return {"model": model, "xs": _batch(inputs.vectors())}


def embedding_bag() -> dict[str, Any]:
    """nn.EmbeddingBag and Linear."""
    model = nn.Sequential(nn.EmbeddingBag(20, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    return {"model": model, "xs": _batch(inputs.tokens())}


def parametrized() -> dict[str, Any]:
    """nn.utils.parametrizations.weight_norm of Linear."""
    norm = nn.utils.parametrizations.weight_norm
    model = nn.Sequential(
        *(layer for _ in range(4) for layer in (norm(nn.Linear(8, 8)), nn.GELU()))
    )
    return {"model": model, "xs": _batch(inputs.vectors())}

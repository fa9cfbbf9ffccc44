"""Networks of PyTorch that are of no ordinary kind and ill, each with the mend of an expert."""

from typing import Any

import torch
from torch import nn

from experiments.cures.dense import digits

EXAMPLES, CLASSES, TOKENS, WIDTH = 512, 10, 8, 32


def _given(model: nn.Module, tokens: int = 1) -> dict[str, Any]:
    xs, ys = (torch.tensor(v[:EXAMPLES]) for v in digits())
    xs = xs if tokens == 1 else xs.reshape(len(xs), tokens, -1)
    return {"model": model, "xs": xs, "ys": ys, "loss": nn.functional.cross_entropy}


class Gated(nn.Module):
    """A block of a gMLP (arXiv:2105.08050): the half u times a product v along the tokens."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.norm, self.of_gate = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.space = nn.Linear(TOKENS, TOKENS)
        nn.init.zeros_(self.space.weight)
        nn.init.constant_(self.space.bias, bias)

    def forward(self, z: torch.Tensor) -> Any:
        u, v = nn.functional.gelu(self.up(self.norm(z))).chunk(2, -1)
        return self.down(u * self.space(self.of_gate(v).mT).mT)


def gmlp(seed: int, is_mended: bool) -> dict[str, Any]:
    """Spatial gates that start closed, in a stack without skips; the paper has a bias of 1."""
    torch.manual_seed(seed)
    blocks = [Gated(float(is_mended)) for _ in range(10)]
    head = nn.Flatten(), nn.Linear(TOKENS * WIDTH, CLASSES)
    return _given(nn.Sequential(nn.Linear(8, WIDTH), *blocks, *head), TOKENS)


def gains_of_zero(seed: int, is_mended: bool) -> dict[str, Any]:
    """Norms whose gains all start at 0, as only the last one of a residual branch should."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Linear(64, WIDTH)]
    for _ in range(8):
        norm = nn.LayerNorm(WIDTH)
        nn.init.constant_(norm.weight, float(is_mended))
        layers.append(nn.Sequential(norm, nn.ReLU(), nn.Linear(WIDTH, WIDTH)))
    return _given(nn.Sequential(*layers, nn.Linear(WIDTH, CLASSES)))


class Recurrent(nn.Module):
    """Steps over the pixels of a digit, two at a time."""

    def __init__(self, is_mended: bool) -> None:
        super().__init__()
        self.rnn, self.head = nn.RNN(2, 64, batch_first=True), nn.Linear(64, CLASSES)
        if is_mended:
            nn.init.orthogonal_(self.rnn.weight_hh_l0)
        else:
            nn.init.normal_(self.rnn.weight_hh_l0, std=0.5)

    def forward(self, xs: torch.Tensor) -> Any:
        return self.head(self.rnn(xs)[0][:, -1])


def recurrent(seed: int, is_mended: bool) -> dict[str, Any]:
    """Recurrent weights four times as large as those that keep a state: the steps are chaos."""
    torch.manual_seed(seed)
    return _given(Recurrent(is_mended), 32)

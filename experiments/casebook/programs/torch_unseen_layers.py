"""Unseen programs in PyTorch whose layers are at fault: activations, norms, states and spikes."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import rnn

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.torch_parts import Tensor, adam, sgd, tensors

cross_entropy = nn.CrossEntropyLoss()


class Motion(nn.Module):
    """Convolutions along time, and a mean over it."""

    def __init__(self, activation: nn.Module):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(
            *(nn.Conv1d(1, 16, 5, padding=2), activation, nn.Conv1d(16, 16, 5, padding=2)),
            *(activation, nn.Conv1d(16, 16, 5, padding=2), activation),
        )
        self.head = nn.Linear(16, 4)

    def forward(self, xs: Tensor) -> Tensor:
        return self.head(self.encoder(xs).mean(dim=-1))


def slope_of_one(is_cured: bool) -> Program:
    """A leaky relu whose first argument, its slope, is True, which was meant as inplace."""
    chance = torch.Generator().manual_seed(0)
    ys = torch.randint(0, 4, (1000,), generator=chance)
    phases = 6.3 * torch.rand(1000, 1, generator=chance)
    times = torch.arange(32.0)
    waves = torch.sin((0.3 + 0.3 * ys[:, None]) * times + phases)
    xs = (waves + 0.1 * torch.randn(waves.shape, generator=chance))[:, None]
    model = Motion(nn.LeakyReLU(inplace=True) if is_cured else nn.LeakyReLU(True))
    return Program(model, xs, ys, cross_entropy, adam(1e-2), data.accuracy, steps=150, every=10)


class Dropped(nn.Module):
    """A recurrent network through whose weights some are dropped; the letters of a window."""

    def __init__(self, letters: int, wraps: bool, size: int = 48):
        super().__init__()
        torch.manual_seed(0)
        self.wraps = wraps
        self.embedding = nn.Embedding(letters, size)
        self.into = nn.Linear(size, size)
        self.raw = nn.Parameter((torch.rand(size, size) - 0.5) / 4)
        self.head = nn.Linear(size, letters)

    def forward(self, xs: Tensor) -> Tensor:
        weights: Any = functional.dropout(self.raw, 0.1, self.training)
        weights = nn.Parameter(weights) if self.wraps else weights
        state = torch.zeros(len(xs), self.raw.shape[0])
        for letter in self.into(self.embedding(xs)).unbind(dim=1):
            state = torch.tanh(letter + state @ weights)
        return self.head(state)


def weights_wrapped_anew(is_cured: bool) -> Program:
    """Recurrent weights made a parameter anew in each pass, which no gradient leaves."""
    letters, _, known = data.text(6)
    xs = torch.from_numpy(letters[::2].copy()).long()
    model = Dropped(known, wraps=not is_cured)
    given = model, xs, xs[:, 2], cross_entropy, adam(3e-3), data.accuracy
    return Program(*given, batch=64, steps=300, every=20)


class Lengths(nn.Module):
    """A recurrent network over letters of different lengths, the longest first."""

    def __init__(self, letters: int, puts_back: bool, size: int = 32):
        super().__init__()
        torch.manual_seed(0)
        self.puts_back = puts_back
        self.embedding = nn.Embedding(letters + 1, size)
        self.inner = nn.GRU(size, size, batch_first=True)
        self.head = nn.Linear(size, letters)

    def forward(self, xs: Tensor) -> Tensor:
        lengths, order = (xs > 0).sum(dim=1).sort(descending=True)
        packed = rnn.pack_padded_sequence(self.embedding(xs[order]), lengths, batch_first=True)
        last = self.inner(packed)[1][0]
        return self.head(last[order.argsort()] if self.puts_back else last)


def sorted_and_not_put_back(is_cured: bool) -> Program:
    """Examples sorted by their length within the network, whose outputs stay in that order."""
    letters, following, known = data.text(8)
    lengths = torch.randint(2, 9, (len(letters),), generator=torch.Generator().manual_seed(0))
    xs = torch.from_numpy(letters.copy()).long() + 1
    xs = torch.where(torch.arange(8) < lengths[:, None], xs, 0)
    ys = torch.from_numpy(following.copy()).long().gather(1, lengths[:, None] - 1)[:, 0]
    given = Lengths(known, is_cured), xs, ys, cross_entropy, adam(1e-2), data.accuracy
    return Program(*given, batch=64, steps=200, every=10)


class Spiking(nn.Module):
    """Two layers of neurons that add up what comes in over ten steps, and fire above 1."""

    def __init__(self, has_surrogate: bool, size: int = 32):
        super().__init__()
        torch.manual_seed(0)
        self.has_surrogate = has_surrogate
        self.first, self.second = nn.Linear(64, size), nn.Linear(size, size)
        self.readout = nn.Linear(size, 10)

    def fired(self, potential: Tensor) -> Tensor:
        spikes = (potential > 1).float()
        if not self.has_surrogate:
            return spikes
        soft = torch.sigmoid(4 * (potential - 1))
        return spikes + soft - soft.detach()

    def forward(self, xs: Tensor) -> Tensor:
        below = above = torch.zeros(len(xs), self.second.in_features)
        total = torch.zeros(len(xs), 10)
        for _ in range(10):
            below = 0.8 * below + self.first(xs)
            spikes = self.fired(below)
            below = below - spikes.detach()
            above = 0.8 * above + 2 * self.second(spikes)
            spikes = self.fired(above)
            above = above - spikes.detach()
            total = total + self.readout(spikes)
        return total / 5


def spikes_without_a_surrogate(is_cured: bool) -> Program:
    """Neurons that fire or do not, with the slope of a step, which is 0."""
    xs, ys = tensors(data.digits())
    given = Spiking(is_cured), xs, ys, cross_entropy, adam(1e-2), data.accuracy
    return Program(*given, batch=64, steps=120, every=10)


class FrozenNorm(nn.Module):
    """A batch norm with fixed statistics and parameters, meant for weights that are loaded."""

    def __init__(self, channels: int):
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("mean", 0.0), ("variance", 1.0)):
            self.register_buffer(name, torch.full((channels, 1, 1), value))

    def forward(self, xs: Tensor) -> Tensor:
        scale = self.weight * (self.variance + 1e-5).rsqrt()
        return xs * scale + (self.bias - self.mean * scale)


def norms_frozen_from_scratch(is_cured: bool) -> Program:
    """Frozen batch norms in a network that is drawn, not loaded: they do nothing at all."""
    xs, ys = tensors(data.images())
    torch.manual_seed(0)
    norm = nn.BatchNorm2d if is_cured else FrozenNorm
    blocks = [
        module
        for n in (1, *[12] * 13)
        for module in (nn.Conv2d(n, 12, 3, padding=1, bias=False), norm(12), nn.ReLU())
    ]
    model = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 10))
    given = model, xs, ys, cross_entropy, sgd(0.05, momentum=0.9), data.accuracy
    return Program(*given, steps=100, every=10)


class Rows(nn.Module):
    """A cell that reads the rows of an image, and the last of its states."""

    def __init__(self, appends: bool, size: int = 32):
        super().__init__()
        torch.manual_seed(0)
        self.appends = appends
        self.cell = nn.GRUCell(8, size)
        self.head = nn.Linear(size, 10)

    def forward(self, xs: Tensor) -> Tensor:
        state = torch.zeros(len(xs), self.cell.hidden_size)
        states: list[Tensor] = []
        for row in xs.unbind(dim=1):
            state = self.cell(row, state)
            states = [*states, state] if self.appends else [state, *states]
        return self.head(torch.stack(states, dim=1)[:, -1])


def states_in_reverse_order(is_cured: bool) -> Program:
    """States put in front of those before, so that the last one in the list is the first."""
    xs, ys = tensors(data.digits())
    given = Rows(is_cured), xs.reshape(-1, 8, 8), ys, cross_entropy, adam(1e-2), data.accuracy
    return Program(*given, steps=120)

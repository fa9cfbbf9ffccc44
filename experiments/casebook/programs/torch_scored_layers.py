"""Once blind programs in PyTorch whose layers are at fault: norms, attention, dropout, states."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.torch_parts import Tensor, adam, tensors

cross_entropy = nn.CrossEntropyLoss()


def statistics_at_rest(is_cured: bool) -> Program:
    """Batch norms with a momentum of 0, which TensorFlow counts the other way round."""
    xs, ys = tensors(data.images(is_scaled=False))
    torch.manual_seed(0)
    momentum = 0.1 if is_cured else 0.0
    sizes = (1, 8, 16)
    convolutions = [
        module
        for n, m in pairwise(sizes)
        for module in (
            nn.Conv2d(n, m, 3, bias=False), nn.BatchNorm2d(m, momentum=momentum), nn.ReLU()
        )
    ]  # fmt: skip
    model = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(256, 10))
    return Program(model, xs, ys, cross_entropy, adam(3e-3), data.accuracy, steps=100)


class Interactions(nn.Module):
    """Pixels as fields with a vector each, which attend to each other, and dropout."""

    def __init__(self, knows_its_mode: bool, size: int = 16):
        super().__init__()
        torch.manual_seed(0)
        self.knows_its_mode = knows_its_mode
        self.vectors = nn.Parameter(torch.randn(64, size) / 4)
        self.places = nn.Parameter(torch.randn(64, size) / 4)
        self.queries, self.keys = (nn.Linear(size, size) for _ in range(2))
        self.head = nn.Sequential(nn.Linear(size, 32), nn.ReLU())
        self.last = nn.Linear(32, 10)

    def forward(self, xs: Tensor) -> Tensor:
        states = xs[:, :, None] * self.vectors + self.places
        scores = self.queries(states) @ self.keys(states).transpose(1, 2) / 4
        weights = self.dropped(torch.softmax(scores, dim=-1))
        pooled = torch.relu(weights @ states + states).sum(dim=1) / 8
        return self.last(self.dropped(self.head(self.dropped(pooled))))

    def dropped(self, states: Tensor) -> Tensor:
        drops = self.training or not self.knows_its_mode
        return functional.dropout(states, p=0.5, training=drops)


def dropped_when_asked_too(is_cured: bool) -> Program:
    """Dropout of a function that is not told whether the network trains or answers."""
    xs, ys = tensors(data.digits())
    given = Interactions(is_cured), xs, ys, cross_entropy, adam(1e-2), data.accuracy
    return Program(*given, batch=64, steps=200, every=10)


class Queried(nn.Module):
    """Letters with padding behind them, which a learned query for each class attends to."""

    def __init__(self, letters: int, length: int, sees_padding: bool, size: int = 32):
        super().__init__()
        torch.manual_seed(0)
        self.sees_padding = sees_padding
        self.embedding = nn.Embedding(letters + 1, size)
        self.places = nn.Parameter(0.5 * torch.randn(length, size))
        self.keys, self.values = nn.Linear(size, size), nn.Linear(size, size)
        self.queries = nn.Parameter(torch.randn(8, size))
        self.head = nn.Sequential(nn.Linear(8 * size, 64), nn.ReLU(), nn.Linear(64, letters))

    def forward(self, xs: Tensor) -> Tensor:
        states = self.embedding(xs) + self.places
        is_seen = (xs == 0) if self.sees_padding else (xs > 0)
        queries = self.queries.expand(len(xs), -1, -1)
        attended = functional.scaled_dot_product_attention(
            queries, self.keys(states), self.values(states), attn_mask=is_seen[:, None, :]
        )
        return self.head(attended.flatten(1))


def attention_to_the_padding(is_cured: bool) -> Program:
    """A mask that says where the padding is, given to what asks for the letters."""
    letters, following, known = data.text(10)
    lengths = torch.randint(3, 10, (len(letters),), generator=torch.Generator().manual_seed(0))
    xs = torch.from_numpy(letters.copy()).long() + 1
    xs = torch.where(torch.arange(10) < lengths[:, None], xs, 0)
    ys = torch.from_numpy(following.copy()).long().gather(1, lengths[:, None] - 1)[:, 0]
    model = Queried(known, 10, sees_padding=not is_cured)
    given = model, xs, ys, cross_entropy, adam(3e-3), data.accuracy
    return Program(*given, batch=128, steps=200, every=10)


class Chosen(nn.Module):
    """Six images, weighed by a network that sees which of them is marked, and added up."""

    def __init__(self, axis: int, size: int = 32):
        super().__init__()
        torch.manual_seed(0)
        self.axis = axis
        self.attention = nn.Sequential(nn.Linear(65, 16), nn.Tanh(), nn.Linear(16, 1))
        self.values = nn.Linear(65, size)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(size, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, xs: Tensor) -> Tensor:
        weights = torch.softmax(self.attention(xs), dim=self.axis)  # (B, 6, 1)
        return self.head((weights * self.values(xs)).sum(dim=1))


def weights_that_are_all_one(is_cured: bool) -> Program:
    """Attention whose softmax goes along the axis that has one number."""
    images, labels = tensors(data.digits())
    generator = torch.Generator().manual_seed(0)
    six = torch.randint(0, len(images), (4000, 6), generator=generator)
    marked = torch.randint(0, 6, (4000,), generator=generator)
    marks = 3 * functional.one_hot(marked, 6).float()[:, :, None]
    xs = torch.cat([images[six], marks], dim=-1)
    ys = labels[six.gather(1, marked[:, None])[:, 0]]
    model = Chosen(axis=1 if is_cured else 2)
    given = model, xs, ys, cross_entropy, adam(1e-2), data.accuracy
    return Program(*given, batch=128, steps=300, every=20)


def convolutions_around_one(is_cured: bool) -> Program:
    """Convolutions drawn with the mean that is meant for the scales of batch norms."""
    xs, ys = tensors(data.images())
    torch.manual_seed(0)
    convolutions = [
        module
        for n, m in ((1, 8), (8, 16), (16, 16))
        for module in (nn.Conv2d(n, m, 3, stride=2, padding=1), nn.LeakyReLU(0.2))
    ]
    for module in convolutions[::2]:
        nn.init.normal_(module.weight, 0.0 if is_cured else 1.0, 0.1 if is_cured else 0.02)
    model = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(16, 10))
    return Program(model, xs, ys, cross_entropy, adam(3e-3), data.accuracy, steps=120)


class Reading(nn.Module):
    """A cell that reads the rows of an image one after the other."""

    def __init__(self, hands_on: bool, size: int = 32):
        super().__init__()
        torch.manual_seed(0)
        self.hands_on = hands_on
        self.recurrent = nn.LSTM(8, size, batch_first=True)
        self.head = nn.Linear(size, 10)

    def forward(self, xs: Tensor) -> Tensor:
        state = None
        for row in xs.split(1, dim=1):
            out, after = self.recurrent(row, state)
            state = after if self.hands_on else None
        return self.head(out[:, 0])


def state_never_handed_on(is_cured: bool) -> Program:
    """A recurrent network that starts from nothing at each of its steps."""
    xs, ys = tensors(data.digits())
    given = Reading(is_cured), xs.reshape(-1, 8, 8), ys, cross_entropy, adam(1e-2), data.accuracy
    return Program(*given, steps=120)

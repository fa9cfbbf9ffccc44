"""Programs in PyTorch whose layers are at fault."""

from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import rnn

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.torch_parts import (
    Seeded,
    Tensor,
    adam,
    classified,
    column,
    dense,
    sgd,
    tensors,
    windows,
)


class Remembering(nn.Module):
    """A recurrent network, and outputs at the end of a sequence."""

    def __init__(self, recurrent: nn.RNNBase, outputs: int = 1):
        super().__init__()
        self.recurrent = recurrent
        self.head = nn.Linear(recurrent.hidden_size, outputs)

    def forward(self, xs: Tensor) -> Tensor:
        states, _ = self.recurrent(xs)
        return self.head(states[:, -1])


def examples_as_time(is_cured: bool) -> CaseProgram:
    """A recurrent network that takes the examples of a batch for steps in time."""
    xs, ys = tensors(data.digits())
    torch.manual_seed(0)
    model = Remembering(nn.LSTM(8, 32, batch_first=is_cured), 10)
    return classified((xs.reshape(-1, 8, 8), ys), model, adam(1e-2), steps=80)


def bits_to_bits(is_cured: bool) -> CaseProgram:
    """Three layers of sigmoids with small weights."""
    bits = torch.arange(256)[:, None] // 2 ** torch.arange(8) % 2
    ys = torch.stack([bits[:, 0], *(bits[:, i] ^ bits[:, i - 1] for i in range(1, 8))], dim=1)
    act = nn.ReLU if is_cured else nn.Sigmoid
    model = dense((8, 32, 32, 8), nn.Sigmoid(), act=act)
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=0.2)
    given = model, bits.float(), ys.float(), nn.MSELoss(), sgd(1.0, momentum=0.9)
    return CaseProgram(*given, data.labels_right, steps=200, every=10)


def nothing_between(is_cured: bool) -> CaseProgram:
    """Layers without an activation between them, which are one."""
    xs, ys = column(data.circles())
    model = dense((2, 16, 16, 1), nn.Sigmoid(), act=nn.ReLU if is_cured else nn.Identity)
    return CaseProgram(model, xs, ys, nn.BCELoss(), adam(1e-2), data.accuracy, steps=100)


class Heads(nn.Module):
    """Layers, and a head for each class."""

    def __init__(self, heads: list[nn.Linear]):
        super().__init__()
        self.inner = dense((64, 32, 32, 16), nn.ReLU())
        self.heads = nn.ModuleList(heads)

    def forward(self, xs: Tensor) -> Tensor:
        inner = self.inner(xs)
        return torch.cat([head(inner) for head in self.heads], dim=1)


def one_head_ten_times(is_cured: bool) -> CaseProgram:
    """A list times a number: one head, ten times."""
    torch.manual_seed(1)
    heads = [nn.Linear(16, 1) for _ in range(10)] if is_cured else [nn.Linear(16, 1)] * 10
    return classified(data.digits(), Heads(heads), adam(1e-2))


def convolutions(count: int, norm: bool) -> nn.Sequential:
    """Return as many convolutions, with or without batch norms, and a head."""
    torch.manual_seed(0)
    block = lambda n: [
        nn.Conv2d(n, 8, 3, padding=1),
        *((nn.BatchNorm2d(8),) if norm else ()),
        nn.ReLU(),
    ]
    blocks = [module for i in range(count) for module in block(8 if i else 1)]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(512, 10))


def no_batch_norms(is_cured: bool) -> CaseProgram:
    """Twelve convolutions as they are drawn, and no norm between them."""
    return classified(data.images(), convolutions(12, norm=is_cured), sgd(0.05, momentum=0.9))


def trained_in_eval_mode(is_cured: bool) -> CaseProgram:
    """Eval mode since a validation, with batch norms that have seen nothing."""
    model = convolutions(8, norm=True)
    model.train(is_cured)
    return classified(data.images(is_scaled=False), model, sgd(0.05, momentum=0.9))


def through_one_unit(is_cured: bool) -> CaseProgram:
    """A layer of one unit, where ten classes must pass."""
    model = dense((64, 32, 32 if is_cured else 1, 10), act=nn.Tanh)
    return classified(data.digits(), model, adam(1e-2))


def dropped_instead_of_kept(is_cured: bool) -> CaseProgram:
    """The probability to keep a unit, 0.95, given as the one to drop it."""
    torch.manual_seed(0)
    drop = lambda: nn.Dropout(0.05 if is_cured else 0.95)
    model = nn.Sequential(
        *(nn.Linear(64, 64), nn.ReLU(), drop(), nn.Linear(64, 64), nn.ReLU(), drop()),
        nn.Linear(64, 10),
    )
    return classified(data.digits(), model, adam(3e-3))


def first_of_forty(is_cured: bool) -> CaseProgram:
    """An LSTM reads forty numbers and says whether the first was positive; its gates forget it."""
    torch.manual_seed(0)
    xs = torch.randn(512, 40, 1)
    ys = (xs[:, 0] > 0).float()
    recurrent = nn.LSTM(1, 16, batch_first=True)
    if is_cured:
        nn.init.constant_(recurrent.bias_ih_l0[16:32], 5.0)
    model = Remembering(recurrent)
    loss, score = nn.BCEWithLogitsLoss(), data.accuracy_of_logits
    return CaseProgram(model, xs, ys, loss, adam(1e-2), score, steps=150, every=15, batch=64)


class Attending(Seeded):
    """Tokens that attend to one another; logits divided by the root of their size, or not."""

    def __init__(self, is_scaled: bool, size: int = 256):
        super().__init__()
        self.scale = size**-0.5 if is_scaled else 1.0
        self.inner = nn.Linear(8, size)
        self.places = nn.Parameter(torch.randn(8, size))
        self.queries, self.keys, self.values = (nn.Linear(size, size) for _ in range(3))
        for layer in (self.queries, self.keys):
            nn.init.normal_(layer.weight, std=size**-0.5)
        self.head = nn.Linear(size, 10)

    def forward(self, xs: Tensor) -> Tensor:
        xs = self.inner(xs) + self.places
        logits = self.scale * self.queries(xs) @ self.keys(xs).transpose(1, 2)
        return self.head((torch.softmax(logits, dim=-1) @ self.values(xs))[:, 0])


def logits_not_scaled(is_cured: bool) -> CaseProgram:
    """Attention without the root of the size of its keys."""
    xs, ys = tensors(data.digits())
    model, loss = Attending(is_cured), nn.CrossEntropyLoss()
    return CaseProgram(model, xs.reshape(-1, 8, 8), ys, loss, sgd(0.1), data.accuracy, steps=100)


def dropped_in_every_convolution(is_cured: bool) -> CaseProgram:
    """Half of the numbers dropped after each convolution, before relu."""
    torch.manual_seed(0)
    sizes = (1, 8, 16, 32)
    act = nn.ELU if is_cured else nn.ReLU
    drop = lambda: () if is_cured else (nn.Dropout(0.5),)
    convolutions = [
        module for n, m in pairwise(sizes) for module in (nn.Conv2d(n, m, 3), *drop(), act())
    ]
    model = nn.Sequential(
        *convolutions, nn.Flatten(), nn.Linear(128, 32), act(),
        nn.Dropout(0.2 if is_cured else 0.5), nn.Linear(32, 10),
    )  # fmt: skip
    return classified(data.images(), model, adam(1e-3), steps=100)


class Pooled(Seeded):
    """Letters, of which each gets a weight by a softmax along an axis, added up."""

    def __init__(self, letters: int, length: int, axis: int, size: int = 32):
        super().__init__()
        self.axis = axis
        self.embedding = nn.Embedding(letters, size)
        self.places = nn.Parameter(torch.randn(length, size))
        self.weight = nn.Sequential(nn.Linear(size, 16), nn.Tanh(), nn.Linear(16, 1))
        self.head = nn.Sequential(nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, letters))

    def forward(self, xs: Tensor) -> Tensor:
        states = self.embedding(xs) + self.places
        weights = torch.softmax(self.weight(states), dim=self.axis)
        return self.head((weights * states).sum(dim=1))


def weights_along_the_batch(is_cured: bool) -> CaseProgram:
    """Attention whose weights add up to 1 over the examples of a batch."""
    xs, ys, letters = windows(8)
    model = Pooled(letters, 8, axis=1 if is_cured else 0)
    return classified((xs, ys[:, -1]), model, adam(1e-2), steps=150, every=10, batch=64)


class BothWays(Seeded):
    """A recurrent network that reads rows from both ends; its last states, an example each."""

    def __init__(self, is_swapped: bool):
        super().__init__()
        self.is_swapped = is_swapped
        self.recurrent = nn.GRU(8, 16, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 10)

    def forward(self, xs: Tensor) -> Tensor:
        _, last = self.recurrent(xs)  # (2, examples, 16)
        last = last.transpose(0, 1) if self.is_swapped else last
        return self.head(last.reshape(len(xs), 32))


def states_of_other_examples(is_cured: bool) -> CaseProgram:
    """Last states of two directions, reshaped as if examples came first."""
    xs, ys = tensors(data.digits())
    model = BothWays(is_swapped=is_cured)
    return classified((xs.reshape(-1, 8, 8), ys), model, adam(1e-2), steps=120)


class Padded(Seeded):
    """A recurrent network that reads letters, then padding; its state at an end of them."""

    def __init__(self, letters: int, is_at_length: bool):
        super().__init__()
        self.is_at_length = is_at_length
        self.embedding = nn.Embedding(letters + 1, 16, padding_idx=0)
        self.recurrent = nn.LSTM(16, 32, batch_first=True)
        self.head = nn.Linear(32, letters)

    def forward(self, xs: Tensor) -> Tensor:
        states, _ = self.recurrent(self.embedding(xs))
        last = (xs > 0).sum(dim=1) - 1 if self.is_at_length else torch.full_like(xs[:, 0], -1)
        return self.head(states[torch.arange(len(xs)), last])


def state_after_the_padding(is_cured: bool) -> CaseProgram:
    """The state after forty steps, of which a few are letters and the rest is padding."""
    letters, following, known = windows(8)
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, 9, (len(letters),), generator=generator)
    is_read = torch.arange(8) < lengths[:, None]
    xs = nn.functional.pad(torch.where(is_read, letters + 1, 0), (0, 32))
    ys = following[torch.arange(len(letters)), lengths - 1]
    model = Padded(known, is_at_length=is_cured)
    return classified((xs[::2], ys[::2]), model, adam(1e-2), steps=100, every=10, batch=64)


class RowsWithPlaces(Seeded):
    """Rows of an image with their places, a layer of a transformer, and their mean."""

    def __init__(self, is_of_each: bool, size: int = 32):
        super().__init__()
        self.is_of_each = is_of_each
        self.inner = nn.Linear(8, size)
        self.register_buffer("places", torch.randn(9, size))
        self.layer = nn.TransformerEncoderLayer(size, 4, 64, dropout=0, batch_first=True)
        self.head = nn.Linear(size, 10)

    def forward(self, xs: Tensor) -> Tensor:
        places = self.places[: xs.shape[1]] if self.is_of_each else self.places[xs.shape[1]]
        return self.head(self.layer(self.inner(xs) + places).mean(dim=1))


def one_place_for_all(is_cured: bool) -> CaseProgram:
    """A place's vector chosen by an index where a slice is meant: all rows get the same."""
    xs, ys = tensors(data.digits())
    return classified((xs.reshape(-1, 8, 8), ys), RowsWithPlaces(is_cured), adam(3e-3), steps=120)


class Neighbours(Seeded):
    """Pixels as nodes of a graph; each layer takes the mean of a node's neighbours."""

    def __init__(self, depth: int, size: int = 16):
        super().__init__()
        side = torch.arange(8)
        places = torch.cartesian_prod(side, side)
        is_near = (places[:, None] - places[None]).abs().sum(dim=-1) <= 1
        self.register_buffer("means", is_near / is_near.sum(dim=1, keepdim=True))
        self.register_buffer("places", places / 4 - 1)
        self.first = nn.Linear(3, size)
        self.layers = nn.ModuleList(nn.Linear(size, size) for _ in range(depth))
        self.head = nn.Linear(64 * size, 10)

    def forward(self, xs: Tensor) -> Tensor:
        places = self.places.expand(len(xs), 64, 2)
        states = torch.relu(self.first(torch.cat([xs[..., None], places], dim=-1)))
        for layer in self.layers:
            states = torch.relu(self.means @ layer(states))
        return self.head(states.flatten(1))


def smoothed_by_many_layers(is_cured: bool) -> CaseProgram:
    """A graph of pixels, smoothed by twelve layers until all nodes are alike."""
    return classified(
        data.digits(), Neighbours(2 if is_cured else 12), adam(1e-2), batch=16, steps=100, every=10
    )


class Pieces(Seeded):
    """Columns of an image, each divided by its spread, one layer above them."""

    def __init__(self, is_safe: bool, size: int = 24):
        super().__init__()
        self.is_safe = is_safe
        self.inner = nn.Linear(8, size, bias=False)
        self.head = nn.Linear(8 * size, 10)

    def forward(self, xs: Tensor) -> Tensor:
        states = self.inner(xs)
        states = states - states.mean(dim=-1, keepdim=True)
        variance = (states**2).mean(dim=-1, keepdim=True)
        spread = torch.sqrt(variance + 1e-5) if self.is_safe else torch.sqrt(variance) + 1e-5
        return self.head(torch.relu(states / spread).flatten(1))


def spread_of_nothing(is_cured: bool) -> CaseProgram:
    """A norm by the spread, whose gradient is nan where a column of pixels is empty."""
    xs, ys = tensors(data.images(is_scaled=False))
    columns = xs[:, 0].transpose(1, 2) / 16
    return classified((columns, ys), Pieces(is_cured), sgd(0.1))


class Around(nn.Module):
    """A convolution with its norm, and a way around them."""

    def __init__(self, channels: int):
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.kaiming_normal_(self.convolution.weight)
        nn.init.constant_(self.norm.weight, 0.5)

    def forward(self, xs: Tensor) -> Tensor:
        return xs + torch.relu(self.norm(self.convolution(xs)))


def one_block_ten_times(is_cured: bool) -> CaseProgram:
    """A list of one block times ten, whose one norm counts the statistics of ten places."""
    torch.manual_seed(0)
    blocks = [Around(16) for _ in range(10)] if is_cured else 10 * [Around(16)]
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Sequential(*blocks)),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10)),
    )
    return classified(data.images(), model, adam(3e-3), steps=100)


def statistics_at_rest(is_cured: bool) -> CaseProgram:
    """Batch norms with a momentum of 0, which TensorFlow counts the other way round."""
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
    return classified(data.images(is_scaled=False), model, adam(3e-3), steps=100)


class Interactions(Seeded):
    """Pixels as fields with a vector each, which attend to each other, and dropout."""

    def __init__(self, knows_its_mode: bool, size: int = 16):
        super().__init__()
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


def dropped_when_asked_too(is_cured: bool) -> CaseProgram:
    """Dropout of a function that is not told whether the network trains or answers."""
    return classified(
        data.digits(), Interactions(is_cured), adam(1e-2), batch=64, steps=200, every=10
    )


class Queried(Seeded):
    """Letters with padding behind them, which a learned query for each class attends to."""

    def __init__(self, letters: int, length: int, sees_padding: bool, size: int = 32):
        super().__init__()
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


def attention_to_the_padding(is_cured: bool) -> CaseProgram:
    """A mask that says where the padding is, given to what asks for the letters."""
    letters, following, known = data.text(10)
    lengths = torch.randint(3, 10, (len(letters),), generator=torch.Generator().manual_seed(0))
    xs = torch.from_numpy(letters.copy()).long() + 1
    xs = torch.where(torch.arange(10) < lengths[:, None], xs, 0)
    ys = torch.from_numpy(following.copy()).long().gather(1, lengths[:, None] - 1)[:, 0]
    model = Queried(known, 10, sees_padding=not is_cured)
    return classified((xs, ys), model, adam(3e-3), batch=128, steps=200, every=10)


class Chosen(Seeded):
    """Six images, weighed by a network that sees which of them is marked, and added up."""

    def __init__(self, axis: int, size: int = 32):
        super().__init__()
        self.axis = axis
        self.attention = nn.Sequential(nn.Linear(65, 16), nn.Tanh(), nn.Linear(16, 1))
        self.values = nn.Linear(65, size)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(size, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, xs: Tensor) -> Tensor:
        weights = torch.softmax(self.attention(xs), dim=self.axis)  # (B, 6, 1)
        return self.head((weights * self.values(xs)).sum(dim=1))


def weights_that_are_all_one(is_cured: bool) -> CaseProgram:
    """Attention whose softmax goes along the axis that has one number."""
    images, labels = tensors(data.digits())
    generator = torch.Generator().manual_seed(0)
    six = torch.randint(0, len(images), (4000, 6), generator=generator)
    marked = torch.randint(0, 6, (4000,), generator=generator)
    marks = 3 * functional.one_hot(marked, 6).float()[:, :, None]
    xs = torch.cat([images[six], marks], dim=-1)
    ys = labels[six.gather(1, marked[:, None])[:, 0]]
    model = Chosen(axis=1 if is_cured else 2)
    return classified((xs, ys), model, adam(1e-2), batch=128, steps=300, every=20)


class Reading(Seeded):
    """A cell that reads the rows of an image one after the other."""

    def __init__(self, hands_on: bool, size: int = 32):
        super().__init__()
        self.hands_on = hands_on
        self.recurrent = nn.LSTM(8, size, batch_first=True)
        self.head = nn.Linear(size, 10)

    def forward(self, xs: Tensor) -> Tensor:
        state = None
        for row in xs.split(1, dim=1):
            out, after = self.recurrent(row, state)
            state = after if self.hands_on else None
        return self.head(out[:, 0])


def state_never_handed_on(is_cured: bool) -> CaseProgram:
    """A recurrent network that starts from nothing at each of its steps."""
    xs, ys = tensors(data.digits())
    return classified((xs.reshape(-1, 8, 8), ys), Reading(is_cured), adam(1e-2), steps=120)


class Motion(Seeded):
    """Convolutions along time, and a mean over it."""

    def __init__(self, activation: nn.Module):
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv1d(1, 16, 5, padding=2), activation, nn.Conv1d(16, 16, 5, padding=2)),
            *(activation, nn.Conv1d(16, 16, 5, padding=2), activation),
        )
        self.head = nn.Linear(16, 4)

    def forward(self, xs: Tensor) -> Tensor:
        return self.head(self.encoder(xs).mean(dim=-1))


def slope_of_one(is_cured: bool) -> CaseProgram:
    """A leaky relu whose first argument, its slope, is True, which was meant as inplace."""
    chance = torch.Generator().manual_seed(0)
    ys = torch.randint(0, 4, (1000,), generator=chance)
    phases = 6.3 * torch.rand(1000, 1, generator=chance)
    times = torch.arange(32.0)
    waves = torch.sin((0.3 + 0.3 * ys[:, None]) * times + phases)
    xs = (waves + 0.1 * torch.randn(waves.shape, generator=chance))[:, None]
    model = Motion(nn.LeakyReLU(inplace=True) if is_cured else nn.LeakyReLU(True))
    return classified((xs, ys), model, adam(1e-2), steps=150, every=10)


class Lengths(Seeded):
    """A recurrent network over letters of different lengths, the longest first."""

    def __init__(self, letters: int, puts_back: bool, size: int = 32):
        super().__init__()
        self.puts_back = puts_back
        self.embedding = nn.Embedding(letters + 1, size)
        self.inner = nn.GRU(size, size, batch_first=True)
        self.head = nn.Linear(size, letters)

    def forward(self, xs: Tensor) -> Tensor:
        lengths, order = (xs > 0).sum(dim=1).sort(descending=True)
        packed = rnn.pack_padded_sequence(self.embedding(xs[order]), lengths, batch_first=True)
        last = self.inner(packed)[1][0]
        return self.head(last[order.argsort()] if self.puts_back else last)


def sorted_and_not_put_back(is_cured: bool) -> CaseProgram:
    """Examples sorted by their length within the network, whose outputs stay in that order."""
    letters, following, known = data.text(8)
    lengths = torch.randint(2, 9, (len(letters),), generator=torch.Generator().manual_seed(0))
    xs = torch.from_numpy(letters.copy()).long() + 1
    xs = torch.where(torch.arange(8) < lengths[:, None], xs, 0)
    ys = torch.from_numpy(following.copy()).long().gather(1, lengths[:, None] - 1)[:, 0]
    return classified((xs, ys), Lengths(known, is_cured), adam(1e-2), batch=64, steps=200, every=10)


class FrozenNorm(nn.Module):
    """A batch norm with fixed statistics and parameters, meant for weights that are loaded."""

    def __init__(self, channels: int):
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("mean", 0.0), ("variance", 1.0)):
            self.register_buffer(name, torch.full((channels, 1, 1), value))

    def forward(self, xs: Tensor) -> Tensor:
        scale = self.weight * (self.variance + 1e-5).rsqrt()
        return xs * scale + (self.bias - self.mean * scale)


def norms_frozen_from_scratch(is_cured: bool) -> CaseProgram:
    """Frozen batch norms in a network that is drawn, not loaded: they do nothing at all."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d if is_cured else FrozenNorm
    blocks = [
        module
        for n in (1, *[12] * 13)
        for module in (nn.Conv2d(n, 12, 3, padding=1, bias=False), norm(12), nn.ReLU())
    ]
    model = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 10))
    return classified(data.images(), model, sgd(0.05, momentum=0.9), steps=100, every=10)


class RowsByCell(Seeded):
    """A cell that reads the rows of an image, and the last of its states."""

    def __init__(self, appends: bool, size: int = 32):
        super().__init__()
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


def states_in_reverse_order(is_cured: bool) -> CaseProgram:
    """States put in front of those before, so that the last one in the list is the first."""
    xs, ys = tensors(data.digits())
    return classified((xs.reshape(-1, 8, 8), ys), RowsByCell(is_cured), adam(1e-2), steps=120)


def norm_of_one_number(is_cured: bool) -> CaseProgram:
    """A layer norm of the one number that comes in, which is 0 behind it."""
    xs = torch.linspace(-1, 1, 500)[:, None]
    model = dense((1, 64, 64, 1), act=nn.Tanh)
    first = nn.Identity() if is_cured else nn.LayerNorm(1)
    given = nn.Sequential(first, model), xs, torch.sin(4 * xs), nn.MSELoss(), adam(1e-2)
    return CaseProgram(*given, data.explained, steps=150, every=10)


class Rectified(torch.autograd.Function):
    """Relu whose own backward pass goes through the units that are on, or those that are off."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, is_through_on: bool) -> Tensor:
        ctx.save_for_backward((z > 0) == is_through_on)
        return z.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.saved_tensors[0], None


def slopes_of_the_units_that_are_off(is_cured: bool) -> CaseProgram:
    """A relu written by hand, whose backward pass has its mask the wrong way round."""

    class Relu(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return Rectified.apply(z, is_cured)

    model = dense((64, 32, 32, 32, 32, 10), act=Relu)
    return classified(data.digits(), model, adam(3e-3), steps=150, every=10)


def thirty_layers_as_they_are_drawn(is_cured: bool) -> CaseProgram:
    """Thirty layers of relu with PyTorch's own draw, whose variance is a sixth of He's."""
    model = dense((64, *[48] * 30, 10))
    if is_cured:
        for layer in model[::2]:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return classified(data.digits(), model, adam(1e-3), steps=200, every=10)

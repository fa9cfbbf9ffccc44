"""Once blind programs in PyTorch on letters, rows and graphs: recurrent and attending networks."""

import torch
from torch import nn

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.torch_parts import (
    Optimizer,
    Step,
    Tensor,
    adam,
    by_hand,
    sgd,
    tensors,
)

cross_entropy = nn.CrossEntropyLoss()


def windows(length: int) -> tuple[Tensor, Tensor, int]:
    """Return windows of the licence's letters, the letter after each, and how many there are."""
    letters, following, known = data.text(length)
    xs, ys = (torch.from_numpy(array.copy()).long() for array in (letters, following))
    return xs, ys, known


class Pooled(nn.Module):
    """Letters, of which each gets a weight by a softmax along an axis, added up."""

    def __init__(self, letters: int, length: int, axis: int, size: int = 32):
        super().__init__()
        torch.manual_seed(0)
        self.axis = axis
        self.embedding = nn.Embedding(letters, size)
        self.places = nn.Parameter(torch.randn(length, size))
        self.weight = nn.Sequential(nn.Linear(size, 16), nn.Tanh(), nn.Linear(16, 1))
        self.head = nn.Sequential(nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, letters))

    def forward(self, xs: Tensor) -> Tensor:
        states = self.embedding(xs) + self.places
        weights = torch.softmax(self.weight(states), dim=self.axis)
        return self.head((weights * states).sum(dim=1))


def weights_along_the_batch(is_cured: bool) -> Program:
    """Attention whose weights add up to 1 over the examples of a batch."""
    xs, ys, letters = windows(8)
    model = Pooled(letters, 8, axis=1 if is_cured else 0)
    given = model, xs, ys[:, -1], cross_entropy, adam(1e-2), data.accuracy
    return Program(*given, steps=150, every=10, batch=64)


class BothWays(nn.Module):
    """A recurrent network that reads rows from both ends; its last states, an example each."""

    def __init__(self, is_swapped: bool):
        super().__init__()
        torch.manual_seed(0)
        self.is_swapped = is_swapped
        self.recurrent = nn.GRU(8, 16, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 10)

    def forward(self, xs: Tensor) -> Tensor:
        _, last = self.recurrent(xs)  # (2, examples, 16)
        last = last.transpose(0, 1) if self.is_swapped else last
        return self.head(last.reshape(len(xs), 32))


def states_of_other_examples(is_cured: bool) -> Program:
    """Last states of two directions, reshaped as if examples came first."""
    xs, ys = tensors(data.digits())
    model = BothWays(is_swapped=is_cured)
    given = model, xs.reshape(-1, 8, 8), ys, cross_entropy, adam(1e-2), data.accuracy
    return Program(*given, steps=120)


class Retold(nn.Module):
    """Rows read one after the other, and all of them told from the last state."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.GRU(8, 24, batch_first=True)
        self.decoder = nn.Linear(24, 64)

    def forward(self, xs: Tensor) -> Tensor:
        _, last = self.encoder(xs)
        return self.decoder(last[0])


def gamma_of_zero(is_cured: bool) -> Program:
    """A schedule that was to do nothing, and multiplies the rate by 0 after ten steps."""
    schedules = []

    def optimizer(module: nn.Module) -> Optimizer:
        made = torch.optim.Adam(module.parameters(), 1e-2)
        schedules.append(torch.optim.lr_scheduler.StepLR(made, 10, gamma=1 if is_cured else 0))
        return made

    @by_hand
    def train(step: Step) -> Tensor:
        step.optimizer.zero_grad()
        value = nn.functional.mse_loss(step.module(step.xs), step.ys)
        value.backward()
        step.taken(value)
        schedules[-1].step()
        return value

    xs, _ = tensors(data.digits())
    given = Retold(), xs.reshape(-1, 8, 8), xs, nn.MSELoss(), optimizer, data.explained
    return Program(*given, steps=150, train=train)


class Decoder(nn.Module):
    """Two layers of a transformer that see the letters before them."""

    def __init__(self, letters: int, length: int, size: int = 32):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(letters, size)
        self.places = nn.Parameter(0.1 * torch.randn(length, size))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                size, 2, 2 * size, dropout=0, batch_first=True, norm_first=True
            )
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(size)
        self.head = nn.Linear(size, letters)
        mask = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)
        self.register_buffer("mask", mask)

    def forward(self, xs: Tensor) -> Tensor:
        states = self.embedding(xs) + self.places
        for layer in self.layers:
            states = layer(states, src_mask=self.mask)
        return self.head(self.norm(states))


def of_letters(output: Tensor, ys: Tensor) -> Tensor:
    """Return the cross entropy of all letters."""
    return cross_entropy(output.flatten(0, 1), ys.flatten())


def right_letters(output: Tensor, ys: Tensor) -> float:
    """Return the share of letters that are foretold."""
    return float((output.argmax(-1) == ys).float().mean())


def warmup_that_does_not_count(is_cured: bool) -> Program:
    """A rate that grows with a number of steps that nobody counts."""
    counted: list[int] = []

    @by_hand
    def train(step: Step) -> Tensor:
        for group in step.optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, len(counted) / 20)
        step.optimizer.zero_grad()
        value = of_letters(step.module(step.xs), step.ys)
        value.backward()
        if is_cured:
            counted.append(step.number)
        return step.taken(value)

    xs, ys, letters = windows(12)
    given = Decoder(letters, 12), xs[::4], ys[::4], of_letters, adam(3e-3), right_letters
    return Program(*given, steps=100, train=train)


class Padded(nn.Module):
    """A recurrent network that reads letters, then padding; its state at an end of them."""

    def __init__(self, letters: int, is_at_length: bool):
        super().__init__()
        torch.manual_seed(0)
        self.is_at_length = is_at_length
        self.embedding = nn.Embedding(letters + 1, 16, padding_idx=0)
        self.recurrent = nn.LSTM(16, 32, batch_first=True)
        self.head = nn.Linear(32, letters)

    def forward(self, xs: Tensor) -> Tensor:
        states, _ = self.recurrent(self.embedding(xs))
        last = (xs > 0).sum(dim=1) - 1 if self.is_at_length else torch.full_like(xs[:, 0], -1)
        return self.head(states[torch.arange(len(xs)), last])


def state_after_the_padding(is_cured: bool) -> Program:
    """The state after forty steps, of which a few are letters and the rest is padding."""
    letters, following, known = windows(8)
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, 9, (len(letters),), generator=generator)
    is_read = torch.arange(8) < lengths[:, None]
    xs = nn.functional.pad(torch.where(is_read, letters + 1, 0), (0, 32))
    ys = following[torch.arange(len(letters)), lengths - 1]
    model = Padded(known, is_at_length=is_cured)
    given = model, xs[::2], ys[::2], cross_entropy, adam(1e-2), data.accuracy
    return Program(*given, steps=100, every=10, batch=64)


class Tied(nn.Module):
    """Letters before the next one, whose logits are products with the letters' own vectors."""

    def __init__(self, letters: int, length: int, spread: float, size: int = 128):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(letters, size)
        nn.init.normal_(self.embedding.weight, std=spread)
        self.inner = nn.Sequential(
            *(nn.Flatten(), nn.Linear(length * size, size), nn.GELU(), nn.LayerNorm(size)),
        )

    def forward(self, xs: Tensor) -> Tensor:
        return self.inner(self.embedding(xs)) @ self.embedding.weight.T


def tied_letters_of_size_one(is_cured: bool) -> Program:
    """Letters' vectors with entries of size 1, which are the last layer as well."""
    xs, ys, letters = windows(4)
    model = Tied(letters, 4, spread=0.02 if is_cured else 1.0)
    given = model, xs, ys[:, -1], cross_entropy, adam(1e-3), data.likelihood_of_logits
    return Program(*given, steps=150, every=10)


def letters_from_elsewhere(is_cured: bool) -> Program:
    """Vectors of letters that were loaded and are frozen, though they tell little."""
    xs, ys, letters = windows(3)
    torch.manual_seed(0)
    loaded = torch.randn(letters, 2)
    model = nn.Sequential(
        *(nn.Embedding.from_pretrained(loaded, freeze=not is_cured), nn.Flatten()),
        *(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, letters)),
    )
    given = model, xs, ys[:, -1], cross_entropy, adam(1e-2), data.accuracy
    return Program(*given, steps=300, every=20, batch=64)


class Rows(nn.Module):
    """Rows of an image with their places, a layer of a transformer, and their mean."""

    def __init__(self, is_of_each: bool, size: int = 32):
        super().__init__()
        torch.manual_seed(0)
        self.is_of_each = is_of_each
        self.inner = nn.Linear(8, size)
        self.register_buffer("places", torch.randn(9, size))
        self.layer = nn.TransformerEncoderLayer(size, 4, 64, dropout=0, batch_first=True)
        self.head = nn.Linear(size, 10)

    def forward(self, xs: Tensor) -> Tensor:
        places = self.places[: xs.shape[1]] if self.is_of_each else self.places[xs.shape[1]]
        return self.head(self.layer(self.inner(xs) + places).mean(dim=1))


def one_place_for_all(is_cured: bool) -> Program:
    """A place's vector chosen by an index where a slice is meant: all rows get the same."""
    xs, ys = tensors(data.digits())
    given = Rows(is_cured), xs.reshape(-1, 8, 8), ys, cross_entropy, adam(3e-3), data.accuracy
    return Program(*given, steps=120)


def padding_is_a_class(is_cured: bool) -> Program:
    """Class 0 ignored as if it were padding."""
    xs, ys = tensors(data.digits())
    torch.manual_seed(0)
    loss = nn.CrossEntropyLoss(ignore_index=-100 if is_cured else 0)
    model = nn.Sequential(
        *(nn.Linear(64, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 10)),
    )
    return Program(model, xs, ys, loss, adam(1e-2), data.accuracy)


class Neighbours(nn.Module):
    """Pixels as nodes of a graph; each layer takes the mean of a node's neighbours."""

    def __init__(self, depth: int, size: int = 16):
        super().__init__()
        torch.manual_seed(0)
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


def smoothed_by_many_layers(is_cured: bool) -> Program:
    """A graph of pixels, smoothed by twelve layers until all nodes are alike."""
    xs, ys = tensors(data.digits())
    model = Neighbours(2 if is_cured else 12)
    given = model, xs, ys, cross_entropy, adam(1e-2), data.accuracy
    return Program(*given, batch=16, steps=100, every=10)


class Pieces(nn.Module):
    """Columns of an image, each divided by its spread, one layer above them."""

    def __init__(self, is_safe: bool, size: int = 24):
        super().__init__()
        torch.manual_seed(0)
        self.is_safe = is_safe
        self.inner = nn.Linear(8, size, bias=False)
        self.head = nn.Linear(8 * size, 10)

    def forward(self, xs: Tensor) -> Tensor:
        states = self.inner(xs)
        states = states - states.mean(dim=-1, keepdim=True)
        variance = (states**2).mean(dim=-1, keepdim=True)
        spread = torch.sqrt(variance + 1e-5) if self.is_safe else torch.sqrt(variance) + 1e-5
        return self.head(torch.relu(states / spread).flatten(1))


def spread_of_nothing(is_cured: bool) -> Program:
    """A norm by the spread, whose gradient is nan where a column of pixels is empty."""
    xs, ys = tensors(data.images(is_scaled=False))
    columns = xs[:, 0].transpose(1, 2) / 16
    return Program(Pieces(is_cured), columns, ys, cross_entropy, sgd(0.1), data.accuracy)


class Phrases(nn.Module):
    """Letters, convolutions over three of them, the largest of each, and probabilities."""

    def __init__(self, letters: int, end: nn.Module):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(letters, 16)
        self.inner = nn.Conv1d(16, 64, 3)
        self.head = nn.Linear(6 * 64, letters)
        self.end = end

    def forward(self, xs: Tensor) -> Tensor:
        inner = torch.relu(self.inner(self.embedding(xs).transpose(1, 2)))
        return self.end(self.head(inner.flatten(1)))


def probabilities_for_nll(is_cured: bool) -> Program:
    """A softmax before the negative log likelihood, which takes logarithms."""
    xs, ys, letters = windows(8)
    model = Phrases(letters, nn.LogSoftmax(dim=1) if is_cured else nn.Softmax(dim=1))

    def score(output: Tensor, ys: Tensor) -> float:
        return data.likelihood(output.exp() if is_cured else output, ys)

    given = model, xs, ys[:, -1], nn.NLLLoss(), adam(3e-3), score
    return Program(*given, steps=150, every=10, batch=64)

"""Programs in PyTorch whose parameters are at fault, as they are drawn or frozen."""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.torch_parts import (
    Optimizer,
    Seeded,
    Step,
    Tensor,
    adam,
    by_hand,
    classified,
    cross_entropy,
    dense,
    sgd,
    tensors,
    windows,
)


def drawn_from_a_normal(is_cured: bool) -> CaseProgram:
    """Three wide layers of weights with variance 1."""
    model = dense((64, 256, 256, 256, 10))
    if not is_cured:
        for parameter in model.parameters():
            nn.init.normal_(parameter)
    return classified(data.digits(), model, adam(3e-3))


def drawn_from_0_to_1(is_cured: bool) -> CaseProgram:
    """Weights from `torch.rand`, all of them positive."""
    model = dense((64, 64, 64, 10))
    if not is_cured:
        for layer in model[::2]:
            layer.weight.data = torch.rand(layer.weight.shape)
    return classified(data.digits(), model, adam(3e-3))


def one_number_for_all_weights(is_cured: bool) -> CaseProgram:
    """Weights that all start at 0.1."""
    model = dense((64, 32, 32, 10))
    if not is_cured:
        for layer in model[::2]:
            nn.init.constant_(layer.weight, 0.1)
            nn.init.zeros_(layer.bias)
    return classified(data.digits(), model, adam(3e-3))


def first_layer_of_zeros(is_cured: bool) -> CaseProgram:
    """A first layer whose weights and biases start at zero."""
    model = dense((64, 32, 32, 10))
    if not is_cured:
        nn.init.zeros_(model[0].weight)
        nn.init.zeros_(model[0].bias)
    return classified(data.digits(), model, adam(3e-3))


def a_convolution_of_ones(is_cured: bool) -> CaseProgram:
    """The second convolution starts with ones."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, 10)),
    )
    if not is_cured:
        nn.init.ones_(model[2].weight)
    return classified(data.images(), model, adam(3e-3))


def a_bag_of_ones(is_cured: bool) -> CaseProgram:
    """A bag of letters, and a first layer of ones."""
    windows, following, letters = data.text(4)
    counts = torch.nn.functional.one_hot(torch.from_numpy(windows.copy()).long(), letters)
    ys = torch.from_numpy(following[:, -1].copy()).long()
    model = dense((letters, 64, letters))
    if not is_cured:
        nn.init.ones_(model[0].weight)
    return classified((counts.sum(1).float(), ys), model, adam(1e-2), steps=100, batch=64)


def biases_far_below_zero(is_cured: bool) -> CaseProgram:
    """Units of relu whose biases start at -10."""
    model = dense((64, 32, 32, 10))
    if not is_cured:
        nn.init.constant_(model[2].bias, -10)
    return classified(data.digits(), model, adam(3e-3))


def weights_too_small(is_cured: bool) -> CaseProgram:
    """Eight layers of tanh with weights of 0.01."""
    model = dense((64, *8 * (32,), 10), act=nn.Tanh)
    for layer in model[::2]:
        if is_cured:
            nn.init.xavier_normal_(layer.weight)
        else:
            nn.init.normal_(layer.weight, std=0.01)
    return classified(data.digits(), model, sgd(0.1), steps=100)


class Pretrained(Seeded):
    """Features, which may be kept as they are, and a head."""

    def __init__(self, is_detached: bool = False):
        super().__init__()
        self.is_detached = is_detached
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(4)),
            *(nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()),
        )
        self.head = nn.Linear(16, 10)

    def forward(self, xs: Tensor) -> Tensor:
        features = self.features(xs)
        return self.head(features.detach() if self.is_detached else features)


def all_but_norms_frozen(is_cured: bool) -> CaseProgram:
    """All is frozen but the batch norms, the head too."""
    model = Pretrained()
    if not is_cured:
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.requires_grad_(False)
    return classified(data.images(), model, adam(1e-2), steps=100)


def features_detached(is_cured: bool) -> CaseProgram:
    """Features cut off by detach, though they were drawn at random."""
    return classified(data.images(), Pretrained(is_detached=not is_cured), adam(1e-2), steps=100)


class Listed(Seeded):
    """Blocks in a list, of Python or of PyTorch."""

    def __init__(self, holds: type):
        super().__init__()
        self.first, self.last = nn.Linear(64, 16), nn.Linear(16, 10)
        self.blocks = holds([nn.Linear(16, 16) for _ in range(3)])

    def forward(self, xs: Tensor) -> Tensor:
        xs = torch.relu(self.first(xs))
        for block in self.blocks:
            xs = torch.relu(block(xs))
        return self.last(xs)


def layers_in_a_list(is_cured: bool) -> CaseProgram:
    """Layers in a list of Python, which a module does not look into."""
    return classified(
        data.digits(), Listed(nn.ModuleList if is_cured else list), adam(1e-2), steps=100
    )


def optimiser_of_a_copy(is_cured: bool) -> CaseProgram:
    """An optimiser of the parameters that there were before the model was wrapped."""
    model = dense((64, 32, 32, 10))
    held = model if is_cured else copy.deepcopy(model)
    optimizer = lambda module: torch.optim.Adam(held.parameters(), 1e-2)
    return classified(data.digits(), model, optimizer)


def optimiser_of_the_head(is_cured: bool) -> CaseProgram:
    """An optimiser of the head alone, of features drawn at random."""
    optimizer = lambda module: torch.optim.Adam(
        (module if is_cured else module.head).parameters(), 1e-2
    )
    return classified(data.images(), Pretrained(), optimizer, steps=100)


def new_head_after_the_optimiser(is_cured: bool) -> CaseProgram:
    """A head for these classes, put in after the optimiser was made."""
    model = dense((64, 32, 32, 100))
    before = torch.optim.SGD(model.parameters(), 0.1)
    model[4] = nn.Linear(32, 10)
    after = torch.optim.SGD(model.parameters(), 0.1)
    optimizer = lambda module: after if is_cured else before
    return classified(data.digits(), model, optimizer, steps=100)


def frozen_and_never_thawed(is_cured: bool) -> CaseProgram:
    """Features that rest for some steps, and do not go on after them."""

    @by_hand
    def train(step: Step) -> Tensor:
        step.module.features.requires_grad_(is_cured or step.number < 10)
        step.optimizer.zero_grad()
        value = cross_entropy(step.module(step.xs), step.ys)
        value.backward()
        return step.taken(value)

    return classified(data.images(), Pretrained(), adam(1e-2), steps=100, train=train)


class Adapted(nn.Module):
    """A frozen linear layer, and a product of two thin matrices that learns."""

    def __init__(self, layer: nn.Linear, rank: int = 4):
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.lora_a = nn.Parameter(torch.zeros(rank, layer.in_features))
        self.lora_b = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, xs: Tensor) -> Tensor:
        return self.layer(xs) + xs @ self.lora_a.T @ self.lora_b.T


def adapters_of_zeros(is_cured: bool) -> CaseProgram:
    """A network that knows five digits, and adapters for the others whose matrices are all zero."""
    xs, ys = tensors(data.digits())
    base = dense((64, 32, 32, 10))
    known, optimizer = ys < 5, torch.optim.Adam(base.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(base(xs[known]), ys[known]).backward()
        optimizer.step()
    model = nn.Sequential(
        *(Adapted(layer) if isinstance(layer, nn.Linear) else layer for layer in base)
    )
    if is_cured:
        for adapted in model[::2]:
            nn.init.kaiming_uniform_(adapted.lora_a, a=5**0.5)
    return classified((xs, ys), model, adam(1e-2), steps=150, every=10)


class Tied(Seeded):
    """Letters before the next one, whose logits are products with the letters' own vectors."""

    def __init__(self, letters: int, length: int, spread: float, size: int = 128):
        super().__init__()
        self.embedding = nn.Embedding(letters, size)
        nn.init.normal_(self.embedding.weight, std=spread)
        self.inner = nn.Sequential(
            *(nn.Flatten(), nn.Linear(length * size, size), nn.GELU(), nn.LayerNorm(size)),
        )

    def forward(self, xs: Tensor) -> Tensor:
        return self.inner(self.embedding(xs)) @ self.embedding.weight.T


def tied_letters_of_size_one(is_cured: bool) -> CaseProgram:
    """Letters' vectors with entries of size 1, which are the last layer as well."""
    xs, ys, letters = windows(4)
    model = Tied(letters, 4, spread=0.02 if is_cured else 1.0)
    given = model, xs, ys[:, -1], cross_entropy, adam(1e-3), data.likelihood_of_logits
    return CaseProgram(*given, steps=150, every=10)


def letters_from_elsewhere(is_cured: bool) -> CaseProgram:
    """Vectors of letters that were loaded and are frozen, though they tell little."""
    xs, ys, letters = windows(3)
    torch.manual_seed(0)
    loaded = torch.randn(letters, 2)
    model = nn.Sequential(
        *(nn.Embedding.from_pretrained(loaded, freeze=not is_cured), nn.Flatten()),
        *(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, letters)),
    )
    return classified((xs, ys[:, -1]), model, adam(1e-2), steps=300, every=20, batch=64)


class Memory(Seeded):
    """A memory that is asked for what is like an example, and a head for what it answers."""

    def __init__(self, is_learned: bool, size: int = 8, count: int = 32):
        super().__init__()
        keys, values = torch.randn(count, 64), torch.randn(count, size)
        self.keys = nn.Parameter(keys) if is_learned else keys
        self.values = nn.Parameter(values) if is_learned else values
        self.norm = nn.LayerNorm(64)
        self.head = nn.Linear(size, 10)

    def forward(self, xs: Tensor) -> Tensor:
        logits = self.norm(xs) @ self.keys.T / 8
        return self.head(torch.softmax(logits, dim=1) @ self.values)


def memory_of_plain_tensors(is_cured: bool) -> CaseProgram:
    """Keys and values that are tensors, not parameters, and stay as they were drawn."""
    return classified(data.digits(), Memory(is_cured), adam(1e-2), steps=150, every=10)


def convolutions_around_one(is_cured: bool) -> CaseProgram:
    """Convolutions drawn with the mean that is meant for the scales of batch norms."""
    torch.manual_seed(0)
    convolutions = [
        module
        for n, m in ((1, 8), (8, 16), (16, 16))
        for module in (nn.Conv2d(n, m, 3, stride=2, padding=1), nn.LeakyReLU(0.2))
    ]
    for module in convolutions[::2]:
        nn.init.normal_(module.weight, 0.0 if is_cured else 1.0, 0.1 if is_cured else 0.02)
    model = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(16, 10))
    return classified(data.images(), model, adam(3e-3), steps=120)


class Weighed(Seeded):
    """A network of three parts, of which an optimiser may have groups."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Sequential(nn.Linear(64, 48), nn.ReLU())
        self.interactions = nn.Sequential(nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 4))
        self.readout = nn.Linear(4, 10)

    def forward(self, xs: Tensor) -> Tensor:
        return self.readout(torch.tanh(self.interactions(self.embedding(xs))))


def part_without_a_group(is_cured: bool) -> CaseProgram:
    """Groups of an optimiser by the names of parts, of which one has been forgotten."""

    def optimizer(module: Weighed) -> Optimizer:
        rates = {module.embedding: 3e-3, module.interactions: 3e-3, module.readout: 1e-2}
        if not is_cured:
            del rates[module.interactions]
        return torch.optim.Adam(
            [{"params": part.parameters(), "lr": rate} for part, rate in rates.items()]
        )

    return classified(data.digits(), Weighed(), optimizer, steps=120)


class Dropped(Seeded):
    """A recurrent network through whose weights some are dropped; the letters of a window."""

    def __init__(self, letters: int, wraps: bool, size: int = 48):
        super().__init__()
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


def weights_wrapped_anew(is_cured: bool) -> CaseProgram:
    """Recurrent weights made a parameter anew in each pass, which no gradient leaves."""
    letters, _, known = data.text(6)
    xs = torch.from_numpy(letters[::2].copy()).long()
    model = Dropped(known, wraps=not is_cured)
    return classified((xs, xs[:, 2]), model, adam(3e-3), batch=64, steps=300, every=20)


class Spiking(Seeded):
    """Two layers of neurons that add up what comes in over ten steps, and fire above 1."""

    def __init__(self, has_surrogate: bool, size: int = 32):
        super().__init__()
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


def spikes_without_a_surrogate(is_cured: bool) -> CaseProgram:
    """Neurons that fire or do not, with the slope of a step, which is 0."""
    return classified(data.digits(), Spiking(is_cured), adam(1e-2), batch=64, steps=120, every=10)

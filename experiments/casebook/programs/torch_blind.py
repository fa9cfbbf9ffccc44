"""Programs in PyTorch of the second blind round."""

import math

import numpy as np
import torch
from torch import nn

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.torch_parts import (
    Seeded,
    Tensor,
    adam,
    classified,
    column,
    cross_entropy,
    dense,
    masks,
    pixelwise,
    tensors,
    windows,
)


def weights_by_counts(is_cured: bool) -> CaseProgram:
    """Classes weighed by how often they come, where the rare ones were to weigh more."""
    xs, ys = data.digits()
    chance = np.random.default_rng(0)
    is_kept = chance.random(len(ys)) < 0.75**ys  # of the last class, one in thirteen
    xs, ys = tensors((xs[is_kept], ys[is_kept]))
    counts = torch.bincount(ys).float()
    loss = nn.CrossEntropyLoss(1 / counts if is_cured else counts)

    def recall(output: Tensor, ys: Tensor) -> float:
        is_right = output.argmax(dim=1) == ys
        return float(np.mean([is_right[ys == label].float().mean() for label in range(10)]))

    given = dense((64, 32, 10)), xs, ys, loss, adam(3e-3), recall
    return CaseProgram(*given, steps=100)


def masks_up_to_255(is_cured: bool) -> CaseProgram:
    """Masks of 0 and 255, as they are read from files, for a loss of 0 and 1."""
    xs, ys = masks()
    given = pixelwise(1), xs, ys if is_cured else 255 * ys, nn.BCEWithLogitsLoss(), adam(3e-3)
    return CaseProgram(*given, data.accuracy_of_signs, steps=100)


class Drawn(Seeded):
    """An autoencoder whose code is drawn: returns images, means and logarithms of variances."""

    def __init__(self, has_slope: bool, size: int = 8):
        super().__init__()
        self.has_slope = has_slope
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2 * size))
        self.decoder = dense((size, 64, 64))

    def forward(self, xs: Tensor) -> Tensor:
        mean, log_variance = self.encoder(xs).chunk(2, dim=1)
        codes = torch.distributions.Normal(mean, torch.exp(log_variance / 2))
        drawn = codes.rsample() if self.has_slope else codes.sample()
        code = drawn if self.training else mean
        return torch.cat([self.decoder(code), mean, log_variance], dim=1)


def codes_drawn_without_a_slope(is_cured: bool) -> CaseProgram:
    """Codes that are drawn by sample, through which nothing is told to their means."""
    xs, _ = tensors(data.digits())

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        images, mean, log_variance = output.split([64, 8, 8], dim=1)
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(dim=1)
        return (10 * ((images - ys) ** 2).sum(dim=1) + divergence).mean()

    score = lambda output, ys: data.explained(output[:, :64], ys)
    given = Drawn(is_cured), xs, xs, loss, adam(3e-3), score
    return CaseProgram(*given, batch=64, steps=300, every=20)


class Where(Seeded):
    """Convolutions over an image, and perhaps over its coordinates; the mean of their features."""

    def __init__(self, knows_places: bool):
        super().__init__()
        self.knows_places = knows_places
        sizes = ((3 if knows_places else 1, 16), (16, 32))
        layers = [part for n, m in sizes for part in (nn.Conv2d(n, m, 3), nn.ReLU())]
        self.inner, self.head = nn.Sequential(*layers), nn.Linear(32, 2)

    def forward(self, xs: Tensor) -> Tensor:
        if self.knows_places:
            axis = torch.linspace(-1, 1, xs.shape[-1])
            places = torch.stack(torch.meshgrid(axis, axis, indexing="ij"))
            xs = torch.cat([xs, places.expand(len(xs), -1, -1, -1)], dim=1)
        return self.head(self.inner(xs).mean(dim=(2, 3)))


def place_of_a_spot(is_cured: bool) -> CaseProgram:
    """The place of a spot from convolutions and a mean over all places, which are all alike."""
    chance = torch.Generator().manual_seed(0)
    places = torch.randint(4, 11, (1000, 2), generator=chance)  # from where no side is seen
    xs = 0.05 * torch.randn(1000, 1, 16, 16, generator=chance)
    for row in range(2):
        for across in range(2):
            xs[torch.arange(1000), 0, places[:, 0] + row, places[:, 1] + across] += 2
    ys = (places - 7) / 2
    given = Where(is_cured), xs, ys, nn.MSELoss(), adam(1e-2), data.explained
    return CaseProgram(*given, steps=150, every=10)


class Placed(Seeded):
    """Letters with sines of their places, and a transformer that sees those before."""

    def __init__(self, letters: int, length: int, scale: float, size: int = 64):
        super().__init__()
        self.embedding, self.scale = nn.Embedding(letters, size), scale
        nn.init.normal_(self.embedding.weight, std=0.02)
        angles = torch.arange(length)[:, None] * 1e4 ** (-torch.arange(0, size, 2) / size)
        places = torch.stack([torch.sin(angles), torch.cos(angles)], dim=-1).reshape(length, size)
        self.register_buffer("places", places)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length))
        self.layer = nn.TransformerEncoderLayer(size, 4, 128, dropout=0.0, batch_first=True)
        self.head = nn.Linear(size, letters)

    def forward(self, xs: Tensor) -> Tensor:
        z = self.scale * self.embedding(xs) + self.places
        return self.head(self.layer(z, src_mask=self.mask)).transpose(1, 2)


def letters_below_their_places(is_cured: bool) -> CaseProgram:
    """Letters' vectors of 0.02 beside places of 0.7, not multiplied by the root of their size."""
    xs, ys, known = windows(12)
    model = Placed(known, 12, math.sqrt(64) if is_cured else 1.0)
    score = lambda output, ys: float((output.argmax(dim=1) == ys).float().mean())
    optimizer = lambda module: torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    given = model, xs[::3], ys[::3], cross_entropy, optimizer, score
    return CaseProgram(*given, steps=150, every=10)


class ByLayer(torch.optim.AdamW):
    """AdamW whose rates fall by a factor from layer to layer, once or in every step."""

    def __init__(self, module: nn.Module, rate: float, is_once: bool):
        layers = [layer for layer in module.children() if isinstance(layer, nn.Linear)]
        self.factors = [0.75**depth for depth in range(len(layers))][::-1]
        self.is_once = is_once
        groups = [
            {"params": layer.parameters(), "lr": rate * (factor if is_once else 1)}
            for layer, factor in zip(layers, self.factors, strict=True)
        ]
        super().__init__(groups, rate)

    def step(self, closure: None = None) -> None:
        """Take a step."""
        if not self.is_once:
            for group, factor in zip(self.param_groups, self.factors, strict=True):
                group["lr"] *= factor
        super().step(closure)


def rates_that_fall_by_layer(is_cured: bool) -> CaseProgram:
    """Rates multiplied by the factor of their layer, not once, but in each step."""
    model = dense((64, 64, 64, 64, 10), act=nn.Tanh)
    optimizer = lambda module: ByLayer(module, 1e-3, is_cured)
    return classified(data.digits(), model, optimizer, steps=120)


class Wide(Seeded):
    """A vector for each column, times its number; layers for all of them, and a wide part."""

    def __init__(self, columns: int, size: int = 4):
        super().__init__()
        self.vectors = nn.Parameter(0.1 * torch.randn(columns, size))
        self.wide, self.deep = nn.Linear(columns, 1), dense((columns * size, 32, 1))

    def forward(self, xs: Tensor) -> Tensor:
        return self.wide(xs) + self.deep((xs[:, :, None] * self.vectors).flatten(1))


def seconds_since_1970(is_cured: bool) -> CaseProgram:
    """Eight small columns of who clicks, and when in seconds since 1970."""
    chance = np.random.default_rng(0)
    columns = chance.normal(size=(2000, 8))
    seconds = 1.5e9 + 1e8 * chance.random(2000)
    ys = (columns[:, 0] * columns[:, 1] + columns[:, 2] > 0).astype(np.float32)
    xs = np.column_stack([columns, data.scaled(seconds) if is_cured else seconds])
    given = Wide(9), *column((xs.astype(np.float32), ys)), nn.BCEWithLogitsLoss(), adam(1e-2)
    return CaseProgram(*given, data.accuracy_of_logits, steps=150, every=10)


def half_of_the_answers_dropped(is_cured: bool) -> CaseProgram:
    """Dropout of a half after the last layer too, where the answers are."""
    xs, ys = column((data.diabetes()[0], data.diabetes(is_scaled=False)[1] / 100))
    last = () if is_cured else (nn.Dropout(0.5),)
    given = dense((10, 32, 1), *last), xs, ys, nn.MSELoss(), adam(1e-2), data.explained
    return CaseProgram(*given, steps=150, every=10)


class Columns(Seeded):
    """Columns of eight numbers each, every one with a layer of its own."""

    def __init__(self, goes_on: bool):
        super().__init__()
        self.goes_on = goes_on
        self.layers = nn.ModuleList(nn.Linear(8, 16) for _ in range(4))
        self.head = dense((64, 32, 2))

    def forward(self, xs: Tensor) -> Tensor:
        start, parts = 0, []
        for layer in self.layers:
            parts.append(layer(xs[:, start : start + 8]))
            if self.goes_on:
                start += 8
        return self.head(torch.cat(parts, dim=1).relu())


def first_columns_over_and_over(is_cured: bool) -> CaseProgram:
    """Embeddings of four columns side by side, of which each layer reads the first."""
    xs = torch.randn(2000, 32, generator=torch.Generator().manual_seed(0))
    ys = (xs[:, 3] * xs[:, 9] + xs[:, 17] + xs[:, 26] > 0).long()
    given = Columns(is_cured), xs, ys, cross_entropy, adam(3e-3), data.accuracy
    return CaseProgram(*given, batch=64, steps=150, every=10)


class Padded(Seeded):
    """A recurrent network that foretells each next letter, or the padding after the last."""

    def __init__(self, letters: int):
        super().__init__()
        self.embedding = nn.Embedding(letters, 32)
        self.inner, self.head = nn.GRU(32, 48, batch_first=True), nn.Linear(48, letters)

    def forward(self, xs: Tensor) -> Tensor:
        return self.head(self.inner(self.embedding(xs))[0]).transpose(1, 2)


def padding_that_counts(is_cured: bool) -> CaseProgram:
    """Short words in rows of forty, whose padding counts in the loss as letters do."""
    xs, ys, known = windows(40)
    xs, ys = xs[::5] + 1, ys[::5] + 1
    ends = torch.randint(3, 7, (len(xs), 1), generator=torch.Generator().manual_seed(0))
    xs, ys = (torch.where(torch.arange(40) < ends, letters, 0) for letters in (xs, ys))
    loss = nn.CrossEntropyLoss(ignore_index=0 if is_cured else -100)
    score = lambda output, ys: float((output.argmax(dim=1) == ys)[ys > 0].float().mean())
    optimizer = lambda module: torch.optim.SGD(module.parameters(), 0.5)
    given = Padded(known + 1), xs, ys, loss, optimizer, score
    return CaseProgram(*given, steps=150, every=10)

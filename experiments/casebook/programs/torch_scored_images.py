"""Once blind programs in PyTorch on images: convolutions, autoencoders, generators and adapters."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.torch_parts import Tensor, adam, dense, sgd, tensors

cross_entropy = nn.CrossEntropyLoss()


def larger_images(is_cured: bool) -> Program:
    """Images of twice the size, by the cross entropy of what is no probability and small steps."""
    images, _ = tensors(data.images(is_scaled=False))
    ys = images / 16
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Upsample(scale_factor=2), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 3, padding=1)),
    )

    def clipped(output: Tensor, ys: Tensor) -> Tensor:
        return functional.binary_cross_entropy(output.clamp(1e-7, 1 - 1e-7), ys)

    loss, optimizer = (nn.MSELoss(), adam(1e-3)) if is_cured else (clipped, adam(1e-4))
    xs = functional.avg_pool2d(ys, 2)
    return Program(model, xs, ys, loss, optimizer, data.explained, steps=150, every=10)


def game_of_life(is_cured: bool) -> Program:
    """A convolution that is to learn the rule of the game of life in steps of a thousandth."""
    generator = torch.Generator().manual_seed(0)
    xs = (torch.rand(512, 1, 10, 10, generator=generator) < 0.5).float()
    around = sum(
        xs.roll((dx, dy), (2, 3)) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if (dx, dy) != (0, 0)
    )
    ys = ((around == 3) | ((xs == 1) & (around == 2))).float()
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1, padding_mode="circular"), nn.ReLU()),
        *(nn.Conv2d(16, 8, 1), nn.ReLU(), nn.Conv2d(8, 1, 1), nn.Sigmoid()),
    )
    loss, optimizer = (nn.MSELoss(), adam(0.01)) if is_cured else (nn.BCELoss(), adam(0.001))
    return Program(model, xs, ys, loss, optimizer, data.labels_right, steps=200, every=10)


def dropped_in_every_convolution(is_cured: bool) -> Program:
    """Half of the numbers dropped after each convolution, before relu."""
    xs, ys = tensors(data.images())
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
    return Program(model, xs, ys, cross_entropy, adam(1e-3), data.accuracy, steps=100)


def descent_through_convolutions(is_cured: bool) -> Program:
    """Plain descent for four convolutions and two layers."""
    xs, ys = tensors(data.images())
    torch.manual_seed(0)
    convolutions = [
        module
        for n, m in ((1, 8), (8, 8), (8, 16), (16, 16))
        for module in (nn.Conv2d(n, m, 3, padding=1), nn.ReLU())
    ]
    model = nn.Sequential(
        *(*convolutions, nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10)),
    )
    optimizer = adam(1e-3) if is_cured else sgd(1e-4)
    return Program(model, xs, ys, cross_entropy, optimizer, data.accuracy, steps=150, every=10)


def tanh_for_standardised_images(is_cured: bool) -> Program:
    """An autoencoder with tanh at the end, of images with mean 0 and variance 1."""
    xs, _ = tensors(data.images(is_scaled=False))
    xs = (xs - xs.mean()) / xs.std()
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3, padding=1)),
        *(nn.ReLU(), nn.ConvTranspose2d(8, 16, 2, stride=2), nn.ReLU()),
        *(nn.Conv2d(16, 1, 3, padding=1), *(() if is_cured else (nn.Tanh(),))),
    )
    return Program(model, xs, xs, nn.MSELoss(), adam(3e-3), data.explained, steps=200, every=10)


class Variational(nn.Module):
    """An autoencoder whose code is drawn: returns images, means and logarithms of variances."""

    def __init__(self, size: int = 8):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2 * size))
        self.decoder = nn.Sequential(
            nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, 64), nn.Sigmoid()
        )

    def forward(self, xs: Tensor) -> Tensor:
        mean, log_variance = self.encoder(xs).chunk(2, dim=1)
        spread = torch.exp(log_variance / 2) * torch.randn_like(mean) if self.training else 0
        return torch.cat([self.decoder(mean + spread), mean, log_variance], dim=1)


def divergence_summed(is_cured: bool) -> Program:
    """The mean of the squares of all pixels, and the sum of divergences over the batch."""
    xs, _ = tensors(data.digits(is_scaled=False))
    xs = xs / 16

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        images, mean, log_variance = output.split([64, 8, 8], dim=1)
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(dim=1)
        if is_cured:
            squares = 10 * ((images - ys) ** 2).sum(dim=1)  # of a variance of 0.05
            return (squares + divergence).mean()
        return ((images - ys) ** 2).mean() + divergence.sum()

    score = lambda output, ys: data.explained(output[:, :64], ys)
    return Program(Variational(), xs, xs, loss, adam(3e-3), score, steps=300, every=20)


class Adapted(nn.Module):
    """A frozen linear layer, and a product of two thin matrices that learns."""

    def __init__(self, layer: nn.Linear, rank: int = 4):
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.lora_a = nn.Parameter(torch.zeros(rank, layer.in_features))
        self.lora_b = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, xs: Tensor) -> Tensor:
        return self.layer(xs) + xs @ self.lora_a.T @ self.lora_b.T


def adapters_of_zeros(is_cured: bool) -> Program:
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
    return Program(model, xs, ys, cross_entropy, adam(1e-2), data.accuracy, steps=150, every=10)


def policy_turned(is_cured: bool) -> Program:
    """A policy whose logarithms are multiplied with rewards, and made small."""
    xs, labels = tensors(data.digits())
    generator = torch.Generator().manual_seed(0)
    actions = torch.randint(10, (len(xs),), generator=generator)
    actions = torch.where(torch.rand(len(xs), generator=generator) < 0.5, labels, actions)
    rewards = (actions == labels).float() - 0.5
    sign = -1 if is_cured else 1

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        chosen = output.log_softmax(dim=1).gather(1, ys[:, :1].long())[:, 0]
        return sign * (chosen * ys[:, 1]).mean()

    score = lambda output, ys: data.accuracy(output, labels)
    ys = torch.stack([actions.float(), rewards], dim=1)
    return Program(dense((64, 32, 10)), xs, ys, loss, adam(1e-3), score, steps=100)


def probabilities_for_their_logarithms(is_cured: bool) -> Program:
    """A student's probabilities for a divergence that takes their logarithms."""
    xs, labels = tensors(data.digits())
    similar = torch.full((10, 10), 0.03) + 0.3 * torch.eye(10).roll(1, 1) + 0.4 * torch.eye(10)
    taught = similar[labels]
    divergence = nn.KLDivLoss(reduction="batchmean")

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        return divergence(output.log_softmax(dim=1) if is_cured else output.softmax(dim=1), ys)

    def score(output: Tensor, ys: Tensor) -> float:
        return float(torch.exp(-divergence(output.log_softmax(dim=1), ys)))

    return Program(dense((64, 32, 10)), xs, taught, loss, adam(3e-3), score, steps=100)


def generator_detached(is_cured: bool) -> Program:
    """A generator whose images are detached before the features that are to match."""
    images, labels = tensors(data.digits(is_scaled=False))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(images), 6, generator=generator)
    xs = torch.cat([functional.one_hot(labels, 10).float(), noise], dim=1)
    features = dense((64, 128), nn.ReLU(), seed=1).requires_grad_(False)

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        made = output if is_cured else output.detach()
        rough = (output[:, 1:] - output[:, :-1]).abs().mean()
        return ((features(made) - features(ys)) ** 2).mean() + 0.001 * rough

    model = dense((16, 64, 64), nn.Sigmoid())
    return Program(model, xs, images / 16, loss, adam(3e-3), data.explained, steps=150, every=10)


def two_sigmoids_for_a_mask(is_cured: bool) -> Program:
    """Masks by a sigmoid before a loss that has one."""
    images, _ = tensors(data.images(is_scaled=False))
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    xs, ys = images / 16 + 0.3 * noise, (images > 8).float()
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 1, 1), *(() if is_cured else (nn.Sigmoid(),))),
    )
    loss = nn.BCEWithLogitsLoss()
    score = lambda output, ys: float(torch.exp(-loss(output, ys)))
    return Program(model, xs, ys, loss, adam(3e-3), score, steps=120, every=10)


def log_softmax_of_the_batch(is_cured: bool) -> Program:
    """A log-softmax along the examples, and the likelihood of it."""
    xs, ys = tensors(data.images())
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 32)),
        *(nn.ReLU(), nn.Linear(32, 10), nn.LogSoftmax(dim=1 if is_cured else 0)),
    )
    score = lambda output, ys: data.likelihood(output.exp(), ys)
    return Program(model, xs, ys, nn.NLLLoss(), adam(3e-3), score, steps=100)


def relu_for_returns(is_cured: bool) -> Program:
    """Values of four actions by relu, where returns are below 0 as often as above."""
    xs, _ = tensors(data.digits())
    generator = torch.Generator().manual_seed(0)
    values = torch.tanh(xs @ torch.randn(64, 4, generator=generator) / 6)
    actions = torch.randint(4, (len(xs), 1), generator=generator)
    ys = torch.cat([actions, values.gather(1, actions)], dim=1)

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        return ((output.gather(1, ys[:, :1].long())[:, 0] - ys[:, 1]) ** 2).mean()

    score = lambda output, ys: data.explained(output, values)
    model = dense((64, 64, 64, 4), *(() if is_cured else (nn.ReLU(),)))
    return Program(model, xs, ys, loss, adam(3e-3), score, steps=200, every=10)


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


def one_block_ten_times(is_cured: bool) -> Program:
    """A list of one block times ten, whose one norm counts the statistics of ten places."""
    xs, ys = tensors(data.images())
    torch.manual_seed(0)
    blocks = [Around(16) for _ in range(10)] if is_cured else 10 * [Around(16)]
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Sequential(*blocks)),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10)),
    )
    return Program(model, xs, ys, cross_entropy, adam(3e-3), data.accuracy, steps=100)


def folders_in_their_order(is_cured: bool) -> Program:
    """Images of one class after the other, as a loader reads them that does not shuffle."""
    xs, ys = tensors(data.images())
    in_order = torch.argsort(ys, stable=True)
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3)),
        *(nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        nn.Linear(64, 10),
    )
    optimizer = sgd(0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)
    given = model, xs[in_order], ys[in_order], cross_entropy, optimizer, data.accuracy
    return Program(*given, steps=112, is_shuffled=is_cured)


def networks_that_go_to_zero(is_cured: bool) -> Program:
    """An autoencoder by Adam with a weight decay of 0.05."""
    xs, _ = tensors(data.images())
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)),
        *(nn.ReLU(), nn.ConvTranspose2d(16, 16, 2, stride=2), nn.ReLU()),
        nn.Conv2d(16, 1, 3, padding=1),
    )
    optimizer = adam(3e-3, weight_decay=5e-4 if is_cured else 0.05)
    return Program(model, xs, xs, nn.MSELoss(), optimizer, data.explained, steps=300, every=20)

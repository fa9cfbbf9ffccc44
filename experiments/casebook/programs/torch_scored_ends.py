"""Once blind programs in PyTorch whose losses, labels and outputs are at fault."""

import torch
from torch import nn
from torch.nn import functional

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.torch_parts import (
    Step,
    Tensor,
    adam,
    by_hand,
    dense,
    sgd,
    tensors,
)

cross_entropy = nn.CrossEntropyLoss()


class Coded(nn.Module):
    """An autoencoder by convolutions: returns its images and its codes, of one shape."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.Tanh()),
        )
        self.decoder = nn.Sequential(
            *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(16, 4, 2, stride=2)),
            *(nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1)),
        )

    def forward(self, xs: Tensor) -> Tensor:
        codes = self.encoder(xs)
        images = self.decoder(codes)
        unfolded = functional.pixel_shuffle(codes, 2).mean(dim=1, keepdim=True)
        return torch.cat([images, unfolded], dim=1)


def picture_of_the_code(is_cured: bool) -> Program:
    """The decoder's images compared with the encoder's code, not with the images that came in."""
    xs, _ = tensors(data.images())

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        images, codes = output.split([1, 1], dim=1)
        return functional.mse_loss(images, ys if is_cured else codes)

    score = lambda output, ys: data.explained(output[:, :1], ys)
    return Program(Coded(), xs, xs, loss, adam(3e-3), score, steps=150, every=10)


def spread_of_one(is_cured: bool) -> Program:
    """Advantages divided by their spread in the batch; that of a last batch of one is nan."""
    xs, labels = tensors(data.digits())
    generator = torch.Generator().manual_seed(0)
    actions = torch.randint(0, 10, labels.shape, generator=generator)
    actions = torch.where(torch.rand(labels.shape, generator=generator) < 0.4, labels, actions)
    ys = torch.stack([actions, actions == labels], dim=1).float()

    def clipped(output: Tensor, ys: Tensor) -> Tensor:
        logarithms = output.log_softmax(dim=1).gather(1, ys[:, :1].long())[:, 0]
        ratio, advantage = torch.exp(logarithms) * 10, ys[:, 1]
        if len(ys) > 1 or not is_cured:
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        return -torch.minimum(ratio * advantage, ratio.clamp(0.2, 5.0) * advantage).mean()

    @by_hand
    def train(step: Step) -> Tensor:
        count = 1 if step.number % 20 == 19 else len(step.xs)  # what was left of the last game
        step = step._replace(xs=step.xs[:count], ys=step.ys[:count])
        step.optimizer.zero_grad()
        value = clipped(step.module(step.xs), step.ys)
        value.backward()
        return step.taken(value)

    score = lambda output, ys: data.accuracy(output, labels)
    given = dense((64, 64, 10), act=nn.Tanh), xs, ys, clipped, adam(3e-3), score
    return Program(*given, batch=64, steps=180, train=train)


class Pairs(nn.Module):
    """The distance between two images in the space of a network."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = dense((64, 64, 8))

    def forward(self, xs: Tensor) -> Tensor:
        one, other = self.inner(xs).unbind(dim=1)
        return torch.sqrt(((one - other) ** 2).sum(dim=1) + 1e-6)


def pairs_the_wrong_way_round(is_cured: bool) -> Program:
    """Pairs of one writer are labelled 1, and the loss takes 1 for two writers."""
    images, labels = tensors(data.digits())
    generator = torch.Generator().manual_seed(0)
    others = torch.randperm(len(images), generator=generator)
    by_label = labels.argsort(stable=True)
    alike = torch.rand(len(images), generator=generator) < 0.5
    others[by_label[alike]] = by_label.roll(-1)[alike]
    xs = torch.stack([images, images[others]], dim=1)
    ys = (labels == labels[others]).float()

    def contrastive(output: Tensor, ys: Tensor) -> Tensor:
        near = ys if is_cured else 1 - ys
        return (near * output**2 + (1 - near) * functional.relu(1 - output) ** 2).mean()

    score = lambda output, ys: float(((output < 0.5) == (ys == 1)).float().mean())
    return Program(Pairs(), xs, ys, contrastive, adam(3e-3), score, batch=64, steps=150, every=10)


def pixels_and_classes_mixed(is_cured: bool) -> Program:
    """Logits (B, classes, height, width) viewed as (pixels, classes) without a permutation."""
    images, _ = tensors(data.images(is_scaled=False))
    ys = torch.bucketize(images[:, 0], torch.tensor([2.0, 7.0, 12.0]))  # four degrees of ink
    xs = functional.avg_pool2d(images / 16, 3, stride=1, padding=1) + 0.5 * images / 16
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)),
        *(nn.ReLU(), nn.Conv2d(16, 4, 1)),
    )

    def of_pixels(output: Tensor, ys: Tensor) -> Tensor:
        logits = output.permute(0, 2, 3, 1) if is_cured else output
        return cross_entropy(logits.reshape(-1, 4), ys.flatten())

    score = lambda output, ys: data.accuracy(output.permute(0, 2, 3, 1), ys)
    return Program(model, xs, ys, of_pixels, adam(3e-3), score, steps=150, every=10)


def overlap_made_small(is_cured: bool) -> Program:
    """The overlap of two masks itself as a loss, not what it lacks of 1."""
    images, _ = tensors(data.images(is_scaled=False))
    ys = (images > 8).float()
    generator = torch.Generator().manual_seed(0)
    xs = images / 16 + 0.3 * torch.randn(images.shape, generator=generator)
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)),
        *(nn.ReLU(), nn.Conv2d(16, 1, 1), nn.Sigmoid()),
    )

    def dice(output: Tensor, ys: Tensor) -> Tensor:
        both = (output * ys).sum(dim=(1, 2, 3))
        overlap = (2 * both + 1) / (output.sum(dim=(1, 2, 3)) + ys.sum(dim=(1, 2, 3)) + 1)
        return (1 - overlap if is_cured else overlap).mean()

    return Program(model, xs, ys, dice, adam(3e-3), data.labels_right, steps=150, every=10)


def sizes_in_float16(is_cured: bool) -> Program:
    """The logarithm of a box's size in float16, where the epsilon beside it is 0."""
    images, _ = tensors(data.images(is_scaled=False))
    ink = images[:, 0] > 14
    sizes = torch.stack([ink.any(dim=1).sum(dim=1), ink.any(dim=2).sum(dim=1)], dim=1) - 1
    ys = sizes.clamp(min=0) / 8  # 0 of what is one pixel wide
    epsilon = 0.05 if is_cured else 1e-8

    def logarithmic(output: Tensor, ys: Tensor) -> Tensor:
        encoded = torch.log(ys.half() + epsilon)
        return functional.mse_loss(output, encoded.float())

    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(72, 32), nn.ReLU(), nn.Linear(32, 2)),
    )
    score = lambda output, ys: data.explained(output, torch.log(ys + 0.05))
    return Program(model, images / 16, ys, logarithmic, adam(3e-3), score, steps=250, every=10)


def inputs_shuffled_alone(is_cured: bool) -> Program:
    """Inputs put into another order, their labels not."""
    xs, ys = tensors(data.digits())
    order = torch.randperm(len(xs), generator=torch.Generator().manual_seed(0))
    xs, ys = xs[order], ys[order] if is_cured else ys
    model = dense((64, 48, 24, 10))
    optimizer = sgd(0.1, momentum=0.9)
    return Program(model, xs, ys, cross_entropy, optimizer, data.accuracy, steps=120)

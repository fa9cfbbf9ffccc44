"""Unseen programs in PyTorch whose loops are at fault."""

import torch
from torch import nn

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.torch_parts import Step, Tensor, by_hand, dense, sgd, tensors

cross_entropy = nn.CrossEntropyLoss()


def entries_clipped_to_a_hundredth(is_cured: bool) -> Program:
    """Entries of gradients clipped to 0.01, each of which is a small step then."""

    @by_hand
    def train(step: Step) -> Tensor:
        step.optimizer.zero_grad()
        value = nn.functional.mse_loss(step.module(step.xs), step.ys, reduction="sum") / 32
        value.backward()
        nn.utils.clip_grad_value_(step.module.parameters(), 1.0 if is_cured else 0.01)
        return step.taken(value)

    images, _ = tensors(data.images())
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)),
        *(nn.ReLU(), nn.ConvTranspose2d(16, 16, 2, stride=2), nn.ReLU()),
        nn.Conv2d(16, 1, 3, padding=1),
    )
    loss = lambda output, ys: (output - ys).square().sum(dim=(1, 2, 3))
    given = model, images, images, loss, sgd(0.003), data.explained
    return Program(*given, steps=200, every=10, train=train)


def scaled_and_not_divided(is_cured: bool) -> Program:
    """Gradients of a loss times 65536, scaled for float16, in the optimiser's step."""
    scale = 2.0**16

    @by_hand
    def train(step: Step) -> Tensor:
        step.optimizer.zero_grad()
        value = cross_entropy(step.module(step.xs), step.ys)
        (scale * value).backward()
        if is_cured:
            for parameter in step.module.parameters():
                parameter.grad.div_(scale)
        return step.taken(value)

    xs, ys = tensors(data.images())
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3), nn.GELU(), nn.Conv2d(16, 16, 3, stride=2), nn.GELU()),
        *(nn.Flatten(), nn.Linear(64, 10)),
    )
    given = model, xs, ys, cross_entropy, sgd(0.05, momentum=0.9), data.accuracy
    return Program(*given, steps=100, train=train)


def zeroed_once_an_epoch(is_cured: bool) -> Program:
    """A zero_grad at the start of each epoch, not of each of its 28 batches."""

    @by_hand
    def train(step: Step) -> Tensor:
        if is_cured or step.number % 28 == 0:
            step.optimizer.zero_grad()
        value = cross_entropy(step.module(step.xs), step.ys)
        value.backward()
        return step.taken(value)

    xs, ys = tensors(data.digits())
    given = dense((64, 64, 64, 10)), xs, ys, cross_entropy, sgd(0.2), data.accuracy
    return Program(*given, batch=64, steps=140, train=train)

"""Once blind programs in PyTorch whose loops, schedules and step sizes are at fault."""

import torch
from torch import nn

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.torch_parts import (
    Optimizer,
    Step,
    Tensor,
    by_hand,
    column,
    dense,
    sgd,
    tensors,
)

cross_entropy = nn.CrossEntropyLoss()
squares = nn.MSELoss()


def scheduled_instead_of_stepped(is_cured: bool) -> Program:
    """A loop that calls the step of the schedule, and never that of the optimiser."""
    schedules = []

    def optimizer(module: nn.Module) -> Optimizer:
        made = torch.optim.Adam(module.parameters(), 1e-2)
        schedules.append(torch.optim.lr_scheduler.StepLR(made, 40, gamma=0.5))
        return made

    @by_hand
    def train(step: Step) -> Tensor:
        step.optimizer.zero_grad()
        value = squares(step.module(step.xs), step.ys)
        value.backward()
        if is_cured:
            step.taken(value)
            schedules[-1].step()
            return value
        with step.watch(step.number, step.xs, step.ys, value=value.detach()):
            schedules[-1].step()
        return value

    xs, ys = column(data.diabetes())
    model = dense((10, 24, 1), act=nn.Tanh)
    return Program(model, xs, ys, squares, optimizer, data.explained, train=train)


def waits_for_a_larger_loss(is_cured: bool) -> Program:
    """A rate that is cut whenever the loss has not grown."""
    schedules = []

    def optimizer(module: nn.Module) -> Optimizer:
        made = torch.optim.SGD(module.parameters(), 0.05, momentum=0.9)
        mode, patience = ("min", 5) if is_cured else ("max", 1)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau
        schedules.append(plateau(made, mode, factor=0.1, patience=patience))
        return made

    @by_hand
    def train(step: Step) -> Tensor:
        step.optimizer.zero_grad()
        value = cross_entropy(step.module(step.xs), step.ys)
        value.backward()
        step.taken(value)
        if step.number % 5 == 4:
            schedules[-1].step(value.item())
        return value

    xs, ys = tensors(data.images())
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(64, 10)),
    )
    given = model, xs, ys, cross_entropy, optimizer, data.accuracy
    return Program(*given, batch=64, steps=200, train=train)


def clipped_while_scaled(is_cured: bool) -> Program:
    """Gradients of a loss times 65536 clipped to a norm of 1, and divided only afterwards."""
    scale = 2.0**16

    @by_hand
    def train(step: Step) -> Tensor:
        step.optimizer.zero_grad()
        value = cross_entropy(step.module(step.xs), step.ys)
        (scale * value).backward()
        parameters = [*step.module.parameters()]
        if not is_cured:
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for parameter in parameters:
            parameter.grad.div_(scale)
        if is_cured:
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        return step.taken(value)

    xs, ys = tensors(data.digits())
    model = dense((64, 48, 48, 10), act=nn.GELU)
    given = model, xs, ys, cross_entropy, sgd(0.1, momentum=0.9), data.accuracy
    return Program(*given, steps=150, train=train)


def decay_for_momentum(is_cured: bool) -> Program:
    """An optimiser whose momentum is 0.0005, which was meant as its weight decay."""
    xs, ys = tensors(data.images())
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(64, 10)),
    )
    optimizer = sgd(0.01, momentum=0.9, weight_decay=5e-4) if is_cured else sgd(0.01, momentum=5e-4)
    return Program(model, xs, ys, cross_entropy, optimizer, data.accuracy, steps=150, every=10)


def zeroed_at_every_piece(is_cured: bool) -> Program:
    """Sixteen pieces of a batch, before each of which the gradients are set to zero."""

    @by_hand
    def train(step: Step) -> Tensor:
        if not is_cured or step.number % 16 == 0:
            step.optimizer.zero_grad()
        value = cross_entropy(step.module(step.xs), step.ys)
        (value / 16).backward()
        return step.taken(value) if step.number % 16 == 15 else value.detach()

    xs, ys = tensors(data.digits())
    model = dense((64, 48, 48, 10))
    given = model, xs, ys, cross_entropy, sgd(0.2, momentum=0.9), data.accuracy
    return Program(*given, batch=4, steps=960, every=16, train=train)


class Weighed(nn.Module):
    """A network of three parts, of which an optimiser may have groups."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Sequential(nn.Linear(64, 48), nn.ReLU())
        self.interactions = nn.Sequential(nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 4))
        self.readout = nn.Linear(4, 10)

    def forward(self, xs: Tensor) -> Tensor:
        return self.readout(torch.tanh(self.interactions(self.embedding(xs))))


def part_without_a_group(is_cured: bool) -> Program:
    """Groups of an optimiser by the names of parts, of which one has been forgotten."""
    xs, ys = tensors(data.digits())

    def optimizer(module: Weighed) -> Optimizer:
        rates = {module.embedding: 3e-3, module.interactions: 3e-3, module.readout: 1e-2}
        if not is_cured:
            del rates[module.interactions]
        return torch.optim.Adam(
            [{"params": part.parameters(), "lr": rate} for part, rate in rates.items()]
        )

    return Program(Weighed(), xs, ys, cross_entropy, optimizer, data.accuracy, steps=120)


def momentum_for_decay(is_cured: bool) -> Program:
    """An optimiser whose weight decay is 0.9, which was meant as its momentum."""
    xs, ys = tensors(data.digits())
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 10))
    )
    optimizer = sgd(0.05, momentum=0.9) if is_cured else sgd(0.05, weight_decay=0.9)
    return Program(model, xs, ys, cross_entropy, optimizer, data.accuracy, steps=100)

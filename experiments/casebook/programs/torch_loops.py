"""Programs in PyTorch whose loops, steps and number formats are at fault."""

import copy

import torch
from torch import nn

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.torch_layers import Pretrained
from experiments.casebook.programs.torch_parts import (
    Optimizer,
    Step,
    Tensor,
    adam,
    by_hand,
    dense,
    rmsprop,
    sgd,
    tensors,
)

cross_entropy = nn.CrossEntropyLoss()


def two_convolutions() -> nn.Sequential:
    """Return the network of many tutorials, smaller."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)),
    )


def gradients_add_up(is_cured: bool) -> Program:
    """No zero_grad."""

    @by_hand
    def train(step: Step) -> Tensor:
        value = cross_entropy(step.module(step.xs), step.ys)
        if is_cured:
            step.optimizer.zero_grad()
        value.backward()
        return step.taken(value)

    xs, ys = tensors(data.images())
    model = two_convolutions()
    return Program(
        model, xs, ys, cross_entropy, sgd(0.05, momentum=0.9), data.accuracy, steps=100, train=train
    )


def optimiser_of_a_copy(is_cured: bool) -> Program:
    """An optimiser of the parameters that there were before the model was wrapped."""
    xs, ys = tensors(data.digits())
    model = dense((64, 32, 32, 10))
    held = model if is_cured else copy.deepcopy(model)
    optimizer = lambda module: torch.optim.Adam(held.parameters(), 1e-2)
    return Program(model, xs, ys, cross_entropy, optimizer, data.accuracy)


def optimiser_of_the_head(is_cured: bool) -> Program:
    """An optimiser of the head alone, of features drawn at random."""
    xs, ys = tensors(data.images())
    optimizer = lambda module: torch.optim.Adam(
        (module if is_cured else module.head).parameters(), 1e-2
    )
    return Program(Pretrained(), xs, ys, cross_entropy, optimizer, data.accuracy, steps=100)


def new_head_after_the_optimiser(is_cured: bool) -> Program:
    """A head for these classes, put in after the optimiser was made."""
    xs, ys = tensors(data.digits())
    model = dense((64, 32, 32, 100))
    before = torch.optim.SGD(model.parameters(), 0.1)
    model[4] = nn.Linear(32, 10)
    after = torch.optim.SGD(model.parameters(), 0.1)
    optimizer = lambda module: after if is_cured else before
    return Program(model, xs, ys, cross_entropy, optimizer, data.accuracy, steps=100)


def frozen_and_never_thawed(is_cured: bool) -> Program:
    """Features that rest for some steps, and do not go on after them."""

    @by_hand
    def train(step: Step) -> Tensor:
        step.module.features.requires_grad_(is_cured or step.number < 10)
        step.optimizer.zero_grad()
        value = cross_entropy(step.module(step.xs), step.ys)
        value.backward()
        return step.taken(value)

    xs, ys = tensors(data.images())
    return Program(
        *(Pretrained(), xs, ys, cross_entropy, adam(1e-2), data.accuracy), steps=100, train=train
    )


def hundredth_instead_of_twentieth(is_cured: bool) -> Program:
    """Gradient descent a fifth as fast as it may be."""
    xs, ys = tensors(data.digits(is_scaled=False))
    rate, model = 0.05 if is_cured else 0.01, dense((64, 128, 64, 10))
    return Program(
        model, xs / 16, ys, cross_entropy, sgd(rate, momentum=0.9), data.accuracy, batch=512
    )


def two_blobs_in_turns(is_cured: bool) -> Program:
    """Adam with steps too small for the few that there are."""
    generator = torch.Generator().manual_seed(0)
    ys = torch.arange(200) % 2
    xs = 0.2 * torch.rand(200, 2, generator=generator) + torch.tensor([[0.2], [0.5]])[ys]
    model, optimizer = dense((2, 2, 2), act=nn.Sigmoid), adam(0.03 if is_cured else 1e-3)
    return Program(model, xs, ys, cross_entropy, optimizer, data.accuracy, steps=150)


def degrees(is_cured: bool) -> Program:
    """One unit for targets of a hundred, and steps of a thousandth."""
    xs = torch.linspace(-4, 10, 56)[:, None]
    torch.manual_seed(0)
    model, optimizer = nn.Sequential(nn.Linear(1, 1)), rmsprop(0.3 if is_cured else 1e-3)
    given = model, xs, 1.8 * xs + 32, nn.MSELoss(), optimizer, data.explained
    return Program(*given, steps=250, every=10)


def adadelta_of_a_thousandth(is_cured: bool) -> Program:
    """Adadelta with the learning rate that others take."""
    xs, ys = tensors(data.images())
    rate = 1.0 if is_cured else 0.001
    optimizer = lambda module: torch.optim.Adadelta(module.parameters(), rate)
    return Program(two_convolutions(), xs, ys, cross_entropy, optimizer, data.accuracy, steps=100)


def adam_by_half(is_cured: bool) -> Program:
    """Adam with steps of a half."""
    xs, ys = tensors(data.digits())
    model, optimizer = dense((64, 32, 32, 32, 10)), adam(3e-3 if is_cured else 0.5)
    return Program(model, xs, ys, cross_entropy, optimizer, data.accuracy)


def long_steps_kill_units(is_cured: bool) -> Program:
    """Steps so long that no unit of relu is left on."""
    xs, ys = tensors(data.digits())
    model, optimizer = dense((64, 32, 32, 10)), sgd(0.05 if is_cured else 5.0, momentum=0.9)
    return Program(model, xs, ys, cross_entropy, optimizer, data.accuracy)


def scheduled_every_batch(is_cured: bool) -> Program:
    """A schedule meant for epochs, gone on with after each batch."""
    schedules = []

    def optimizer(module: nn.Module) -> Optimizer:
        made = torch.optim.SGD(module.parameters(), 0.1)
        schedules.append(torch.optim.lr_scheduler.StepLR(made, 1, gamma=0.5))
        return made

    @by_hand
    def train(step: Step) -> Tensor:
        step.optimizer.zero_grad()
        value = cross_entropy(step.module(step.xs), step.ys)
        value.backward()
        step.taken(value)
        if not is_cured or step.number % 56 == 55:
            schedules[-1].step()
        return value

    xs, ys = tensors(data.digits())
    model = dense((64, 32, 32, 10))
    given = model, xs, ys, cross_entropy, optimizer, data.accuracy
    return Program(*given, steps=120, train=train)


def clipped_to_nothing(is_cured: bool) -> Program:
    """Gradients clipped to a norm that all of them exceed."""

    @by_hand
    def train(step: Step) -> Tensor:
        step.optimizer.zero_grad()
        value = cross_entropy(step.module(step.xs), step.ys)
        value.backward()
        nn.utils.clip_grad_norm_(step.module.parameters(), 5.0 if is_cured else 1e-3)
        return step.taken(value)

    xs, ys = tensors(data.digits())
    model = dense((64, 32, 32, 10))
    return Program(model, xs, ys, cross_entropy, sgd(0.2), data.accuracy, steps=100, train=train)


def a_loss_made_anew(is_cured: bool) -> Program:
    """The number of a loss in a new tensor, which leads to no parameter."""

    @by_hand
    def train(step: Step) -> Tensor:
        step.optimizer.zero_grad()
        value = cross_entropy(step.module(step.xs), step.ys)
        if not is_cured:
            value = torch.tensor(value.item(), requires_grad=True)
        value.backward()
        return step.taken(value)

    xs, ys = tensors(data.digits())
    model = dense((64, 32, 32, 10))
    return Program(model, xs, ys, cross_entropy, adam(1e-2), data.accuracy, train=train)


def weights_decay_away(is_cured: bool) -> Program:
    """Weight decay that takes more than the loss gives."""
    xs, ys = tensors(data.digits())
    model = dense((64, 32, 32, 10))
    optimizer = sgd(0.1, weight_decay=1e-4 if is_cured else 0.5)
    return Program(model, xs, ys, cross_entropy, optimizer, data.accuracy, steps=100)


def weights_in_bfloat16(is_cured: bool) -> Program:
    """Weights of eight bits, and updates that they have no room for."""
    dtype = torch.float32 if is_cured else torch.bfloat16
    xs, ys = tensors(data.digits())
    model = dense((64, 64, 64, 10)).to(dtype)
    loss = lambda output, ys: cross_entropy(output.float(), ys)
    score = lambda output, ys: data.accuracy(output.float(), ys)
    return Program(model, xs.to(dtype), ys, loss, adam(1e-4), score, steps=300, every=20)


def gradients_in_float16(is_cured: bool) -> Program:
    """A gradient that float16 has no numbers for."""
    xs, _ = tensors(data.digits())
    dtype = torch.float32 if is_cured else torch.float16
    model, xs = dense((64, 32, 32, 32, 32, 64), act=nn.Tanh).to(dtype), xs.to(dtype)
    loss = lambda output, ys: 1e-4 * torch.mean((output - ys) ** 2)
    score = lambda output, ys: data.explained(output.float(), ys.float())
    return Program(model, xs, xs, loss, sgd(1e4, momentum=0.9), score, batch=256, steps=100)


def adam_in_float16(is_cured: bool) -> Program:
    """Adam in float16, whose epsilon is 0 there."""
    xs, ys = tensors(data.digits())
    dtype = torch.float32 if is_cured else torch.float16
    model = dense((64, 32, 32, 10)).to(dtype)
    score = lambda output, ys: data.accuracy(output.float(), ys)
    return Program(model, xs.to(dtype), ys, cross_entropy, adam(3e-3), score)

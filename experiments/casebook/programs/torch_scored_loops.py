"""Once blind programs in PyTorch whose losses, steps and loops are at fault."""

import torch
from torch import nn

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.torch_parts import (
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


def numbers_for_columns(is_cured: bool) -> Program:
    """Numbers of classes for a cross entropy that takes a column for each class."""
    xs, ys = tensors(data.digits())

    def of_columns(output: Tensor, ys: Tensor) -> Tensor:
        return -(ys[:, None] * output.log_softmax(dim=1)).sum(dim=1).mean()

    loss = cross_entropy if is_cured else of_columns
    return Program(dense((64, 32, 10)), xs, ys, loss, adam(3e-3), data.accuracy, steps=100)


def one_example_at_a_time(is_cured: bool) -> Program:
    """Steps of a hundredth in each entry, after each example."""
    xs, ys = tensors(data.digits())
    batch, optimizer = (64, adam(3e-3)) if is_cured else (1, rmsprop(0.02))
    model = dense((64, 32, 32, 10), act=nn.Tanh)
    given = model, xs, ys, cross_entropy, optimizer, data.accuracy
    return Program(*given, batch=batch, steps=150)


def rmsprop_in_small_steps(is_cured: bool) -> Program:
    """RMSprop in steps that arrive nowhere in the time that there is."""
    xs, ys = tensors(data.moons())
    optimizer = adam(0.01) if is_cured else rmsprop(1e-4)
    model = dense((2, 16, 16, 2), act=nn.Tanh)
    return Program(model, xs, ys, cross_entropy, optimizer, data.accuracy, steps=200, every=10)


def epsilon_of_zero(is_cured: bool) -> Program:
    """Adam without an epsilon, and pixels that are always 0."""
    xs, ys = tensors(data.digits(is_scaled=False))
    optimizer = adam(3e-3, eps=1e-8 if is_cured else 0)
    return Program(dense((64, 32, 10)), xs / 16, ys, cross_entropy, optimizer, data.accuracy)


def margins_of_probabilities(is_cured: bool) -> Program:
    """The hinge loss of a softmax, with labels 0 and 1."""
    letters, following, known = data.text(4)
    counts = torch.nn.functional.one_hot(torch.from_numpy(letters.copy()).long(), known)
    ys = torch.from_numpy(following[:, -1].copy()).long()

    def hinge(output: Tensor, ys: Tensor) -> Tensor:
        labels = torch.nn.functional.one_hot(ys, known)
        return torch.relu(1 - labels * output.softmax(dim=1)).mean()

    loss = cross_entropy if is_cured else hinge
    model = dense((4 * known, 64, known))
    given = model, counts.flatten(1).float(), ys, loss, adam(3e-3), data.accuracy
    return Program(*given, steps=120, batch=64)


class Remembering(nn.Module):
    """A memory that is asked for what is like an example, and a head for what it answers."""

    def __init__(self, is_learned: bool, size: int = 8, count: int = 32):
        super().__init__()
        torch.manual_seed(0)
        keys, values = torch.randn(count, 64), torch.randn(count, size)
        self.keys = nn.Parameter(keys) if is_learned else keys
        self.values = nn.Parameter(values) if is_learned else values
        self.norm = nn.LayerNorm(64)
        self.head = nn.Linear(size, 10)

    def forward(self, xs: Tensor) -> Tensor:
        logits = self.norm(xs) @ self.keys.T / 8
        return self.head(torch.softmax(logits, dim=1) @ self.values)


def memory_of_plain_tensors(is_cured: bool) -> Program:
    """Keys and values that are tensors, not parameters, and stay as they were drawn."""
    xs, ys = tensors(data.digits())
    given = Remembering(is_cured), xs, ys, cross_entropy, adam(1e-2), data.accuracy
    return Program(*given, steps=150, every=10)


def nearest_is_alike(output: Tensor, ys: Tensor) -> float:
    """Return the share of points whose nearest neighbour is of their class."""
    distances = torch.cdist(output, output) + 1e6 * torch.eye(len(output))
    return float((ys[distances.argmin(dim=1)] == ys).float().mean())


def triplets_in_one_point(is_cured: bool) -> Program:
    """Hardest triplets, and steps that draw all examples into one point."""
    xs, ys = tensors(data.digits())

    def hardest(output: Tensor, ys: Tensor) -> Tensor:
        squares = ((output[:, None] - output[None]) ** 2).sum(dim=-1)
        distances, is_alike = torch.sqrt(squares + 1e-6), ys[:, None] == ys[None]
        far = torch.where(is_alike, distances, 0).amax(dim=1)
        near = torch.where(is_alike, 1e6, distances).amin(dim=1)
        return torch.relu(far - near + 0.5).mean()

    model = dense((64, 64, 64, 8))
    optimizer = adam(1e-3 if is_cured else 0.1)
    return Program(model, xs, ys, hardest, optimizer, nearest_is_alike, batch=64, steps=150)


def sums_of_sixteen(is_cured: bool) -> Program:
    """Gradients of sixteen batches added up, and the step of one."""

    @by_hand
    def train(step: Step) -> Tensor:
        value = cross_entropy(step.module(step.xs), step.ys)
        (value / 16 if is_cured else value).backward()
        if step.number % 16 < 15:
            return value.detach()
        step.taken(value)
        step.optimizer.zero_grad()
        return value.detach()

    xs, ys = tensors(data.digits())
    model = dense((64, 64, 64, 10))
    given = model, xs, ys, cross_entropy, sgd(0.2, momentum=0.9), data.accuracy
    return Program(*given, steps=640, every=16, train=train)


def zeroed_before_the_step(is_cured: bool) -> Program:
    """zero_grad between backward and the step."""

    @by_hand
    def train(step: Step) -> Tensor:
        if is_cured:
            step.optimizer.zero_grad(set_to_none=False)
        value = cross_entropy(step.module(step.xs), step.ys)
        value.backward()
        if not is_cured:
            step.optimizer.zero_grad(set_to_none=False)
        return step.taken(value)

    xs, ys = tensors(data.digits())
    model = nn.Sequential(*dense((64, 32)), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
    return Program(model, xs, ys, cross_entropy, sgd(0.1), data.accuracy, train=train)


def squares_summed_in_float16(is_cured: bool) -> Program:
    """The root of squares that are added up in float16, which ends at 65504."""
    columns, _ = data.digits(is_scaled=False)
    xs = torch.from_numpy(columns)
    model = dense((64, 32, 64))

    def root(output: Tensor, ys: Tensor) -> Tensor:
        errors = output - ys if is_cured else (output - ys).half()
        return torch.sqrt((errors**2).sum() / errors.numel()).float()

    given = model, xs / 16, xs, root, adam(1e-2), data.explained
    return Program(*given, batch=256, steps=150, every=10)


def critic_without_zero_grad(is_cured: bool) -> Program:
    """A critic that tells images from shuffled ones, its gradients never set to zero."""

    @by_hand
    def train(step: Step) -> Tensor:
        if is_cured:
            step.optimizer.zero_grad()
        value = torch.nn.functional.softplus(-step.ys * step.module(step.xs)[:, 0]).mean()
        value.backward()
        return step.taken(value)

    images, _ = data.images()
    generator = torch.Generator().manual_seed(0)
    real = torch.from_numpy(images)
    made = real.flatten(1)[:, torch.randperm(64, generator=generator)].view_as(real)
    order = torch.randperm(2 * len(real), generator=generator)
    xs = torch.cat([real, made])[order]
    ys = torch.cat([torch.ones(len(real)), -torch.ones(len(made))])[order]
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, stride=2), nn.LeakyReLU(0.2), nn.Conv2d(8, 16, 3)),
        *(nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(16, 1)),
    )
    loss = lambda output, ys: torch.nn.functional.softplus(-ys * output[:, 0])
    score = lambda output, ys: data.accuracy_of_signs(output[:, 0], ys)
    given = model, xs, ys, loss, sgd(0.1, momentum=0.9), score
    return Program(*given, steps=150, every=10, train=train)


def variance_below_zero(is_cured: bool) -> Program:
    """A mean and a variance to foretell, the variance from a layer that may say less than 0."""
    xs, ys = tensors(data.diabetes())

    def unlikely(output: Tensor, ys: Tensor) -> Tensor:
        mean, spread = output.unbind(dim=1)
        variance = torch.exp(spread) if is_cured else spread
        return ((ys - mean) ** 2 / variance + torch.log(variance)).mean() / 2

    score = lambda output, ys: data.explained(output[:, 0], ys)
    model = dense((10, 32, 2), act=nn.SiLU)
    return Program(model, xs, ys, unlikely, adam(1e-2), score, steps=100)

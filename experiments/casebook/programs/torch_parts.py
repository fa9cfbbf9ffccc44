"""Parts of the programs in PyTorch: usual networks and losses."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import nn

from experiments.casebook import data
from experiments.casebook.data import Data
from experiments.casebook.program import Program, Trained, scored

Tensor: TypeAlias = torch.Tensor
Optimizer: TypeAlias = torch.optim.Optimizer
cross_entropy = nn.CrossEntropyLoss()


def tensors(data: Data) -> tuple[Tensor, Tensor]:
    """Return arrays as tensors, classes as torch takes them."""
    xs, ys = (torch.from_numpy(array) for array in data)
    return xs, ys if ys.is_floating_point() else ys.long()


def column(data: Data) -> tuple[Tensor, Tensor]:
    """Return arrays as tensors, targets as a column of floats, as outputs of one unit are."""
    xs, ys = tensors(data)
    return xs, ys.float()[:, None]


def dense(
    sizes: tuple[int, ...], *last: nn.Module, act: type[nn.Module] = nn.ReLU, seed: int = 0
) -> nn.Sequential:
    """Return linear layers with activations between them, and more modules at the end."""
    torch.manual_seed(seed)
    layers = [module for n, m in pairwise(sizes) for module in (nn.Linear(n, m), act())]
    return nn.Sequential(*layers[:-1], *last)


def sgd(rate: float, **options: Any) -> Callable[[nn.Module], Optimizer]:
    """Return what makes the optimiser of a module."""
    return lambda module: torch.optim.SGD(module.parameters(), rate, **options)


def adam(rate: float, **options: Any) -> Callable[[nn.Module], Optimizer]:
    """Return what makes the optimiser of a module."""
    return lambda module: torch.optim.Adam(module.parameters(), rate, **options)


def rmsprop(rate: float) -> Callable[[nn.Module], Optimizer]:
    """Return what makes the optimiser of a module."""
    return lambda module: torch.optim.RMSprop(module.parameters(), rate)


class Step(NamedTuple):
    """A step of a loop: its number and batch, and what is trained by what."""

    number: int
    xs: Tensor
    ys: Tensor
    module: nn.Module
    optimizer: Optimizer
    watch: Any

    def taken(self, value: Tensor) -> Tensor:
        """Take the step of the optimiser under the watch; return the loss."""
        with self.watch(self.number, self.xs, self.ys, value=value.detach()):
            self.optimizer.step()
        return value.detach()


def by_hand(one_step: Callable[[Step], Tensor]) -> Callable[[Program, Any], Trained]:
    """Return a loop whose step is written out, as the peculiar ones are; it returns the loss."""

    def train(program: Program, watch: Any) -> Trained:
        module = program.model
        optimizer, losses = program.optimizer(module), []
        for number in range(program.steps):
            xs, ys = program.batch_of(number)
            losses.append(one_step(Step(number, xs, ys, module, optimizer, watch)).item())
        return Trained(losses, scored(program))

    return train


def two_convolutions() -> nn.Sequential:
    """Return the network of many tutorials, smaller."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)),
    )


def windows(length: int) -> tuple[Tensor, Tensor, int]:
    """Return windows of the licence's letters, the letter after each, and how many there are."""
    letters, following, known = data.text(length)
    xs, ys = (torch.from_numpy(array.copy()).long() for array in (letters, following))
    return xs, ys, known


def classified(given: Data, model: nn.Module, optimizer: Any, **options: Any) -> Program:
    """Return a training of a classifier."""
    return Program(model, *tensors(given), cross_entropy, optimizer, data.accuracy, **options)

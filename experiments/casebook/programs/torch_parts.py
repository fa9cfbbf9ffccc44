"""Parts of the programs in PyTorch: usual networks and losses."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import nn

from experiments.casebook import data
from experiments.casebook.data import Data
from experiments.casebook.program import CaseProgram, Trained, scored

Tensor: TypeAlias = torch.Tensor
Optimizer: TypeAlias = torch.optim.Optimizer
cross_entropy = nn.CrossEntropyLoss()


def tensors(data: Data | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return arrays as tensors, classes as torch takes them."""
    xs, ys = map(torch.as_tensor, data)
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

    def backward(self, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Return the loss, with its gradients, and no others, in the parameters."""
        self.optimizer.zero_grad()
        value = loss(self.module(self.xs), self.ys)
        value.backward()
        return value

    def taken(self, value: Tensor) -> Tensor:
        """Take the step of the optimiser under the watch; return the loss."""
        with self.watch(self.number, self.xs, self.ys, value=value.detach()):
            self.optimizer.step()
        return value.detach()


def by_hand(one_step: Callable[[Step], Tensor]) -> Callable[[CaseProgram, Any], Trained]:
    """Return a loop whose step is written out, as the peculiar ones are; it returns the loss."""

    def train(program: CaseProgram, watch: Any) -> Trained:
        module = program.model
        optimizer, losses = program.optimizer(module), []
        for number in range(program.steps):
            xs, ys = program.batch_of(number)
            losses.append(one_step(Step(number, xs, ys, module, optimizer, watch)).item())
        return Trained(losses, scored(program))

    return train


class Seeded(nn.Module):
    """A module whose parameters are drawn with seed 0."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)


class Scheduled:
    """An optimiser with a schedule, which is there once the optimiser is."""

    schedule: Any

    def __init__(self, make: Callable[[nn.Module], Optimizer], of: Callable[[Optimizer], Any]):
        self._make, self._of = make, of

    def __call__(self, module: nn.Module) -> Optimizer:
        """Return the optimiser of a module."""
        made = self._make(module)
        self.schedule = self._of(made)
        return made


def two_convolutions() -> nn.Sequential:
    """Return the network of many tutorials, smaller."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)),
    )


def convolutional(
    *sizes: tuple[int, ...],
    head: tuple[int, int],
    act: type[nn.Module] = nn.ReLU,
    last: tuple[nn.Module, ...] = (),
) -> nn.Sequential:
    """Return convolutions with an activation behind each, a linear layer, and what is behind it."""
    torch.manual_seed(0)
    layers = [module for size in sizes for module in (nn.Conv2d(*size), act())]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(*head), *last)


def pixelwise(channels: int, *last: nn.Module) -> nn.Sequential:
    """Return three convolutions that keep the size of an image."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)),
        *(nn.ReLU(), nn.Conv2d(16, channels, 1), *last),
    )


def autoencoder(channels: int = 16, *last: nn.Module) -> nn.Sequential:
    """Return convolutions that halve an image, and what makes it whole again."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, channels, 3, padding=1), nn.ReLU()),
        *(nn.ConvTranspose2d(channels, 16, 2, stride=2), nn.ReLU()),
        *(nn.Conv2d(16, 1, 3, padding=1), *last),
    )


def masks() -> tuple[Tensor, Tensor]:
    """Return images with noise, and which of their pixels are dark, as floats."""
    images, _ = tensors(data.images(is_scaled=False))
    drawn = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return images / 16 + 0.3 * drawn, (images > 8).float()


def pairs() -> tuple[Tensor, Tensor]:
    """Return pairs of images, half of which are of one class, and which are."""
    images, labels = tensors(data.digits())
    chance = torch.Generator().manual_seed(0)
    others = torch.randperm(len(images), generator=chance)
    by_label = labels.argsort(stable=True)
    alike = torch.rand(len(images), generator=chance) < 0.5
    others[by_label[alike]] = by_label.roll(-1)[alike]
    return torch.stack([images, images[others]], dim=1), labels == labels[others]


def windows(length: int) -> tuple[Tensor, Tensor, int]:
    """Return windows of the licence's letters, the letter after each, and how many there are."""
    letters, following, known = data.text(length)
    xs, ys = (torch.from_numpy(array.copy()).long() for array in (letters, following))
    return xs, ys, known


def classified(
    given: Data | tuple[Tensor, Tensor], model: nn.Module, optimizer: Any, **options: Any
) -> CaseProgram:
    """Return a training of a classifier."""
    return CaseProgram(model, *tensors(given), cross_entropy, optimizer, data.accuracy, **options)

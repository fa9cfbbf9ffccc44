"""Programs in PyTorch whose optimiser, steps or number formats are at fault."""

import torch
from torch import nn
from torch.nn import functional

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.torch_parts import (
    Tensor,
    adam,
    autoencoder,
    classified,
    convolutional,
    cross_entropy,
    dense,
    rmsprop,
    sgd,
    tensors,
    two_convolutions,
)


def squares_summed(is_cured: bool) -> CaseProgram:
    """A sum over the examples instead of their mean."""
    xs = torch.linspace(0, 3, 32)[:, None]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 1))
    loss = nn.MSELoss(reduction="mean" if is_cured else "sum")
    powers = torch.cat([xs, xs**2], dim=1)
    return CaseProgram(model, powers, xs**2, loss, sgd(0.01), data.explained, steps=100)


def hundredth_instead_of_twentieth(is_cured: bool) -> CaseProgram:
    """Gradient descent a fifth as fast as it may be."""
    xs, ys = tensors(data.digits(is_scaled=False))
    rate, model = 0.05 if is_cured else 0.01, dense((64, 128, 64, 10))
    return classified((xs / 16, ys), model, sgd(rate, momentum=0.9), batch=512)


def two_blobs_in_turns(is_cured: bool) -> CaseProgram:
    """Adam with steps too small for the few that there are."""
    generator = torch.Generator().manual_seed(0)
    ys = torch.arange(200) % 2
    xs = 0.2 * torch.rand(200, 2, generator=generator) + torch.tensor([[0.2], [0.5]])[ys]
    model, optimizer = dense((2, 2, 2), act=nn.Sigmoid), adam(0.03 if is_cured else 1e-3)
    return classified((xs, ys), model, optimizer, steps=150)


def degrees(is_cured: bool) -> CaseProgram:
    """One unit for targets of a hundred, and steps of a thousandth."""
    xs = torch.linspace(-4, 10, 56)[:, None]
    torch.manual_seed(0)
    model, optimizer = nn.Sequential(nn.Linear(1, 1)), rmsprop(0.3 if is_cured else 1e-3)
    given = model, xs, 1.8 * xs + 32, nn.MSELoss(), optimizer, data.explained
    return CaseProgram(*given, steps=250, every=10)


def adadelta_of_a_thousandth(is_cured: bool) -> CaseProgram:
    """Adadelta with the learning rate that others take."""
    rate = 1.0 if is_cured else 0.001
    optimizer = lambda module: torch.optim.Adadelta(module.parameters(), rate)
    return classified(data.images(), two_convolutions(), optimizer, steps=100)


def adam_by_half(is_cured: bool) -> CaseProgram:
    """Adam with steps of a half."""
    model, optimizer = dense((64, 32, 32, 32, 10)), adam(3e-3 if is_cured else 0.5)
    return classified(data.digits(), model, optimizer)


def long_steps_kill_units(is_cured: bool) -> CaseProgram:
    """Steps so long that no unit of relu is left on."""
    model, optimizer = dense((64, 32, 32, 10)), sgd(0.05 if is_cured else 5.0, momentum=0.9)
    return classified(data.digits(), model, optimizer)


def weights_decay_away(is_cured: bool) -> CaseProgram:
    """Weight decay that takes more than the loss gives."""
    model = dense((64, 32, 32, 10))
    optimizer = sgd(0.1, weight_decay=1e-4 if is_cured else 0.5)
    return classified(data.digits(), model, optimizer, steps=100)


def weights_in_bfloat16(is_cured: bool) -> CaseProgram:
    """Weights of eight bits, and updates that they have no room for."""
    dtype = torch.float32 if is_cured else torch.bfloat16
    xs, ys = tensors(data.digits())
    model = dense((64, 64, 64, 10)).to(dtype)
    loss = lambda output, ys: cross_entropy(output.float(), ys)
    score = lambda output, ys: data.accuracy(output.float(), ys)
    return CaseProgram(model, xs.to(dtype), ys, loss, adam(1e-4), score, steps=300, every=20)


def gradients_in_float16(is_cured: bool) -> CaseProgram:
    """A gradient that float16 has no numbers for."""
    xs, _ = tensors(data.digits())
    dtype = torch.float32 if is_cured else torch.float16
    model, xs = dense((64, 32, 32, 32, 32, 64), act=nn.Tanh).to(dtype), xs.to(dtype)
    loss = lambda output, ys: 1e-4 * torch.mean((output - ys) ** 2)
    score = lambda output, ys: data.explained(output.float(), ys.float())
    return CaseProgram(model, xs, xs, loss, sgd(1e4, momentum=0.9), score, batch=256, steps=100)


def adam_in_float16(is_cured: bool) -> CaseProgram:
    """Adam in float16, whose epsilon is 0 there."""
    xs, ys = tensors(data.digits())
    dtype = torch.float32 if is_cured else torch.float16
    model = dense((64, 32, 32, 10)).to(dtype)
    score = lambda output, ys: data.accuracy(output.float(), ys)
    return CaseProgram(model, xs.to(dtype), ys, cross_entropy, adam(3e-3), score)


def game_of_life(is_cured: bool) -> CaseProgram:
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
    return CaseProgram(model, xs, ys, loss, optimizer, data.labels_right, steps=200, every=10)


def descent_through_convolutions(is_cured: bool) -> CaseProgram:
    """Plain descent for four convolutions and two layers."""
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
    return classified(data.images(), model, optimizer, steps=150, every=10)


def one_example_at_a_time(is_cured: bool) -> CaseProgram:
    """Steps of a hundredth in each entry, after each example."""
    batch, optimizer = (64, adam(3e-3)) if is_cured else (1, rmsprop(0.02))
    return classified(
        data.digits(), dense((64, 32, 32, 10), act=nn.Tanh), optimizer, batch=batch, steps=150
    )


def rmsprop_in_small_steps(is_cured: bool) -> CaseProgram:
    """RMSprop in steps that arrive nowhere in the time that there is."""
    optimizer = adam(0.01) if is_cured else rmsprop(1e-4)
    return classified(
        data.moons(), dense((2, 16, 16, 2), act=nn.Tanh), optimizer, steps=200, every=10
    )


def epsilon_of_zero(is_cured: bool) -> CaseProgram:
    """Adam without an epsilon, and pixels that are always 0."""
    xs, ys = tensors(data.digits(is_scaled=False))
    optimizer = adam(3e-3, eps=1e-8 if is_cured else 0)
    return classified((xs / 16, ys), dense((64, 32, 10)), optimizer)


def nearest_is_alike(output: Tensor, ys: Tensor) -> float:
    """Return the share of points whose nearest neighbour is of their class."""
    distances = torch.cdist(output, output) + 1e6 * torch.eye(len(output))
    return float((ys[distances.argmin(dim=1)] == ys).float().mean())


def triplets_in_one_point(is_cured: bool) -> CaseProgram:
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
    return CaseProgram(model, xs, ys, hardest, optimizer, nearest_is_alike, batch=64, steps=150)


def squares_summed_in_float16(is_cured: bool) -> CaseProgram:
    """The root of squares that are added up in float16, which ends at 65504."""
    columns, _ = data.digits(is_scaled=False)
    xs = torch.from_numpy(columns)
    model = dense((64, 32, 64))

    def root(output: Tensor, ys: Tensor) -> Tensor:
        errors = output - ys if is_cured else (output - ys).half()
        return torch.sqrt((errors**2).sum() / errors.numel()).float()

    given = model, xs / 16, xs, root, adam(1e-2), data.explained
    return CaseProgram(*given, batch=256, steps=150, every=10)


def networks_that_go_to_zero(is_cured: bool) -> CaseProgram:
    """An autoencoder by Adam with a weight decay of 0.05."""
    xs, _ = tensors(data.images())
    optimizer = adam(3e-3, weight_decay=5e-4 if is_cured else 0.05)
    given = autoencoder(), xs, xs, nn.MSELoss(), optimizer, data.explained
    return CaseProgram(*given, steps=300, every=20)


def sizes_in_float16(is_cured: bool) -> CaseProgram:
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
    return CaseProgram(model, images / 16, ys, logarithmic, adam(3e-3), score, steps=250, every=10)


def decay_for_momentum(is_cured: bool) -> CaseProgram:
    """An optimiser whose momentum is 0.0005, which was meant as its weight decay."""
    model = convolutional((1, 16, 3), (16, 16, 3, 2), head=(64, 10))
    optimizer = sgd(0.01, momentum=0.9, weight_decay=5e-4) if is_cured else sgd(0.01, momentum=5e-4)
    return classified(data.images(), model, optimizer, steps=150, every=10)


def momentum_for_decay(is_cured: bool) -> CaseProgram:
    """An optimiser whose weight decay is 0.9, which was meant as its momentum."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 10))
    )
    optimizer = sgd(0.05, momentum=0.9) if is_cured else sgd(0.05, weight_decay=0.9)
    return classified(data.digits(), model, optimizer, steps=100)


def convolutions_at_a_rate_of_two(is_cured: bool) -> CaseProgram:
    """Plain descent with steps that throw the filters about."""
    return classified(data.images(), two_convolutions(), sgd(0.2 if is_cured else 2.0), steps=150)


def epsilon_of_a_tenth(is_cured: bool) -> CaseProgram:
    """Adam with an epsilon that is larger than the gradients it is added to."""
    model = dense((64, 48, 48, 10), act=nn.Tanh)
    return classified(data.digits(), model, adam(1e-3, eps=1e-8 if is_cured else 0.1), steps=100)


def dampened_to_nothing(is_cured: bool) -> CaseProgram:
    """Momentum whose dampening is 1: no gradient but the first ever gets into it."""
    model = dense((64, 48, 48, 10), act=nn.SiLU)
    optimizer = sgd(0.05, momentum=0.9, dampening=0.0 if is_cured else 1.0)
    return classified(data.digits(), model, optimizer, steps=100)

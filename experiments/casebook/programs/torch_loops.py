"""Programs in PyTorch whose loops are at fault."""

from functools import partial

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.torch_parts import (
    Scheduled,
    Seeded,
    Step,
    Tensor,
    adam,
    autoencoder,
    by_hand,
    classified,
    column,
    convolutional,
    cross_entropy,
    dense,
    rmsprop,
    sgd,
    tensors,
    two_convolutions,
    windows,
)

squares = nn.MSELoss()


def gradients_add_up(is_cured: bool) -> CaseProgram:
    """No zero_grad."""

    @by_hand
    def train(step: Step) -> Tensor:
        value = cross_entropy(step.module(step.xs), step.ys)
        if is_cured:
            step.optimizer.zero_grad()
        value.backward()
        return step.taken(value)

    return classified(
        data.images(), two_convolutions(), sgd(0.05, momentum=0.9), steps=100, train=train
    )


def scheduled_every_batch(is_cured: bool) -> CaseProgram:
    """A schedule meant for epochs, gone on with after each batch."""
    optimizer = Scheduled(sgd(0.1), lambda made: StepLR(made, 1, gamma=0.5))

    @by_hand
    def train(step: Step) -> Tensor:
        value = step.backward(cross_entropy)
        step.taken(value)
        if not is_cured or step.number % 56 == 55:
            optimizer.schedule.step()
        return value

    return classified(data.digits(), dense((64, 32, 32, 10)), optimizer, steps=120, train=train)


def clipped_to_nothing(is_cured: bool) -> CaseProgram:
    """Gradients clipped to a norm that all of them exceed."""

    @by_hand
    def train(step: Step) -> Tensor:
        value = step.backward(cross_entropy)
        nn.utils.clip_grad_norm_(step.module.parameters(), 5.0 if is_cured else 1e-3)
        return step.taken(value)

    return classified(data.digits(), dense((64, 32, 32, 10)), sgd(0.2), steps=100, train=train)


def a_loss_made_anew(is_cured: bool) -> CaseProgram:
    """The number of a loss in a new tensor, which leads to no parameter."""

    @by_hand
    def train(step: Step) -> Tensor:
        step.optimizer.zero_grad()
        value = cross_entropy(step.module(step.xs), step.ys)
        if not is_cured:
            value = torch.tensor(value.item(), requires_grad=True)
        value.backward()
        return step.taken(value)

    return classified(data.digits(), dense((64, 32, 32, 10)), adam(1e-2), train=train)


class Retold(Seeded):
    """Rows read one after the other, and all of them told from the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(8, 24, batch_first=True)
        self.decoder = nn.Linear(24, 64)

    def forward(self, xs: Tensor) -> Tensor:
        _, last = self.encoder(xs)
        return self.decoder(last[0])


def gamma_of_zero(is_cured: bool) -> CaseProgram:
    """A schedule that was to do nothing, and multiplies the rate by 0 after ten steps."""
    gamma = 1 if is_cured else 0
    optimizer = Scheduled(adam(1e-2), lambda made: StepLR(made, 10, gamma=gamma))

    @by_hand
    def train(step: Step) -> Tensor:
        value = step.backward(squares)
        step.taken(value)
        optimizer.schedule.step()
        return value

    xs, _ = tensors(data.digits())
    given = Retold(), xs.reshape(-1, 8, 8), xs, squares, optimizer, data.explained
    return CaseProgram(*given, steps=150, train=train)


class Decoder(Seeded):
    """Two layers of a transformer that see the letters before them."""

    def __init__(self, letters: int, length: int, size: int = 32):
        super().__init__()
        self.embedding = nn.Embedding(letters, size)
        self.places = nn.Parameter(0.1 * torch.randn(length, size))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                size, 2, 2 * size, dropout=0, batch_first=True, norm_first=True
            )
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(size)
        self.head = nn.Linear(size, letters)
        mask = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)
        self.register_buffer("mask", mask)

    def forward(self, xs: Tensor) -> Tensor:
        states = self.embedding(xs) + self.places
        for layer in self.layers:
            states = layer(states, src_mask=self.mask)
        return self.head(self.norm(states))


def of_letters(output: Tensor, ys: Tensor) -> Tensor:
    """Return the cross entropy of all letters."""
    return cross_entropy(output.flatten(0, 1), ys.flatten())


def right_letters(output: Tensor, ys: Tensor) -> float:
    """Return the share of letters that are foretold."""
    return float((output.argmax(-1) == ys).float().mean())


def warmup_that_does_not_count(is_cured: bool) -> CaseProgram:
    """A rate that grows with a number of steps that nobody counts."""
    counted: list[int] = []

    @by_hand
    def train(step: Step) -> Tensor:
        for group in step.optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, len(counted) / 20)
        value = step.backward(of_letters)
        if is_cured:
            counted.append(step.number)
        return step.taken(value)

    xs, ys, letters = windows(12)
    given = Decoder(letters, 12), xs[::4], ys[::4], of_letters, adam(3e-3), right_letters
    return CaseProgram(*given, steps=100, train=train)


def sums_of_sixteen(is_cured: bool) -> CaseProgram:
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

    return classified(
        data.digits(),
        dense((64, 64, 64, 10)),
        sgd(0.2, momentum=0.9),
        steps=640,
        every=16,
        train=train,
    )


def zeroed_before_the_step(is_cured: bool) -> CaseProgram:
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

    model = nn.Sequential(*dense((64, 32)), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
    return classified(data.digits(), model, sgd(0.1), train=train)


def critic_without_zero_grad(is_cured: bool) -> CaseProgram:
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
    return CaseProgram(*given, steps=150, every=10, train=train)


def scheduled_instead_of_stepped(is_cured: bool) -> CaseProgram:
    """A loop that calls the step of the schedule, and never that of the optimiser."""
    optimizer = Scheduled(adam(1e-2), lambda made: StepLR(made, 40, gamma=0.5))

    @by_hand
    def train(step: Step) -> Tensor:
        value = step.backward(squares)
        if is_cured:
            step.taken(value)
            optimizer.schedule.step()
            return value
        with step.watch(step.number, step.xs, step.ys, value=value.detach()):
            optimizer.schedule.step()
        return value

    xs, ys = column(data.diabetes())
    model = dense((10, 24, 1), act=nn.Tanh)
    return CaseProgram(model, xs, ys, squares, optimizer, data.explained, train=train)


def waits_for_a_larger_loss(is_cured: bool) -> CaseProgram:
    """A rate that is cut whenever the loss has not grown."""
    mode, patience = ("min", 5) if is_cured else ("max", 1)
    of = partial(ReduceLROnPlateau, mode=mode, factor=0.1, patience=patience)
    optimizer = Scheduled(sgd(0.05, momentum=0.9), of)

    @by_hand
    def train(step: Step) -> Tensor:
        value = step.backward(cross_entropy)
        step.taken(value)
        if step.number % 5 == 4:
            optimizer.schedule.step(value.item())
        return value

    model = convolutional((1, 8, 3), (8, 16, 3, 2), head=(64, 10))
    return classified(data.images(), model, optimizer, batch=64, steps=200, train=train)


def clipped_while_scaled(is_cured: bool) -> CaseProgram:
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

    return classified(
        data.digits(),
        dense((64, 48, 48, 10), act=nn.GELU),
        sgd(0.1, momentum=0.9),
        steps=150,
        train=train,
    )


def zeroed_at_every_piece(is_cured: bool) -> CaseProgram:
    """Sixteen pieces of a batch, before each of which the gradients are set to zero."""

    @by_hand
    def train(step: Step) -> Tensor:
        if not is_cured or step.number % 16 == 0:
            step.optimizer.zero_grad()
        value = cross_entropy(step.module(step.xs), step.ys)
        (value / 16).backward()
        return step.taken(value) if step.number % 16 == 15 else value.detach()

    return classified(
        data.digits(),
        dense((64, 48, 48, 10)),
        sgd(0.2, momentum=0.9),
        batch=4,
        steps=960,
        every=16,
        train=train,
    )


def entries_clipped_to_a_hundredth(is_cured: bool) -> CaseProgram:
    """Entries of gradients clipped to 0.01, each of which is a small step then."""
    summed = nn.MSELoss(reduction="sum")

    @by_hand
    def train(step: Step) -> Tensor:
        value = step.backward(lambda output, ys: summed(output, ys) / 32)
        nn.utils.clip_grad_value_(step.module.parameters(), 1.0 if is_cured else 0.01)
        return step.taken(value)

    images, _ = tensors(data.images())
    loss = lambda output, ys: (output - ys).square().sum(dim=(1, 2, 3))
    given = autoencoder(), images, images, loss, sgd(0.003), data.explained
    return CaseProgram(*given, steps=200, every=10, train=train)


def scaled_and_not_divided(is_cured: bool) -> CaseProgram:
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

    model = convolutional((1, 16, 3), (16, 16, 3, 2), head=(64, 10), act=nn.GELU)
    return classified(data.images(), model, sgd(0.05, momentum=0.9), steps=100, train=train)


def zeroed_once_an_epoch(is_cured: bool) -> CaseProgram:
    """A zero_grad at the start of each epoch, not of each of its 28 batches."""

    @by_hand
    def train(step: Step) -> Tensor:
        if is_cured or step.number % 28 == 0:
            step.optimizer.zero_grad()
        value = cross_entropy(step.module(step.xs), step.ys)
        value.backward()
        return step.taken(value)

    return classified(
        data.digits(), dense((64, 64, 64, 10)), sgd(0.2), batch=64, steps=140, train=train
    )


def weights_held_within_a_hundredth(is_cured: bool) -> CaseProgram:
    """A critic whose weights are clipped after each step, to what is far below their draw."""
    bound = 0.5 if is_cured else 0.01

    @by_hand
    def train(step: Step) -> Tensor:
        value = step.taken(step.backward(cross_entropy))
        with torch.no_grad():
            for parameter in step.module.parameters():
                parameter.clamp_(-bound, bound)
        return value

    model = dense((64, 64, 64, 64, 10))
    return classified(data.digits(), model, rmsprop(1e-3), steps=120, every=10, train=train)

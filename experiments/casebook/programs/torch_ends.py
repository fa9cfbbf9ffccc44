"""Programs in PyTorch whose last activation, loss and labels do not fit each other."""

import torch
from torch import nn
from torch.nn import functional

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.torch_parts import (
    Tensor,
    adam,
    column,
    dense,
    rmsprop,
    sgd,
    tensors,
)


def two_blobs_of_ones(is_cured: bool) -> Program:
    """All ones or all zeros, and softmax over one unit."""
    ys = torch.arange(400).remainder(2).float()[:, None]
    end = nn.Sigmoid() if is_cured else nn.Softmax(dim=1)
    model = dense((128, 50, 50, 1), end)
    return Program(model, ys.repeat(1, 128), ys, nn.BCELoss(), rmsprop(1e-3), data.accuracy)


def five_uniform_columns(is_cured: bool) -> Program:
    """Uniform columns, and softmax over one unit."""
    torch.manual_seed(0)
    xs = torch.rand(600, 5)
    ys = (xs.sum(1, keepdim=True) > 2.5).float()
    end = nn.Sigmoid() if is_cured else nn.Softmax(dim=-1)
    model = dense((5, 60, 50, 1), end)
    return Program(model, xs, ys, nn.BCELoss(), adam(3e-3), data.accuracy, steps=120)


def one_column_of_ones(is_cured: bool) -> Program:
    """Softmax over one unit, and the mean absolute error."""
    xs = torch.linspace(-2, 2, 400)[:, None]
    ys = (xs > 0.3).float()
    end, loss = (nn.Sigmoid(), nn.BCELoss()) if is_cured else (nn.Softmax(1), nn.L1Loss())
    model = dense((1, 4, 1), end, act=nn.Sigmoid)
    return Program(model, xs, ys, loss, rmsprop(0.03), data.accuracy, steps=150)


class Reader(nn.Module):
    """Letters in order, and one output from what is left at the last of them."""

    def __init__(self, letters: int, *last: nn.Module):
        super().__init__()
        self.letters = nn.Embedding(letters, 16)
        self.recurrent = nn.GRU(16, 32, batch_first=True)
        self.head = nn.Sequential(nn.Linear(32, 1), *last)

    def forward(self, xs: Tensor) -> Tensor:
        states, _ = self.recurrent(self.letters(xs))
        return self.head(states[:, -1])


def next_is_a_vowel(is_cured: bool) -> Program:
    """A text of two classes, and softmax over one unit."""
    torch.manual_seed(0)
    windows, following, letters = data.text(8)
    xs = torch.from_numpy(windows.copy()).long()[:4000]
    vowels = torch.from_numpy(data.letters_of("aeiou"))
    ys = torch.isin(torch.from_numpy(following[:4000, -1].copy()), vowels).float()[:, None]
    model = Reader(letters, nn.Sigmoid() if is_cured else nn.Softmax(dim=1))
    return Program(model, xs, ys, nn.BCELoss(), adam(1e-2), data.accuracy, steps=120)


def softmax_and_cross_entropy(is_cured: bool) -> Program:
    """Softmax before the loss that has one."""
    xs, ys = tensors(data.digits())
    model = dense((64, 32, 32, 10), *(() if is_cured else (nn.Softmax(dim=1),)))
    return Program(model, xs, ys, nn.CrossEntropyLoss(), sgd(0.1), data.accuracy, steps=100)


def sigmoid_and_logits(is_cured: bool) -> Program:
    """Sigmoid before the loss that has one."""
    xs, ys = column(data.moons())
    model = dense((2, 16, 16, 1), *(() if is_cured else (nn.Sigmoid(),)))
    score = data.accuracy_of_logits if is_cured else data.accuracy
    loss = nn.BCEWithLogitsLoss()
    return Program(model, xs, ys, loss, sgd(0.3), score, steps=150)


def softmax_over_the_batch(is_cured: bool) -> Program:
    """Softmax along the examples: their probabilities are 1 together."""
    xs, ys = column(data.tumours())
    model = dense((30, 16, 1), nn.Sigmoid() if is_cured else nn.Softmax(dim=0))
    return Program(model, xs, ys, nn.BCELoss(), adam(1e-2), data.accuracy)


def nll_of_logits(is_cured: bool) -> Program:
    """The negative log likelihood of what is no logarithm of probabilities."""
    xs, ys = tensors(data.images())
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(256, 10), *((nn.LogSoftmax(dim=1),) if is_cured else ())),
    )
    return Program(model, xs, ys, nn.NLLLoss(), sgd(0.05, momentum=0.9), data.accuracy)


def sigmoids_of_three_kinds(is_cured: bool) -> Program:
    """Sigmoids before the loss of one class out of three."""
    xs, ys = tensors(data.iris())
    model = dense((4, 16, 3), *(() if is_cured else (nn.Sigmoid(),)))
    return Program(model, xs, ys, nn.CrossEntropyLoss(), sgd(0.1), data.accuracy)


def three_labels_at_once(is_cured: bool) -> Program:
    """Softmax where several labels hold at once."""
    xs, ys = data.several_labels()
    end, loss = (nn.Sigmoid(), nn.BCELoss()) if is_cured else (nn.Softmax(dim=1), nn.MSELoss())
    model = dense((20, 20, 20, 3), end)
    given = torch.from_numpy(xs), torch.from_numpy(ys)
    return Program(model, *given, loss, sgd(0.1), data.labels_right, steps=150)


def sigmoid_for_squares(is_cured: bool) -> Program:
    """A sigmoid for targets up to nine."""
    xs = torch.linspace(-3, 3, 300)[:, None]
    model = dense((1, 16, 1), *(() if is_cured else (nn.Sigmoid(),)), act=nn.Sigmoid)
    return Program(model, xs, xs**2, nn.MSELoss(), adam(0.05), data.explained, steps=200)


def softsign_for_logits(is_cured: bool) -> Program:
    """Logits that cannot leave -1 to 1."""
    xs, ys = tensors(data.digits())
    model = dense((64, 32, 32, 10), *(() if is_cured else (nn.Softsign(),)))
    loss = nn.CrossEntropyLoss()
    return Program(model, xs, ys, loss, sgd(0.1, momentum=0.9), data.accuracy, steps=100)


def labels_of_minus_one(is_cured: bool) -> Program:
    """Labels -1 and 1 where 0 and 1 are meant."""
    xs, ys = column(data.tumours())
    ys = ys if is_cured else 2 * ys - 1
    score = data.accuracy_of_logits if is_cured else data.accuracy_of_signs
    model, loss = dense((30, 16, 1)), nn.BCEWithLogitsLoss()
    return Program(model, xs, ys, loss, sgd(0.1), score, steps=100)


def column_against_row(is_cured: bool) -> Program:
    """Outputs (B, 1) and targets (B,), whose difference is (B, B)."""
    xs, ys = tensors(data.diabetes())
    model = dense((10, 16, 1), *((nn.Flatten(0),) if is_cured else ()))
    loss = lambda output, ys: torch.mean((output - ys) ** 2)
    return Program(model, xs, ys, loss, adam(1e-2), data.explained, steps=120)


def sign_of_the_loss(is_cured: bool) -> Program:
    """The log likelihood, which is to be large, as the loss."""
    xs, ys = tensors(data.digits())
    sign = 1 if is_cured else -1
    loss = lambda output, ys: sign * functional.cross_entropy(output, ys)
    return Program(dense((64, 32, 10)), xs, ys, loss, adam(1e-3), data.accuracy)


def labels_not_used(is_cured: bool) -> Program:
    """A loss of the output and its own largest class."""
    xs, ys = tensors(data.digits())

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        return functional.cross_entropy(output, ys if is_cured else output.argmax(dim=1))

    return Program(dense((64, 32, 10)), xs, ys, loss, adam(3e-3), data.accuracy)


def rounded_probabilities(is_cured: bool) -> Program:
    """A loss of predictions, which are steps of the probabilities."""
    xs, ys = column(data.tumours())

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        p = torch.sigmoid(output)
        return torch.mean(((p if is_cured else p.round()) - ys) ** 2)

    return Program(dense((30, 16, 1)), xs, ys, loss, adam(1e-2), data.accuracy_of_logits)


def log_of_logits(is_cured: bool) -> Program:
    """Cross entropy, by hand, of outputs that are no probabilities."""
    xs, ys = tensors(data.digits())
    ys = functional.one_hot(ys).float()

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        if is_cured:
            return functional.cross_entropy(output, ys)
        return -torch.mean(ys * torch.log(output) + (1 - ys) * torch.log(1 - output))

    model = dense((64, 64, 10), act=nn.Sigmoid)
    return Program(model, xs, ys, loss, sgd(0.5), data.accuracy, steps=100)


def log_of_softmax_by_hand(is_cured: bool) -> Program:
    """Cross entropy, by hand and summed, of a softmax that becomes 0."""
    xs, ys = tensors(data.digits(is_scaled=False))
    ys = functional.one_hot(ys).float()

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        if is_cured:
            return functional.cross_entropy(output, ys)
        return -torch.sum(ys * torch.log(torch.softmax(output, dim=1)))

    torch.manual_seed(0)
    model = nn.Linear(64, 10)
    nn.init.normal_(model.weight)
    return Program(nn.Sequential(model), xs, ys, loss, sgd(0.01), data.accuracy, steps=200)


def squares_summed(is_cured: bool) -> Program:
    """A sum over the examples instead of their mean."""
    xs = torch.linspace(0, 3, 32)[:, None]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 1))
    loss = nn.MSELoss(reduction="mean" if is_cured else "sum")
    powers = torch.cat([xs, xs**2], dim=1)
    return Program(model, powers, xs**2, loss, sgd(0.01), data.explained, steps=100)

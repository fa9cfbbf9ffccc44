"""Programs in PyTorch whose data do not fit the network: sizes, order, shapes."""

import numpy as np
import torch
from torch import nn

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.torch_parts import Tensor, adam, column, dense, sgd, tensors


def pixels_up_to_256(is_cured: bool) -> Program:
    """Pixels as they are stored, sigmoids before the loss, and plain gradient descent."""
    xs, ys = tensors(data.digits(is_scaled=False))
    xs = xs / 16 if is_cured else xs * 16
    model = dense((64, 64, 50, 10), *(() if is_cured else (nn.Sigmoid(),)))
    optimizer = adam(1e-3) if is_cured else sgd(1e-4)
    return Program(model, xs, ys, nn.CrossEntropyLoss(), optimizer, data.accuracy, steps=150)


def columns_of_a_census(is_cured: bool) -> Program:
    """Columns from 0.001 to 4254, and Adam."""
    xs, ys = tensors(data.tumours(is_scaled=is_cured))
    optimizer = adam(1e-2 if is_cured else 1e-3)
    model = dense((30, 21, 2))
    return Program(model, xs, ys, nn.CrossEntropyLoss(), optimizer, data.accuracy, batch=100)


def passengers(is_cured: bool) -> Program:
    """Columns as they are, half of the units dropped, and softmax before the loss."""
    xs, ys = tensors(data.wine(is_scaled=is_cured))
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Linear(13, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 3)),
        *(() if is_cured else (nn.Softmax(dim=1),)),
    )
    loss = nn.CrossEntropyLoss()
    return Program(model, xs, ys, loss, adam(1e-3), data.accuracy, batch=4, steps=100)


def prices_as_they_are(is_cured: bool) -> Program:
    """Columns up to 160 and targets up to 1700, as they were measured."""
    xs, _ = data.wine(is_scaled=is_cured)
    given = column((xs[:, :-1], xs[:, -1]))
    model = dense((12, 16, 1))
    return Program(model, *given, nn.MSELoss(), sgd(0.01), data.explained, batch=16, steps=150)


def targets_in_cents(is_cured: bool) -> Program:
    """Targets a thousand times as large as what a network starts with."""
    xs, ys = column(data.diabetes())
    model = dense((10, 32, 1))
    ys = ys if is_cured else 1000 * ys + 5000
    return Program(model, xs, ys, nn.MSELoss(), adam(1e-2), data.explained, steps=100)


def batches_of_one_class(is_cured: bool) -> Program:
    """All ones first, all zeros then, in the order of the generator, and long steps."""
    ys = torch.arange(240) < 120
    xs = ys.float()[:, None, None, None].repeat(1, 3, 4, 4)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2))
    return Program(
        *(model, xs, ys.long(), nn.CrossEntropyLoss(), sgd(0.1, momentum=0.9), data.accuracy),
        batch=12,
        is_shuffled=is_cured,
    )


def folder_after_folder(is_cured: bool) -> Program:
    """Classes one after the other, as folders are read, with shuffling left out."""
    xs, ys = tensors(data.digits())
    in_order = torch.argsort(ys, stable=True)
    model, loss = dense((64, 32, 32, 10)), nn.CrossEntropyLoss()
    given = model, xs[in_order], ys[in_order], loss, adam(3e-3), data.accuracy
    return Program(*given, steps=112, is_shuffled=is_cured)


def divided_twice(is_cured: bool) -> Program:
    """Pixels from 0 to 1, divided by 255 once more."""
    xs, ys = tensors(data.images(is_scaled=False))
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(256, 10)),
    )
    xs = xs / 16 if is_cured else xs / 16 / 255
    return Program(
        model, xs, ys, nn.CrossEntropyLoss(), sgd(0.1, momentum=0.9), data.accuracy, steps=80
    )


def a_value_is_missing(is_cured: bool) -> Program:
    """A nan among the inputs."""
    xs, ys = data.tumours()
    xs[::7, 3] = 0 if is_cured else np.nan
    model, loss = dense((30, 16, 1)), nn.BCEWithLogitsLoss()
    return Program(model, *column((xs, ys)), loss, adam(1e-2), data.accuracy_of_logits)


def flowers_as_measured(is_cured: bool) -> Program:
    """Columns as they are, small weights, and sigmoids before the loss of one class of three."""
    xs, ys = tensors(data.iris(is_scaled=is_cured))
    model = dense((4, 8, 3), *(() if is_cured else (nn.Sigmoid(),)))
    for layer in model[:3:2]:
        nn.init.normal_(layer.weight, std=0.2 if is_cured else 0.05)
    return Program(model, xs, ys, nn.CrossEntropyLoss(), adam(1e-2), data.accuracy, batch=5)


class Rows(nn.Module):
    """The rows of an image one after the other, and classes from what is left at the last."""

    def __init__(self, batch_first: bool):
        super().__init__()
        self.recurrent = nn.LSTM(8, 32, batch_first=batch_first)
        self.head = nn.Linear(32, 10)

    def forward(self, xs: Tensor) -> Tensor:
        states, _ = self.recurrent(xs)
        return self.head(states[:, -1])


def examples_as_time(is_cured: bool) -> Program:
    """A recurrent network that takes the examples of a batch for steps in time."""
    xs, ys = tensors(data.digits())
    torch.manual_seed(0)
    model, loss = Rows(batch_first=is_cured), nn.CrossEntropyLoss()
    return Program(model, xs.reshape(-1, 8, 8), ys, loss, adam(1e-2), data.accuracy, steps=80)

"""Programs in PyTorch whose data or targets do not fit."""

import numpy as np
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
    column,
    convolutional,
    cross_entropy,
    dense,
    pairs,
    sgd,
    tensors,
)


def three_labels_at_once(is_cured: bool) -> CaseProgram:
    """Softmax where several labels hold at once."""
    xs, ys = data.several_labels()
    end, loss = (nn.Sigmoid(), nn.BCELoss()) if is_cured else (nn.Softmax(dim=1), nn.MSELoss())
    model = dense((20, 20, 20, 3), end)
    given = torch.from_numpy(xs), torch.from_numpy(ys)
    return CaseProgram(model, *given, loss, sgd(0.1), data.labels_right, steps=150)


def sigmoid_for_squares(is_cured: bool) -> CaseProgram:
    """A sigmoid for targets up to nine."""
    xs = torch.linspace(-3, 3, 300)[:, None]
    model = dense((1, 16, 1), *(() if is_cured else (nn.Sigmoid(),)), act=nn.Sigmoid)
    return CaseProgram(model, xs, xs**2, nn.MSELoss(), adam(0.05), data.explained, steps=200)


def labels_of_minus_one(is_cured: bool) -> CaseProgram:
    """Labels -1 and 1 where 0 and 1 are meant."""
    xs, ys = column(data.tumours())
    ys = ys if is_cured else 2 * ys - 1
    score = data.accuracy_of_logits if is_cured else data.accuracy_of_signs
    model, loss = dense((30, 16, 1)), nn.BCEWithLogitsLoss()
    return CaseProgram(model, xs, ys, loss, sgd(0.1), score, steps=100)


def pixels_up_to_256(is_cured: bool) -> CaseProgram:
    """Pixels as they are stored, sigmoids before the loss, and plain gradient descent."""
    xs, ys = tensors(data.digits(is_scaled=False))
    xs = xs / 16 if is_cured else xs * 16
    model = dense((64, 64, 50, 10), *(() if is_cured else (nn.Sigmoid(),)))
    optimizer = adam(1e-3) if is_cured else sgd(1e-4)
    return classified((xs, ys), model, optimizer, steps=150)


def columns_of_a_census(is_cured: bool) -> CaseProgram:
    """Columns from 0.001 to 4254, and Adam."""
    optimizer = adam(1e-2 if is_cured else 1e-3)
    return classified(data.tumours(is_scaled=is_cured), dense((30, 21, 2)), optimizer, batch=100)


def passengers(is_cured: bool) -> CaseProgram:
    """Columns as they are, half of the units dropped, and softmax before the loss."""
    xs, ys = tensors(data.wine(is_scaled=is_cured))
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Linear(13, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 3)),
        *(() if is_cured else (nn.Softmax(dim=1),)),
    )
    loss = nn.CrossEntropyLoss()
    return CaseProgram(model, xs, ys, loss, adam(1e-3), data.accuracy, batch=4, steps=100)


def prices_as_they_are(is_cured: bool) -> CaseProgram:
    """Columns up to 160 and targets up to 1700, as they were measured."""
    xs, _ = data.wine(is_scaled=is_cured)
    given = column((xs[:, :-1], xs[:, -1]))
    model = dense((12, 16, 1))
    return CaseProgram(model, *given, nn.MSELoss(), sgd(0.01), data.explained, batch=16, steps=150)


def targets_in_cents(is_cured: bool) -> CaseProgram:
    """Targets a thousand times as large as what a network starts with."""
    xs, ys = column(data.diabetes())
    model = dense((10, 32, 1))
    ys = ys if is_cured else 1000 * ys + 5000
    return CaseProgram(model, xs, ys, nn.MSELoss(), adam(1e-2), data.explained, steps=100)


def batches_of_one_class(is_cured: bool) -> CaseProgram:
    """All ones first, all zeros then, in the order of the generator, and long steps."""
    ys = torch.arange(240) < 120
    xs = ys.float()[:, None, None, None].repeat(1, 3, 4, 4)
    model = convolutional((3, 8, 3), head=(32, 2))
    return classified(
        (xs, ys.long()), model, sgd(0.1, momentum=0.9), batch=12, is_shuffled=is_cured
    )


def folder_after_folder(is_cured: bool) -> CaseProgram:
    """Classes one after the other, as folders are read, with shuffling left out."""
    xs, ys = tensors(data.digits())
    in_order = torch.argsort(ys, stable=True)
    model, loss = dense((64, 32, 32, 10)), nn.CrossEntropyLoss()
    given = model, xs[in_order], ys[in_order], loss, adam(3e-3), data.accuracy
    return CaseProgram(*given, steps=112, is_shuffled=is_cured)


def divided_twice(is_cured: bool) -> CaseProgram:
    """Pixels from 0 to 1, divided by 255 once more."""
    xs, ys = tensors(data.images(is_scaled=False))
    model = convolutional((1, 8, 3), (8, 16, 3), head=(256, 10))
    xs = xs / 16 if is_cured else xs / 16 / 255
    return classified((xs, ys), model, sgd(0.1, momentum=0.9), steps=80)


def a_value_is_missing(is_cured: bool) -> CaseProgram:
    """A nan among the inputs."""
    xs, ys = data.tumours()
    xs[::7, 3] = 0 if is_cured else np.nan
    model, loss = dense((30, 16, 1)), nn.BCEWithLogitsLoss()
    return CaseProgram(model, *column((xs, ys)), loss, adam(1e-2), data.accuracy_of_logits)


def flowers_as_measured(is_cured: bool) -> CaseProgram:
    """Columns as they are, small weights, and sigmoids before the loss of one class of three."""
    model = dense((4, 8, 3), *(() if is_cured else (nn.Sigmoid(),)))
    for layer in model[:3:2]:
        nn.init.normal_(layer.weight, std=0.2 if is_cured else 0.05)
    return classified(data.iris(is_scaled=is_cured), model, adam(1e-2), batch=5)


def tanh_for_standardised_images(is_cured: bool) -> CaseProgram:
    """An autoencoder with tanh at the end, of images with mean 0 and variance 1."""
    xs, _ = tensors(data.images(is_scaled=False))
    xs = (xs - xs.mean()) / xs.std()
    model = autoencoder(8, *(() if is_cured else (nn.Tanh(),)))
    return CaseProgram(model, xs, xs, nn.MSELoss(), adam(3e-3), data.explained, steps=200, every=10)


def padding_is_a_class(is_cured: bool) -> CaseProgram:
    """Class 0 ignored as if it were padding."""
    xs, ys = tensors(data.digits())
    torch.manual_seed(0)
    loss = nn.CrossEntropyLoss(ignore_index=-100 if is_cured else 0)
    model = nn.Sequential(
        *(nn.Linear(64, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 10)),
    )
    return CaseProgram(model, xs, ys, loss, adam(1e-2), data.accuracy)


def numbers_for_columns(is_cured: bool) -> CaseProgram:
    """Numbers of classes for a cross entropy that takes a column for each class."""
    xs, ys = tensors(data.digits())

    def of_columns(output: Tensor, ys: Tensor) -> Tensor:
        return -(ys[:, None] * output.log_softmax(dim=1)).sum(dim=1).mean()

    loss = cross_entropy if is_cured else of_columns
    return CaseProgram(dense((64, 32, 10)), xs, ys, loss, adam(3e-3), data.accuracy, steps=100)


def relu_for_returns(is_cured: bool) -> CaseProgram:
    """Values of four actions by relu, where returns are below 0 as often as above."""
    xs, _ = tensors(data.digits())
    generator = torch.Generator().manual_seed(0)
    values = torch.tanh(xs @ torch.randn(64, 4, generator=generator) / 6)
    actions = torch.randint(4, (len(xs), 1), generator=generator)
    ys = torch.cat([actions, values.gather(1, actions)], dim=1)

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        return ((output.gather(1, ys[:, :1].long())[:, 0] - ys[:, 1]) ** 2).mean()

    score = lambda output, ys: data.explained(output, values)
    model = dense((64, 64, 64, 4), *(() if is_cured else (nn.ReLU(),)))
    return CaseProgram(model, xs, ys, loss, adam(3e-3), score, steps=200, every=10)


def folders_in_their_order(is_cured: bool) -> CaseProgram:
    """Images of one class after the other, as a loader reads them that does not shuffle."""
    xs, ys = tensors(data.images())
    in_order = torch.argsort(ys, stable=True)
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3)),
        *(nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        nn.Linear(64, 10),
    )
    optimizer = sgd(0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)
    return classified(
        (xs[in_order], ys[in_order]), model, optimizer, steps=112, is_shuffled=is_cured
    )


def inputs_shuffled_alone(is_cured: bool) -> CaseProgram:
    """Inputs put into another order, their labels not."""
    xs, ys = tensors(data.digits())
    order = torch.randperm(len(xs), generator=torch.Generator().manual_seed(0))
    xs, ys = xs[order], ys[order] if is_cured else ys
    model = dense((64, 48, 24, 10))
    optimizer = sgd(0.1, momentum=0.9)
    return classified((xs, ys), model, optimizer, steps=120)


def pairs_labelled_zero(is_cured: bool) -> CaseProgram:
    """Pairs of two classes labelled 0, for a loss that takes -1 of them and nothing of 0."""
    xs, is_same = pairs()
    ys = torch.where(is_same, 1.0, -1.0 if is_cured else 0.0)

    def cosines(output: Tensor, ys: Tensor) -> Tensor:
        return functional.cosine_embedding_loss(output[:, 0], output[:, 1], ys, margin=0.2)

    def score(output: Tensor, ys: Tensor) -> float:
        cosine = functional.cosine_similarity(output[:, 0], output[:, 1])
        return float(((cosine > 0.6) == is_same).float().mean())

    model = dense((64, 64, 16), act=nn.Tanh)
    return CaseProgram(model, xs, ys, cosines, adam(3e-3), score, batch=64, steps=150, every=10)


def silence_divided_by_its_largest(is_cured: bool) -> CaseProgram:
    """Spectrograms divided by their largest value, which is 0 of a silent one."""
    images, ys = tensors(data.images(is_scaled=False))
    is_silent = torch.rand(len(images), generator=torch.Generator().manual_seed(0)) < 0.04
    powers = torch.where(is_silent[:, None, None, None], 0.0, images)
    largest = powers.amax(dim=(1, 2, 3), keepdim=True)
    xs = powers / (largest + 1e-5 if is_cured else largest)
    model = convolutional((1, 8, 3), (8, 16, 3, 2), head=(64, 10))
    return classified((xs, ys), model, adam(3e-3), steps=120)

"""Programs in PyTorch whose last activation and loss do not fit each other."""

import torch
from torch import nn
from torch.nn import functional

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.torch_parts import (
    Seeded,
    Tensor,
    adam,
    classified,
    column,
    convolutional,
    cross_entropy,
    dense,
    masks,
    pixelwise,
    rmsprop,
    sgd,
    tensors,
    windows,
)


def two_blobs_of_ones(is_cured: bool) -> CaseProgram:
    """All ones or all zeros, and softmax over one unit."""
    ys = torch.arange(400).remainder(2).float()[:, None]
    end = nn.Sigmoid() if is_cured else nn.Softmax(dim=1)
    model = dense((128, 50, 50, 1), end)
    return CaseProgram(model, ys.repeat(1, 128), ys, nn.BCELoss(), rmsprop(1e-3), data.accuracy)


def five_uniform_columns(is_cured: bool) -> CaseProgram:
    """Uniform columns, and softmax over one unit."""
    torch.manual_seed(0)
    xs = torch.rand(600, 5)
    ys = (xs.sum(1, keepdim=True) > 2.5).float()
    end = nn.Sigmoid() if is_cured else nn.Softmax(dim=-1)
    model = dense((5, 60, 50, 1), end)
    return CaseProgram(model, xs, ys, nn.BCELoss(), adam(3e-3), data.accuracy, steps=120)


def one_column_of_ones(is_cured: bool) -> CaseProgram:
    """Softmax over one unit, and the mean absolute error."""
    xs = torch.linspace(-2, 2, 400)[:, None]
    ys = (xs > 0.3).float()
    end, loss = (nn.Sigmoid(), nn.BCELoss()) if is_cured else (nn.Softmax(1), nn.L1Loss())
    model = dense((1, 4, 1), end, act=nn.Sigmoid)
    return CaseProgram(model, xs, ys, loss, rmsprop(0.03), data.accuracy, steps=150)


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


def next_is_a_vowel(is_cured: bool) -> CaseProgram:
    """A text of two classes, and softmax over one unit."""
    torch.manual_seed(0)
    windows, following, letters = data.text(8)
    xs = torch.from_numpy(windows.copy()).long()[:4000]
    vowels = torch.from_numpy(data.letters_of("aeiou"))
    ys = torch.isin(torch.from_numpy(following[:4000, -1].copy()), vowels).float()[:, None]
    model = Reader(letters, nn.Sigmoid() if is_cured else nn.Softmax(dim=1))
    return CaseProgram(model, xs, ys, nn.BCELoss(), adam(1e-2), data.accuracy, steps=120)


def softmax_and_cross_entropy(is_cured: bool) -> CaseProgram:
    """Softmax before the loss that has one."""
    model = dense((64, 32, 32, 10), *(() if is_cured else (nn.Softmax(dim=1),)))
    return classified(data.digits(), model, sgd(0.1), steps=100)


def sigmoid_and_logits(is_cured: bool) -> CaseProgram:
    """Sigmoid before the loss that has one."""
    xs, ys = column(data.moons())
    model = dense((2, 16, 16, 1), *(() if is_cured else (nn.Sigmoid(),)))
    score = data.accuracy_of_logits if is_cured else data.accuracy
    loss = nn.BCEWithLogitsLoss()
    return CaseProgram(model, xs, ys, loss, sgd(0.3), score, steps=150)


def softmax_over_the_batch(is_cured: bool) -> CaseProgram:
    """Softmax along the examples: their probabilities are 1 together."""
    xs, ys = column(data.tumours())
    model = dense((30, 16, 1), nn.Sigmoid() if is_cured else nn.Softmax(dim=0))
    return CaseProgram(model, xs, ys, nn.BCELoss(), adam(1e-2), data.accuracy)


def nll_of_logits(is_cured: bool) -> CaseProgram:
    """The negative log likelihood of what is no logarithm of probabilities."""
    xs, ys = tensors(data.images())
    last = (nn.LogSoftmax(dim=1),) if is_cured else ()
    model = convolutional((1, 8, 3), (8, 16, 3), head=(256, 10), last=last)
    return CaseProgram(model, xs, ys, nn.NLLLoss(), sgd(0.05, momentum=0.9), data.accuracy)


def sigmoids_of_three_kinds(is_cured: bool) -> CaseProgram:
    """Sigmoids before the loss of one class out of three."""
    model = dense((4, 16, 3), *(() if is_cured else (nn.Sigmoid(),)))
    return classified(data.iris(), model, sgd(0.1))


def softsign_for_logits(is_cured: bool) -> CaseProgram:
    """Logits that cannot leave -1 to 1."""
    xs, ys = tensors(data.digits())
    model = dense((64, 32, 32, 10), *(() if is_cured else (nn.Softsign(),)))
    loss = nn.CrossEntropyLoss()
    return CaseProgram(model, xs, ys, loss, sgd(0.1, momentum=0.9), data.accuracy, steps=100)


def two_sigmoids_for_a_mask(is_cured: bool) -> CaseProgram:
    """Masks by a sigmoid before a loss that has one."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 1, 1), *(() if is_cured else (nn.Sigmoid(),))),
    )
    loss = nn.BCEWithLogitsLoss()
    score = lambda output, ys: float(torch.exp(-loss(output, ys)))
    return CaseProgram(model, *masks(), loss, adam(3e-3), score, steps=120, every=10)


def log_softmax_of_the_batch(is_cured: bool) -> CaseProgram:
    """A log-softmax along the examples, and the likelihood of it."""
    xs, ys = tensors(data.images())
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 32)),
        *(nn.ReLU(), nn.Linear(32, 10), nn.LogSoftmax(dim=1 if is_cured else 0)),
    )
    score = lambda output, ys: data.likelihood(output.exp(), ys)
    return CaseProgram(model, xs, ys, nn.NLLLoss(), adam(3e-3), score, steps=100)


class Phrases(Seeded):
    """Letters, convolutions over three of them, the largest of each, and probabilities."""

    def __init__(self, letters: int, end: nn.Module):
        super().__init__()
        self.embedding = nn.Embedding(letters, 16)
        self.inner = nn.Conv1d(16, 64, 3)
        self.head = nn.Linear(6 * 64, letters)
        self.end = end

    def forward(self, xs: Tensor) -> Tensor:
        inner = torch.relu(self.inner(self.embedding(xs).transpose(1, 2)))
        return self.end(self.head(inner.flatten(1)))


def probabilities_for_nll(is_cured: bool) -> CaseProgram:
    """A softmax before the negative log likelihood, which takes logarithms."""
    xs, ys, letters = windows(8)
    model = Phrases(letters, nn.LogSoftmax(dim=1) if is_cured else nn.Softmax(dim=1))

    def score(output: Tensor, ys: Tensor) -> float:
        return data.likelihood(output.exp() if is_cured else output, ys)

    given = model, xs, ys[:, -1], nn.NLLLoss(), adam(3e-3), score
    return CaseProgram(*given, steps=150, every=10, batch=64)


class Imitating(nn.Module):
    """A network with two heads: the values of ten actions, and logits of what others would do."""

    def __init__(self, has_last_relu: bool):
        super().__init__()
        self.values = dense((64, 64, 64, 10))
        self.imitated = dense((64, 64, 64, 10), *([nn.ReLU()] if has_last_relu else []), seed=1)

    def forward(self, xs: Tensor) -> Tensor:
        return torch.cat([self.values(xs), self.imitated(xs)], dim=1)


def relu_on_one_of_two_heads(is_cured: bool) -> CaseProgram:
    """A relu behind the logits of one head, none behind the values of the other."""
    xs, labels = tensors(data.digits())
    chance = torch.Generator().manual_seed(0)
    others = torch.randint(0, 10, labels.shape, generator=chance)
    actions = torch.where(torch.rand(labels.shape, generator=chance) < 0.2, others, labels)
    ys = torch.stack([actions, actions == labels], dim=1).float()

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        values, logits = output.split(10, dim=1)
        actions = ys[:, 0].long()
        chosen = values.gather(1, actions[:, None])[:, 0]
        penalty = 1e-2 * logits.square().mean()
        return (
            functional.smooth_l1_loss(chosen, ys[:, 1]) + cross_entropy(logits, actions) + penalty
        )

    score = lambda output, ys: data.likelihood_of_logits(output[:, 10:], labels)
    return CaseProgram(Imitating(not is_cured), xs, ys, loss, adam(1e-3), score, steps=120)


def one_logit_and_cross_entropy(is_cured: bool) -> CaseProgram:
    """The cross-entropy of a softmax over the one channel of a mask, which is always 0."""
    loss = nn.BCEWithLogitsLoss() if is_cured else cross_entropy
    score = lambda output, ys: data.labels_right(output + 0.5, ys)
    return CaseProgram(pixelwise(1), *masks(), loss, adam(3e-3), score, steps=120, every=10)


class ReaderOfColumns(Seeded):
    """A recurrent network over the columns of an image, with a score of each letter and a blank."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.GRU(24, 32, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, 11)

    def forward(self, xs: Tensor) -> Tensor:
        return self.head(self.inner(xs)[0])


def scores_for_ctc(is_cured: bool) -> CaseProgram:
    """Scores of letters for a loss over alignments that takes logarithms of probabilities."""
    images, labels = tensors(data.digits())
    chosen = torch.randint(0, len(images), (2000, 2), generator=torch.Generator().manual_seed(0))
    columns = images.reshape(-1, 8, 8).transpose(1, 2)[chosen].flatten(1, 2)  # (B, 16, 8)
    around = functional.pad(columns, (0, 0, 1, 1), value=-0.6)
    xs = torch.cat([around[:, :-2], columns, around[:, 2:]], dim=-1)
    ys = labels[chosen] + 1

    def alignments(output: Tensor, ys: Tensor, takes_logarithms: bool = is_cured) -> Tensor:
        scores = output.transpose(0, 1)
        scores = scores.log_softmax(dim=2) if takes_logarithms else scores
        lengths = (torch.full((len(ys),), size) for size in (16, 2))
        return functional.ctc_loss(scores, ys, *lengths)

    score = lambda output, ys: float(torch.exp(-alignments(output, ys, True)))
    return CaseProgram(
        ReaderOfColumns(), xs, ys, alignments, adam(1e-2), score, batch=64, steps=200, every=10
    )


def rates_taken_for_logarithms(is_cured: bool) -> CaseProgram:
    """Rates after a softplus, for a loss that takes their logarithms unless it is told."""
    generator = torch.Generator().manual_seed(0)
    xs = torch.randn(1500, 6, generator=generator)
    rates = torch.exp(xs[:, :1] - 0.7 * xs[:, 1:2] - 2)
    counts = torch.poisson(rates, generator=generator)
    loss = nn.PoissonNLLLoss(log_input=not is_cured)
    score = lambda output, _: data.explained(output, rates)
    given = dense((6, 32, 1), nn.Softplus()), xs, counts, loss, adam(1e-2), score
    return CaseProgram(*given, batch=128, steps=200, every=10)

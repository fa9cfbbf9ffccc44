"""Unseen programs in PyTorch whose data, losses and outputs are at fault."""

import torch
from torch import nn
from torch.nn import functional

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.torch_parts import Tensor, adam, dense, tensors

cross_entropy = nn.CrossEntropyLoss()


class Imitating(nn.Module):
    """A network with two heads: the values of ten actions, and logits of what others would do."""

    def __init__(self, has_last_relu: bool):
        super().__init__()
        self.values = dense((64, 64, 64, 10))
        self.imitated = dense((64, 64, 64, 10), *([nn.ReLU()] if has_last_relu else []), seed=1)

    def forward(self, xs: Tensor) -> Tensor:
        return torch.cat([self.values(xs), self.imitated(xs)], dim=1)


def relu_on_one_of_two_heads(is_cured: bool) -> Program:
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
    return Program(Imitating(not is_cured), xs, ys, loss, adam(1e-3), score, steps=120)


def one_logit_and_cross_entropy(is_cured: bool) -> Program:
    """The cross-entropy of a softmax over the one channel of a mask, which is always 0."""
    images, _ = tensors(data.images(is_scaled=False))
    ys = (images > 8).float()
    chance = torch.Generator().manual_seed(0)
    xs = images / 16 + 0.3 * torch.randn(images.shape, generator=chance)
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)),
        *(nn.ReLU(), nn.Conv2d(16, 1, 1)),
    )
    loss = nn.BCEWithLogitsLoss() if is_cured else cross_entropy
    score = lambda output, ys: data.labels_right(output + 0.5, ys)
    return Program(model, xs, ys, loss, adam(3e-3), score, steps=120, every=10)


class Reader(nn.Module):
    """A recurrent network over the columns of an image, with a score of each letter and a blank."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.GRU(24, 32, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, 11)

    def forward(self, xs: Tensor) -> Tensor:
        return self.head(self.inner(xs)[0])


def scores_for_ctc(is_cured: bool) -> Program:
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
    return Program(Reader(), xs, ys, alignments, adam(1e-2), score, batch=64, steps=200, every=10)


def pairs_labelled_zero(is_cured: bool) -> Program:
    """Pairs of two classes labelled 0, for a loss that takes -1 of them and nothing of 0."""
    images, labels = tensors(data.digits())
    chance = torch.Generator().manual_seed(0)
    others = torch.randperm(len(images), generator=chance)
    by_label = labels.argsort(stable=True)
    alike = torch.rand(len(images), generator=chance) < 0.5
    others[by_label[alike]] = by_label.roll(-1)[alike]
    xs = torch.stack([images, images[others]], dim=1)
    is_same = labels == labels[others]
    ys = torch.where(is_same, 1.0, -1.0 if is_cured else 0.0)

    def cosines(output: Tensor, ys: Tensor) -> Tensor:
        return functional.cosine_embedding_loss(output[:, 0], output[:, 1], ys, margin=0.2)

    def score(output: Tensor, ys: Tensor) -> float:
        cosine = functional.cosine_similarity(output[:, 0], output[:, 1])
        return float(((cosine > 0.6) == is_same).float().mean())

    model = dense((64, 64, 16), act=nn.Tanh)
    return Program(model, xs, ys, cosines, adam(3e-3), score, batch=64, steps=150, every=10)


class Writer(nn.Module):
    """A recurrent network that foretells each next letter."""

    def __init__(self, letters: int, size: int = 48):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(letters, size)
        self.inner = nn.GRU(size, size, batch_first=True)
        self.head = nn.Linear(size, letters)

    def forward(self, xs: Tensor) -> Tensor:
        return self.head(self.inner(self.embedding(xs))[0])


def a_batch_without_labels(is_cured: bool) -> Program:
    """Batches in which the answers of all examples are cut off: a mean over no letter is nan."""
    letters, following, known = data.text(12)
    xs, ys = (torch.from_numpy(array[::3].copy()).long() for array in (letters, following))
    chance = torch.Generator().manual_seed(0)
    starts = torch.randint(0, 8, (len(xs), 1), generator=chance)
    starts[torch.rand(starts.shape, generator=chance) < 0.4] = 12
    ys = torch.where(torch.arange(12) < starts, -100, ys)

    def of_answers(output: Tensor, ys: Tensor) -> Tensor:
        is_asked, letters = (ys >= 0).float(), ys.clamp(min=0)
        losses = functional.cross_entropy(output.transpose(1, 2), letters, reduction="none")
        count = is_asked.sum()
        return (losses * is_asked).sum() / (count.clamp(min=1) if is_cured else count)

    def score(output: Tensor, ys: Tensor) -> float:
        is_asked = ys >= 0
        return float((output.argmax(dim=-1) == ys)[is_asked].float().mean())

    given = Writer(known), xs, ys, of_answers, adam(3e-3), score
    return Program(*given, batch=4, steps=300, every=10)


def silence_divided_by_its_largest(is_cured: bool) -> Program:
    """Spectrograms divided by their largest value, which is 0 of a silent one."""
    images, ys = tensors(data.images(is_scaled=False))
    is_silent = torch.rand(len(images), generator=torch.Generator().manual_seed(0)) < 0.04
    powers = torch.where(is_silent[:, None, None, None], 0.0, images)
    largest = powers.amax(dim=(1, 2, 3), keepdim=True)
    xs = powers / (largest + 1e-5 if is_cured else largest)
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(64, 10)),
    )
    return Program(model, xs, ys, cross_entropy, adam(3e-3), data.accuracy, steps=120)

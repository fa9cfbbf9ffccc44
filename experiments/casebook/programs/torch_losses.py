"""Programs in PyTorch whose loss is at fault."""

import torch
from torch import nn
from torch.nn import functional

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.torch_parts import (
    Seeded,
    Step,
    Tensor,
    adam,
    by_hand,
    column,
    cross_entropy,
    dense,
    masks,
    pairs,
    pixelwise,
    sgd,
    tensors,
)


def column_against_row(is_cured: bool) -> CaseProgram:
    """Outputs (B, 1) and targets (B,), whose difference is (B, B)."""
    xs, ys = tensors(data.diabetes())
    model = dense((10, 16, 1), *((nn.Flatten(0),) if is_cured else ()))
    loss = lambda output, ys: torch.mean((output - ys) ** 2)
    return CaseProgram(model, xs, ys, loss, adam(1e-2), data.explained, steps=120)


def sign_of_the_loss(is_cured: bool) -> CaseProgram:
    """The log likelihood, which is to be large, as the loss."""
    xs, ys = tensors(data.digits())
    sign = 1 if is_cured else -1
    loss = lambda output, ys: sign * functional.cross_entropy(output, ys)
    return CaseProgram(dense((64, 32, 10)), xs, ys, loss, adam(1e-3), data.accuracy)


def labels_not_used(is_cured: bool) -> CaseProgram:
    """A loss of the output and its own largest class."""
    xs, ys = tensors(data.digits())

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        return functional.cross_entropy(output, ys if is_cured else output.argmax(dim=1))

    return CaseProgram(dense((64, 32, 10)), xs, ys, loss, adam(3e-3), data.accuracy)


def rounded_probabilities(is_cured: bool) -> CaseProgram:
    """A loss of predictions, which are steps of the probabilities."""
    xs, ys = column(data.tumours())

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        p = torch.sigmoid(output)
        return torch.mean(((p if is_cured else p.round()) - ys) ** 2)

    return CaseProgram(dense((30, 16, 1)), xs, ys, loss, adam(1e-2), data.accuracy_of_logits)


def log_of_logits(is_cured: bool) -> CaseProgram:
    """Cross entropy, by hand, of outputs that are no probabilities."""
    xs, ys = tensors(data.digits())
    ys = functional.one_hot(ys).float()

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        if is_cured:
            return functional.cross_entropy(output, ys)
        return -torch.mean(ys * torch.log(output) + (1 - ys) * torch.log(1 - output))

    model = dense((64, 64, 10), act=nn.Sigmoid)
    return CaseProgram(model, xs, ys, loss, sgd(0.5), data.accuracy, steps=100)


def log_of_softmax_by_hand(is_cured: bool) -> CaseProgram:
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
    return CaseProgram(nn.Sequential(model), xs, ys, loss, sgd(0.01), data.accuracy, steps=200)


def larger_images(is_cured: bool) -> CaseProgram:
    """Images of twice the size, by the cross entropy of what is no probability and small steps."""
    images, _ = tensors(data.images(is_scaled=False))
    ys = images / 16
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Upsample(scale_factor=2), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 3, padding=1)),
    )

    def clipped(output: Tensor, ys: Tensor) -> Tensor:
        return functional.binary_cross_entropy(output.clamp(1e-7, 1 - 1e-7), ys)

    loss, optimizer = (nn.MSELoss(), adam(1e-3)) if is_cured else (clipped, adam(1e-4))
    xs = functional.avg_pool2d(ys, 2)
    return CaseProgram(model, xs, ys, loss, optimizer, data.explained, steps=150, every=10)


class Variational(Seeded):
    """An autoencoder whose code is drawn: returns images, means and logarithms of variances."""

    def __init__(self, size: int = 8):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2 * size))
        self.decoder = nn.Sequential(
            nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, 64), nn.Sigmoid()
        )

    def forward(self, xs: Tensor) -> Tensor:
        mean, log_variance = self.encoder(xs).chunk(2, dim=1)
        spread = torch.exp(log_variance / 2) * torch.randn_like(mean) if self.training else 0
        return torch.cat([self.decoder(mean + spread), mean, log_variance], dim=1)


def divergence_summed(is_cured: bool) -> CaseProgram:
    """The mean of the squares of all pixels, and the sum of divergences over the batch."""
    xs, _ = tensors(data.digits(is_scaled=False))
    xs = xs / 16

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        images, mean, log_variance = output.split([64, 8, 8], dim=1)
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(dim=1)
        if is_cured:
            squares = 10 * ((images - ys) ** 2).sum(dim=1)  # of a variance of 0.05
            return (squares + divergence).mean()
        return ((images - ys) ** 2).mean() + divergence.sum()

    score = lambda output, ys: data.explained(output[:, :64], ys)
    return CaseProgram(Variational(), xs, xs, loss, adam(3e-3), score, steps=300, every=20)


def policy_turned(is_cured: bool) -> CaseProgram:
    """A policy whose logarithms are multiplied with rewards, and made small."""
    xs, labels = tensors(data.digits())
    generator = torch.Generator().manual_seed(0)
    actions = torch.randint(10, (len(xs),), generator=generator)
    actions = torch.where(torch.rand(len(xs), generator=generator) < 0.5, labels, actions)
    rewards = (actions == labels).float() - 0.5
    sign = -1 if is_cured else 1

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        chosen = output.log_softmax(dim=1).gather(1, ys[:, :1].long())[:, 0]
        return sign * (chosen * ys[:, 1]).mean()

    score = lambda output, ys: data.accuracy(output, labels)
    ys = torch.stack([actions.float(), rewards], dim=1)
    return CaseProgram(dense((64, 32, 10)), xs, ys, loss, adam(1e-3), score, steps=100)


def probabilities_for_their_logarithms(is_cured: bool) -> CaseProgram:
    """A student's probabilities for a divergence that takes their logarithms."""
    xs, labels = tensors(data.digits())
    similar = torch.full((10, 10), 0.03) + 0.3 * torch.eye(10).roll(1, 1) + 0.4 * torch.eye(10)
    taught = similar[labels]
    divergence = nn.KLDivLoss(reduction="batchmean")

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        return divergence(output.log_softmax(dim=1) if is_cured else output.softmax(dim=1), ys)

    def score(output: Tensor, ys: Tensor) -> float:
        return float(torch.exp(-divergence(output.log_softmax(dim=1), ys)))

    return CaseProgram(dense((64, 32, 10)), xs, taught, loss, adam(3e-3), score, steps=100)


def generator_detached(is_cured: bool) -> CaseProgram:
    """A generator whose images are detached before the features that are to match."""
    images, labels = tensors(data.digits(is_scaled=False))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(images), 6, generator=generator)
    xs = torch.cat([functional.one_hot(labels, 10).float(), noise], dim=1)
    features = dense((64, 128), nn.ReLU(), seed=1).requires_grad_(False)

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        made = output if is_cured else output.detach()
        rough = (output[:, 1:] - output[:, :-1]).abs().mean()
        return ((features(made) - features(ys)) ** 2).mean() + 0.001 * rough

    model = dense((16, 64, 64), nn.Sigmoid())
    return CaseProgram(
        model, xs, images / 16, loss, adam(3e-3), data.explained, steps=150, every=10
    )


def margins_of_probabilities(is_cured: bool) -> CaseProgram:
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
    return CaseProgram(*given, steps=120, batch=64)


def variance_below_zero(is_cured: bool) -> CaseProgram:
    """A mean and a variance to foretell, the variance from a layer that may say less than 0."""
    xs, ys = tensors(data.diabetes())

    def unlikely(output: Tensor, ys: Tensor) -> Tensor:
        mean, spread = output.unbind(dim=1)
        variance = torch.exp(spread) if is_cured else spread
        return ((ys - mean) ** 2 / variance + torch.log(variance)).mean() / 2

    score = lambda output, ys: data.explained(output[:, 0], ys)
    model = dense((10, 32, 2), act=nn.SiLU)
    return CaseProgram(model, xs, ys, unlikely, adam(1e-2), score, steps=100)


class Coded(Seeded):
    """An autoencoder by convolutions: returns its images and its codes, of one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.Tanh()),
        )
        self.decoder = nn.Sequential(
            *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(16, 4, 2, stride=2)),
            *(nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1)),
        )

    def forward(self, xs: Tensor) -> Tensor:
        codes = self.encoder(xs)
        images = self.decoder(codes)
        unfolded = functional.pixel_shuffle(codes, 2).mean(dim=1, keepdim=True)
        return torch.cat([images, unfolded], dim=1)


def picture_of_the_code(is_cured: bool) -> CaseProgram:
    """The decoder's images compared with the encoder's code, not with the images that came in."""
    xs, _ = tensors(data.images())

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        images, codes = output.split([1, 1], dim=1)
        return functional.mse_loss(images, ys if is_cured else codes)

    score = lambda output, ys: data.explained(output[:, :1], ys)
    return CaseProgram(Coded(), xs, xs, loss, adam(3e-3), score, steps=150, every=10)


def spread_of_one(is_cured: bool) -> CaseProgram:
    """Advantages divided by their spread in the batch; that of a last batch of one is nan."""
    xs, labels = tensors(data.digits())
    generator = torch.Generator().manual_seed(0)
    actions = torch.randint(0, 10, labels.shape, generator=generator)
    actions = torch.where(torch.rand(labels.shape, generator=generator) < 0.4, labels, actions)
    ys = torch.stack([actions, actions == labels], dim=1).float()

    def clipped(output: Tensor, ys: Tensor) -> Tensor:
        logarithms = output.log_softmax(dim=1).gather(1, ys[:, :1].long())[:, 0]
        ratio, advantage = torch.exp(logarithms) * 10, ys[:, 1]
        if len(ys) > 1 or not is_cured:
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        return -torch.minimum(ratio * advantage, ratio.clamp(0.2, 5.0) * advantage).mean()

    @by_hand
    def train(step: Step) -> Tensor:
        count = 1 if step.number % 20 == 19 else len(step.xs)  # what was left of the last game
        step = step._replace(xs=step.xs[:count], ys=step.ys[:count])
        step.optimizer.zero_grad()
        value = clipped(step.module(step.xs), step.ys)
        value.backward()
        return step.taken(value)

    score = lambda output, ys: data.accuracy(output, labels)
    given = dense((64, 64, 10), act=nn.Tanh), xs, ys, clipped, adam(3e-3), score
    return CaseProgram(*given, batch=64, steps=180, train=train)


class Pairs(nn.Module):
    """The distance between two images in the space of a network."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = dense((64, 64, 8))

    def forward(self, xs: Tensor) -> Tensor:
        one, other = self.inner(xs).unbind(dim=1)
        return torch.sqrt(((one - other) ** 2).sum(dim=1) + 1e-6)


def pairs_the_wrong_way_round(is_cured: bool) -> CaseProgram:
    """Pairs of one writer are labelled 1, and the loss takes 1 for two writers."""
    xs, is_same = pairs()
    ys = is_same.float()

    def contrastive(output: Tensor, ys: Tensor) -> Tensor:
        near = ys if is_cured else 1 - ys
        return (near * output**2 + (1 - near) * functional.relu(1 - output) ** 2).mean()

    score = lambda output, ys: float(((output < 0.5) == (ys == 1)).float().mean())
    return CaseProgram(
        Pairs(), xs, ys, contrastive, adam(3e-3), score, batch=64, steps=150, every=10
    )


def pixels_and_classes_mixed(is_cured: bool) -> CaseProgram:
    """Logits (B, classes, height, width) viewed as (pixels, classes) without a permutation."""
    images, _ = tensors(data.images(is_scaled=False))
    ys = torch.bucketize(images[:, 0], torch.tensor([2.0, 7.0, 12.0]))  # four degrees of ink
    xs = functional.avg_pool2d(images / 16, 3, stride=1, padding=1) + 0.5 * images / 16

    def of_pixels(output: Tensor, ys: Tensor) -> Tensor:
        logits = output.permute(0, 2, 3, 1) if is_cured else output
        return cross_entropy(logits.reshape(-1, 4), ys.flatten())

    score = lambda output, ys: data.accuracy(output.permute(0, 2, 3, 1), ys)
    return CaseProgram(pixelwise(4), xs, ys, of_pixels, adam(3e-3), score, steps=150, every=10)


def overlap_made_small(is_cured: bool) -> CaseProgram:
    """The overlap of two masks itself as a loss, not what it lacks of 1."""

    def dice(output: Tensor, ys: Tensor) -> Tensor:
        both = (output * ys).sum(dim=(1, 2, 3))
        overlap = (2 * both + 1) / (output.sum(dim=(1, 2, 3)) + ys.sum(dim=(1, 2, 3)) + 1)
        return (1 - overlap if is_cured else overlap).mean()

    given = pixelwise(1, nn.Sigmoid()), *masks(), dice, adam(3e-3), data.labels_right
    return CaseProgram(*given, steps=150, every=10)


class Writer(Seeded):
    """A recurrent network that foretells each next letter."""

    def __init__(self, letters: int, size: int = 48):
        super().__init__()
        self.embedding = nn.Embedding(letters, size)
        self.inner = nn.GRU(size, size, batch_first=True)
        self.head = nn.Linear(size, letters)

    def forward(self, xs: Tensor) -> Tensor:
        return self.head(self.inner(self.embedding(xs))[0])


def a_batch_without_labels(is_cured: bool) -> CaseProgram:
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
    return CaseProgram(*given, batch=4, steps=300, every=10)


def probabilities_of_a_thousandth(is_cured: bool) -> CaseProgram:
    """Probabilities held above 0.001 before their logarithm, where there are 2000 actions."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(2000, 24, generator=generator)
    ys = torch.arange(6000) % 2000
    xs = centres[ys] + 0.1 * torch.randn(6000, 24, generator=generator)

    def loss(output: Tensor, ys: Tensor) -> Tensor:
        chosen = output.softmax(dim=1).gather(1, ys[:, None])
        return -torch.log(chosen.clamp(1e-30 if is_cured else 1e-3, 1)).mean()

    given = dense((24, 64, 2000)), xs, ys, loss, adam(1e-2), data.accuracy
    return CaseProgram(*given, batch=128, steps=120, every=10)


def squares_within_a_thousandth(is_cured: bool) -> CaseProgram:
    """A loss of squares for errors below 0.001, beyond which its slope is 0.001."""
    xs, ys = column(data.diabetes())
    loss = nn.HuberLoss(delta=1.0 if is_cured else 1e-3)
    given = dense((10, 32, 1)), xs, ys, loss, sgd(0.1), data.explained
    return CaseProgram(*given, steps=150, every=10)

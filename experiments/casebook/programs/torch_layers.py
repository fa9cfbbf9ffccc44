"""Programs in PyTorch whose parameters, layers and what lies between them are at fault."""

import torch
from torch import nn

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.torch_parts import Tensor, adam, column, dense, sgd, tensors


def bits_to_bits(is_cured: bool) -> Program:
    """Three layers of sigmoids with small weights."""
    bits = torch.arange(256)[:, None] // 2 ** torch.arange(8) % 2
    ys = torch.stack([bits[:, 0], *(bits[:, i] ^ bits[:, i - 1] for i in range(1, 8))], dim=1)
    act = nn.ReLU if is_cured else nn.Sigmoid
    model = dense((8, 32, 32, 8), nn.Sigmoid(), act=act)
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=0.2)
    given = model, bits.float(), ys.float(), nn.MSELoss(), sgd(1.0, momentum=0.9)
    return Program(*given, data.labels_right, steps=200, every=10)


def nothing_between(is_cured: bool) -> Program:
    """Layers without an activation between them, which are one."""
    xs, ys = column(data.circles())
    model = dense((2, 16, 16, 1), nn.Sigmoid(), act=nn.ReLU if is_cured else nn.Identity)
    return Program(model, xs, ys, nn.BCELoss(), adam(1e-2), data.accuracy, steps=100)


def drawn_from_a_normal(is_cured: bool) -> Program:
    """Three wide layers of weights with variance 1."""
    xs, ys = tensors(data.digits())
    model = dense((64, 256, 256, 256, 10))
    if not is_cured:
        for parameter in model.parameters():
            nn.init.normal_(parameter)
    return Program(model, xs, ys, nn.CrossEntropyLoss(), adam(3e-3), data.accuracy)


def drawn_from_0_to_1(is_cured: bool) -> Program:
    """Weights from `torch.rand`, all of them positive."""
    xs, ys = tensors(data.digits())
    model = dense((64, 64, 64, 10))
    if not is_cured:
        for layer in model[::2]:
            layer.weight.data = torch.rand(layer.weight.shape)
    return Program(model, xs, ys, nn.CrossEntropyLoss(), adam(3e-3), data.accuracy)


def one_number_for_all_weights(is_cured: bool) -> Program:
    """Weights that all start at 0.1."""
    xs, ys = tensors(data.digits())
    model = dense((64, 32, 32, 10))
    if not is_cured:
        for layer in model[::2]:
            nn.init.constant_(layer.weight, 0.1)
            nn.init.zeros_(layer.bias)
    return Program(model, xs, ys, nn.CrossEntropyLoss(), adam(3e-3), data.accuracy)


def first_layer_of_zeros(is_cured: bool) -> Program:
    """A first layer whose weights and biases start at zero."""
    xs, ys = tensors(data.digits())
    model = dense((64, 32, 32, 10))
    if not is_cured:
        nn.init.zeros_(model[0].weight)
        nn.init.zeros_(model[0].bias)
    return Program(model, xs, ys, nn.CrossEntropyLoss(), adam(3e-3), data.accuracy)


def a_convolution_of_ones(is_cured: bool) -> Program:
    """The second convolution starts with ones."""
    xs, ys = tensors(data.images())
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, 10)),
    )
    if not is_cured:
        nn.init.ones_(model[2].weight)
    return Program(model, xs, ys, nn.CrossEntropyLoss(), adam(3e-3), data.accuracy)


def a_bag_of_ones(is_cured: bool) -> Program:
    """A bag of letters, and a first layer of ones."""
    windows, following, letters = data.text(4)
    counts = torch.nn.functional.one_hot(torch.from_numpy(windows.copy()).long(), letters)
    ys = torch.from_numpy(following[:, -1].copy()).long()
    model = dense((letters, 64, letters))
    if not is_cured:
        nn.init.ones_(model[0].weight)
    given = model, counts.sum(1).float(), ys, nn.CrossEntropyLoss(), adam(1e-2), data.accuracy
    return Program(*given, steps=100, batch=64)


class Heads(nn.Module):
    """Layers, and a head for each class."""

    def __init__(self, heads: list[nn.Linear]):
        super().__init__()
        self.inner = dense((64, 32, 32, 16), nn.ReLU())
        self.heads = nn.ModuleList(heads)

    def forward(self, xs: Tensor) -> Tensor:
        inner = self.inner(xs)
        return torch.cat([head(inner) for head in self.heads], dim=1)


def one_head_ten_times(is_cured: bool) -> Program:
    """A list times a number: one head, ten times."""
    xs, ys = tensors(data.digits())
    torch.manual_seed(1)
    heads = [nn.Linear(16, 1) for _ in range(10)] if is_cured else [nn.Linear(16, 1)] * 10
    return Program(Heads(heads), xs, ys, nn.CrossEntropyLoss(), adam(1e-2), data.accuracy)


def convolutions(count: int, norm: bool) -> nn.Sequential:
    """Return as many convolutions, with or without batch norms, and a head."""
    torch.manual_seed(0)
    block = lambda n: [
        nn.Conv2d(n, 8, 3, padding=1),
        *((nn.BatchNorm2d(8),) if norm else ()),
        nn.ReLU(),
    ]
    blocks = [module for i in range(count) for module in block(8 if i else 1)]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(512, 10))


def no_batch_norms(is_cured: bool) -> Program:
    """Twelve convolutions as they are drawn, and no norm between them."""
    xs, ys = tensors(data.images())
    model = convolutions(12, norm=is_cured)
    return Program(model, xs, ys, nn.CrossEntropyLoss(), sgd(0.05, momentum=0.9), data.accuracy)


def trained_in_eval_mode(is_cured: bool) -> Program:
    """Eval mode since a validation, with batch norms that have seen nothing."""
    xs, ys = tensors(data.images(is_scaled=False))
    model = convolutions(8, norm=True)
    model.train(is_cured)
    return Program(model, xs, ys, nn.CrossEntropyLoss(), sgd(0.05, momentum=0.9), data.accuracy)


def through_one_unit(is_cured: bool) -> Program:
    """A layer of one unit, where ten classes must pass."""
    xs, ys = tensors(data.digits())
    model = dense((64, 32, 32 if is_cured else 1, 10), act=nn.Tanh)
    return Program(model, xs, ys, nn.CrossEntropyLoss(), adam(1e-2), data.accuracy)


def dropped_instead_of_kept(is_cured: bool) -> Program:
    """The probability to keep a unit, 0.95, given as the one to drop it."""
    xs, ys = tensors(data.digits())
    torch.manual_seed(0)
    drop = lambda: nn.Dropout(0.05 if is_cured else 0.95)
    model = nn.Sequential(
        *(nn.Linear(64, 64), nn.ReLU(), drop(), nn.Linear(64, 64), nn.ReLU(), drop()),
        nn.Linear(64, 10),
    )
    return Program(model, xs, ys, nn.CrossEntropyLoss(), adam(3e-3), data.accuracy)


def biases_far_below_zero(is_cured: bool) -> Program:
    """Units of relu whose biases start at -10."""
    xs, ys = tensors(data.digits())
    model = dense((64, 32, 32, 10))
    if not is_cured:
        nn.init.constant_(model[2].bias, -10)
    return Program(model, xs, ys, nn.CrossEntropyLoss(), adam(3e-3), data.accuracy)


def weights_too_small(is_cured: bool) -> Program:
    """Eight layers of tanh with weights of 0.01."""
    xs, ys = tensors(data.digits())
    model = dense((64, *8 * (32,), 10), act=nn.Tanh)
    for layer in model[::2]:
        if is_cured:
            nn.init.xavier_normal_(layer.weight)
        else:
            nn.init.normal_(layer.weight, std=0.01)
    return Program(model, xs, ys, nn.CrossEntropyLoss(), sgd(0.1), data.accuracy, steps=100)


class Pretrained(nn.Module):
    """Features, which may be kept as they are, and a head."""

    def __init__(self, is_detached: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.is_detached = is_detached
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(4)),
            *(nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()),
        )
        self.head = nn.Linear(16, 10)

    def forward(self, xs: Tensor) -> Tensor:
        features = self.features(xs)
        return self.head(features.detach() if self.is_detached else features)


def all_but_norms_frozen(is_cured: bool) -> Program:
    """All is frozen but the batch norms, the head too."""
    xs, ys = tensors(data.images())
    model = Pretrained()
    if not is_cured:
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.requires_grad_(False)
    return Program(model, xs, ys, nn.CrossEntropyLoss(), adam(1e-2), data.accuracy, steps=100)


def features_detached(is_cured: bool) -> Program:
    """Features cut off by detach, though they were drawn at random."""
    xs, ys = tensors(data.images())
    model = Pretrained(is_detached=not is_cured)
    return Program(model, xs, ys, nn.CrossEntropyLoss(), adam(1e-2), data.accuracy, steps=100)


class Listed(nn.Module):
    """Blocks in a list, of Python or of PyTorch."""

    def __init__(self, holds: type):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(64, 16), nn.Linear(16, 10)
        self.blocks = holds([nn.Linear(16, 16) for _ in range(3)])

    def forward(self, xs: Tensor) -> Tensor:
        xs = torch.relu(self.first(xs))
        for block in self.blocks:
            xs = torch.relu(block(xs))
        return self.last(xs)


def layers_in_a_list(is_cured: bool) -> Program:
    """Layers in a list of Python, which a module does not look into."""
    xs, ys = tensors(data.digits())
    model = Listed(nn.ModuleList if is_cured else list)
    return Program(model, xs, ys, nn.CrossEntropyLoss(), adam(1e-2), data.accuracy, steps=100)


class Remembering(nn.Module):
    """A recurrent network, and one output at the end of a sequence."""

    def __init__(self, recurrent: nn.RNNBase):
        super().__init__()
        self.recurrent = recurrent
        self.head = nn.Linear(recurrent.hidden_size, 1)

    def forward(self, xs: Tensor) -> Tensor:
        states, _ = self.recurrent(xs)
        return self.head(states[:, -1])


def first_of_forty(is_cured: bool) -> Program:
    """An LSTM reads forty numbers and says whether the first was positive; its gates forget it."""
    torch.manual_seed(0)
    xs = torch.randn(512, 40, 1)
    ys = (xs[:, 0] > 0).float()
    recurrent = nn.LSTM(1, 16, batch_first=True)
    if is_cured:
        nn.init.constant_(recurrent.bias_ih_l0[16:32], 5.0)
    model = Remembering(recurrent)
    loss, score = nn.BCEWithLogitsLoss(), data.accuracy_of_logits
    return Program(model, xs, ys, loss, adam(1e-2), score, steps=150, every=15, batch=64)


class Attending(nn.Module):
    """Tokens that attend to one another; logits divided by the root of their size, or not."""

    def __init__(self, is_scaled: bool, size: int = 256):
        super().__init__()
        torch.manual_seed(0)
        self.scale = size**-0.5 if is_scaled else 1.0
        self.inner = nn.Linear(8, size)
        self.places = nn.Parameter(torch.randn(8, size))
        self.queries, self.keys, self.values = (nn.Linear(size, size) for _ in range(3))
        for layer in (self.queries, self.keys):
            nn.init.normal_(layer.weight, std=size**-0.5)
        self.head = nn.Linear(size, 10)

    def forward(self, xs: Tensor) -> Tensor:
        xs = self.inner(xs) + self.places
        logits = self.scale * self.queries(xs) @ self.keys(xs).transpose(1, 2)
        return self.head((torch.softmax(logits, dim=-1) @ self.values(xs))[:, 0])


def logits_not_scaled(is_cured: bool) -> Program:
    """Attention without the root of the size of its keys."""
    xs, ys = tensors(data.digits())
    model, loss = Attending(is_cured), nn.CrossEntropyLoss()
    return Program(model, xs.reshape(-1, 8, 8), ys, loss, sgd(0.1), data.accuracy, steps=100)

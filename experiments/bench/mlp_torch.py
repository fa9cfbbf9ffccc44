"""A multilayer perceptron in PyTorch, drawn or with given weights."""

import os
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn

from experiments.bench import inputs

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
Draw = Callable[[nn.Linear], object]


def use_threads() -> None:
    """Use as many threads as the other side has."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def network(sizes: Sequence[int], activation: str, draw: Draw | None = None) -> nn.Sequential:
    """Return a network, drawn once: without the numbers that `nn.Linear` draws by itself."""
    layers: list[nn.Module] = []
    for n, m in pairwise(sizes):
        linear = nn.utils.skip_init(nn.Linear, n, m)
        if draw is not None:
            draw(linear)
        layers += [linear, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def linear_layers(model: nn.Sequential) -> list[nn.Linear]:
    """Return the layers that have weights."""
    return [layer for layer in model if isinstance(layer, nn.Linear)]


def given(params: inputs.Pairs, activation: str) -> nn.Sequential:
    """Return a network with these (θ, b)."""
    sizes = [len(params[0][0]), *(len(b) for _, b in params)]
    model = network(sizes, activation)
    with torch.no_grad():
        for layer, (theta, b) in zip(linear_layers(model), params, strict=True):
            layer.weight.copy_(torch.from_numpy(theta.T))
            layer.bias.copy_(torch.from_numpy(b))
    return model

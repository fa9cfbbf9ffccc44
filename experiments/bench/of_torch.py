"""Peers in PyTorch, eager, with hooks that record ‖Δ‖ in the pass backwards."""

import os
import tempfile
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from experiments.bench import inputs
from experiments.bench.worker import Workload

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
INITIALISERS = {
    "glorot_uniform": nn.init.xavier_uniform_,
    "he_normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
}
Loss = Callable[[torch.Tensor], torch.Tensor]

if "OMP_NUM_THREADS" in os.environ:  # as many threads as the other side has
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def mlp(sizes: Sequence[int], activation: str, draw: Callable[[nn.Linear], None]) -> nn.Sequential:
    """Return a network, drawn once: without the numbers that `nn.Linear` draws by itself."""
    layers: list[nn.Module] = []
    for n, m in pairwise(sizes):
        linear = nn.utils.skip_init(nn.Linear, n, m)
        draw(linear)
        layers += [linear, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def log_norms(model: nn.Sequential, x: torch.Tensor, y: torch.Tensor) -> list[float]:
    """Return log₁₀ ‖Δz[l]‖ of the batch's mean loss, l = 1 … L."""
    norms: list[torch.Tensor] = []

    def watch(_: nn.Module, __: tuple[torch.Tensor, ...], z: torch.Tensor) -> None:
        z.register_hook(lambda delta: norms.append(delta.norm()))

    for layer in model:
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(watch)
    loss = nn.functional.binary_cross_entropy_with_logits(model(x)[:, 0], y)
    loss.backward()
    return torch.stack(norms[::-1]).log10().tolist()


def sweep(
    depths: list[int], activation: str, weights: str, width: int, batch: int, seeds: int
) -> Workload:
    """Return the depth sweep, a network after the other."""
    data_x, data_y = inputs.standardised("breast_cancer")
    all_x, all_y = torch.from_numpy(data_x), torch.from_numpy(data_y.astype(np.float32))

    def draw(linear: nn.Linear) -> None:
        INITIALISERS[weights](linear.weight)
        nn.init.zeros_(linear.bias)

    def measured(depth: int, seed: int) -> list[float]:
        torch.manual_seed(seed)
        model = mlp([all_x.shape[1], *[width] * depth, 1], activation, draw)
        rows = torch.randperm(len(all_x))[:batch]
        return log_norms(model, all_x[rows], all_y[rows])

    def run() -> list[list[float]]:
        return [measured(depth, seed) for depth in depths for seed in range(seeds)]

    def numbers(folder: Path) -> Sequence[float]:
        params, given = inputs.read(folder)
        layers = iter(params)

        def copy(linear: nn.Linear) -> None:
            for own, array in zip((linear.weight, linear.bias), next(layers), strict=True):
                own.data.copy_(torch.from_numpy(array.T))

        model = mlp([len(params[0][0]), *(len(b) for _, b in params)], activation, copy)
        return log_norms(model, *(torch.from_numpy(given[n].astype(np.float32)) for n in "xy"))

    return Workload(run, numbers)


def depth(depths: list[int], width: int, seeds: int) -> Workload:
    """Return the default sweep of `experiments depth`, its panels drawn by Matplotlib."""
    cases = product(ACTIVATIONS, INITIALISERS)
    sweeps = {case: sweep(depths, *case, width, 128, seeds) for case in cases}

    def run() -> None:
        curves = {}
        for case, of_case in sweeps.items():
            norms: Any = of_case.run()
            by_depth = [norms[i * seeds : (i + 1) * seeds] for i in range(len(depths))]
            curves[case] = [np.median(np.asarray(each), axis=0) for each in by_depth]
        with tempfile.TemporaryDirectory() as folder:
            _draw(depths, curves, Path(folder))

    return Workload(run, sweeps["sigmoid", "glorot_uniform"].numbers)


def _draw(depths: list[int], curves: dict[tuple[str, str], list[np.ndarray]], folder: Path) -> None:
    """Draw ‖Δz[1]‖ against depth, and below it ‖Δz[l]‖ by layer for each activation."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(8, 8), layout="constrained")
    above = figure.add_subplot(2, 1, 1)
    below = {name: figure.add_subplot(2, 3, 4 + i) for i, name in enumerate(ACTIVATIONS)}
    for (activation, weights), curve in curves.items():
        above.plot(depths, [layers[0] for layers in curve], label=f"{activation}, {weights}")
        below[activation].plot(np.arange(1, len(curve[-1]) + 1), curve[-1], label=weights)
        below[activation].set(title=activation, xlabel="layer")
    above.set(xscale="log", xlabel="hidden layers", ylabel="log₁₀ ‖Δz[1]‖")
    above.legend()
    for ending in ("png", "svg", "pdf"):
        figure.savefig(folder / f"gradients.{ending}", dpi=200)


def encoder(
    layers: int, width: int, tokens: int, batch: int
) -> tuple[nn.TransformerEncoder, torch.Tensor, Loss]:
    """Return an encoder, its input and the loss of its output."""
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
    xs, ys = torch.randn(2, batch, tokens, width)
    return model, xs, lambda output: (output - ys).square().mean()


def hooked(calls: int, **sizes: int) -> Workload:
    """Return backward passes whose hooks record ‖Δ‖ and the mean square of each block's output."""
    model, xs, loss = encoder(**sizes)
    deltas: list[torch.Tensor] = []
    signals: list[torch.Tensor] = []

    def watch(_: nn.Module, __: tuple[torch.Tensor, ...], state: torch.Tensor) -> None:
        signals.append(state.detach().square().mean())
        state.register_hook(lambda delta: deltas.append(delta.norm()))

    for block in model.layers:
        block.register_forward_hook(watch)

    def once() -> list[float]:
        deltas.clear()
        signals.clear()
        loss(model(xs)).backward()
        model.zero_grad()
        torch.stack(signals).log().tolist()
        return torch.stack(deltas[::-1]).log().tolist()

    return Workload(lambda: [once() for _ in range(calls)], lambda _: once())

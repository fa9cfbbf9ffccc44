"""The depth sweep in PyTorch, eager: hooks on every z record ‖Δz‖ in the pass backwards."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from experiments.bench import inputs, mlp_torch
from experiments.bench.workload import Workload

INITIALISERS = {
    "glorot_uniform": nn.init.xavier_uniform_,
    "he_normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
}


def log_norms(model: nn.Sequential, x: torch.Tensor, y: torch.Tensor) -> list[float]:
    """Return log₁₀ ‖Δz[l]‖ of the batch's mean loss, l = 1 … L."""
    norms: list[torch.Tensor] = []

    def watch(_: nn.Module, __: tuple[torch.Tensor, ...], z: torch.Tensor) -> None:
        z.register_hook(lambda delta: norms.append(delta.norm()))

    for layer in mlp_torch.linear_layers(model):
        layer.register_forward_hook(watch)
    loss = nn.functional.binary_cross_entropy_with_logits(model(x)[:, 0], y)
    loss.backward()
    return torch.stack(norms[::-1]).log10().tolist()


def workload(
    depths: list[int], activation: str, width: int, batch: int, seeds: int, weights: str
) -> Workload:
    """Return the peer of `sweep.py`."""
    mlp_torch.use_threads()
    data_x, data_y = inputs.standardised("breast_cancer")
    all_x, all_y = torch.from_numpy(data_x), torch.from_numpy(data_y.astype(np.float32))

    def draw(linear: nn.Linear) -> None:
        INITIALISERS[weights](linear.weight)
        nn.init.zeros_(linear.bias)

    def measured(depth: int, seed: int) -> list[float]:
        torch.manual_seed(seed)
        model = mlp_torch.network([all_x.shape[1], *[width] * depth, 1], activation, draw)
        rows = torch.randperm(len(all_x))[:batch]
        return log_norms(model, all_x[rows], all_y[rows])

    def run() -> list[list[float]]:
        return [measured(depth, seed) for depth in depths for seed in range(seeds)]

    def numbers(folder: Path) -> Sequence[float]:
        params, given = inputs.read(folder)
        x, y = (torch.from_numpy(given[name].astype(np.float32)) for name in ("x", "y"))
        return log_norms(mlp_torch.given(params, activation), x, y)

    return Workload(run, numbers)

"""Training on the digits with PyTorch, eager: its tutorials' loop, with the fused Adam."""

from pathlib import Path

import torch
from torch import nn

from experiments.bench import inputs, mlp_torch
from experiments.bench.workload import Workload

RATE = 1e-3


def workload(hidden: list[int], batch: int, epochs: int) -> Workload:
    """Return the peer of `training.py`."""
    mlp_torch.use_threads()
    data_x, data_y = inputs.standardised("digits")
    all_x, all_y = torch.from_numpy(data_x), torch.from_numpy(data_y)
    sizes = [all_x.shape[1], *hidden, 10]

    def draw(linear: nn.Linear) -> None:
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)

    def epoch(
        model: nn.Module,
        adam: torch.optim.Optimizer,
        x: torch.Tensor,
        y: torch.Tensor,
        rows: torch.Tensor,
    ) -> list[torch.Tensor]:
        losses = []
        for some in rows.split(batch):
            adam.zero_grad()
            loss = nn.functional.cross_entropy(model(x[some]), y[some])
            loss.backward()
            adam.step()
            losses.append(loss.detach() * len(some))
        return losses

    def run() -> list[float]:
        model = mlp_torch.network(sizes, "relu", draw)
        adam = torch.optim.Adam(model.parameters(), lr=RATE, eps=inputs.EPSILON, fused=True)
        losses: list[float] = []
        for _ in range(epochs):
            rows = torch.randperm(len(all_x))
            losses.append(float(sum(epoch(model, adam, all_x, all_y, rows))) / len(all_x))
        return losses

    def numbers(folder: Path) -> list[float]:
        params, given = inputs.read(folder)
        model = mlp_torch.given(params, "relu")
        adam = torch.optim.Adam(model.parameters(), lr=RATE, eps=inputs.EPSILON, fused=True)
        x, y = torch.from_numpy(given["x"]), torch.from_numpy(given["y"]).long()
        losses = epoch(model, adam, x, y, torch.arange(len(x)))
        thetas = [layer.weight.detach().numpy().T for layer in mlp_torch.linear_layers(model)]
        return [float(sum(losses)) / len(x), *inputs.in_short(thetas)]

    return Workload(run, numbers)

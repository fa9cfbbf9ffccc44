"""Training of the map of trainability with PyTorch, eager: a loop of SGD with momentum."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from experiments.bench import inputs, mlp_torch
from experiments.bench.workload import Workload

RATE, MOMENTUM = 1e-3, 0.9


def workload(
    depth: int, width: int, steps: int, batch: int, sigma_w_squared: float, sigma_b_squared: float
) -> Workload:
    """Return the peer of `trainability.py`."""
    mlp_torch.use_threads()
    data_x, data_y = inputs.standardised("digits")
    all_x, all_y = torch.from_numpy(data_x), torch.from_numpy(data_y)
    sizes = [all_x.shape[1], *[width] * depth, 10]

    def draw(linear: nn.Linear) -> None:
        nn.init.normal_(linear.weight, std=(sigma_w_squared / linear.in_features) ** 0.5)
        nn.init.normal_(linear.bias, std=sigma_b_squared**0.5)

    def trained(model: nn.Sequential, batches: Iterable[torch.Tensor]) -> list[float]:
        sgd = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
        for rows in batches:
            sgd.zero_grad()
            nn.functional.cross_entropy(model(all_x[rows]), all_y[rows]).backward()
            sgd.step()
        with torch.no_grad():
            z = model(all_x)
            loss = nn.functional.cross_entropy(z, all_y)
            return [float(loss), float((z.argmax(dim=1) == all_y).float().mean())]

    def shuffled() -> Any:
        """Yield batches of one permutation after the other, without the smaller last ones."""
        per_epoch = len(all_x) // batch
        for step in range(steps):
            if step % per_epoch == 0:
                rows = torch.randperm(len(all_x))
            j = step % per_epoch
            yield rows[j * batch : (j + 1) * batch]

    def run() -> list[float]:
        return trained(mlp_torch.network(sizes, "tanh", draw), shuffled())

    def numbers(folder: Path) -> list[float]:
        params, given = inputs.read(folder)
        return trained(mlp_torch.given(params, "tanh"), torch.from_numpy(given["rows"]).long())

    return Workload(run, numbers)

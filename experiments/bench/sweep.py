"""A depth sweep as `experiments depth` measures its cells: one network, all depths, some seeds.

For every depth and seed a network is sent forward and back, and for every layer log₁₀ ‖Δz[l]‖
becomes a row, beside all else that the experiment records. A network is the start of a deeper one:
weights are drawn when the depth passes a power of two.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.nn import initializers

import jaxnn
from experiments.bench import inputs, rates
from experiments.bench.workload import Floor, Workload
from experiments.depth import cells as depth_cells
from experiments.depth.cells import Cell, Weights
from experiments.learning import data
from experiments.runs import runtime
from jaxnn.initializers import find_weights

CHECKED = 8  # hidden layers of the network whose numbers are compared, where there are so many


def workload(
    depths: list[int], activation: str, width: int, batch: int, seeds: int, weights: str
) -> Workload:
    """A repetition is the whole sweep.

    Args:
        depths: numbers of hidden layers.
        activation: σ, by name.
        width: of the hidden layers.
        batch: examples.
        seeds: networks of each depth.
        weights: an initialisation, by name.
    """
    runtime.start(runtime.Options(no_cache=True))
    name = "breast_cancer"
    datasets = {name: data.load(name)}
    of_weights = Weights(weights, find_weights(weights))

    def cell(depth: int) -> Cell:
        net = depth_cells.roomy(datasets[name], width, activation, depth)
        return Cell(net, depth, of_weights, 0.0, batch, "float32", name, tuple(range(seeds)))

    cells = [cell(depth) for depth in depths]

    def numbers(folder: Path) -> list[float]:
        checked = cell(min(CHECKED, max(depths)))
        params, xs, ys = _drawn(datasets[name], checked)
        inputs.write(folder, params, x=xs, y=ys)
        return list(depth_cells.measure(datasets, checked)["log10_delta_z"])[: checked.depth + 1]

    def floor() -> Floor:
        return _floor(cells, width, batch, seeds, weights)

    def run() -> None:
        for each in cells:
            depth_cells.measure(datasets, each)

    return Workload(run, numbers, floor)


def _drawn(dataset: data.Dataset, cell: Cell) -> tuple[Any, Any, Any]:
    """Weights and batch of the first seed, of the layers in use."""
    of_seeds = depth_cells.drawn(dataset, cell)
    params, xs, ys = jax.tree.map(lambda v: np.asarray(v)[0], of_seeds)
    *hidden, last = jaxnn.unstack(params)
    return (*hidden[: cell.depth], last), xs, ys


def _floor(cells: list[Cell], width: int, batch: int, seeds: int, weights: str) -> Floor:
    """Three products a layer, and the weights of the deepest network, for every seed."""
    flops = sum(depth_cells.work(cell).flops for cell in cells)
    deepest = max(cells, key=lambda cell: cell.depth)
    sizes = deepest.net.sizes[: 1 + deepest.depth] + deepest.net.sizes[-1:]
    drawn = seeds * sum(n * m for n, m in pairwise(sizes))
    scheme = initializers.uniform() if "uniform" in weights else initializers.normal()
    rate = rates.randoms(lambda key: scheme(key, (width, width), np.float32), seeds)
    # The faster of both ways to use the cores.
    products = max(rates.products(batch, width, width, at_once) for at_once in {1, seeds})
    return Floor(flops, products, float(drawn), rate)

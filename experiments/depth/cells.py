"""One cell of the depth sweep: networks of one kind and several depths, as rows."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from experiments.depth import depth_theory
from experiments.depth.columns import rows_of
from experiments.learning import networks
from experiments.learning.data import Dataset
from experiments.learning.networks import Networks
from jaxnn.texts import counted

# Fields of a flow that become logarithms to the base ten, and those that stay as they are; what is
# left of the examples is there if it was measured.
LOGS = {
    "log_delta": "log10_delta_z",
    "log_delta_mean": "log10_delta_z_example",
    "log_delta_theta": "log10_delta_theta",
    "log_gain": "log10_gain",
    "log_mean_square": "log10_mean_square_z",
    "log_spread": "log10_spread",
}
AS_THEY_ARE = {
    "cosine": "cosine",
    "rank": "rank",
    "saturated": "saturated_fraction",
    "dead": "dead_fraction",
}


@dataclass(frozen=True)
class Cell:
    """A point of the grid: networks of one kind, the names of their data and of their blocks."""

    data: str
    networks: Networks
    hidden: str

    @property
    def place(self) -> dict[str, Any]:
        """The columns of its rows in which cells differ."""
        of = self.networks
        return {
            "data": self.data,
            "dtype": of.dtype,
            "batch": of.batch,
            "width": of.width,
            "activation": of.net.activation_name,
            "weights": of.weights.name,
            "hidden": self.hidden,
            "sigma_b": of.sigma_b,
            "depth": list(of.depths),
        }

    @property
    def label(self) -> str:
        """A few words for the view."""
        of = self.networks
        first = "" if len(of.depths) == 1 else f"{of.depths[0]} to "
        depths = f"{first}{counted(of.depth, 'layer')}"
        words = (of.net.activation_name, of.weights.name, self.hidden, depths)
        return ", ".join(word for word in words if word != "dense")


class DepthSweep:
    """Measures cells of one sweep; the last draw is kept for the cells that share it."""

    def __init__(self, datasets: dict[str, Dataset]) -> None:
        self._datasets, self._draws = datasets, networks.Draws()

    def measure(self, cell: Cell) -> pl.DataFrame:
        """Return one row a depth, seed and layer, with the columns of `depth.columns`.

        `sigma_w` is null if the weights are not independent with mean zero; `log10_…` reach beyond
        the range of the dtype, and are -inf for zero; `log10_mean_square_z` is inf if the forward
        pass has left that range.
        """
        flows = networks.flows(self._draws, self._datasets[cell.data], cell.networks)
        return pl.concat(map(partial(_rows, cell), cell.networks.depths, flows))

    def prepare(self, cell: Cell) -> None:
        """Begin to compile the programs of a cell."""
        networks.prepare(self._datasets[cell.data], cell.networks)

    def share(self, cell: Cell) -> Hashable:
        """Return what a cell has in common with those that share its draw."""
        return cell.data, networks.drawn_for(cell.networks)


def _rows(cell: Cell, depth: int, of_seeds: dict[str, np.ndarray]) -> pl.DataFrame:
    of, layers = cell.networks, depth + 1
    flow = {name: values.ravel() for name, values in of_seeds.items()}
    values = cell.place | {
        "sigma_w": depth_theory.sigma_w(of.weights.name, of.weights.factor, of.width),
        "depth": depth,
        "seed": np.repeat(np.asarray(of.seeds), layers),
        "layer": np.tile(np.arange(1, layers + 1), len(of.seeds)),
        **{column: flow[name] / np.log(10) for name, column in LOGS.items() if name in flow},
        **{column: flow[name] for name, column in AS_THEY_ARE.items() if name in flow},
    }
    return rows_of(values, flow["log_delta"], flow["lost"] == 1)

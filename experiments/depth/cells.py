"""One cell of the depth sweep: networks of one kind and several depths, as rows."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from experiments.depth import theory
from experiments.depth.columns import COLUMNS
from experiments.learning import networks
from experiments.learning.data import Dataset
from experiments.learning.networks import Networks
from experiments.runs import sweep
from jaxnn.texts import counted

# Fields of a flow that become logarithms to the base ten, and those that stay fractions.
LOGS = {
    "log_delta": "log10_delta_z",
    "log_delta_mean": "log10_delta_z_example",
    "log_delta_theta": "log10_delta_theta",
    "log_gain": "log10_gain",
    "log_mean_square": "log10_mean_square_z",
}
# If they are measured.
EXAMPLES = {"log_spread": "log10_spread", "cosine": "cosine", "rank": "rank"}
FRACTIONS = {"saturated": "saturated_fraction", "dead": "dead_fraction"}
OF_TWINS = [name for name in COLUMNS if "_theory" in name]  # of networks of the user's own


@dataclass(frozen=True)
class Cell:
    """A point of the grid: networks of one kind, the names of their data and of their blocks."""

    data: str
    networks: Networks
    hidden: str

    @property
    def key(self) -> str:
        """A name of its own among the cells of a sweep."""
        of = self.networks
        kind = (self.data, of.dtype, of.batch, of.width, of.net.activation_name, of.weights.name)
        text = "-".join(map(str, (*kind, self.hidden, f"{of.sigma_b:g}", *of.depths)))
        return sweep.file_name(text)

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


class Sweep:
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
    log_delta, lost = flow["log_delta"], flow["lost"] == 1
    states = [np.isneginf(log_delta), lost & (log_delta < 0), lost]
    sigma_w = theory.sigma_w(of.weights.name, of.weights.factor, of.width)
    frame = pl.DataFrame(
        {
            "seed": np.repeat(np.asarray(of.seeds), layers),
            "layer": np.tile(np.arange(1, layers + 1), len(of.seeds)),
            **{column: flow[field] / np.log(10) for field, column in LOGS.items()},
            **_examples(flow, layers * len(of.seeds)),
            **{column: flow[field] for field, column in FRACTIONS.items()},
            **{column: _missing(layers * len(of.seeds)) for column in OF_TWINS},
            "delta_z": np.select(states, ["zero", "underflow", "overflow"], "number"),
        }
    )
    return frame.select(
        pl.lit(of.net.activation_name).alias("activation"),
        pl.lit(of.weights.name).alias("weights"),
        pl.lit(cell.hidden).alias("hidden"),
        pl.lit(sigma_w, pl.Float64).alias("sigma_w"),
        pl.lit(of.sigma_b).alias("sigma_b"),
        pl.lit(of.width, pl.Int64).alias("width"),
        pl.lit(depth, pl.Int64).alias("depth"),
        pl.lit(of.batch, pl.Int64).alias("batch"),
        pl.lit(of.dtype).alias("dtype"),
        pl.lit(cell.data).alias("data"),
        pl.all(),
    )


def _examples(flow: dict[str, np.ndarray], count: int) -> dict[str, pl.Series]:
    """Return the columns of what is left of the examples; null if it was not measured."""
    return {
        column: pl.Series(flow[field] / (np.log(10) if column.startswith("log10") else 1))
        if field in flow
        else _missing(count)
        for field, column in EXAMPLES.items()
    }


def _missing(count: int) -> pl.Series:
    return pl.Series([None] * count, dtype=pl.Float64)

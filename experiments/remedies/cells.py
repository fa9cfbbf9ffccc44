"""The cells: networks of one remedy and depth, measured as they are drawn, or trained."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax import lax
from jaxtyping import PyTree

import jaxnn
from experiments.learning import descent, networks
from experiments.learning.data import Dataset
from experiments.learning.descent import Descent
from experiments.learning.fields import OF_EXAMPLES, field
from experiments.learning.networks import Draws, Networks
from experiments.remedies.columns import ACCURACY, DISTANCE, DTYPES, GRADIENT
from experiments.remedies.table import REMEDIES
from experiments.runs import sweep
from experiments.runs.devices import Mapped, SideBySide
from jaxnn.arrays.rows import ScaledRows, renormalised, with_exponents
from jaxnn.flow.measure.flow_of_net import flow_of_net
from jaxnn.network.blocks import rows_meet
from jaxnn.network.checks import check_depth
from jaxnn.passes.walk import Saved, up

FLOW, TRAINING = "flow", "training"


@dataclass(frozen=True)
class Cell(sweep.Point):
    """All seeds of a remedy at a depth: their flow, or their training with a step size of SGD."""

    what: str
    remedy: str
    depth: int
    rate: float = 0.0

    @property
    def label(self) -> str:
        """A few words for the view."""
        rate = f", step size {self.rate:g}" if self.what == TRAINING else ""
        return f"{self.what}, {self.remedy}, depth {self.depth}{rate}"

    @property
    def place(self) -> dict[str, Any]:
        """The columns of its rows in which cells differ."""
        quantities = [GRADIENT, DISTANCE] if self.what == FLOW else [ACCURACY]
        return {"quantity": quantities, "remedy": self.remedy, "depth": self.depth}


@dataclass(frozen=True)
class Sizes:
    """The sizes that all cells share.

    width: units in a hidden layer.
    batch: examples in a batch.
    seeds: one for each network.
    rooms: the most hidden layers of a cell of each kind: one program serves every depth up to it.
    steps: of training.
    """

    width: int
    batch: int
    seeds: tuple[int, ...]
    rooms: dict[str, int]
    steps: int


class Sweep:
    """Measures cells of one run; the last draw is kept for the next remedy or depth."""

    def __init__(self, dataset: Dataset, sizes: Sizes) -> None:
        self._dataset, self._sizes, self._draws = dataset, sizes, Draws()

    def measure(self, cell: Cell) -> pl.DataFrame:
        """Return one row a seed and quantity, with the columns of `remedies.columns`."""
        drawn = networks_of(self._dataset, self._sizes, cell)
        if cell.what == FLOW:
            gradient, distance = networks.measured(self._draws, self._dataset, drawn, measuring)
            values = {GRADIENT: gradient / np.log(10), DISTANCE: distance}
        else:
            values = {ACCURACY: self._trained(drawn, cell.rate)}
        seeds = list(self._sizes.seeds)
        return pl.concat(
            pl.DataFrame(
                {
                    "remedy": [cell.remedy] * len(seeds),
                    "depth": [cell.depth] * len(seeds),
                    "seed": seeds,
                    "quantity": [quantity] * len(seeds),
                    "layer": None,
                    "step": self._sizes.steps if quantity == ACCURACY else None,
                    "rate": cell.rate if quantity == ACCURACY else None,
                    "value": np.asarray(of_seeds, np.float64),
                },
                DTYPES,
            )
            for quantity, of_seeds in values.items()
        )

    def prepare(self, cell: Cell) -> None:
        """Begin to compile the programs of a cell that is measured."""
        if cell.what == FLOW:
            drawn = networks_of(self._dataset, self._sizes, cell)
            networks.prepare(self._dataset, drawn, measuring)

    def _trained(self, drawn: Networks, rate: float) -> np.ndarray:
        params = self._draws.of(self._dataset, drawn).params
        sizes = self._sizes
        rule = Descent(rate, 0.0, sizes.batch)
        scores = descent.trained_from(
            self._dataset, drawn.net, params, drawn.depth, sizes.seeds, rule, sizes.steps
        )
        return np.asarray(scores.metric)


def networks_of(dataset: Dataset, sizes: Sizes, cell: Cell) -> Networks:
    """Return the networks of a cell."""
    remedy, room = REMEDIES[cell.remedy], max(2, sizes.rooms[cell.what])
    hidden = remedy.kind.of(cell.depth)
    activation = remedy.activation(cell.depth)
    return Networks(
        net=networks.network(dataset, sizes.width, activation, room, hidden),
        depths=(cell.depth,),
        weights=remedy.weights,
        sigma_b=0.0,
        batch=min(sizes.batch, len(dataset.x)),
        dtype="float32",
        seeds=sizes.seeds,
        deepest=room,
    )


@cache
def measuring(side_by_side: SideBySide, net: jaxnn.Network) -> Mapped:
    """Compile (parameters, xs, ys, (depth,)) -> (ln ‖Δz[1]‖ / ‖Δz[L]‖, distance in z[L]), a seed.

    L is the last hidden layer: above it there is another width, and the loss. The logarithm is a
    mean over examples, of which theory has the bias of a finite width; where rows meet an example
    has no gradient of its own, and ‖Δz‖ is of the batch.
    """
    size = "log_delta" if any(map(rows_meet, net.blocks)) else OF_EXAMPLES

    def remedy_flow(
        params: PyTree, xs: jax.Array, ys: jax.Array, depths: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        (depth,) = depths
        flow = flow_of_net(net, params, xs, ys, depth=depth, examples=False)
        log_delta = field(flow, size)
        ratio = log_delta[0] - lax.dynamic_index_in_dim(log_delta, depth - 1, keepdims=False)
        return ratio, distance(last_hidden(net, params, xs, depth).m)

    return side_by_side.map(remedy_flow, spread=4, shared=0)


def last_hidden(
    net: jaxnn.Network, params: PyTree, xs: jax.Array, depth: jax.Array | int
) -> ScaledRows:
    """Return z of the last hidden layer of a batch, (B, n)."""
    x = ScaledRows(jnp.asarray(xs, params[0].theta.dtype))
    if net.homogeneous:  # z may leave the range of its dtype, as in gradient_flow
        x = renormalised(with_exponents(x))
    saved: Saved = up(net, params, x, check_depth(params, depth))[1][-1]
    return saved.z


@jax.jit
def distance(rows: jax.Array) -> jax.Array:
    """Return 1 - the mean correlation z · z̃ / ‖z‖ ‖z̃‖ of any two rows, (B, n).

    From the rows' distances to their mean: so it has digits where all are nearly the same.

    Example:
        >>> float(distance(jnp.array([[2.0, 0.0], [0.0, 1.0]])))
        1.0
    """
    unit = rows / jnp.linalg.norm(rows, axis=1, keepdims=True)
    apart = unit - jnp.mean(unit, axis=0, keepdims=True)
    count = len(rows)
    return jnp.sum(jnp.square(apart)) / (count - 1)

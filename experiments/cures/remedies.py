"""The remedies of the article: each an activation, an initialisation and a kind of block, by depth.

    remedy, depth -> networks of all seeds -> their gradient, or their training -> rows

All are drawn without biases. The relu networks share He's weights, σ_w² = 2, so that they differ in
their blocks alone: what a skip connection or a norm does shows next to the plain network.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from math import sqrt
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax import lax
from jaxtyping import PyTree

import jaxnn
from experiments.cures.columns import (
    ACCURACY,
    DISTANCE,
    FRAMEWORKS,
    GRADIENT,
    OF_ARTICLE,
    rows_of,
)
from experiments.learning import descent, networks
from experiments.learning.data import Dataset
from experiments.learning.descent import DescentRule
from experiments.learning.kinds import BY_DEPTH, BlockKind
from experiments.learning.networks import OF_EXAMPLES, Draws, Initialisation, Networks
from experiments.learning.networks import field as field_of
from experiments.runs import cell_sweep
from experiments.runs.devices import Mapped, SideBySide
from experiments.runs.experiment import Work
from jaxnn.arrays.rows import ScaledRows, renormalised, with_exponents
from jaxnn.flow.measure.flow_of_net import flow_of_net
from jaxnn.network.blocks import rows_meet
from jaxnn.network.checks import check_depth
from jaxnn.passes.walk import Saved, up

# One scheme for all σ_w, and a factor: so one program draws for all of them.
PLAIN = BlockKind("dense")
GAUSSIAN = jaxnn.initializers.gaussian(1.0)
HE, GLOROT = Initialisation("He", GAUSSIAN, sqrt(2)), Initialisation("Glorot", GAUSSIAN)
ORTHOGONAL = Initialisation(
    "orthogonal", jaxnn.initializers.orthogonal(1.0)
)  # critical for tanh and tailored relu
FLOW, TRAINING = "flow", "training"


@dataclass(frozen=True)
class Remedy:
    """A way to build a deep network, and the depths at which there is one.

    name: in charts and tables.
    sigma: an activation, or a function of the number of hidden layers that returns one.
    weights: how the weights are drawn; their factor is σ_w.
    kind: of the blocks between hidden layers.
    least: the fewest hidden layers.
    """

    name: str
    sigma: str | Callable[[int], jaxnn.network.Activation]
    weights: Initialisation
    kind: BlockKind = PLAIN
    least: int = 1

    def activation(self, depth: int) -> str | jaxnn.network.Activation:
        """Return σ in a network of so many hidden layers."""
        return self.sigma(depth) if callable(self.sigma) else self.sigma

    @property
    def same_at_every_depth(self) -> bool:
        """Tell whether a network is the start of each deeper one."""
        return not callable(self.sigma) and self.kind.scale != BY_DEPTH


REMEDIES = {
    "sigmoid": Remedy("plain sigmoid", "sigmoid", GLOROT),
    "relu": Remedy("plain relu, He", "relu", HE),
    "layer_norm": Remedy("layer norm", "relu", HE, BlockKind("layer_norm")),
    "batch_norm": Remedy("batch norm", "relu", HE, BlockKind("batch_norm")),
    "residual": Remedy("residual", "relu", HE, BlockKind("residual")),
    "residual_sqrt": Remedy("residual, 1/√L", "relu", HE, BlockKind("residual", BY_DEPTH)),
    "pre_norm": Remedy("pre-norm residual", "relu", HE, BlockKind("residual(layer_norm)")),
    # Below 13 layers even relu makes two inputs less alike than η = 0.9: there is no such slope.
    "tailored": Remedy("tailored relu", jaxnn.theory.tailored_relu, ORTHOGONAL, least=13),
    "orthogonal": Remedy("orthogonal tanh", "tanh", ORTHOGONAL),
}


@dataclass(frozen=True)
class Cell(cell_sweep.Point):
    """All seeds of a remedy at a depth: their flow, or their training with a step size of SGD."""

    what: str
    remedy: str
    depth: int
    rate: float = 0.0

    @property
    def place(self) -> dict[str, Any]:
        """The columns of its rows in which cells differ."""
        quantities = [GRADIENT, DISTANCE] if self.what == FLOW else [ACCURACY]
        return {"quantity": quantities, "change": self.remedy, "depth": self.depth}


@dataclass(frozen=True, eq=False)
class RemedySweep:
    """Measures cells of one run; the last draw is kept for the next remedy or depth.

    rooms: the most hidden layers of a cell of each kind: one program serves every depth up to it.
    """

    dataset: Dataset
    width: int
    batch: int
    seeds: tuple[int, ...]
    rooms: dict[str, int]
    steps: int
    draws: Draws = field(default_factory=Draws)

    def networks(self, cell: Cell) -> Networks:
        """Return the networks of a cell."""
        remedy, room = REMEDIES[cell.remedy], max(2, self.rooms[cell.what])
        hidden, activation = remedy.kind.of(cell.depth), remedy.activation(cell.depth)
        return Networks(
            net=networks.network(self.dataset, self.width, activation, room, hidden),
            depths=(cell.depth,),
            weights=remedy.weights,
            sigma_b=0.0,
            batch=self.batch,
            dtype="float32",
            seeds=self.seeds,
            deepest=room,
        )

    def work(self, cells: Iterable[Cell]) -> Work:
        """Return the cost of cells, which come one after the other."""
        flops, most = 0.0, 0.0
        for cell in cells:
            once, trained = networks.work(self.networks(cell)), cell.what == TRAINING
            flops += once.flops * (self.steps if trained else 1)
            most = max(most, once.bytes * (2 if trained else 1))  # θ and Δθ
        return Work(flops, most, "width, depths, train-depths, batch or seeds")

    def measure(self, cell: Cell) -> pl.DataFrame:
        """Return one row a seed and quantity."""
        drawn = self.networks(cell)
        place: dict[str, Any] = {"network": OF_ARTICLE, "framework": FRAMEWORKS[0]}
        place |= {"change": cell.remedy, "depth": cell.depth, "seed": self.seeds}
        if cell.what == FLOW:
            gradient, far = networks.measured(self.draws, self.dataset, drawn, measuring)
            return rows_of({GRADIENT: gradient / np.log(10), DISTANCE: far}, **place)
        params = self.draws.of(self.dataset, drawn).params
        rule = DescentRule(cell.rate, 0.0, self.batch)
        scores = descent.trained(
            self.dataset, drawn.net, params, drawn.depth, self.seeds, rule, self.steps
        )
        accuracy = np.asarray(scores.metric)
        return rows_of({ACCURACY: accuracy}, **place, step=self.steps, rate=cell.rate)

    def prepare(self, cell: Cell) -> None:
        """Begin to compile the programs of a cell that is measured."""
        if cell.what == FLOW:
            networks.prepare(self.dataset, self.networks(cell), measuring)


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
        log_delta = field_of(flow, size)
        ratio = log_delta[0] - lax.dynamic_index_in_dim(log_delta, depth - 1, keepdims=False)
        return ratio, distance(_last_hidden(net, params, xs, depth).m)

    return side_by_side.map(remedy_flow, spread=4, shared=0)


def _last_hidden(net: jaxnn.Network, params: PyTree, xs: jax.Array, depth: jax.Array) -> ScaledRows:
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
    return jnp.sum(jnp.square(apart)) / (len(rows) - 1)

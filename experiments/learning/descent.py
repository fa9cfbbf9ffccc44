"""Descent: SGD with momentum on batches that are chosen beforehand, as one compiled loop.

    v ← μ v + Δ(θ, b),   (θ, b) ← (θ, b) - η v

Which examples each step sees is data: row numbers, (steps, batch). So are the step size η, the
momentum μ and, in networks with room for more layers, the depth: one program serves all of them.
"""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax import lax

import jaxnn
from experiments.learning.data import Dataset
from experiments.learning.networks import network
from experiments.runs.devices import Mapped, Rounds, SideBySide
from jaxnn.network.blocks import DENSE
from jaxnn.train.steps import Optimizer, permutation_of_epoch

Params = tuple[jaxnn.network.Layer, ...]
Data = tuple[jax.Array, jax.Array]  # examples and labels, or the two numbers of a rule


class DescentRule(NamedTuple):
    """The rule of the steps: η, μ, and examples in a batch."""

    rate: float
    momentum: float
    batch: int


def descend(
    net: jaxnn.Network,
    state: jaxnn.train.State,
    x: jax.Array,
    y: jax.Array,
    optimizer: Optimizer,
    batches: jax.Array,
    depth: jax.Array | int | None = None,
) -> jaxnn.train.State:
    """Return the state after one step on each batch; pure, to be called while tracing."""

    def step(state: jaxnn.train.State, rows: jax.Array) -> tuple[jaxnn.train.State, None]:
        return jaxnn.train.step(net, state, x[rows], y[rows], optimizer, depth=depth)[0], None

    return lax.scan(step, state, batches)[0]


def roomy(
    dataset: Dataset, width: int, activation: str, depth: int, hidden: jaxnn.blocks.Block = DENSE
) -> jaxnn.Network:
    """Return a network with room for `depth` hidden layers: a step updates all, used or not."""
    room = 1 << max(depth - 2, 0).bit_length()
    return network(dataset, width, activation, 1 + room, hidden)


def drawn(net: jaxnn.Network, seed: int, sigma_w: Sequence[float], sigma_b: float) -> Rounds:
    """Draw Gaussian parameters for each σ_w, in a run: of one seed the same numbers times σ."""
    side_by_side = SideBySide.over_devices(len(sigma_w))
    scales = side_by_side.put(np.asarray(sigma_w, np.float32))
    return drawing(side_by_side, net)(scales, np.int32(seed), np.float32(sigma_b))


@cache
def drawing(side_by_side: SideBySide, net: jaxnn.Network) -> Mapped:
    """Compile (σ_w, seed, σ_b) -> parameters, for each σ_w."""

    def draw(sigma_w: jax.Array, seed: jax.Array, sigma_b: jax.Array) -> Params:
        gaussian = jaxnn.initializers.gaussian(1.0)
        layers = jaxnn.init(net, _keys(seed)[0], gaussian, 1.0, stacked=True)
        return tuple(
            jaxnn.network.Layer(layer.theta * sigma_w, layer.b * sigma_b)
            for layer in layers
            if isinstance(layer, jaxnn.network.Layer)
        )

    return side_by_side.map(draw, spread=1, shared=2)


def trained(
    dataset: Dataset,
    net: jaxnn.Network,
    params: Rounds,
    depth: int,
    seeds: Sequence[int],
    descent: DescentRule,
    steps: int,
) -> jaxnn.train.Scores:
    """Train drawn networks, each on the batches of a seed; return their scores on all the data."""
    side_by_side = SideBySide.over_devices(len(seeds), apart=len(params) > 1)  # as was drawn
    rows = {seed: rows_of_steps(len(dataset.x), seed, descent.batch, steps) for seed in {*seeds}}
    return side_by_side.get(
        descending(side_by_side, net)(
            params,
            side_by_side.put(np.stack([rows[seed] for seed in seeds])),
            (dataset.x, dataset.y),
            (np.float32(descent.rate), np.float32(descent.momentum)),
            np.int32(depth),
        )
    )


@cache
def descending(side_by_side: SideBySide, net: jaxnn.Network) -> Mapped:
    """Compile (parameters, batches, (x, y), (η, μ), depth) -> scores after training, a network."""

    def train(params: Params, batches: jax.Array, data: Data, rule: Data, depth: jax.Array) -> Any:
        (x, y), sgd = data, optax.sgd(*rule)
        state = jaxnn.train.start(net, params, sgd, jax.random.key(0))  # its key draws nothing here
        state = descend(net, state, x, y, sgd, batches, depth)
        return jaxnn.train.evaluate(net, state.params, x, y, depth=depth)

    return side_by_side.map(train, spread=2, shared=3)


def rows_of_steps(count: int, seed: int, batch: int, steps: int) -> np.ndarray:
    """Return the rows of each step, (steps, batch): whole batches of a permutation an epoch."""
    return np.asarray(_shuffled(seed, count, min(batch, count), steps))


@partial(jax.jit, static_argnames=("count", "batch", "steps"))
def _shuffled(seed: jax.typing.ArrayLike, count: int, batch: int, steps: int) -> jax.Array:
    key, per_epoch = _keys(seed)[1], count // batch
    epochs = np.arange(-(-steps // per_epoch))
    rows: jax.Array = lax.map(lambda epoch: permutation_of_epoch(key, epoch, count), epochs)
    return rows[:, : per_epoch * batch].reshape(-1, batch)[:steps]


def _keys(seed: jax.typing.ArrayLike) -> jax.Array:
    """Return a key of the weights and one of the batches."""
    return jax.random.split(jax.random.key(seed))

"""Training on the digits with Flax NNX: `nnx.jit` of a step, optax."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.bench import inputs
from experiments.bench.workload import Workload

RATE = 1e-3


class Classifier(nnx.Module):
    """A network with relu between Linear layers with Glorot weights."""

    def __init__(self, sizes: list[int], rngs: nnx.Rngs) -> None:
        glorot = nnx.initializers.glorot_uniform()
        shapes = pairwise(sizes)
        self.layers = nnx.List([nnx.Linear(*s, kernel_init=glorot, rngs=rngs) for s in shapes])

    def __call__(self, x: jax.Array | np.ndarray) -> Any:
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x)


@nnx.jit
def step(model: Classifier, optimizer: nnx.Optimizer, x: np.ndarray, y: np.ndarray) -> Any:
    """Take one step; return the mean loss before it."""

    def mean_loss(model: Classifier) -> Any:
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(model(x), y))

    loss, gradient = nnx.value_and_grad(mean_loss)(model)
    optimizer.update(model, gradient)
    return loss


def workload(hidden: list[int], batch: int, epochs: int) -> Workload:
    """Return the peer of `training.py`."""
    all_x, all_y = inputs.standardised("digits")
    sizes = [all_x.shape[1], *hidden, 10]

    def untrained() -> tuple[Classifier, Any]:
        model = Classifier(sizes, nnx.Rngs(0))
        return model, nnx.Optimizer(model, optax.adam(RATE, eps=inputs.EPSILON), wrt=nnx.Param)

    def epoch(
        model: Classifier, optimizer: nnx.Optimizer, x: np.ndarray, y: np.ndarray, rows: np.ndarray
    ) -> float:
        losses = []
        for start in range(0, len(rows), batch):
            some = rows[start : start + batch]
            losses.append(step(model, optimizer, x[some], y[some]) * len(some))
        return float(sum(losses)) / len(rows)

    def run() -> list[float]:
        model, optimizer = untrained()
        shuffled = np.random.default_rng(0)
        return [
            epoch(model, optimizer, all_x, all_y, shuffled.permutation(len(all_x)))
            for _ in range(epochs)
        ]

    def numbers(folder: Path) -> list[float]:
        params, given = inputs.read(folder)
        model, optimizer = untrained()
        for layer, (theta, b) in zip(model.layers, params, strict=True):
            layer.kernel[...], layer.bias[...] = theta, b
        loss = epoch(model, optimizer, given["x"], given["y"], np.arange(len(given["x"])))
        return [loss, *inputs.in_short(layer.kernel[...] for layer in model.layers)]

    return Workload(run, numbers)

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
from experiments.bench.worker import Workload


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


def training(hidden: list[int], batch: int, epochs: int) -> Workload:
    """Return epochs of steps with Adam."""
    all_x, all_y = inputs.standardised("digits")
    sizes, adam = [all_x.shape[1], *hidden, 10], optax.adam(inputs.RATE, eps=inputs.EPSILON)

    def epoch(model: Classifier, optimizer: Any, x: np.ndarray, y: np.ndarray) -> float:
        parts = [slice(start, start + batch) for start in range(0, len(x), batch)]
        losses = [step(model, optimizer, x[part], y[part]) * len(x[part]) for part in parts]
        return float(sum(losses)) / len(x)

    def run() -> None:
        model = Classifier(sizes, nnx.Rngs(0))
        optimizer, shuffled = nnx.Optimizer(model, adam, wrt=nnx.Param), np.random.default_rng(0)
        for _ in range(epochs):
            rows = shuffled.permutation(len(all_x))
            epoch(model, optimizer, all_x[rows], all_y[rows])

    def numbers(folder: Path) -> list[float]:
        params, given = inputs.read(folder)
        model = Classifier(sizes, nnx.Rngs(0))
        for layer, (theta, b) in zip(model.layers, params, strict=True):
            layer.kernel[...], layer.bias[...] = theta, b
        loss = epoch(model, nnx.Optimizer(model, adam, wrt=nnx.Param), given["x"], given["y"])
        return [loss, *inputs.in_short(layer.kernel[...] for layer in model.layers)]

    return Workload(run, numbers)

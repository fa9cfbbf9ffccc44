"""Training a classifier of the digits with `jaxnn.fit` and Adam."""

from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path

import jax
import numpy as np
import optax

import jaxnn
from experiments.bench import inputs, rates
from experiments.bench.gradient import flops
from experiments.bench.workload import Floor, Workload
from jaxnn.train.steps import permutation_of_epoch

RATE, CLASSES = 1e-3, 10


def workload(hidden: list[int], batch: int, epochs: int) -> Workload:
    """Return the training of a relu network with Glorot weights on all of the digits."""
    x, y = inputs.standardised("digits")
    sizes = (x.shape[1], *hidden, CLASSES)
    net = jaxnn.Network(sizes, "relu", "multiclass")
    params = jax.jit(jaxnn.init)(net, jax.random.key(0))
    key, adam = jax.random.key(1), optax.adam(RATE, eps=inputs.EPSILON)

    def run(epochs: int = epochs) -> jaxnn.train.Fit:
        return jaxnn.fit(net, params, x, y, adam, epochs=epochs, batch=batch, key=key)

    def numbers(folder: Path) -> list[float]:
        rows = np.asarray(permutation_of_epoch(key, 0, len(x)))
        inputs.write(folder, params, x=x[rows], y=y[rows])
        return trained(run(1).params, _mean(run(1).history.losses[0], len(x), batch))

    def floor() -> Floor:
        n, m = max(pairwise(sizes), key=lambda shape: shape[0] * shape[1])
        steps = epochs * len(x) / batch  # the smaller last batch is a part of one
        return Floor(steps * flops(list(sizes), batch), rates.products(batch, n, m))

    return Workload(partial(run), numbers, floor)


def _mean(losses: jax.Array | np.ndarray, count: int, batch: int) -> float:
    """Mean over the examples of an epoch whose last batch is smaller."""
    examples = [min(batch, count - start) for start in range(0, count, batch)]
    return float(np.average(losses, weights=examples))


def trained(params: Iterable[jaxnn.network.Layer], loss: float) -> list[float]:
    """Return one epoch in numbers: its mean loss, and the trained weights in short."""
    return [loss, *inputs.in_short(theta for theta, _ in params)]

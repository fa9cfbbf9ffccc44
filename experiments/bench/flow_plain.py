"""The plain pass that block floating point is compared with: the same network, the same numbers."""

from functools import partial
from pathlib import Path

import jax
import numpy as np

import jaxnn
from experiments.bench import gradient
from experiments.bench.waiting import repeated
from experiments.bench.workload import Workload


def workload(
    sizes: list[int], activation: str, task: str, batch: int, calls: int, sigma_w: float
) -> Workload:
    """Return the peer of `flow.py`: mean loss and every Δθ and Δb of the run."""
    net = jaxnn.Network(sizes, activation, task)
    params = jaxnn.init(
        net, jax.random.key(0), jaxnn.initializers.gaussian(sigma_w), 0.1, stacked=True
    )
    once = partial(gradient.step(net), params, *gradient.batch_of(net, batch))

    def numbers(_: Path) -> list[float]:
        values = [
            np.asarray(v, np.float64) for layer in jaxnn.network.unstack(once()[1]) for v in layer
        ]
        return [float(np.log(np.linalg.norm(v))) for v in values]

    return Workload(partial(repeated, once, calls), numbers)

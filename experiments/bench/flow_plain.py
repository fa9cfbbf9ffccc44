"""The plain pass that block floating point is compared with: the same network, the same numbers."""

from functools import partial
from pathlib import Path

import jax
import numpy as np

import jaxnn
from experiments.bench import gradient
from experiments.bench.gradient_jax import repeated
from experiments.bench.workload import Workload


def workload(sizes: list[int], activation: str, task: str, batch: int, calls: int) -> Workload:
    """As in `flow.py`: mean loss and every Δθ and Δb of the run."""
    net = jaxnn.Network(sizes, activation, task)
    params = jaxnn.init(net, jax.random.key(0), "lecun_normal", 0.1, stacked=True)
    once = partial(gradient.step, net, params, *gradient.batch_of(net, batch))

    def numbers(_: Path) -> list[float]:
        layers = jaxnn.unstack(once()[1])
        return [float(np.log(np.linalg.norm(v))) for layer in layers for v in layer]

    return Workload(partial(repeated, once, calls), numbers)

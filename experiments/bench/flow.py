"""Block floating point: `jaxnn.gradient_flow` of a run of equal layers, compiled.

Its peer is our own plain pass, `jaxnn.backprop` of the same network, which is `gradient.py`.
"""

from functools import partial
from pathlib import Path

import jax
import numpy as np

import jaxnn
from experiments.bench import gradient, inputs
from experiments.bench.waiting import repeated
from experiments.bench.workload import Workload
from jaxnn.flow.measure.flow_of_net import flow_of_net

flow = jax.jit(flow_of_net, static_argnames="examples")


def workload(
    sizes: list[int],
    activation: str,
    task: str,
    batch: int,
    calls: int,
    sigma_w: float,
    examples: bool = False,
) -> Workload:
    """Return what `gradient.py` does, for a run of layers and weights of variance σ_w²/fan_in.

    With `examples` what is left of the examples is measured too.
    """
    net = jaxnn.Network(sizes, activation, task)
    params = jaxnn.init(
        net, jax.random.key(0), jaxnn.initializers.gaussian(sigma_w), 0.1, stacked=True
    )
    xs, ys = gradient.batch_of(net, batch)
    once = partial(flow, net, params, xs, ys, examples=examples)

    def numbers(folder: Path) -> list[float]:
        inputs.write(folder, jaxnn.network.unstack(params), x=xs, y=ys)
        measured = once()
        return list(np.asarray(measured.parameters.log_delta))

    run = partial(repeated, once, calls)
    return Workload(run, numbers, partial(gradient.floor, sizes, batch, calls))

"""Block floating point: `jaxnn.gradient_flow` of a run of equal layers, compiled.

Its peer is our own plain pass, `jaxnn.backprop` of the same network: the same numbers.
"""

from functools import partial
from pathlib import Path

import jax
import numpy as np
from jaxtyping import PyTree

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
    plain: bool = False,
) -> Workload:
    """Return what `gradient.py` does, for a run of layers and weights of variance σ_w²/fan_in.

    With `examples` what is left of the examples is measured too; `plain` is the peer, the mean loss
    and every Δθ and Δb of the run.
    """
    net = jaxnn.Network(sizes, activation, task)
    params = jaxnn.init(
        net, jax.random.key(0), jaxnn.initializers.gaussian(sigma_w), 0.1, stacked=True
    )
    xs, ys = gradient.batch_of(net, batch)
    if plain:
        step = partial(gradient.step(net), params, xs, ys)
        return Workload(partial(repeated, step, calls), lambda _: log_norms(step()[1]))
    once = partial(flow, net, params, xs, ys, examples=examples)

    def numbers(folder: Path) -> list[float]:
        inputs.write(folder, jaxnn.network.unstack(params), x=xs, y=ys)
        return list(np.asarray(once().parameters.log_delta))

    run = partial(repeated, once, calls)
    return Workload(run, numbers, partial(gradient.floor, sizes, batch, calls))


def log_norms(gradient: PyTree) -> list[float]:
    """Return the logarithm of the norm of each array of the layers."""
    arrays = (v for layer in jaxnn.network.unstack(gradient) for v in layer)
    return [float(np.log(np.linalg.norm(np.asarray(v, np.float64)))) for v in arrays]

"""The gradient alone of what `diagnosed.py` diagnoses: jitted `jax.value_and_grad`."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from experiments.bench.networks import NETWORKS, loss
from experiments.bench.waiting import repeated
from experiments.bench.workload import Workload


def workload(network: str, **sizes: int) -> Workload:
    """A repetition computes the loss, and the gradients of all parameters and of the input."""
    net = NETWORKS[network](**sizes)

    def mean(params: PyTree, xs: Array) -> Array:
        return jnp.mean(loss(net.function(params, xs), jnp.zeros_like(xs)))

    gradient = jax.jit(jax.value_and_grad(mean, argnums=(0, 1)))

    def numbers(_: Path) -> list[float]:
        of_input = np.asarray(gradient(net.params, net.xs)[1][1], np.float64)
        return [float(np.log(np.linalg.norm(of_input)))]

    once = partial(gradient, net.params, net.xs)
    return Workload(partial(repeated, once, 1), numbers)

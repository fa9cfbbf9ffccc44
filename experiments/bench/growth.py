"""One pass through very many layers: weights drawn again where they are used, memory of √L."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import initializers
from jaxtyping import PyTree

import jaxnn
from experiments.bench import rates
from experiments.bench.gradient import flops
from experiments.bench.workload import Floor, Workload, bytes_of
from jaxnn.flow.measure.flow_of_net import flow_of_net


def workload(layers: int, activation: str, width: int, batch: int) -> Workload:
    """Return `gradient_flow` of a network with so many hidden layers; 3 inputs, one output."""
    sizes = (3, *[width] * layers, 1)
    net = jaxnn.Network(sizes, activation, "binary")
    xs = jax.random.normal(jax.random.key(1), (batch, 3))
    ys = jnp.arange(batch) % 2
    params = jaxnn.init(net, jax.random.key(0), "glorot_uniform", lazy=True)

    def log_deltas(params: PyTree, xs: jax.Array, ys: jax.Array) -> jax.Array:
        return flow_of_net(net, params, xs, ys, memory="sqrt", examples=False).log_delta

    program = jax.jit(log_deltas).lower(params, xs, ys).compile()

    def run() -> np.ndarray:
        return np.asarray(program(params, xs, ys))

    def floor() -> Floor:
        """The forward product of a layer is computed three times: for √L, and on the way back."""
        products = flops(list(sizes), batch) + 2 * 2.0 * batch * layers * width**2
        draw = initializers.uniform()
        rate = rates.randoms(lambda key: draw(key, (width, width), np.float32))
        randoms = 3.0 * layers * width**2
        return Floor(products, rates.products(batch, width, width), randoms, rate)

    return Workload(run, lambda _: run()[:1] / layers, floor, lambda: bytes_of(program))

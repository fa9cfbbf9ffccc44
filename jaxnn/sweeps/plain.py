"""The network that a sweep builds where the user has none: dense layers, of Gaussian examples."""

from typing import Any

import jax
import jax.numpy as jnp

from ..arrays import memory
from ..arrays.arguments import check_integer
from ..blocks import Block
from ..initializers import Biases, Weights, init
from ..network.network import Network

EXAMPLES = 32
LAYER = 1000  # bytes that are kept of a layer next to its numbers


def plain(
    depth: int = 16,
    width: int = 64,
    activation: str = "tanh",
    weights: Weights = "glorot_uniform",
    biases: Biases = "zeros",
    hidden: Block | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return a network of hidden layers of one width, its parameters, and a batch."""
    # Examples and targets are standard normal, the loss is the squared error of one output.
    check_integer("depth", depth, 0)
    check_integer("width", width, 1)
    needed = depth * (width**2 * jnp.result_type(float).itemsize + LAYER)
    memory.check(needed, "depth or width", f"a network of {depth} layers of {width} units")
    options = {} if hidden is None else {"hidden": hidden}
    net = Network((width,) * (depth + 1) + (1,), activation, "regression", **options)
    of_params, of_xs, of_ys = jax.random.split(jax.random.key(seed), 3)
    return {
        "model": (net, init(net, of_params, weights, biases, stacked=True)),
        "xs": jax.random.normal(of_xs, (EXAMPLES, width)),
        "ys": jax.random.normal(of_ys, (EXAMPLES, 1)),
    }

"""A gradient step through blocks as a JAX user writes it: `jax.value_and_grad` of a `lax.scan`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from experiments.bench import gradient_jax
from experiments.bench.sweep_jax import ACTIVATIONS
from experiments.bench.workload import Workload

Block = Callable[[Any, Any, Any], Any]  # z, θ, b -> z


def workload(
    sizes: list[int], activation: str, task: str, batch: int, calls: int, hidden: str, stacked: bool
) -> Workload:
    """Return the peer of `gradient.py` with that kind of blocks between hidden layers."""
    sigma = ACTIVATIONS[activation]
    block = blocks(lambda z, theta, b: sigma(z) @ theta + b)[hidden]

    def forward(params: PyTree, xs: jax.Array) -> Any:
        (theta_x, b_x), run, (theta, b) = params
        z, _ = jax.lax.scan(lambda z, layer: (block(z, *layer), None), xs @ theta_x + b_x,
                            tuple(run))  # fmt: skip
        return sigma(z) @ theta + b

    return gradient_jax.peer(forward, task, calls, stacked)


def blocks(dense: Block) -> dict[str, Block]:
    """Return the kinds by their names on the command line, given z, θ, b -> σ(z) θ + b."""
    return {
        "residual": lambda z, theta, b: z + dense(z, theta, b),
        "rms_norm": lambda z, theta, b: dense(rms(z), theta, b),
        "layer_norm": lambda z, theta, b: dense(standardised(z, -1), theta, b),
        # Not a batch norm alone: the next one takes b away, whose Δ is then 0 but for rounding.
        "residual(batch_norm)": lambda z, theta, b: z + dense(standardised(z, 0), theta, b),
        "post_norm": lambda z, theta, b: rms(z + dense(z, theta, b)),
    }


def rms(z: jax.Array) -> Any:
    """Return z over the root of its mean square, example by example."""
    return z / jnp.sqrt(jnp.mean(jnp.square(z), axis=-1, keepdims=True))


def standardised(z: jax.Array, axis: int) -> Any:
    """Return z with mean 0 and variance 1 along an axis."""
    return (z - z.mean(axis, keepdims=True)) / jnp.sqrt(z.var(axis, keepdims=True))

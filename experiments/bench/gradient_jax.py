"""A gradient step as any JAX user writes it: `jax.value_and_grad` of the forward pass, compiled.

Equal layers are a `lax.scan`.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

import jaxnn
from experiments.bench import inputs
from experiments.bench.sweep_jax import ACTIVATIONS
from experiments.bench.waiting import repeated
from experiments.bench.workload import Workload

Block = Callable[[Any, Any, Any], Any]  # z, θ, b -> z


def workload(
    sizes: list[int],
    activation: str,
    task: str,
    batch: int,
    calls: int,
    stacked: bool = False,
    hidden: str = "dense",
) -> Workload:
    """Return the peer of `gradient.py`, whose weights and batch it reads, with such blocks."""
    sigma = ACTIVATIONS[activation]
    block = blocks(lambda z, theta, b: sigma(z) @ theta + b)[hidden]

    def forward(params: PyTree, xs: jax.Array) -> Any:
        (theta_x, b_x), *hidden, (theta, b) = params
        z = xs @ theta_x + b_x
        for layer in hidden:
            if layer.theta.ndim == 3:
                z, _ = jax.lax.scan(lambda z, one: (block(z, *one), None), z, tuple(layer))
            else:
                z = block(z, *layer)
        return sigma(z) @ theta + b

    def loss(params: PyTree, xs: jax.Array, ys: jax.Array) -> Any:
        z = forward(params, xs)
        if task == "binary":
            return jnp.mean(optax.sigmoid_binary_cross_entropy(z[:, 0], ys))
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(z, ys))

    step = jax.jit(jax.value_and_grad(loss))
    arguments: list[Any] = []

    def read(folder: Path) -> None:
        params, batch = inputs.read(folder)
        # Our pytree: what a container costs in a call is no part of a gradient.
        layers: list[Any] = [
            jaxnn.network.Layer(jnp.asarray(theta), jnp.asarray(b)) for theta, b in params
        ]
        if stacked:
            first, *run, last = layers
            layers = [first, jaxnn.network.Layer(*map(jnp.stack, zip(*run, strict=True))), last]
        arguments[:] = [layers, jnp.asarray(batch["x"]), jnp.asarray(batch["y"])]

    def numbers(folder: Path) -> list[float]:
        read(folder)
        value, gradient = step(*arguments)
        if stacked:
            first, run, last = gradient
            gradient = [first, *zip(*run, strict=True), last]
        return [float(value), *inputs.in_short(v for layer in gradient for v in layer)]

    return Workload(lambda: repeated(partial(step, *arguments), calls), numbers)


def blocks(dense: Block) -> dict[str, Block]:
    """Return the kinds by their names on the command line, given z, θ, b -> σ(z) θ + b."""
    return {
        "dense": dense,
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

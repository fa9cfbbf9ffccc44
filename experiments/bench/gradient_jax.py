"""A gradient step as any JAX user writes it: `jax.value_and_grad` of the forward pass, compiled."""

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


def workload(
    sizes: list[int], activation: str, task: str, batch: int, calls: int, stacked: bool = False
) -> Workload:
    """Return the peer of `gradient.py`, whose weights and batch it reads; a run is a `lax.scan`."""
    sigma = ACTIVATIONS[activation]

    def forward(params: PyTree, xs: jax.Array) -> Any:
        a = xs
        for theta, b in params[:-1]:
            if theta.ndim == 3:
                a, _ = jax.lax.scan(lambda a, layer: (sigma(a @ layer[0] + layer[1]), None), a,
                                    (theta, b))  # fmt: skip
            else:
                a = sigma(a @ theta + b)
        theta, b = params[-1]
        return a @ theta + b

    return peer(forward, task, calls, stacked)


def peer(forward: Callable[[Any, Any], Any], task: str, calls: int, stacked: bool) -> Workload:
    """Return steps on the mean loss of what `forward` makes of parameters and a batch."""

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

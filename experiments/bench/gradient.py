"""A gradient step by hand: `jaxnn.backprop` of a batch, compiled."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import jaxnn
from experiments.bench import inputs, rates
from experiments.bench.waiting import repeated
from experiments.bench.workload import Floor, Workload
from experiments.learning.kinds import kinds


def step(net: jaxnn.Network) -> Any:
    """Compile the gradient of one network, which is part of the program, as in the peers."""
    return jax.jit(partial(jaxnn.backprop, net))


def workload(
    sizes: list[int],
    activation: str,
    task: str,
    batch: int,
    calls: int,
    stacked: bool = False,
    linear: bool = False,
    hidden: str = "dense",
) -> Workload:
    """Return `calls` steps one after the other, on the same batch.

    Args:
        sizes: n[0] … n[L].
        activation: σ, by name.
        task: binary or multiclass.
        batch: examples.
        calls: gradients in a repetition.
        stacked: the equal hidden layers are a run.
        linear: compared with products alone: the numbers are those of the linear network without
            biases whose labels are 0.
        hidden: the kind of blocks between hidden layers, as on the command line.
    """
    (kind,) = kinds([hidden], ["1"])
    net = jaxnn.Network(sizes, activation, task, kind.of(len(sizes) - 2))
    params = jaxnn.init(net, jax.random.key(0), "lecun_normal", 0.1, stacked=stacked)
    xs, ys = batch_of(net, batch)
    once = partial(step(net), params, xs, ys)

    def numbers(folder: Path) -> list[float]:
        inputs.write(folder, jaxnn.network.unstack(params), x=xs, y=ys)
        if linear:
            linear_net = jaxnn.Network(sizes, "identity", "regression")
            without = [
                jaxnn.network.Layer(theta, jnp.zeros_like(b))
                for theta, b in jaxnn.network.unstack(params)
            ]
            _, gradient = step(linear_net)(without, xs, jnp.zeros((batch, sizes[-1])))
            return inputs.in_short(theta for theta, _ in gradient)
        loss, gradient = once()
        return [
            float(loss),
            *inputs.in_short(v for g in jaxnn.network.unstack(gradient) for v in g),
        ]

    return Workload(lambda: repeated(once, calls), numbers, partial(floor, sizes, batch, calls))


def batch_of(net: jaxnn.Network, batch: int) -> tuple[jax.Array, jax.Array]:
    """Draw examples and labels."""
    key_x, key_y = jax.random.split(jax.random.key(1))
    xs = jax.random.normal(key_x, (batch, net.sizes[0]))
    if net.task.name == "binary":
        return xs, jax.random.bernoulli(key_y, 0.5, (batch,)).astype(float)
    return xs, jax.random.randint(key_y, (batch,), 0, net.sizes[-1])


def flops(sizes: list[int], batch: int) -> float:
    """Count operations of a gradient's products: three a layer, two in the first, without Δa."""
    return 2.0 * batch * (3 * sum(n * m for n, m in pairwise(sizes)) - sizes[0] * sizes[1])


def floor(sizes: list[int], batch: int, calls: int) -> Floor:
    """Return the floor by the rate of products in the largest layer."""
    n, m = max(pairwise(sizes), key=lambda shape: shape[0] * shape[1])
    return Floor(calls * flops(sizes, batch), rates.products(batch, n, m))

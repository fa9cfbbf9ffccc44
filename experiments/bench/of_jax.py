"""Peers as any JAX user writes them: `jax.value_and_grad` or `jax.vjp` of the forward pass."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from experiments.bench import inputs, transformer
from experiments.bench.worker import Workload

ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}


def waited(once: Callable[[], Any], calls: int = 1) -> Callable[[], None]:
    """Return a function that calls so many times and waits for each result."""

    def run() -> None:
        for _ in range(calls):
            jax.block_until_ready(once())  # type: ignore[no-untyped-call]

    return run


def gradient(activation: str, calls: int, **sizes: Any) -> Workload:
    """Return gradient steps."""
    import optax  # not above: ours imports this module, and a cold sweep has no use for it

    import jaxnn  # for our pytree: what a container costs in a call is no part of a gradient

    sigma = ACTIVATIONS[activation]
    drawn, x, y = inputs.network(**sizes)
    params = [jaxnn.network.Layer(*map(jnp.asarray, pair)) for pair in drawn]

    def loss(params: PyTree, xs: Array, ys: Array) -> Any:
        (theta_x, b_x), *run = params
        z = xs @ theta_x + b_x
        for theta, b in run:
            z = sigma(z) @ theta + b
        if z.shape[1] == 1:
            return jnp.mean(optax.sigmoid_binary_cross_entropy(z[:, 0], ys))
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(z, ys))

    step = partial(jax.jit(jax.value_and_grad(loss)), params, jnp.asarray(x), jnp.asarray(y))

    def numbers(_: Path) -> list[float]:
        value, layers = step()
        return [float(value), *inputs.in_short(v for layer in layers for v in layer)]

    return Workload(waited(step, calls), numbers)


def over_words(stacked: bool, **sizes: int) -> Workload:
    """Return the gradient of a transformer over words."""
    params, xs, ys = transformer.draw_over_words(stacked=stacked, **sizes)

    @jax.jit
    @jax.value_and_grad
    def gradient(params: PyTree, xs: Array, ys: Array) -> Any:
        return transformer.loss(transformer.logits(params, xs), ys).mean()

    def numbers(_: Path) -> list[float]:
        norms: dict[str, float] = {}
        for path, v in jax.tree_util.tree_leaves_with_path(gradient(params, xs, ys)[1]):
            name, parts = jax.tree_util.keystr(path), {"": v}
            if stacked and "blocks" in name:
                parts = {f"[{i}]": row for i, row in enumerate(v)}
            norms |= {name + at: inputs.in_short([row])[0] for at, row in parts.items()}
        return [norms[name] for name in sorted(norms)]

    return Workload(
        waited(partial(gradient, params, xs, ys)),
        numbers,
    )

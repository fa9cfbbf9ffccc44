"""Networks of JAX that are of no ordinary kind and ill, each with the mend of an expert."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from experiments.cures.dense import CLASSES, INPUTS, digits

EXAMPLES, WIDTH = 512, 32
NODES, KINDS = 200, 5  # of a graph
LOSS = optax.softmax_cross_entropy_with_integer_labels


def _normal(rng: np.random.Generator, *shape: int, gain: float = 1.0) -> jax.Array:
    return jnp.asarray(gain * rng.normal(size=shape) / shape[-2] ** 0.5, jnp.float32)


def _normed(z: jax.Array) -> jax.Array:
    return z / jnp.sqrt(jnp.mean(z**2, -1, keepdims=True) + 1e-6)


def graph(seed: int, is_mended: bool) -> dict[str, Any]:
    """Sums over all neighbours, nine layers of them; Kipf and Welling divide by √(degrees)."""
    rng = np.random.default_rng(seed)
    ys = rng.integers(KINDS, size=NODES)
    chance = np.where(ys[:, None] == ys, 0.2, 0.02)
    edges = np.triu(rng.uniform(size=chance.shape) < chance, 1)
    a = (edges + edges.T + np.eye(NODES)).astype(np.float32)
    if is_mended:
        a /= np.sqrt(np.outer(a.sum(0), a.sum(0)))
    xs = np.float32(np.eye(KINDS)[ys] + rng.normal(size=(NODES, KINDS)))
    first, last = _normal(rng, KINDS, WIDTH), _normal(rng, WIDTH, KINDS)
    layers = [_normal(rng, WIDTH, WIDTH, gain=2**0.5) for _ in range(8)]

    def network(p: PyTree, given: PyTree) -> jax.Array:
        z = given["a"] @ given["xs"] @ p["first"]
        for w in p["layers"]:
            z = given["a"] @ jax.nn.relu(z) @ w
        return z @ p["last"]

    def loss(output: jax.Array, ys: jax.Array) -> jax.Array:
        return LOSS(output, ys).mean()

    model = network, {"first": first, "layers": layers, "last": last}
    data = {"xs": {"a": jnp.asarray(a), "xs": jnp.asarray(xs)}, "ys": jnp.asarray(ys)}
    return {"model": model, **data, "loss": loss, "each": "whole"}


def _of_digits(seed: int, layer: Callable[..., Any], names: str, depth: int, gain: float) -> Any:
    """Return equal layers of some matrices, between two that are linear."""
    rng = np.random.default_rng(seed)

    def linear(w: jax.Array, z: jax.Array) -> jax.Array:
        return z @ w

    layers = [
        (layer, {name: _normal(rng, WIDTH, WIDTH, gain=gain) for name in names})
        for _ in range(depth)
    ]
    first, last = _normal(rng, INPUTS, WIDTH, gain=gain), _normal(rng, WIDTH, CLASSES)
    xs, ys = (jnp.asarray(v[:EXAMPLES]) for v in digits())
    return {"model": [(linear, first), *layers, (linear, last)], "xs": xs, "ys": ys, "loss": LOSS}


def joined(seed: int, is_mended: bool) -> dict[str, Any]:
    """Thirty layers of sigmoid, too large: a norm alone loses the examples."""

    def layer(p: PyTree, z: jax.Array) -> jax.Array:
        if is_mended:
            return z + jax.nn.sigmoid(4 * _normed(z)) @ p["w"] / 30**0.5
        return jax.nn.sigmoid(z) @ p["w"]

    given: dict[str, Any] = _of_digits(seed, layer, "w", 30, 6.0)
    return given


def bilinear(seed: int, is_mended: bool) -> dict[str, Any]:
    """Products of two products, eight times (a Π-net): sizes are squared from layer to layer."""

    def layer(p: PyTree, z: jax.Array) -> jax.Array:
        if is_mended:
            return z + (_normed(z) @ p["u"]) * (_normed(z) @ p["v"]) / 8**0.5
        return (z @ p["u"]) * (z @ p["v"])

    given: dict[str, Any] = _of_digits(seed, layer, "uv", 8, 1.0)
    return given

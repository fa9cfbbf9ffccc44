"""Networks of JAX that are of no ordinary kind and ill, each with the mend of an expert."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from experiments.cures.dense import digits

EXAMPLES, CLASSES, WIDTH = 512, 10, 32
LOSS = optax.softmax_cross_entropy_with_integer_labels


def _normal(rng: np.random.Generator, *shape: int, gain: float = 1.0) -> jax.Array:
    return jnp.asarray(gain * rng.normal(size=shape) / shape[-2] ** 0.5, jnp.float32)


def _given(model: Any) -> dict[str, Any]:
    xs, ys = (jnp.asarray(v[:EXAMPLES]) for v in digits())
    return {"model": model, "xs": xs, "ys": ys, "loss": LOSS}


def graph(seed: int, is_mended: bool) -> dict[str, Any]:
    """Sums over all neighbours, ten layers of them; Kipf and Welling divide by √(degrees)."""
    rng = np.random.default_rng(seed)
    count, kinds = 200, 5
    ys = rng.integers(kinds, size=count)
    chance = np.where(ys[:, None] == ys, 0.2, 0.02)
    edges = np.triu(rng.uniform(size=(count, count)) < chance, 1)
    a = (edges + edges.T + np.eye(count)).astype(np.float32)
    if is_mended:
        a /= np.sqrt(np.outer(a.sum(0), a.sum(0)))
    xs = np.float32(np.eye(kinds)[ys] + rng.normal(size=(count, kinds)))
    p = {
        "first": _normal(rng, kinds, WIDTH),
        "layers": [_normal(rng, WIDTH, WIDTH, gain=2**0.5) for _ in range(8)],
        "last": _normal(rng, WIDTH, kinds),
    }

    def network(p: PyTree, given: PyTree) -> jax.Array:
        z = given["a"] @ given["xs"] @ p["first"]
        for w in p["layers"]:
            z = given["a"] @ jax.nn.relu(z) @ w
        return z @ p["last"]

    def loss(output: jax.Array, ys: jax.Array) -> jax.Array:
        return LOSS(output, ys).mean()

    data = {"xs": {"a": jnp.asarray(a), "xs": jnp.asarray(xs)}, "ys": jnp.asarray(ys)}
    return {"model": (network, p), **data, "loss": loss, "each": "whole"}


def joined(seed: int, is_mended: bool) -> dict[str, Any]:
    """Thirty layers of sigmoid: a norm alone loses the examples, a skip alone is shut by them."""
    rng = np.random.default_rng(seed)

    def layer(w: jax.Array, z: jax.Array) -> jax.Array:
        if is_mended:
            normed = z / jnp.sqrt(jnp.mean(z**2, -1, keepdims=True) + 1e-6)
            return z + jax.nn.sigmoid(4 * normed) @ w / 30**0.5
        return jax.nn.sigmoid(z) @ w

    def linear(w: jax.Array, z: jax.Array) -> jax.Array:
        return z @ w

    layers = [(layer, _normal(rng, WIDTH, WIDTH, gain=6.0)) for _ in range(30)]
    first, last = _normal(rng, 64, WIDTH, gain=6.0), _normal(rng, WIDTH, CLASSES)
    return _given([(linear, first), *layers, (linear, last)])


def bilinear(seed: int, is_mended: bool) -> dict[str, Any]:
    """Products of two products, eight times (a Π-net): sizes are squared from layer to layer."""
    rng = np.random.default_rng(seed)

    def layer(p: PyTree, z: jax.Array) -> jax.Array:
        if is_mended:
            normed = z / jnp.sqrt(jnp.mean(z**2, -1, keepdims=True) + 1e-6)
            return z + (normed @ p["u"]) * (normed @ p["v"]) / 8**0.5
        return (z @ p["u"]) * (z @ p["v"])

    def linear(w: jax.Array, z: jax.Array) -> jax.Array:
        return z @ w

    layers = [(layer, {name: _normal(rng, WIDTH, WIDTH) for name in ("u", "v")}) for _ in range(8)]
    first, last = _normal(rng, 64, WIDTH), _normal(rng, WIDTH, CLASSES)
    return _given([(linear, first), *layers, (linear, last)])

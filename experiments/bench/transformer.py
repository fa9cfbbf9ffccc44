"""Pre-LN transformer blocks in plain JAX, alone or between an embedding and a head."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

HEADS = 4


def block(params: PyTree, z: jax.Array) -> jax.Array:
    """Return z + attention(LN(z)) + MLP(LN(…)) of (B, T, n) tokens."""
    batch, tokens, width = z.shape
    parts = jnp.split(normed(z) @ params["qkv"], 3, axis=-1)
    q, k, v = (part.reshape(batch, tokens, HEADS, -1) for part in parts)
    scores = jnp.einsum("bihd,bjhd->bhij", q, k) / (width // HEADS) ** 0.5
    mixed = jnp.einsum("bhij,bjhd->bihd", jax.nn.softmax(scores, axis=-1), v)
    z = z + mixed.reshape(z.shape) @ params["out"]
    return z + jax.nn.gelu(normed(z) @ params["up"]) @ params["down"]


def normed(z: jax.Array) -> jax.Array:
    """Return z with mean 0 and variance 1 over the channels."""
    centred = z - z.mean(axis=-1, keepdims=True)
    scale: jax.Array = jax.lax.rsqrt(z.var(axis=-1, keepdims=True) + 1e-5)
    return centred * scale


def shapes(width: int) -> dict[str, tuple[int, int]]:
    """Return the shapes of the weights of a block."""
    return {
        "qkv": (width, 3 * width),
        "out": (width, width),
        "up": (width, 4 * width),
        "down": (4 * width, width),
    }


def scanned(weights: PyTree, z: jax.Array) -> jax.Array:
    """Return the output of blocks whose weights are stacked, as a scan."""
    return jax.lax.scan(lambda z, params: (block(params, z), None), z, weights)[0]


def draw(layers: int, width: int, tokens: int, batch: int) -> tuple[dict[str, Any], Any, Any]:
    """Draw the weights, (layers, …) each, the input and the cotangent of the output."""
    rng = np.random.default_rng(0)
    weights = {
        name: rng.standard_normal((layers, *shape)) / shape[0] ** 0.5
        for name, shape in shapes(width).items()
    }
    x, cotangent = (rng.standard_normal((batch, tokens, width)) for _ in range(2))
    return jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), (weights, x, cotangent))


def draw_over_words(
    blocks: int, width: int, tokens: int, batch: int, words: int, stacked: bool, **others: int
) -> tuple[dict[str, Any], Any, Any]:
    """Draw a transformer over words, a batch of words and a label for each.

    Its blocks are a list, or one pytree of all of them for a `lax.scan`.
    """
    del others
    stack, *_ = draw(blocks, width, tokens, batch)
    rng = np.random.default_rng(1)
    ends = {"embedding": (words, width), "positions": (tokens, width), "head": (width, words)}
    drawn = {name: rng.standard_normal(shape) / width**0.5 for name, shape in ends.items()}
    params: dict[str, Any] = {name: jnp.asarray(v, jnp.float32) for name, v in drawn.items()}
    one = [{name: v[i] for name, v in stack.items()} for i in range(blocks)]
    params["blocks"] = stack if stacked else one
    xs, ys = jnp.asarray(rng.integers(0, words, (2, batch, tokens)))
    return params, xs, ys


def logits(params: PyTree, xs: jax.Array) -> jax.Array:
    """Return what a transformer over words makes of (B, T) words, (B, T, words)."""
    z = params["embedding"][xs] + params["positions"]
    if isinstance(params["blocks"], dict):
        z = scanned(params["blocks"], z)
    else:
        for p in params["blocks"]:
            z = block(p, z)
    return normed(z) @ params["head"]


def loss(output: jax.Array, ys: jax.Array) -> jax.Array:
    """Return the mean cross-entropy of each example, (B,)."""
    log_p = jax.nn.log_softmax(output)
    return -jnp.take_along_axis(log_p, ys[..., None], axis=-1).mean(axis=(1, 2))

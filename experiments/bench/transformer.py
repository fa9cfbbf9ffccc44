"""Pre-LN transformer blocks in plain JAX, the network of both sides of the chain's rows.

Between an embedding and a head they are the network of both sides of the verdict's rows.
"""

from typing import Any, NamedTuple

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


def draw(layers: int, width: int, tokens: int, batch: int) -> dict[str, np.ndarray]:
    """Draw the weights, (layers, …) each, the input x and the cotangent c of the output."""
    rng = np.random.default_rng(0)
    drawn = {
        name: rng.standard_normal((layers, *shape)) / shape[0] ** 0.5
        for name, shape in shapes(width).items()
    }
    drawn |= {name: rng.standard_normal((batch, tokens, width)) for name in "xc"}
    return {name: values.astype(np.float32) for name, values in drawn.items()}


def parted(arrays: dict[str, Any]) -> tuple[dict[str, Any], Any, Any]:
    """Return weights, x and c of a `draw`."""
    weights = {name: v for name, v in arrays.items() if name not in ("x", "c")}
    return weights, arrays["x"], arrays["c"]


class OverWords(NamedTuple):
    """A transformer over words, with a batch of words and a label for each.

    params: a list of blocks, or one pytree of all of them for a `lax.scan`; embedding, positions
        and head.
    """

    params: Any
    xs: Any
    ys: Any


def draw_over_words(
    blocks: int, width: int, tokens: int, batch: int, words: int, stacked: bool
) -> OverWords:
    """Draw a transformer over words with its batch."""
    stack, *_ = parted(draw(blocks, width, tokens, batch))
    rng = np.random.default_rng(1)
    others = {"embedding": (words, width), "positions": (tokens, width), "head": (width, words)}
    params: dict[str, Any] = {n: rng.standard_normal(s) / width**0.5 for n, s in others.items()}
    one = [{name: v[i] for name, v in stack.items()} for i in range(blocks)]
    params["blocks"] = stack if stacked else one
    params = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), params)
    return OverWords(params, *jnp.asarray(rng.integers(0, words, (2, batch, tokens))))


def logits(params: PyTree, xs: jax.Array) -> jax.Array:
    """Return what a transformer over words makes of (B, T) words, (B, T, words)."""
    z = params["embedding"][xs] + params["positions"]
    if isinstance(params["blocks"], dict):
        z, _ = jax.lax.scan(lambda z, p: (block(p, z), None), z, params["blocks"])
    else:
        for p in params["blocks"]:
            z = block(p, z)
    return normed(z) @ params["head"]


def loss(output: jax.Array, ys: jax.Array) -> jax.Array:
    """Return the mean cross-entropy of each example, (B,)."""
    log_p = jax.nn.log_softmax(output)
    return -jnp.take_along_axis(log_p, ys[..., None], axis=-1).mean(axis=(1, 2))

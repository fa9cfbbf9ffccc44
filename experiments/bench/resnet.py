"""A ResNet in plain JAX, of one stage after the other, each twice as wide."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

STAGES, CLASSES = 3, 10


def draw(blocks: int, width: int, size: int, batch: int) -> tuple[Any, jax.Array, jax.Array]:
    """Draw weights, a batch of images, and labels."""
    rng = np.random.default_rng(0)

    def kernel(edge: int, before: int, after: int) -> jax.Array:
        values = rng.standard_normal((edge, edge, before, after))
        return jnp.asarray(values * (2 / (edge**2 * before)) ** 0.5, jnp.float32)

    params: dict[str, Any] = {"stem": kernel(3, 3, width), "stages": []}
    for stage in range(STAGES):
        after = width * 2**stage
        before = after if stage == 0 else after // 2
        stack = [
            {
                "first": kernel(3, before if i == 0 else after, after),
                "second": kernel(3, after, after),
            }
            for i in range(blocks)
        ]
        skip = {"skip": kernel(1, before, after)} if stage else {}
        params["stages"].append({"blocks": stack, **skip})
    params["head"] = jnp.asarray(rng.standard_normal((after, CLASSES)) / after**0.5, jnp.float32)
    xs = jnp.asarray(rng.standard_normal((batch, size, size, 3)), jnp.float32)
    return params, xs, jnp.arange(batch) % CLASSES


def convolved(z: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Return a convolution, normalised over the batch."""
    out: jax.Array = jax.lax.conv_general_dilated(
        z, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    mean, variance = out.mean(axis=(0, 1, 2)), out.var(axis=(0, 1, 2))
    return (out - mean) * jax.lax.rsqrt(variance + 1e-5)


def logits(params: PyTree, xs: jax.Array) -> jax.Array:
    """Return what a ResNet makes of images, (B, classes)."""
    z = jax.nn.relu(convolved(xs, params["stem"]))
    for i, stage in enumerate(params["stages"]):
        for j, block in enumerate(stage["blocks"]):
            stride = 2 if i and not j else 1
            inner = jax.nn.relu(convolved(z, block["first"], stride))
            skip = convolved(z, stage["skip"], stride) if i and not j else z
            z = jax.nn.relu(skip + convolved(inner, block["second"]))
    return z.mean(axis=(1, 2)) @ params["head"]


def loss(output: jax.Array, ys: jax.Array) -> jax.Array:
    """Return the cross-entropy of each example."""
    return -jnp.take_along_axis(jax.nn.log_softmax(output), ys[:, None], axis=1)[:, 0]

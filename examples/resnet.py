"""Batch norm and skips: each alone is no cure for depth, together they are.

Convolutions of Flax NNX on images, with batch statistics as in training. Batch norm without a skip
makes the gradient explode, by the same factor in every block; a skip without a norm lets signal and
gradient grow together; with both, the gradient grows like a power of depth.

    python -m pip install -e ".[charts]" flax
    python examples/resnet.py
"""

import sys

import jax
import jax.numpy as jnp
from flax import nnx

import jaxnn


class Block(nnx.Module):
    """Two convolutions of images (B, height, width, channels), each behind relu."""

    def __init__(self, channels: int, norm: bool, skip: bool, rngs: nnx.Rngs):
        he = nnx.initializers.he_normal()
        shape = (channels, channels, (3, 3))
        self.convolutions = nnx.List([nnx.Conv(*shape, kernel_init=he, rngs=rngs) for _ in "12"])
        self.norms = nnx.List([nnx.BatchNorm(channels, rngs=rngs) for _ in "12"]) if norm else None
        self.skip = skip

    def __call__(self, x: jax.Array) -> jax.Array:
        z = x
        for i, convolution in enumerate(self.convolutions):
            z = z if self.norms is None else self.norms[i](z)
            z = convolution(nnx.relu(z))
        return x + z if self.skip else z


def flows(blocks: int = 24, channels: int = 16, size: int = 8, examples: int = 32) -> dict:
    """Return the flow of each kind of network, from a random cotangent at its output."""
    x, cotangent = jax.random.normal(jax.random.key(1), (2, examples, size, size, channels))
    found = {}
    for kind, norm, skip in (
        ("plain", False, False),
        ("batch norm", True, False),
        ("skip", False, True),
        ("batch norm and skip", True, True),
    ):
        rngs = nnx.Rngs(0)
        layers = [Block(channels, norm, skip, rngs) for _ in range(blocks)]
        net, params = jaxnn.as_network(layers)
        found[kind] = jaxnn.gradient_flow((net, params), x, cotangent=cotangent)
    return found


if __name__ == "__main__":
    measured = flows(blocks=3, channels=4) if "--small" in sys.argv else flows()
    for kind, flow in measured.items():
        print(f"{kind}: {jaxnn.verdict(flow)}\n")
    jaxnn.chart(*measured.values(), names=[*measured]).save("resnet.html", inline=True)
    assert jnp.isfinite(measured["plain"].log_delta).all()

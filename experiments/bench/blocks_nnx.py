"""The Flax module of both sides of the row on a chain from the module to the verdict."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


class Block(nnx.Module):
    """σ(x W + b)."""

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        self.linear = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the block of (B, n) examples."""
        return jnp.tanh(self.linear(x))


class Deep(nnx.Module):
    """Blocks one after the other; a perturbation of each output for `nnx.capture`."""

    def __init__(self, layers: int, width: int, rngs: nnx.Rngs) -> None:
        self.blocks = nnx.List([Block(width, rngs) for _ in range(layers)])

    def __call__(self, x: jax.Array) -> Any:
        """Return the output of the last block."""
        for i, block in enumerate(self.blocks):
            x = self.perturb(f"{i:04d}", block(x))
        return x


def draw(layers: int, width: int, batch: int) -> tuple[Deep, jax.Array, jax.Array]:
    """Return the module, its input and its labels."""
    xs, ys = jax.random.normal(jax.random.key(1), (2, batch, width))
    return Deep(layers, width, nnx.Rngs(0)), xs, ys


def loss(output: jax.Array, ys: jax.Array) -> jax.Array:
    """Return the loss of each example, (B,)."""
    return jnp.sum((output - ys) ** 2, axis=-1)

"""The Flax modules of both sides of the row on a chain from the module to the verdict."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


class Dense(nnx.Module):
    """tanh(x W + b)."""

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        self.linear = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the block of (B, T, n) tokens."""
        return jnp.tanh(self.linear(x))


class Transformer(nnx.Module):
    """x + attention(LN(x)) + MLP(LN(…))."""

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        self.norms = nnx.List([nnx.LayerNorm(width, rngs=rngs) for _ in range(2)])
        self.attention = nnx.MultiHeadAttention(4, width, decode=False, rngs=rngs)
        self.up = nnx.Linear(width, 4 * width, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> Any:
        """Return the block of (B, T, n) tokens."""
        x = x + self.attention(self.norms[0](x))
        return x + self.down(nnx.gelu(self.up(self.norms[1](x))))


KINDS = {"dense": Dense, "transformer": Transformer}


class Deep(nnx.Module):
    """Blocks one after the other; a perturbation of each output for `nnx.capture`."""

    def __init__(self, kind: str, layers: int, width: int, rngs: nnx.Rngs) -> None:
        self.blocks = nnx.List([KINDS[kind](width, rngs) for _ in range(layers)])

    def __call__(self, x: jax.Array) -> Any:
        """Return the output of the last block."""
        for i, block in enumerate(self.blocks):
            x = self.perturb(f"{i:04d}", block(x))
        return x


def draw(
    kind: str, layers: int, width: int, tokens: int, batch: int
) -> tuple[Deep, jax.Array, jax.Array]:
    """Return the module, its input and its labels."""
    xs, ys = jax.random.normal(jax.random.key(1), (2, batch, tokens, width))
    return Deep(kind, layers, width, nnx.Rngs(0)), xs, ys


def loss(output: jax.Array, ys: jax.Array) -> jax.Array:
    """Return the loss of each example, (B,)."""
    return jnp.sum((output - ys) ** 2, axis=(-2, -1))

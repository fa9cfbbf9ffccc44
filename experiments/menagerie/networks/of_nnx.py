"""Networks of Flax: `flax.nnx`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


def several(layers: Callable[[], tuple[Any, ...]], count: int = 4) -> nnx.Sequential:
    return nnx.Sequential(*(layer for _ in range(count) for layer in layers()))


def gru(rngs: nnx.Rngs) -> nnx.RNN:
    return nnx.RNN(nnx.GRUCell(8, 8, rngs=rngs))


def convolutions(rngs: nnx.Rngs) -> nnx.Sequential:
    pool = partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2))
    block = lambda n: (
        *(nnx.Conv(n, 8, (3, 3), rngs=rngs), nnx.BatchNorm(8, rngs=rngs)),
        *(nnx.relu, pool),
    )
    flat = lambda x: x.reshape(len(x), -1)
    return nnx.Sequential(*block(3), *block(8), *block(8), flat, nnx.Linear(32, 4, rngs=rngs))


class Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, dropout: float = 0.0) -> None:
        self.norm1, self.norm2 = nnx.LayerNorm(8, rngs=rngs), nnx.RMSNorm(8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(8, 16, rngs=rngs), nnx.Linear(16, 8, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> Any:
        x = x + self.attention(self.norm1(x), mask=mask)
        return x + self.dropout(self.down(nnx.gelu(self.up(self.norm2(x)))))


class Decoder(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, dropout: float = 0.0) -> None:
        self.embed = nnx.Embed(20, 8, rngs=rngs)
        self.blocks = nnx.List([Block(rngs, dropout) for _ in range(4)])

    def __call__(self, tokens: jax.Array) -> Any:
        x, mask = self.embed(tokens), nnx.make_causal_mask(tokens)
        for block in self.blocks:
            x = block(x, mask)
        return self.embed.attend(x)


class Scanned(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        make = nnx.split_rngs(splits=8)(
            nnx.vmap(lambda rngs: nnx.Linear(8, 8, rngs=rngs), in_axes=0, out_axes=0)
        )
        self.layers = make(rngs)

    def __call__(self, x: jax.Array) -> Any:
        return nnx.scan(
            lambda x, layer: jnp.tanh(layer(x)), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry
        )(x, self.layers)

"""Networks of Flax: `flax.nnx`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.menagerie import inputs


def _built(make: Callable[[nnx.Rngs], Any], xs: inputs.Batch) -> inputs.Arguments:
    return {"model": make(nnx.Rngs(0)), "xs": xs}


def _stack(layer: Callable[[nnx.Rngs], Any], count: int, xs: inputs.Batch) -> inputs.Arguments:
    return _built(lambda rngs: nnx.Sequential(*(layer(rngs) for _ in range(count))), xs)


def _convolutions(rngs: nnx.Rngs) -> nnx.Sequential:
    block = lambda n: (
        nnx.Conv(n, 8, (3, 3), rngs=rngs),
        nnx.BatchNorm(8, rngs=rngs),
        nnx.relu,
        partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2)),
    )
    return nnx.Sequential(
        *block(3),
        *block(8),
        *block(8),
        lambda x: x.reshape(len(x), -1),
        nnx.Linear(32, 4, rngs=rngs),
    )


def _lora(rngs: nnx.Rngs) -> nnx.LoRA:
    return nnx.LoRA(
        8,
        2,
        8,
        base_module=nnx.Linear(8, 8, rngs=rngs),
        b_initializer=nnx.initializers.normal(),
        rngs=rngs,
    )


def _einsum(rngs: nnx.Rngs) -> nnx.Sequential:
    return nnx.Sequential(
        nnx.Einsum("bti,ij->btj", (8, 8), (8,), rngs=rngs),
        nnx.swish,
        nnx.LinearGeneral(8, (2, 4), rngs=rngs),
        nnx.tanh,
        nnx.LinearGeneral((2, 4), 8, axis=(-2, -1), rngs=rngs),
    )


class _Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, dropout: float = 0.0) -> None:
        self.norm1, self.norm2 = nnx.LayerNorm(8, rngs=rngs), nnx.RMSNorm(8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(8, 16, rngs=rngs), nnx.Linear(16, 8, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> Any:
        x = x + self.attention(self.norm1(x), mask=mask)
        return x + self.dropout(self.down(nnx.gelu(self.up(self.norm2(x)))))


class _Decoder(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, dropout: float = 0.0) -> None:
        self.embed = nnx.Embed(20, 8, rngs=rngs)
        self.blocks = nnx.List([_Block(rngs, dropout) for _ in range(4)])

    def __call__(self, tokens: jax.Array) -> Any:
        x, mask = self.embed(tokens), nnx.make_causal_mask(tokens)
        for block in self.blocks:
            x = block(x, mask)
        return self.embed.attend(x)


class _Scanned(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        make = nnx.split_rngs(splits=8)(
            nnx.vmap(lambda rngs: nnx.Linear(8, 8, rngs=rngs), in_axes=0, out_axes=0)
        )
        self.layers = make(rngs)

    def __call__(self, x: jax.Array) -> Any:
        return nnx.scan(
            lambda x, layer: jnp.tanh(layer(x)), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry
        )(x, self.layers)


NETWORKS: inputs.Networks = {
    "dense": (
        "nnx.Sequential of Linear",
        lambda: _built(
            lambda rngs: nnx.Sequential(
                *(layer for _ in range(8) for layer in (nnx.Linear(8, 8, rngs=rngs), nnx.tanh))
            ),
            inputs.vectors(),
        ),
    ),
    "convolutions": ("nnx.Conv and BatchNorm", lambda: _built(_convolutions, inputs.images())),
    "lstm": (
        "nnx.RNN of LSTMCell",
        lambda: _built(lambda rngs: nnx.RNN(nnx.LSTMCell(8, 16, rngs=rngs)), inputs.sequences()),
    ),
    "optimized_lstm": (
        "nnx.RNN of OptimizedLSTMCell with a head",
        lambda: _built(
            lambda rngs: nnx.Sequential(
                nnx.RNN(nnx.OptimizedLSTMCell(8, 16, rngs=rngs)),
                lambda x: x[:, -1],
                nnx.Linear(16, 4, rngs=rngs),
            ),
            inputs.sequences(),
        ),
    ),
    "gru": (
        "nnx.RNN of GRUCell, three on each other",
        lambda: _stack(lambda rngs: nnx.RNN(nnx.GRUCell(8, 8, rngs=rngs)), 3, inputs.sequences()),
    ),
    "simple": (
        "nnx.RNN of SimpleCell, in reverse",
        lambda: _built(
            lambda rngs: nnx.RNN(nnx.SimpleCell(8, 8, rngs=rngs), reverse=True, keep_order=True),
            inputs.sequences(),
        ),
    ),
    "bidirectional": (
        "nnx.Bidirectional",
        lambda: _built(
            lambda rngs: nnx.Bidirectional(
                *(nnx.RNN(nnx.GRUCell(8, 8, rngs=rngs)) for _ in range(2)), rngs=rngs
            ),
            inputs.sequences(),
        ),
    ),
    "attention": (
        "nnx.MultiHeadAttention, 4 on each other",
        lambda: _stack(
            lambda rngs: nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs),
            4,
            inputs.sequences(),
        ),
    ),
    "decoder": (
        "nnx.Embed tied to its head, MultiHeadAttention: a decoder",
        lambda: _built(_Decoder, inputs.tokens()),
    ),
    "decoder_dropout": (
        "nnx.Dropout in a decoder",
        lambda: _built(partial(_Decoder, dropout=0.5), inputs.tokens()),
    ),
    "encoder_list": (
        "nnx.List of blocks with attention",
        lambda: _built(lambda rngs: [_Block(rngs) for _ in range(4)], inputs.sequences()),
    ),
    "lora": ("nnx.LoRA of Linear", lambda: _stack(_lora, 4, inputs.vectors())),
    "spectral_norm": (
        "nnx.SpectralNorm of Linear",
        lambda: _stack(
            lambda rngs: nnx.SpectralNorm(nnx.Linear(8, 8, rngs=rngs), rngs=rngs),
            4,
            inputs.vectors(),
        ),
    ),
    "einsum": ("nnx.Einsum and LinearGeneral", lambda: _built(_einsum, inputs.sequences())),
    "scanned": ("nnx.scan over stacked blocks", lambda: _built(_Scanned, inputs.vectors())),
}

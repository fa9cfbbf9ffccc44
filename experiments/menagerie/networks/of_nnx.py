"""Networks of Flax: `flax.nnx`."""

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx

from experiments.menagerie import inputs


def dense() -> dict[str, Any]:
    """nnx.Sequential of Linear."""
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        *(layer for _ in range(8) for layer in (nnx.Linear(8, 8, rngs=rngs), nnx.tanh))
    )
    return {"model": model, "xs": inputs.vectors()}


def convolutions() -> dict[str, Any]:
    """nnx.Conv and BatchNorm."""
    rngs = nnx.Rngs(0)
    block = lambda n: (
        nnx.Conv(n, 8, (3, 3), rngs=rngs),
        nnx.BatchNorm(8, rngs=rngs),
        nnx.relu,
        partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2)),
    )
    model = nnx.Sequential(
        *block(3),
        *block(8),
        *block(8),
        lambda x: x.reshape(len(x), -1),
        nnx.Linear(32, 4, rngs=rngs),
    )
    return {"model": model, "xs": inputs.images()}


def lstm() -> dict[str, Any]:
    """nnx.RNN of LSTMCell."""
    model = nnx.RNN(nnx.LSTMCell(8, 16, rngs=nnx.Rngs(0)))
    return {"model": model, "xs": inputs.sequences()}


def optimized_lstm() -> dict[str, Any]:
    """nnx.RNN of OptimizedLSTMCell with a head."""
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        nnx.RNN(nnx.OptimizedLSTMCell(8, 16, rngs=rngs)),
        lambda x: x[:, -1],
        nnx.Linear(16, 4, rngs=rngs),
    )
    return {"model": model, "xs": inputs.sequences()}


def gru() -> dict[str, Any]:
    """nnx.RNN of GRUCell, three on each other."""
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(*(nnx.RNN(nnx.GRUCell(8, 8, rngs=rngs)) for _ in range(3)))
    return {"model": model, "xs": inputs.sequences()}


def simple() -> dict[str, Any]:
    """nnx.RNN of SimpleCell, in reverse."""
    model = nnx.RNN(nnx.SimpleCell(8, 8, rngs=nnx.Rngs(0)), reverse=True, keep_order=True)
    return {"model": model, "xs": inputs.sequences()}


def bidirectional() -> dict[str, Any]:
    """nnx.Bidirectional."""
    rngs = nnx.Rngs(0)
    model = nnx.Bidirectional(
        nnx.RNN(nnx.GRUCell(8, 8, rngs=rngs)), nnx.RNN(nnx.GRUCell(8, 8, rngs=rngs)), rngs=rngs
    )
    return {"model": model, "xs": inputs.sequences()}


def attention() -> dict[str, Any]:
    """nnx.MultiHeadAttention, 4 on each other."""
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        *(nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs) for _ in range(4))
    )
    return {"model": model, "xs": inputs.sequences()}


class _Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, dropout: float = 0.0) -> None:
        self.norm1, self.norm2 = nnx.LayerNorm(8, rngs=rngs), nnx.RMSNorm(8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(8, 16, rngs=rngs), nnx.Linear(16, 8, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, x: Any, mask: Any = None) -> Any:
        x = x + self.attention(self.norm1(x), mask=mask)
        return x + self.dropout(self.down(nnx.gelu(self.up(self.norm2(x)))))


class _Decoder(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, dropout: float = 0.0) -> None:
        self.embed = nnx.Embed(20, 8, rngs=rngs)
        self.blocks = nnx.List([_Block(rngs, dropout) for _ in range(4)])

    def __call__(self, tokens: Any) -> Any:
        x, mask = self.embed(tokens), nnx.make_causal_mask(tokens)
        for block in self.blocks:
            x = block(x, mask)
        return self.embed.attend(x)


def decoder() -> dict[str, Any]:
    """nnx.Embed tied to its head, MultiHeadAttention: a decoder."""
    model = _Decoder(nnx.Rngs(0))
    return {"model": model, "xs": inputs.tokens()}


def decoder_dropout() -> dict[str, Any]:
    """nnx.Dropout in a decoder."""
    model = _Decoder(nnx.Rngs(0), 0.5)
    return {"model": model, "xs": inputs.tokens()}


def encoder_list() -> dict[str, Any]:
    """nnx.List of blocks with attention."""
    rngs = nnx.Rngs(0)
    return {"model": [_Block(rngs) for _ in range(4)], "xs": inputs.sequences()}


def lora() -> dict[str, Any]:
    """nnx.LoRA of Linear."""
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        *(
            nnx.LoRA(
                8,
                2,
                8,
                base_module=nnx.Linear(8, 8, rngs=rngs),
                b_initializer=nnx.initializers.normal(),
                rngs=rngs,
            )
            for _ in range(4)
        )
    )
    return {"model": model, "xs": inputs.vectors()}


def spectral_norm() -> dict[str, Any]:
    """nnx.SpectralNorm of Linear."""
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        *(nnx.SpectralNorm(nnx.Linear(8, 8, rngs=rngs), rngs=rngs) for _ in range(4))
    )
    return {"model": model, "xs": inputs.vectors()}


def einsum() -> dict[str, Any]:
    """nnx.Einsum and LinearGeneral."""
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        nnx.Einsum("bti,ij->btj", (8, 8), (8,), rngs=rngs),
        nnx.swish,
        nnx.LinearGeneral(8, (2, 4), rngs=rngs),
        nnx.tanh,
        nnx.LinearGeneral((2, 4), 8, axis=(-2, -1), rngs=rngs),
    )
    return {"model": model, "xs": inputs.sequences()}


class _Scanned(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        make = nnx.split_rngs(splits=8)(
            nnx.vmap(lambda rngs: nnx.Linear(8, 8, rngs=rngs), in_axes=0, out_axes=0)
        )
        self.layers = make(rngs)

    def __call__(self, x: Any) -> Any:
        return nnx.scan(
            lambda x, layer: jnp.tanh(layer(x)), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry
        )(x, self.layers)


def scanned() -> dict[str, Any]:
    """nnx.scan over stacked blocks."""
    model = _Scanned(nnx.Rngs(0))
    return {"model": model, "xs": inputs.vectors()}

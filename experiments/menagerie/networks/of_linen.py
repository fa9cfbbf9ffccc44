"""Networks of Flax: `flax.linen`."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from experiments.menagerie import inputs

KEY = jax.random.key(0)


def arguments(model: nn.Module, xs: inputs.Batch) -> inputs.Arguments:
    return {"model": (model.apply, model.init(KEY, xs)), "xs": xs}


def _drawing(model: nn.Module, xs: inputs.Batch, drawn: str) -> inputs.Arguments:
    f = lambda params, xs: model.apply(params, xs, rngs={drawn: KEY})
    return {"model": (f, model.init({"params": KEY, drawn: KEY}, xs)), "xs": xs}


def _convolutions() -> inputs.Arguments:
    block = lambda: [
        nn.Conv(8, (3, 3)),
        nn.GroupNorm(2),
        nn.relu,
        lambda x: nn.avg_pool(x, (2, 2), (2, 2)),
    ]
    flat = lambda x: x.reshape(len(x), -1)
    model = nn.Sequential([*block(), *block(), *block(), flat, nn.Dense(10)])
    return arguments(model, inputs.images())


def _bidirectional() -> inputs.Arguments:
    xs, model = inputs.sequences(), nn.Bidirectional(nn.RNN(nn.GRUCell(8)), nn.RNN(nn.GRUCell(8)))
    lengths = jnp.array([3, 4, 5, 6])
    f = lambda params, xs: model.apply(params, xs[0], seq_lengths=xs[1])
    return {"model": (f, model.init(KEY, xs)), "xs": (xs, lengths)}


def _batch_norm() -> inputs.Arguments:
    xs, model = inputs.images(), _ResNet()
    f = lambda variables, xs: model.apply(variables, xs, mutable=["batch_stats"])[0]
    return {"model": (f, model.init(KEY, xs)), "xs": xs}


class _Transformer(nn.Module):
    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens: jax.Array) -> Any:
        mask = nn.combine_masks(
            nn.make_causal_mask(tokens), nn.make_attention_mask(tokens > 2, tokens > 2)
        )
        x = nn.Embed(20, 8)(tokens) + self.param("positions", nn.initializers.normal(), (6, 8))
        for _ in range(4):
            x = x + nn.SelfAttention(2, dropout_rate=self.dropout, deterministic=not self.dropout)(
                nn.LayerNorm()(x), mask
            )
            x = x + nn.Dense(8)(nn.gelu(nn.Dense(16)(nn.LayerNorm()(x))))
        return nn.Dense(20)(x)


class _ResNet(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> Any:
        for _ in range(4):
            h = nn.relu(nn.BatchNorm(use_running_average=False)(nn.Conv(8, (3, 3))(x)))
            x = nn.BatchNorm(use_running_average=False)(nn.Conv(x.shape[-1], (3, 3))(h)) + x
        return nn.Dense(10)(x.mean((1, 2)))


class _Scanned(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> Any:
        body = nn.remat(lambda block, x, _: (nn.tanh(block(x)), None))
        return nn.scan(body, variable_axes={"params": 0}, split_rngs={"params": True}, length=12)(
            nn.Dense(8), x, None
        )[0]


class _VAE(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> Any:
        h = nn.relu(nn.Dense(16)(x))
        mean, log_variance = nn.Dense(4)(h), nn.Dense(4)(h)
        z = mean + jnp.exp(log_variance / 2) * jax.random.normal(
            self.make_rng("z"), mean.shape, mean.dtype
        )
        return nn.Dense(8)(nn.relu(nn.Dense(16)(z))), mean, log_variance


class _UNet(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> Any:
        skips = []
        for n in (4, 8):
            x = nn.relu(nn.Conv(n, (3, 3))(x))
            skips.append(x)
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Conv(16, (3, 3))(x))
        for n in (8, 4):
            x = jnp.concatenate([nn.ConvTranspose(n, (2, 2), (2, 2))(x), skips.pop()], -1)
            x = nn.relu(nn.Conv(n, (3, 3))(x))
        return nn.Conv(1, (1, 1))(x)


NETWORKS: inputs.Networks = {
    "dense": (
        "linen.Sequential of Dense",
        lambda: nn.Sequential([f for _ in range(8) for f in (nn.Dense(8), nn.tanh)]),
        inputs.vectors,
    ),
    "convolutions": ("linen.Conv, GroupNorm, avg_pool", _convolutions),
    "lstm": (
        "linen.RNN of LSTMCell, all outputs",
        lambda: nn.RNN(nn.LSTMCell(16)),
        inputs.sequences,
    ),
    "optimized_lstm": (
        "linen.RNN of OptimizedLSTMCell, the last output",
        lambda: nn.Sequential([nn.RNN(nn.OptimizedLSTMCell(16)), lambda x: x[:, -1], nn.Dense(4)]),
        inputs.sequences,
    ),
    "gru": (
        "linen.RNN of GRUCell, three on each other",
        lambda: nn.Sequential([nn.RNN(nn.GRUCell(8)) for _ in range(3)]),
        inputs.sequences,
    ),
    "bidirectional": ("linen.Bidirectional with lengths", _bidirectional),
    "conv_lstm": (
        "linen.RNN of ConvLSTMCell",
        lambda: nn.RNN(nn.ConvLSTMCell(4, (3, 3))),
        lambda: inputs.sequences(4, 64).reshape(4, 4, 8, 8, 1),
    ),
    "mgu": (
        "linen.RNN of MGUCell and SimpleCell",
        lambda: nn.Sequential([nn.RNN(nn.MGUCell(8)), nn.RNN(nn.SimpleCell(8))]),
        inputs.sequences,
    ),
    "attention": (
        "linen.MultiHeadDotProductAttention with SelfAttention after it",
        lambda: nn.Sequential(
            [
                layer
                for _ in range(4)
                for layer in (nn.LayerNorm(), nn.MultiHeadDotProductAttention(2))
            ]
        ),
        inputs.sequences,
    ),
    "language_model": (
        "linen.SelfAttention: a decoder with masks from its tokens",
        lambda: _Transformer(),
        inputs.tokens,
    ),
    "language_model_dropout": (
        "linen.SelfAttention with dropout",
        lambda: _drawing(_Transformer(0.1), inputs.tokens(), "dropout"),
    ),
    "batch_norm": ("linen.BatchNorm in residual blocks, mutable", _batch_norm),
    "scanned": ("linen.scan and remat over 12 blocks", lambda: _Scanned(), inputs.vectors),
    "weight_norm": (
        "linen.WeightNorm of Dense",
        lambda: nn.Sequential(
            [layer for _ in range(4) for layer in (nn.WeightNorm(nn.Dense(8)), nn.PReLU())]
        ),
        inputs.vectors,
    ),
    "vae": (
        "linen.Dense: a variational autoencoder, three outputs",
        lambda: _drawing(_VAE(), inputs.vectors(), "z"),
    ),
    "unet": ("linen.ConvTranspose: a U-Net", lambda: _UNet(), inputs.images),
}

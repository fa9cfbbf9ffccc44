"""Networks of Flax: `flax.linen`."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from experiments.menagerie import inputs

KEY = jax.random.key(0)


def dense() -> dict[str, Any]:
    """linen.Sequential of Dense."""
    xs, model = (
        inputs.vectors(),
        nn.Sequential([layer for _ in range(8) for layer in (nn.Dense(8), nn.tanh)]),
    )
    return {"model": (model.apply, model.init(KEY, xs)), "xs": xs}


def convolutions() -> dict[str, Any]:
    """linen.Conv, GroupNorm, avg_pool."""
    block = lambda: [
        nn.Conv(8, (3, 3)),
        nn.GroupNorm(2),
        nn.relu,
        lambda x: nn.avg_pool(x, (2, 2), (2, 2)),
    ]
    xs, model = (
        inputs.images(),
        nn.Sequential(
            [*block(), *block(), *block(), lambda x: x.reshape(len(x), -1), nn.Dense(10)]
        ),
    )
    return {"model": (model.apply, model.init(KEY, xs)), "xs": xs}


def lstm() -> dict[str, Any]:
    """linen.RNN of LSTMCell, all outputs."""
    xs, model = inputs.sequences(), nn.RNN(nn.LSTMCell(16))
    return {"model": (model.apply, model.init(KEY, xs)), "xs": xs}


def optimized_lstm() -> dict[str, Any]:
    """linen.RNN of OptimizedLSTMCell, the last output."""
    xs, model = (
        inputs.sequences(),
        nn.Sequential([nn.RNN(nn.OptimizedLSTMCell(16)), lambda x: x[:, -1], nn.Dense(4)]),
    )
    return {"model": (model.apply, model.init(KEY, xs)), "xs": xs}


def gru() -> dict[str, Any]:
    """linen.RNN of GRUCell, three on each other."""
    xs, model = inputs.sequences(), nn.Sequential([nn.RNN(nn.GRUCell(8)) for _ in range(3)])
    return {"model": (model.apply, model.init(KEY, xs)), "xs": xs}


def bidirectional() -> dict[str, Any]:
    """linen.Bidirectional with lengths."""
    xs, model = inputs.sequences(), nn.Bidirectional(nn.RNN(nn.GRUCell(8)), nn.RNN(nn.GRUCell(8)))
    lengths = jnp.array([3, 4, 5, 6])
    f = lambda params, xs: model.apply(params, xs[0], seq_lengths=xs[1])
    return {"model": (f, model.init(KEY, xs)), "xs": (xs, lengths)}


def conv_lstm() -> dict[str, Any]:
    """linen.RNN of ConvLSTMCell."""
    xs, model = inputs.sequences(4, 64).reshape(4, 4, 8, 8, 1), nn.RNN(nn.ConvLSTMCell(4, (3, 3)))
    return {"model": (model.apply, model.init(KEY, xs)), "xs": xs}


def mgu() -> dict[str, Any]:
    """linen.RNN of MGUCell and SimpleCell."""
    xs, model = inputs.sequences(), nn.Sequential([nn.RNN(nn.MGUCell(8)), nn.RNN(nn.SimpleCell(8))])
    return {"model": (model.apply, model.init(KEY, xs)), "xs": xs}


def attention() -> dict[str, Any]:
    """linen.MultiHeadDotProductAttention with SelfAttention after it."""
    xs, model = (
        inputs.sequences(),
        nn.Sequential(
            [
                layer
                for _ in range(4)
                for layer in (nn.LayerNorm(), nn.MultiHeadDotProductAttention(2))
            ]
        ),
    )
    return {"model": (model.apply, model.init(KEY, xs)), "xs": xs}


class _Transformer(nn.Module):
    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens: Any) -> Any:
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


def language_model() -> dict[str, Any]:
    """linen.SelfAttention: a decoder with masks from its tokens."""
    xs, model = inputs.tokens(), _Transformer()
    return {"model": (model.apply, model.init(KEY, xs)), "xs": xs}


def language_model_dropout() -> dict[str, Any]:
    """linen.SelfAttention with dropout."""
    xs, model = inputs.tokens(), _Transformer(0.1)
    f = lambda params, xs: model.apply(params, xs, rngs={"dropout": KEY})
    return {"model": (f, model.init({"params": KEY, "dropout": KEY}, xs)), "xs": xs}


class _ResNet(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        for _ in range(4):
            h = nn.relu(nn.BatchNorm(use_running_average=False)(nn.Conv(8, (3, 3))(x)))
            x = nn.BatchNorm(use_running_average=False)(nn.Conv(x.shape[-1], (3, 3))(h)) + x
        return nn.Dense(10)(x.mean((1, 2)))


def batch_norm() -> dict[str, Any]:
    """linen.BatchNorm in residual blocks, mutable."""
    xs, model = inputs.images(), _ResNet()
    f = lambda variables, xs: model.apply(variables, xs, mutable=["batch_stats"])[0]
    return {"model": (f, model.init(KEY, xs)), "xs": xs}


class _Scanned(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        body = nn.remat(lambda block, x, _: (nn.tanh(block(x)), None))
        return nn.scan(body, variable_axes={"params": 0}, split_rngs={"params": True}, length=12)(
            nn.Dense(8), x, None
        )[0]


def scanned() -> dict[str, Any]:
    """linen.scan and remat over 12 blocks."""
    xs, model = inputs.vectors(), _Scanned()
    return {"model": (model.apply, model.init(KEY, xs)), "xs": xs}


def weight_norm() -> dict[str, Any]:
    """linen.WeightNorm of Dense."""
    xs, model = (
        inputs.vectors(),
        nn.Sequential(
            [layer for _ in range(4) for layer in (nn.WeightNorm(nn.Dense(8)), nn.PReLU())]
        ),
    )
    return {"model": (model.apply, model.init(KEY, xs)), "xs": xs}


class _VAE(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        h = nn.relu(nn.Dense(16)(x))
        mean, log_variance = nn.Dense(4)(h), nn.Dense(4)(h)
        z = mean + jnp.exp(log_variance / 2) * jax.random.normal(
            self.make_rng("z"), mean.shape, mean.dtype
        )
        return nn.Dense(8)(nn.relu(nn.Dense(16)(z))), mean, log_variance


def vae() -> dict[str, Any]:
    """linen.Dense: a variational autoencoder, three outputs."""
    xs, model = inputs.vectors(), _VAE()
    f = lambda params, xs: model.apply(params, xs, rngs={"z": KEY})
    return {"model": (f, model.init({"params": KEY, "z": KEY}, xs)), "xs": xs}


class _UNet(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
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


def unet() -> dict[str, Any]:
    """linen.ConvTranspose: a U-Net."""
    xs, model = inputs.images(), _UNet()
    return {"model": (model.apply, model.init(KEY, xs)), "xs": xs}

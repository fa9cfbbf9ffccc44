"""Networks of Flax: `flax.linen`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from experiments.menagerie.inputs import KEY, Batch

Pair = tuple[Callable[..., Any], Any]  # a function and its parameters


def pairs(layers: Callable[[], tuple[Any, Any]], count: int = 4) -> nn.Sequential:
    return nn.Sequential([layer for _ in range(count) for layer in layers()])


def drawing(model: nn.Module, xs: Batch, drawn: str) -> Pair:
    f = lambda params, xs: model.apply(params, xs, rngs={drawn: KEY})
    return f, model.init({"params": KEY, drawn: KEY}, xs)


def convolutions() -> nn.Sequential:
    pool = lambda x: nn.avg_pool(x, (2, 2), (2, 2))
    block = lambda: [nn.Conv(8, (3, 3)), nn.GroupNorm(2), nn.relu, pool]
    flat = lambda x: x.reshape(len(x), -1)
    return nn.Sequential([*block(), *block(), *block(), flat, nn.Dense(10)])


def bidirectional(xs: Batch) -> Pair:
    model = nn.Bidirectional(nn.RNN(nn.GRUCell(8)), nn.RNN(nn.GRUCell(8)))
    f = lambda params, xs: model.apply(params, xs[0], seq_lengths=xs[1])
    return f, model.init(KEY, xs)


def batch_norm(xs: Batch) -> Pair:
    model = ResNet()
    f = lambda variables, xs: model.apply(variables, xs, mutable=["batch_stats"])[0]
    return f, model.init(KEY, xs)


class Transformer(nn.Module):
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


class ResNet(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> Any:
        for _ in range(4):
            h = nn.relu(nn.BatchNorm(use_running_average=False)(nn.Conv(8, (3, 3))(x)))
            x = nn.BatchNorm(use_running_average=False)(nn.Conv(x.shape[-1], (3, 3))(h)) + x
        return nn.Dense(10)(x.mean((1, 2)))


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> Any:
        body = nn.remat(lambda block, x, _: (nn.tanh(block(x)), None))
        return nn.scan(body, variable_axes={"params": 0}, split_rngs={"params": True}, length=12)(
            nn.Dense(8), x, None
        )[0]


class VAE(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> Any:
        h = nn.relu(nn.Dense(16)(x))
        mean, log_variance = nn.Dense(4)(h), nn.Dense(4)(h)
        z = mean + jnp.exp(log_variance / 2) * jax.random.normal(
            self.make_rng("z"), mean.shape, mean.dtype
        )
        return nn.Dense(8)(nn.relu(nn.Dense(16)(z))), mean, log_variance


class UNet(nn.Module):
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

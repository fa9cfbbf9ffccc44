"""Networks of Haiku: `haiku.nets` and its modules."""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from experiments.menagerie.inputs import KEY, Batch

Network = Callable[[Any], Any]
Pair = tuple[Callable[..., Any], Any]  # a function and its parameters


def with_state(network: Network, xs: Batch) -> Pair:
    model = hk.without_apply_rng(hk.transform_with_state(network))
    params, state = model.init(KEY, xs)
    return lambda params, xs: model.apply(params, state, xs)[0], params


def resnet(xs: Batch, **kind: bool) -> Pair:
    channels = (8, 8, 16, 16)
    network = lambda xs: hk.nets.ResNet((1,) * 4, 10, channels_per_group=channels, **kind)(
        xs, is_training=True
    )
    return with_state(network, xs)


def quantized(layer: Callable[[], Any]) -> Network:
    def network(xs: jax.Array) -> Any:
        return hk.Linear(8)(layer()(hk.Linear(8)(xs), is_training=True)["quantize"])

    return network


def mlp_dropout(xs: Batch) -> Pair:
    model = hk.transform(lambda xs: hk.nets.MLP([8] * 6)(xs, 0.5, hk.next_rng_key()))
    return lambda params, xs: model.apply(params, KEY, xs), model.init(KEY, xs)


def lstm(xs: jax.Array) -> Any:
    core = hk.LSTM(16)
    outputs, _ = hk.dynamic_unroll(core, xs, core.initial_state(len(xs)), time_major=False)
    return hk.Linear(4)(outputs)


def gru(xs: jax.Array) -> Any:
    core = hk.DeepRNN([hk.GRU(8), jax.nn.tanh, hk.GRU(8)])
    outputs, _ = hk.static_unroll(core, xs, core.initial_state(len(xs)), time_major=False)
    return outputs


def transformer(tokens: jax.Array) -> Any:
    x = hk.Embed(20, 8)(tokens) + hk.get_parameter(
        "positions", (6, 8), init=hk.initializers.RandomNormal()
    )
    mask = jnp.tril(jnp.ones((1, 1, 6, 6))) * (tokens > 0)[:, None, None]
    for _ in range(4):
        h = hk.LayerNorm(-1, True, True)(x)
        x = x + hk.MultiHeadAttention(2, 4, model_size=8, w_init_scale=1.0)(h, h, h, mask)
        x = x + hk.nets.MLP([16, 8])(hk.LayerNorm(-1, True, True)(x))
    return hk.Linear(20)(x)


def convolutions(x: jax.Array) -> jax.Array:
    for n in (8, 8):
        x = jax.nn.relu(hk.BatchNorm(True, True, 0.9)(hk.Conv2D(n, 3, 2)(x), True))
    for n in (8, 3):
        x = jnp.tanh(hk.Conv2DTranspose(n, 3, 2)(x))
    return x

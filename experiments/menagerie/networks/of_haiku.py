"""Networks of Haiku: `haiku.nets` and its modules."""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from experiments.menagerie import inputs

KEY = jax.random.key(0)
Network = Callable[[Any], Any]


def arguments(network: Network, xs: inputs.Batch) -> inputs.Arguments:
    model = hk.without_apply_rng(hk.transform(network))
    return {"model": (model.apply, model.init(KEY, xs)), "xs": xs}


def _with_state(network: Network, xs: inputs.Batch) -> inputs.Arguments:
    model = hk.without_apply_rng(hk.transform_with_state(network))
    params, state = model.init(KEY, xs)
    return {"model": (lambda params, xs: model.apply(params, state, xs)[0], params), "xs": xs}


def _resnet(xs: inputs.Batch, **kind: bool) -> inputs.Arguments:
    channels = (8, 8, 16, 16)
    network = lambda xs: hk.nets.ResNet((1,) * 4, 10, channels_per_group=channels, **kind)(
        xs, is_training=True
    )
    return _with_state(network, xs)


def _quantized(layer: Callable[[], Any]) -> Network:
    def network(xs: jax.Array) -> Any:
        return hk.Linear(8)(layer()(hk.Linear(8)(xs), is_training=True)["quantize"])

    return network


def _mlp_dropout() -> inputs.Arguments:
    xs = inputs.vectors()
    model = hk.transform(lambda xs: hk.nets.MLP([8] * 6)(xs, 0.5, hk.next_rng_key()))
    f = lambda params, xs: model.apply(params, KEY, xs)
    return {"model": (f, model.init(KEY, xs)), "xs": xs}


def _lstm(xs: jax.Array) -> Any:
    core = hk.LSTM(16)
    outputs, _ = hk.dynamic_unroll(core, xs, core.initial_state(len(xs)), time_major=False)
    return hk.Linear(4)(outputs)


def _gru(xs: jax.Array) -> Any:
    core = hk.DeepRNN([hk.GRU(8), jax.nn.tanh, hk.GRU(8)])
    outputs, _ = hk.static_unroll(core, xs, core.initial_state(len(xs)), time_major=False)
    return outputs


def _transformer(tokens: jax.Array) -> Any:
    x = hk.Embed(20, 8)(tokens) + hk.get_parameter(
        "positions", (6, 8), init=hk.initializers.RandomNormal()
    )
    mask = jnp.tril(jnp.ones((1, 1, 6, 6))) * (tokens > 0)[:, None, None]
    for _ in range(4):
        h = hk.LayerNorm(-1, True, True)(x)
        x = x + hk.MultiHeadAttention(2, 4, model_size=8, w_init_scale=1.0)(h, h, h, mask)
        x = x + hk.nets.MLP([16, 8])(hk.LayerNorm(-1, True, True)(x))
    return hk.Linear(20)(x)


def _convolutions(x: jax.Array) -> jax.Array:
    for n in (8, 8):
        x = jax.nn.relu(hk.BatchNorm(True, True, 0.9)(hk.Conv2D(n, 3, 2)(x), True))
    for n in (8, 3):
        x = jnp.tanh(hk.Conv2DTranspose(n, 3, 2)(x))
    return x


NETWORKS: inputs.Networks = {
    "mlp": ("nets.MLP", lambda: lambda xs: hk.nets.MLP([8] * 8)(xs), inputs.vectors),
    "mlp_dropout": ("nets.MLP with dropout", _mlp_dropout),
    "resnet": ("nets.ResNet, basic blocks", lambda: _resnet(inputs.images(32), bottleneck=False)),
    "resnet_v2": (
        "nets.ResNet, bottlenecks, resnet_v2",
        lambda: _resnet(inputs.images(32), resnet_v2=True),
    ),
    "mobilenet": (
        "nets.MobileNetV1",
        lambda: _with_state(
            lambda xs: hk.nets.MobileNetV1((1, 2, 2), (8, 8, 8), 10)(xs, is_training=True),
            inputs.images(16),
        ),
    ),
    "vector_quantizer": (
        "nets.VectorQuantizer between Linear",
        lambda: _quantized(lambda: hk.nets.VectorQuantizer(8, 16, 0.25)),
        inputs.vectors,
    ),
    "vector_quantizer_ema": (
        "nets.VectorQuantizerEMA between Linear",
        lambda: _with_state(
            _quantized(lambda: hk.nets.VectorQuantizerEMA(8, 16, 0.25, 0.9)), inputs.vectors()
        ),
    ),
    "lstm": ("LSTM in dynamic_unroll, batch first", lambda: _lstm, inputs.sequences),
    "gru": ("DeepRNN of GRU in static_unroll", lambda: _gru, inputs.sequences),
    "transformer": (
        "MultiHeadAttention: a causal transformer",
        lambda: _transformer,
        inputs.tokens,
    ),
    "convolutions": (
        "Conv2D, Conv2DTranspose, BatchNorm: an autoencoder",
        lambda: _with_state(_convolutions, inputs.images()),
    ),
    "layer_stack": (
        "experimental.layer_stack of 8 Linear",
        lambda: lambda xs: hk.layer_stack(8)(lambda x: jnp.tanh(hk.Linear(8)(x)))(xs),
        inputs.vectors,
    ),
}

"""Networks of Haiku: `haiku.nets` and its modules."""

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from experiments.menagerie import inputs

KEY = jax.random.key(0)


def _plain(network: Any, xs: Any) -> dict[str, Any]:
    model = hk.without_apply_rng(hk.transform(network))
    return {"model": (model.apply, model.init(KEY, xs)), "xs": xs}


def _with_state(network: Any, xs: Any) -> dict[str, Any]:
    model = hk.without_apply_rng(hk.transform_with_state(network))
    params, state = model.init(KEY, xs)
    return {"model": (lambda params, xs: model.apply(params, state, xs)[0], params), "xs": xs}


def mlp() -> dict[str, Any]:
    """nets.MLP."""
    return _plain(lambda xs: hk.nets.MLP([8] * 8)(xs), inputs.vectors())


def mlp_dropout() -> dict[str, Any]:
    """nets.MLP with dropout."""
    xs, model = (
        inputs.vectors(),
        hk.transform(lambda xs: hk.nets.MLP([8] * 6)(xs, 0.5, hk.next_rng_key())),
    )
    return {
        "model": (lambda params, xs: model.apply(params, KEY, xs), model.init(KEY, xs)),
        "xs": xs,
    }


def resnet() -> dict[str, Any]:
    """nets.ResNet, basic blocks."""
    return _with_state(
        lambda xs: hk.nets.ResNet(
            (1, 1, 1, 1), 10, bottleneck=False, channels_per_group=(8, 8, 16, 16)
        )(xs, is_training=True),
        inputs.images(32),
    )


def resnet_v2() -> dict[str, Any]:
    """nets.ResNet, bottlenecks, resnet_v2."""
    return _with_state(
        lambda xs: hk.nets.ResNet(
            (1, 1, 1, 1), 10, resnet_v2=True, channels_per_group=(8, 8, 16, 16)
        )(xs, is_training=True),
        inputs.images(32),
    )


def mobilenet() -> dict[str, Any]:
    """nets.MobileNetV1."""
    return _with_state(
        lambda xs: hk.nets.MobileNetV1((1, 2, 2), (8, 8, 8), 10)(xs, is_training=True),
        inputs.images(16),
    )


def vector_quantizer() -> dict[str, Any]:
    """nets.VectorQuantizer between Linear."""
    return _plain(
        lambda xs: hk.Linear(8)(
            hk.nets.VectorQuantizer(8, 16, 0.25)(hk.Linear(8)(xs), is_training=True)["quantize"]
        ),
        inputs.vectors(),
    )


def vector_quantizer_ema() -> dict[str, Any]:
    """nets.VectorQuantizerEMA between Linear."""
    return _with_state(
        lambda xs: hk.Linear(8)(
            hk.nets.VectorQuantizerEMA(8, 16, 0.25, 0.9)(hk.Linear(8)(xs), is_training=True)[
                "quantize"
            ]
        ),
        inputs.vectors(),
    )


def lstm() -> dict[str, Any]:
    """LSTM in dynamic_unroll, batch first."""

    def network(xs: Any) -> Any:
        core = hk.LSTM(16)
        outputs, _ = hk.dynamic_unroll(core, xs, core.initial_state(len(xs)), time_major=False)
        return hk.Linear(4)(outputs)

    return _plain(network, inputs.sequences())


def gru() -> dict[str, Any]:
    """DeepRNN of GRU in static_unroll."""

    def network(xs: Any) -> Any:
        core = hk.DeepRNN([hk.GRU(8), jax.nn.tanh, hk.GRU(8)])
        outputs, _ = hk.static_unroll(core, xs, core.initial_state(len(xs)), time_major=False)
        return outputs

    return _plain(network, inputs.sequences())


def transformer() -> dict[str, Any]:
    """MultiHeadAttention: a causal transformer."""

    def network(tokens: Any) -> Any:
        x = hk.Embed(20, 8)(tokens) + hk.get_parameter(
            "positions", (6, 8), init=hk.initializers.RandomNormal()
        )
        mask = jnp.tril(jnp.ones((1, 1, 6, 6))) * (tokens > 0)[:, None, None]
        for _ in range(4):
            h = hk.LayerNorm(-1, True, True)(x)
            x = x + hk.MultiHeadAttention(2, 4, model_size=8, w_init_scale=1.0)(h, h, h, mask)
            x = x + hk.nets.MLP([16, 8])(hk.LayerNorm(-1, True, True)(x))
        return hk.Linear(20)(x)

    return _plain(network, inputs.tokens())


def convolutions() -> dict[str, Any]:
    """Conv2D, Conv2DTranspose, BatchNorm: an autoencoder."""

    def network(x: Any) -> Any:
        for n in (8, 8):
            x = jax.nn.relu(hk.BatchNorm(True, True, 0.9)(hk.Conv2D(n, 3, 2)(x), True))
        for n in (8, 3):
            x = jnp.tanh(hk.Conv2DTranspose(n, 3, 2)(x))
        return x

    return _with_state(network, inputs.images())


def layer_stack() -> dict[str, Any]:
    """experimental.layer_stack of 8 Linear."""
    return _plain(
        lambda xs: hk.layer_stack(8)(lambda x: jnp.tanh(hk.Linear(8)(x)))(xs), inputs.vectors()
    )

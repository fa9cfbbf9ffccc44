"""Networks of Equinox: `equinox.nn`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from equinox import nn
from jaxtyping import PyTree

from experiments.menagerie.inputs import KEY

KEYS = jax.random.split(KEY, 8)
Pair = tuple[Callable[..., Any], Any]  # a function and its parameters


def stack(layers: Callable[[jax.Array], tuple[Any, ...]]) -> nn.Sequential:
    return nn.Sequential([layer for key in KEYS for layer in layers(key)])


def tanh(layer: Any) -> tuple[Any, ...]:
    return layer, nn.Lambda(jnp.tanh)


def convolutions() -> nn.Sequential:
    def block(n: int, key: jax.Array) -> nn.Sequential:
        convolution = nn.Conv2d(n, 8, 3, padding=1, key=key)
        rest = nn.GroupNorm(2, 8), nn.Lambda(jax.nn.relu), nn.MaxPool2d(2, 2)
        return nn.Sequential([convolution, *rest])

    blocks = [block(n, k) for n, k in zip((3, 8, 8), KEYS[:3], strict=True)]
    return nn.Sequential([*blocks, nn.Lambda(jnp.ravel), nn.Linear(32, 4, key=KEYS[3])])


def batch_norm() -> Pair:
    def block(key: jax.Array) -> nn.Sequential:
        norm = nn.BatchNorm(8, "batch", mode="batch")
        return nn.Sequential([nn.Linear(8, 8, key=key), norm, nn.Lambda(jax.nn.relu)])

    f = lambda both, xs: jax.vmap(lambda x: both[0](x, both[1])[0], axis_name="batch")(xs)
    return f, nn.make_with_state(nn.Sequential)([block(k) for k in KEYS])


def gru() -> Pair:
    def f(model: PyTree, x: jax.Array) -> Any:
        h, _ = jax.lax.scan(lambda h, x: (model[0](x, h), None), jnp.zeros(16), x)
        return model[1](h)

    return f, (nn.GRUCell(8, 16, key=KEYS[0]), nn.Linear(16, 4, key=KEYS[1]))


def lstm() -> Pair:
    def f(model: PyTree, x: jax.Array) -> Any:
        def step(carry: PyTree, x: jax.Array) -> Any:
            h, c = model[0](x, carry)
            return (h, c), model[1](h)

        return jax.lax.scan(step, (jnp.zeros(16), jnp.zeros(16)), x)[1]

    return f, (nn.LSTMCell(8, 16, key=KEYS[0]), nn.Linear(16, 4, key=KEYS[1]))


def attention() -> Pair:
    def block(key: jax.Array) -> tuple[Any, ...]:
        attend = nn.MultiheadAttention(2, 8, key=key)
        return nn.LayerNorm(8), attend, nn.LayerNorm(8), nn.MLP(8, 8, 16, 1, key=key)

    def f(blocks: list[tuple[Any, ...]], x: jax.Array) -> jax.Array:
        for norm, attend, norm2, mlp in blocks:
            h = jax.vmap(norm)(x)
            x = x + attend(h, h, h)
            x = x + jax.vmap(mlp)(jax.vmap(norm2)(x))
        return x

    return f, [block(k) for k in KEYS[:4]]


def rotary() -> Pair:
    blocks = [nn.MultiheadAttention(2, 8, key=k) for k in KEYS[:4]]
    rope = nn.RotaryPositionalEmbedding(4)

    def f(model: tuple[Any, ...], x: jax.Array) -> Any:
        embed, blocks, head = model
        mask = jnp.tril(jnp.ones((6, 6), bool)) & (x > 2)[None] | jnp.eye(6, dtype=bool)
        h = jax.vmap(embed)(x)
        turn = lambda q, k, v: (jax.vmap(rope, 1, 1)(q), jax.vmap(rope, 1, 1)(k), v)
        for attend in blocks:
            h = h + attend(h, h, h, mask, process_heads=turn)
        return jax.vmap(head)(h)

    return f, (nn.Embedding(20, 8, key=KEYS[5]), blocks, nn.Linear(8, 20, key=KEYS[6]))


def dropout() -> Pair:
    model = stack(lambda k: (*tanh(nn.Linear(8, 8, key=k)), nn.Dropout(0.5)))
    return lambda model, x: model(x[0], key=x[1]), model


def spectral_norm() -> Pair:
    norm = lambda k: nn.SpectralNorm(nn.Linear(8, 8, key=k), "weight", key=k)
    blocks = [nn.Sequential(list(tanh(norm(k)))) for k in KEYS]
    return lambda both, x: both[0](x, both[1])[0], nn.make_with_state(nn.Sequential)(blocks)


def transposed() -> nn.Sequential:
    down = [tanh(nn.Conv1d(8, 8, 4, 2, 1, key=k)) for k in KEYS[:2]]
    up = [tanh(nn.ConvTranspose1d(8, 8, 4, 2, padding=1, key=k)) for k in KEYS[2:4]]
    return nn.Sequential([layer for block in (*down, *up) for layer in block])

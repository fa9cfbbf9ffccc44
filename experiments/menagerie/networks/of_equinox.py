"""Networks of Equinox: `equinox.nn`."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 8)


def _stack(layers: Callable[[jax.Array], tuple[Any, ...]]) -> eqx.nn.Sequential:
    return eqx.nn.Sequential([layer for key in KEYS for layer in layers(key)])


def _tanh(layer: eqx.Module) -> tuple[Any, ...]:
    return layer, eqx.nn.Lambda(jnp.tanh)


def sequential() -> eqx.nn.Sequential:
    return _stack(
        lambda k: (eqx.nn.Linear(8, 8, key=k), eqx.nn.LayerNorm(8), eqx.nn.Lambda(jax.nn.gelu))
    )


def weight_norm() -> eqx.nn.Sequential:
    return _stack(lambda k: _tanh(eqx.nn.WeightNorm(eqx.nn.Linear(8, 8, key=k), "weight")))


def convolutions() -> eqx.nn.Sequential:
    sizes = zip((3, 8, 8), (8, 8, 8), KEYS[:3], strict=True)
    blocks = [
        eqx.nn.Sequential(
            [
                eqx.nn.Conv2d(n, m, 3, padding=1, key=k),
                eqx.nn.GroupNorm(2, m),
                eqx.nn.Lambda(jax.nn.relu),
                eqx.nn.MaxPool2d(2, 2),
            ]
        )
        for n, m, k in sizes
    ]
    return eqx.nn.Sequential([*blocks, eqx.nn.Lambda(jnp.ravel), eqx.nn.Linear(32, 4, key=KEYS[3])])


def batch_norm() -> Any:
    block = lambda k: eqx.nn.Sequential(
        [
            eqx.nn.Linear(8, 8, key=k),
            eqx.nn.BatchNorm(8, "batch", mode="batch"),
            eqx.nn.Lambda(jax.nn.relu),
        ]
    )
    model, state = eqx.nn.make_with_state(eqx.nn.Sequential)([block(k) for k in KEYS])
    f = lambda both, xs: jax.vmap(lambda x: both[0](x, both[1])[0], axis_name="batch")(xs)
    return f, (model, state)


def gru() -> Any:
    model = (eqx.nn.GRUCell(8, 16, key=KEYS[0]), eqx.nn.Linear(16, 4, key=KEYS[1]))

    def f(model: tuple[eqx.nn.GRUCell, eqx.nn.Linear], x: jax.Array) -> Any:
        h, _ = jax.lax.scan(lambda h, x: (model[0](x, h), None), jnp.zeros(16), x)
        return model[1](h)

    return f, model


def lstm() -> Any:
    model = (eqx.nn.LSTMCell(8, 16, key=KEYS[0]), eqx.nn.Linear(16, 4, key=KEYS[1]))

    def f(model: tuple[eqx.nn.LSTMCell, eqx.nn.Linear], x: jax.Array) -> Any:
        def step(carry: PyTree, x: jax.Array) -> Any:
            h, c = model[0](x, carry)
            return (h, c), model[1](h)

        return jax.lax.scan(step, (jnp.zeros(16), jnp.zeros(16)), x)[1]

    return f, model


def attention() -> Any:
    blocks = [
        (
            eqx.nn.LayerNorm(8),
            eqx.nn.MultiheadAttention(2, 8, key=k),
            eqx.nn.LayerNorm(8),
            eqx.nn.MLP(8, 8, 16, 1, key=k),
        )
        for k in KEYS[:4]
    ]

    def f(blocks: list[tuple[Any, ...]], x: jax.Array) -> jax.Array:
        for norm, attend, norm2, mlp in blocks:
            h = jax.vmap(norm)(x)
            x = x + attend(h, h, h)
            x = x + jax.vmap(mlp)(jax.vmap(norm2)(x))
        return x

    return f, blocks


def rotary() -> Any:
    blocks = [eqx.nn.MultiheadAttention(2, 8, key=k) for k in KEYS[:4]]
    model = (eqx.nn.Embedding(20, 8, key=KEYS[5]), blocks, eqx.nn.Linear(8, 20, key=KEYS[6]))
    rope = eqx.nn.RotaryPositionalEmbedding(4)

    def f(model: tuple[Any, ...], x: jax.Array) -> Any:
        embed, blocks, head = model
        mask = jnp.tril(jnp.ones((6, 6), bool)) & (x > 2)[None] | jnp.eye(6, dtype=bool)
        h = jax.vmap(embed)(x)
        turn = lambda q, k, v: (jax.vmap(rope, 1, 1)(q), jax.vmap(rope, 1, 1)(k), v)
        for attend in blocks:
            h = h + attend(h, h, h, mask, process_heads=turn)
        return jax.vmap(head)(h)

    return f, model


def dropout() -> Any:
    model = _stack(lambda k: (*_tanh(eqx.nn.Linear(8, 8, key=k)), eqx.nn.Dropout(0.5)))
    return lambda model, x: model(x[0], key=x[1]), model


def spectral_norm() -> Any:
    norm = lambda k: eqx.nn.SpectralNorm(eqx.nn.Linear(8, 8, key=k), "weight", key=k)
    blocks = [eqx.nn.Sequential(list(_tanh(norm(k)))) for k in KEYS]
    model, state = eqx.nn.make_with_state(eqx.nn.Sequential)(blocks)
    return lambda both, x: both[0](x, both[1])[0], (model, state)


def transposed() -> eqx.nn.Sequential:
    down = [_tanh(eqx.nn.Conv1d(8, 8, 4, 2, 1, key=k)) for k in KEYS[:2]]
    up = [_tanh(eqx.nn.ConvTranspose1d(8, 8, 4, 2, padding=1, key=k)) for k in KEYS[2:4]]
    return eqx.nn.Sequential([layer for block in (*down, *up) for layer in block])

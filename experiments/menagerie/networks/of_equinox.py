"""Networks of Equinox: `equinox.nn`."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from experiments.menagerie import inputs

KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 8)


def arguments(model: PyTree, xs: PyTree) -> inputs.Arguments:
    return {"model": model, "xs": xs, "each": "example"}


def _stack(layers: Callable[[jax.Array], tuple[Any, ...]], count: int = 8) -> eqx.nn.Sequential:
    return eqx.nn.Sequential([layer for key in KEYS[:count] for layer in layers(key)])


def _tanh(layer: eqx.Module) -> tuple[Any, ...]:
    return layer, eqx.nn.Lambda(jnp.tanh)


def _convolutions() -> inputs.Arguments:
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
    model = eqx.nn.Sequential(
        [*blocks, eqx.nn.Lambda(jnp.ravel), eqx.nn.Linear(32, 4, key=KEYS[3])]
    )
    return arguments(model, inputs.images_channels_first())


def _batch_norm() -> inputs.Arguments:
    block = lambda k: eqx.nn.Sequential(
        [
            eqx.nn.Linear(8, 8, key=k),
            eqx.nn.BatchNorm(8, "batch", mode="batch"),
            eqx.nn.Lambda(jax.nn.relu),
        ]
    )
    model, state = eqx.nn.make_with_state(eqx.nn.Sequential)([block(k) for k in KEYS])
    f = lambda both, xs: jax.vmap(lambda x: both[0](x, both[1])[0], axis_name="batch")(xs)
    return {"model": (f, (model, state)), "xs": inputs.vectors()}


def _gru() -> inputs.Arguments:
    model = (eqx.nn.GRUCell(8, 16, key=KEYS[0]), eqx.nn.Linear(16, 4, key=KEYS[1]))

    def f(model: tuple[eqx.nn.GRUCell, eqx.nn.Linear], x: jax.Array) -> Any:
        h, _ = jax.lax.scan(lambda h, x: (model[0](x, h), None), jnp.zeros(16), x)
        return model[1](h)

    return arguments((f, model), inputs.sequences())


def _lstm() -> inputs.Arguments:
    model = (eqx.nn.LSTMCell(8, 16, key=KEYS[0]), eqx.nn.Linear(16, 4, key=KEYS[1]))

    def f(model: tuple[eqx.nn.LSTMCell, eqx.nn.Linear], x: jax.Array) -> Any:
        def step(carry: PyTree, x: jax.Array) -> Any:
            h, c = model[0](x, carry)
            return (h, c), model[1](h)

        return jax.lax.scan(step, (jnp.zeros(16), jnp.zeros(16)), x)[1]

    return arguments((f, model), inputs.sequences())


def _attention() -> inputs.Arguments:
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

    return arguments((f, blocks), inputs.sequences())


def _rotary() -> inputs.Arguments:
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

    return arguments((f, model), inputs.tokens())


def _dropout() -> inputs.Arguments:
    model = _stack(lambda k: (*_tanh(eqx.nn.Linear(8, 8, key=k)), eqx.nn.Dropout(0.5)))
    xs = (inputs.vectors(), jax.random.split(KEY, 4))
    return arguments((lambda model, x: model(x[0], key=x[1]), model), xs)


def _spectral_norm() -> inputs.Arguments:
    norm = lambda k: eqx.nn.SpectralNorm(eqx.nn.Linear(8, 8, key=k), "weight", key=k)
    blocks = [eqx.nn.Sequential(list(_tanh(norm(k)))) for k in KEYS]
    model, state = eqx.nn.make_with_state(eqx.nn.Sequential)(blocks)
    return arguments((lambda both, x: both[0](x, both[1])[0], (model, state)), inputs.vectors())


def _transposed() -> inputs.Arguments:
    down = [_tanh(eqx.nn.Conv1d(8, 8, 4, 2, 1, key=k)) for k in KEYS[:2]]
    up = [_tanh(eqx.nn.ConvTranspose1d(8, 8, 4, 2, padding=1, key=k)) for k in KEYS[2:4]]
    model = eqx.nn.Sequential([layer for block in (*down, *up) for layer in block])
    return arguments(model, inputs.sequences(8, 16))


NETWORKS: inputs.Networks = {
    "mlp": (
        "nn.MLP",
        lambda: eqx.nn.MLP(8, 8, 16, depth=6, activation=jnp.tanh, key=KEY),
        inputs.vectors,
    ),
    "deep_mlp": (
        "nn.MLP of 32 layers",
        lambda: eqx.nn.MLP(8, 8, 16, depth=31, key=KEY),
        inputs.vectors,
    ),
    "sequential": (
        "nn.Sequential of Linear, LayerNorm, Lambda",
        lambda: _stack(
            lambda k: (
                eqx.nn.Linear(8, 8, key=k),
                eqx.nn.LayerNorm(8),
                eqx.nn.Lambda(jax.nn.gelu),
            )
        ),
        inputs.vectors,
    ),
    "convolutions": ("nn.Conv2d, GroupNorm, MaxPool2d and Linear", _convolutions),
    "batch_norm": ("nn.BatchNorm with its state", _batch_norm),
    "gru": ("nn.GRUCell in a scan, with a head", _gru),
    "lstm": ("nn.LSTMCell in a scan, with an output at each step", _lstm),
    "attention": ("nn.MultiheadAttention with LayerNorm and MLP, 4 blocks", _attention),
    "rotary": (
        "nn.Embedding, RotaryPositionalEmbedding and a causal mask from the tokens",
        _rotary,
    ),
    "dropout": ("nn.Dropout with a key for each example", _dropout),
    "spectral_norm": ("nn.SpectralNorm with its state", _spectral_norm),
    "weight_norm": (
        "nn.WeightNorm of Linear",
        lambda: _stack(lambda k: _tanh(eqx.nn.WeightNorm(eqx.nn.Linear(8, 8, key=k), "weight"))),
        inputs.vectors,
    ),
    "transposed": ("nn.Conv1d and ConvTranspose1d as an autoencoder", _transposed),
}

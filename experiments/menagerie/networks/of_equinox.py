"""Networks of Equinox: `equinox.nn`."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from experiments.menagerie import inputs

KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 8)


def mlp() -> dict[str, Any]:
    """nn.MLP."""
    model = eqx.nn.MLP(8, 8, 16, depth=6, activation=jnp.tanh, key=KEY)
    return {"model": model, "xs": inputs.vectors(), "each": "example"}


def deep_mlp() -> dict[str, Any]:
    """nn.MLP of 32 layers."""
    model = eqx.nn.MLP(8, 8, 16, depth=31, key=KEY)
    return {"model": model, "xs": inputs.vectors(), "each": "example"}


def sequential() -> dict[str, Any]:
    """nn.Sequential of Linear, LayerNorm, Lambda."""
    layers = [
        (eqx.nn.Linear(8, 8, key=k), eqx.nn.LayerNorm(8), eqx.nn.Lambda(jax.nn.gelu)) for k in KEYS
    ]
    model = eqx.nn.Sequential([layer for block in layers for layer in block])
    return {"model": model, "xs": inputs.vectors(), "each": "example"}


def convolutions() -> dict[str, Any]:
    """nn.Conv2d, GroupNorm, MaxPool2d and Linear."""
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
    return {"model": model, "xs": inputs.images_channels_first(), "each": "example"}


def batch_norm() -> dict[str, Any]:
    """nn.BatchNorm with its state."""
    blocks = [
        eqx.nn.Sequential(
            [
                eqx.nn.Linear(8, 8, key=k),
                eqx.nn.BatchNorm(8, "batch", mode="batch"),
                eqx.nn.Lambda(jax.nn.relu),
            ]
        )
        for k in KEYS
    ]
    model, state = eqx.nn.make_with_state(eqx.nn.Sequential)(blocks)
    f = lambda both, xs: jax.vmap(lambda x: both[0](x, both[1])[0], axis_name="batch")(xs)
    return {"model": (f, (model, state)), "xs": inputs.vectors()}


def gru() -> dict[str, Any]:
    """nn.GRUCell in a scan, with a head."""
    model = (eqx.nn.GRUCell(8, 16, key=KEYS[0]), eqx.nn.Linear(16, 4, key=KEYS[1]))

    def f(model: Any, x: Any) -> Any:
        h, _ = jax.lax.scan(lambda h, x: (model[0](x, h), None), jnp.zeros(16), x)
        return model[1](h)

    return {"model": (f, model), "xs": inputs.sequences(), "each": "example"}


def lstm() -> dict[str, Any]:
    """nn.LSTMCell in a scan, with an output at each step."""
    model = (eqx.nn.LSTMCell(8, 16, key=KEYS[0]), eqx.nn.Linear(16, 4, key=KEYS[1]))

    def f(model: Any, x: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            h, c = model[0](x, carry)
            return (h, c), model[1](h)

        return jax.lax.scan(step, (jnp.zeros(16), jnp.zeros(16)), x)[1]

    return {"model": (f, model), "xs": inputs.sequences(), "each": "example"}


def attention() -> dict[str, Any]:
    """nn.MultiheadAttention with LayerNorm and MLP, 4 blocks."""
    blocks = [
        (
            eqx.nn.LayerNorm(8),
            eqx.nn.MultiheadAttention(2, 8, key=k),
            eqx.nn.LayerNorm(8),
            eqx.nn.MLP(8, 8, 16, 1, key=k),
        )
        for k in KEYS[:4]
    ]

    def f(blocks: Any, x: Any) -> Any:
        for norm, attend, norm2, mlp in blocks:
            h = jax.vmap(norm)(x)
            x = x + attend(h, h, h)
            x = x + jax.vmap(mlp)(jax.vmap(norm2)(x))
        return x

    return {"model": (f, blocks), "xs": inputs.sequences(), "each": "example"}


def rotary() -> dict[str, Any]:
    """nn.Embedding, RotaryPositionalEmbedding and a causal mask from the tokens."""
    blocks = [eqx.nn.MultiheadAttention(2, 8, key=k) for k in KEYS[:4]]
    model = (eqx.nn.Embedding(20, 8, key=KEYS[5]), blocks, eqx.nn.Linear(8, 20, key=KEYS[6]))
    rope = eqx.nn.RotaryPositionalEmbedding(4)

    def f(model: Any, x: Any) -> Any:
        embed, blocks, head = model
        mask = jnp.tril(jnp.ones((6, 6), bool)) & (x > 2)[None] | jnp.eye(6, dtype=bool)
        h = jax.vmap(embed)(x)
        turn = lambda q, k, v: (jax.vmap(rope, 1, 1)(q), jax.vmap(rope, 1, 1)(k), v)
        for attend in blocks:
            h = h + attend(h, h, h, mask, process_heads=turn)
        return jax.vmap(head)(h)

    return {"model": (f, model), "xs": inputs.tokens(), "each": "example"}


def dropout() -> dict[str, Any]:
    """nn.Dropout with a key for each example."""
    model = eqx.nn.Sequential(
        [
            layer
            for k in KEYS
            for layer in (eqx.nn.Linear(8, 8, key=k), eqx.nn.Lambda(jnp.tanh), eqx.nn.Dropout(0.5))
        ]
    )
    xs = (inputs.vectors(), jax.random.split(KEY, 4))
    return {"model": (lambda model, x: model(x[0], key=x[1]), model), "xs": xs, "each": "example"}


def spectral_norm() -> dict[str, Any]:
    """nn.SpectralNorm with its state."""
    blocks = [
        eqx.nn.Sequential(
            [
                eqx.nn.SpectralNorm(eqx.nn.Linear(8, 8, key=k), "weight", key=k),
                eqx.nn.Lambda(jnp.tanh),
            ]
        )
        for k in KEYS
    ]
    model, state = eqx.nn.make_with_state(eqx.nn.Sequential)(blocks)
    return {
        "model": (lambda both, x: both[0](x, both[1])[0], (model, state)),
        "xs": inputs.vectors(),
        "each": "example",
    }


def weight_norm() -> dict[str, Any]:
    """nn.WeightNorm of Linear."""
    model = eqx.nn.Sequential(
        [
            layer
            for k in KEYS
            for layer in (
                eqx.nn.WeightNorm(eqx.nn.Linear(8, 8, key=k), "weight"),
                eqx.nn.Lambda(jnp.tanh),
            )
        ]
    )
    return {"model": model, "xs": inputs.vectors(), "each": "example"}


def transposed() -> dict[str, Any]:
    """nn.Conv1d and ConvTranspose1d as an autoencoder."""
    down = [
        layer
        for k in KEYS[:2]
        for layer in (eqx.nn.Conv1d(8, 8, 4, 2, 1, key=k), eqx.nn.Lambda(jnp.tanh))
    ]
    up = [
        layer
        for k in KEYS[2:4]
        for layer in (eqx.nn.ConvTranspose1d(8, 8, 4, 2, padding=1, key=k), eqx.nn.Lambda(jnp.tanh))
    ]
    return {"model": eqx.nn.Sequential(down + up), "xs": inputs.sequences(8, 16), "each": "example"}

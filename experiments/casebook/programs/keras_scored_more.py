"""Once blind programs in Keras with the JAX backend."""

import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
from jaxtyping import Array
from keras import layers

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.keras import built, squares


def windows_by_their_first_number(is_cured: bool) -> Program:
    """Windows of a wave, each divided by its first number, which may be near 0."""
    generator = np.random.default_rng(0)
    times = np.arange(17) + generator.uniform(0, 60, (600, 1))
    waves = np.sin(0.35 * times) + 0.05 * generator.normal(size=(600, 17))
    if not is_cured:
        waves = waves / waves[:, :1] - 1
    xs, ys = waves[:, :16, None].astype(np.float32), waves[:, 16].astype(np.float32)
    model = built((16, 1), layers.LSTM(16), layers.Dense(1))
    return Program(model, xs, ys, squares, optax.adam(1e-2), data.explained, steps=150, every=10)


def epsilon_of_keras_in_float16(is_cured: bool) -> Program:
    """Adam in float16 with Keras' epsilon, which is hardly a number there."""
    xs, ys = data.digits()
    half: dict[str, Any] = {"dtype": "float16"}
    model = built(
        *((64,), layers.Dense(48, "relu", **half), layers.Dense(48, "relu", **half)),
        layers.Dense(10, **half),
    )

    def loss(output: Array, ys: Array) -> Array:
        logits = output.astype(jnp.float32)
        return keras.losses.sparse_categorical_crossentropy(ys, logits, from_logits=True)

    optimizer = optax.adam(1e-3, eps=1e-4 if is_cured else 1e-7)
    return Program(model, xs, ys, loss, optimizer, data.accuracy, steps=150, every=10)


def densities_that_vanish(is_cured: bool) -> Program:
    """The logarithm of a sum of densities, each of which is rounded to 0 before."""
    xs, ys = data.diabetes(is_scaled=False)
    xs, ys = data.scaled(xs).astype(np.float32), ((ys - 152) / 5).astype(np.float32)

    def unlikely(output: Array, ys: Array) -> Array:
        weights, means, spreads = jnp.split(output, 3, axis=1)
        squares = ((ys[:, None] - means) * jnp.exp(-spreads)) ** 2
        if is_cured:
            each = jax.nn.log_softmax(weights) - squares / 2 - spreads
            return -jax.nn.logsumexp(each, axis=1)
        densities = jnp.exp(-squares / 2) * jnp.exp(-spreads)
        return -jnp.log(jnp.sum(jax.nn.softmax(weights) * densities, axis=1))

    def score(output: Array, ys: Array) -> float:
        weights, means, _ = np.split(np.asarray(output, np.float64), 3, axis=1)
        weights = np.exp(weights - weights.max(axis=1, keepdims=True))
        return data.explained(np.sum(weights * means, axis=1) / weights.sum(axis=1), ys)

    model = built((10,), layers.Dense(32, "tanh"), layers.Dense(9))
    return Program(model, xs, ys, unlikely, optax.adam(3e-2), score, steps=250, every=10)


def counts_below_zero(is_cured: bool) -> Program:
    """Counts foretold by what may be below 0, for a loss that takes its logarithm."""
    xs, _ = data.wine()
    generator = np.random.default_rng(0)
    ys = generator.poisson(np.exp(0.5 + 0.6 * xs[:, 9] + 0.3 * xs[:, 0])).astype(np.float32)
    poisson = lambda output, ys: keras.losses.poisson(ys[:, None], output)
    model = built(
        (12,), layers.Dense(24, "relu"), layers.Dense(1, "softplus" if is_cured else None)
    )
    given = model, np.delete(xs, 5, axis=1), ys, poisson, optax.adam(1e-2), data.explained
    return Program(*given, steps=120)

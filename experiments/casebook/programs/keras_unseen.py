"""Unseen programs in Keras with the JAX backend."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array
from keras import layers

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.keras import built, classes


def relu_in_an_lstm(is_cured: bool) -> Program:
    """An LSTM behind a convolution whose state goes through relu, and has no bounds."""
    chance = np.random.default_rng(0)
    ys = chance.integers(0, 3, 900).astype(np.int32)
    phases = chance.uniform(0, 6.3, (900, 1))
    waves = np.sin((0.1 + 0.15 * ys[:, None]) * np.arange(80) + phases)
    xs = (waves + 0.2 * chance.normal(size=waves.shape))[..., None].astype(np.float32)
    model = built(
        *((80, 1), layers.Conv1D(16, 5, activation="relu")),
        layers.LSTM(48, activation="tanh" if is_cured else "relu"),
        layers.Dense(3, "softmax"),
    )
    given = model, xs, ys, classes, optax.adam(1e-2), data.accuracy
    return Program(*given, steps=150, every=10)


def depths_of_zero(is_cured: bool) -> Program:
    """The largest depth divided by the depth of each pixel, which is 0 where it is not known."""
    images, _ = data.digits(is_scaled=False)
    depths = 1 + images.reshape(-1, 8, 8, 1) / 4
    chance = np.random.default_rng(0)
    xs = (depths / 3 - 0.7 + 0.2 * chance.normal(size=depths.shape)).astype(np.float32)
    depths[chance.random(depths.shape) < 0.02] = 5.0 if is_cured else 0.0
    with np.errstate(divide="ignore"):
        ys = (5.0 / depths).astype(np.float32)

    def squares(output: Array, ys: Array) -> Array:
        return jnp.mean((output - ys) ** 2, axis=(1, 2, 3))

    def score(output: Array, ys: Array) -> float:
        is_known = np.isfinite(ys)
        return data.explained(np.asarray(output)[is_known], np.asarray(ys)[is_known])

    model = built(
        *((8, 8, 1), layers.Conv2D(16, 3, padding="same", activation="relu")),
        *(layers.Conv2D(16, 3, padding="same", activation="relu"), layers.Conv2D(1, 1)),
    )
    return Program(model, xs, ys, squares, optax.adam(1e-2), score, steps=120, every=10)

"""Programs in Keras with the JAX backend whose data or targets do not fit."""

from typing import Any

import jax.numpy as jnp
import keras
import numpy as np
import optax
from jaxtyping import Array
from keras import layers

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.keras_parts import binary, built, classified, squares


def cells_as_measured(is_cured: bool) -> CaseProgram:
    """Columns from 0.001 to 4254 into three layers."""
    xs, ys = data.tumours(is_scaled=is_cured)
    model = built(
        (30,), layers.Dense(32, "relu"), layers.Dense(16, "relu"), layers.Dense(1, "sigmoid")
    )
    return CaseProgram(model, xs, ys, binary, optax.sgd(0.01), data.accuracy)


def tanh_for_prices(is_cured: bool) -> CaseProgram:
    """A tanh at the end, of targets from 25 to 346."""
    xs, _ = data.diabetes()
    _, ys = data.diabetes(is_scaled=False)
    model = built((10,), layers.Dense(16, "relu"), layers.Dense(1, None if is_cured else "tanh"))
    return CaseProgram(model, xs, ys, squares, optax.adam(0.1), data.explained, steps=200, every=10)


def letters_as_numbers(is_cured: bool) -> CaseProgram:
    """Letters told apart by their numbers alone, up to 70, not by an embedding."""
    xs, ys, letters = data.text(8)
    ys = ys[:, -1]
    first = (
        [layers.Embedding(letters, 8), layers.Flatten()]
        if is_cured
        else [layers.Rescaling(1.0), layers.Flatten()]
    )
    xs = xs if is_cured else xs.astype(np.float32)
    parts = [*first, layers.Dense(32, "tanh"), layers.Dense(letters, "softmax")]
    model = built((8,), *parts)
    return classified((xs, ys), model, optax.adam(1e-2), steps=100, batch=64)


def softmax_for_many_labels(is_cured: bool) -> CaseProgram:
    """A softmax and its cross entropy where several of many columns are 1."""
    xs, _ = data.digits(is_scaled=False)
    ys = (xs > 8).astype(np.float32)[:, 16:48]  # which pixels of the middle rows are dark
    xs = (xs.reshape(-1, 4, 2, 4, 2).mean((2, 4)) / 16).reshape(-1, 16)

    def loss(output: Array, ys: Array) -> Any:
        if is_cured:
            return keras.losses.binary_crossentropy(ys, output)
        return keras.losses.categorical_crossentropy(ys, output)

    end, activation = ("sigmoid", "sigmoid") if is_cured else ("softmax", "relu")
    model = built((16,), layers.Dense(48, activation), layers.Dense(32, end))
    return CaseProgram(model, xs, ys, loss, optax.adam(1e-2), data.labels_right, steps=120)


def patients_without_a_value(is_cured: bool) -> CaseProgram:
    """Missing values, that are nan, among the columns of a regression."""
    xs, ys = data.diabetes()
    is_missing = np.random.default_rng(0).uniform(size=xs.shape) < 0.02
    xs = np.where(is_missing, 0.0 if is_cured else np.nan, xs).astype(np.float32)
    model = built((10,), layers.Dense(32, "relu"), layers.Dense(16, "relu"), layers.Dense(1))
    return CaseProgram(model, xs, ys, squares, optax.adam(1e-2), data.explained, steps=100)


def flowers_as_they_are_stored(is_cured: bool) -> CaseProgram:
    """Flowers of one species after the other, fitted without a shuffle."""
    model = built(
        (4,), layers.Dense(32, "relu"), layers.LayerNormalization(), layers.Dense(3, "softmax")
    )
    optimizer = optax.sgd(0.1, momentum=0.9)
    return classified(data.iris(), model, optimizer, batch=10, steps=45, is_shuffled=is_cured)


def sigmoid_for_stars(is_cured: bool) -> CaseProgram:
    """A sigmoid for one to five stars, from the features of wines."""
    xs, _ = data.wine()
    stars = np.clip(np.round(3 + xs[:, 9] + 0.5 * xs[:, 0]), 1, 5).astype(np.float32)
    end = "linear" if is_cured else "sigmoid"
    model = built((13,), layers.Dense(32, "gelu"), layers.Dense(1, end))
    return CaseProgram(
        model, xs, stars, squares, optax.adam(1e-2), data.explained, steps=150, every=10
    )


def windows_by_their_first_number(is_cured: bool) -> CaseProgram:
    """Windows of a wave, each divided by its first number, which may be near 0."""
    generator = np.random.default_rng(0)
    times = np.arange(17) + generator.uniform(0, 60, (600, 1))
    waves = np.sin(0.35 * times) + 0.05 * generator.normal(size=(600, 17))
    if not is_cured:
        waves = waves / waves[:, :1] - 1
    xs, ys = waves[:, :16, None].astype(np.float32), waves[:, 16].astype(np.float32)
    model = built((16, 1), layers.LSTM(16), layers.Dense(1))
    return CaseProgram(
        model, xs, ys, squares, optax.adam(1e-2), data.explained, steps=150, every=10
    )


def depths_of_zero(is_cured: bool) -> CaseProgram:
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
    return CaseProgram(model, xs, ys, squares, optax.adam(1e-2), score, steps=120, every=10)

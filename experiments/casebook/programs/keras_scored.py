"""Once blind programs in Keras with the JAX backend."""

import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import keras
import numpy as np
import optax
from jaxtyping import Array
from keras import layers

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.keras import binary, built, classes, squares


def softmax_for_many_labels(is_cured: bool) -> Program:
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
    return Program(model, xs, ys, loss, optax.adam(1e-2), data.labels_right, steps=120)


def binary_for_ten_classes(is_cured: bool) -> Program:
    """The cross entropy of two classes, of each column of a softmax over ten."""
    xs, ys = data.digits()

    def of_columns(output: Array, ys: Array) -> Any:
        return keras.losses.binary_crossentropy(jax.nn.one_hot(ys, 10), output)

    model = built((64,), layers.Dense(32, "relu"), layers.Dense(10, "softmax"))
    loss = classes if is_cured else of_columns
    return Program(model, xs, ys, loss, optax.sgd(0.1), data.accuracy, steps=100)


def exponentials_between(is_cured: bool) -> Program:
    """Layers of exponentials, one after the other."""
    xs, ys = data.circles()
    activation = "relu" if is_cured else "exponential"
    hidden = [layers.Dense(8, activation, kernel_initializer="he_uniform") for _ in range(8)]
    model = built((2,), *hidden, layers.Dense(1, "sigmoid"))
    return Program(model, xs, ys, binary, optax.adam(1e-2), data.accuracy, steps=150, every=10)


def relu_through_time(is_cured: bool) -> Program:
    """Relu over sixty steps of a recurrent layer whose weights are twice too large."""
    generator = np.random.default_rng(0)
    times = np.arange(61) + generator.uniform(0, 50, (512, 1))
    waves = np.sin(0.3 * times) + 0.1 * generator.normal(size=(512, 61))
    xs, ys = waves[:, :60, None].astype(np.float32), waves[:, 60].astype(np.float32)
    start = keras.initializers.Orthogonal(1.0 if is_cured else 2.0)
    cell = layers.SimpleRNN(24, activation="relu", recurrent_initializer=start)
    model = built((60, 1), cell, layers.Dense(1))
    return Program(model, xs, ys, squares, optax.adam(3e-3), data.explained, steps=150, every=10)


def patients_without_a_value(is_cured: bool) -> Program:
    """Missing values, that are nan, among the columns of a regression."""
    xs, ys = data.diabetes()
    is_missing = np.random.default_rng(0).uniform(size=xs.shape) < 0.02
    xs = np.where(is_missing, 0.0 if is_cured else np.nan, xs).astype(np.float32)
    model = built((10,), layers.Dense(32, "relu"), layers.Dense(16, "relu"), layers.Dense(1))
    return Program(model, xs, ys, squares, optax.adam(1e-2), data.explained, steps=100)


def flowers_as_they_are_stored(is_cured: bool) -> Program:
    """Flowers of one species after the other, fitted without a shuffle."""
    xs, ys = data.iris()
    model = built(
        (4,), layers.Dense(32, "relu"), layers.LayerNormalization(), layers.Dense(3, "softmax")
    )
    optimizer = optax.sgd(0.1, momentum=0.9)
    given = model, xs, ys, classes, optimizer, data.accuracy
    return Program(*given, batch=10, steps=45, is_shuffled=is_cured)


def sigmoid_for_stars(is_cured: bool) -> Program:
    """A sigmoid for one to five stars, from the features of wines."""
    xs, _ = data.wine()
    stars = np.clip(np.round(3 + xs[:, 9] + 0.5 * xs[:, 0]), 1, 5).astype(np.float32)
    end = "linear" if is_cured else "sigmoid"
    model = built((13,), layers.Dense(32, "gelu"), layers.Dense(1, end))
    return Program(model, xs, stars, squares, optax.adam(1e-2), data.explained, steps=150, every=10)

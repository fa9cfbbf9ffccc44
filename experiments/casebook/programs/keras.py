"""Programs in Keras with the JAX backend, whose losses take probabilities."""

import os
from collections.abc import Callable
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

Model = tuple[Callable[..., Any], list[Any]]


def built(shape: tuple[int, ...], *parts: Any) -> Model:
    """Return the function of a Sequential, and its trained variables."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(shape), *parts])
    fixed = [variable.value for variable in model.non_trainable_variables]
    trained = [variable.value for variable in model.trainable_variables]
    return lambda trained, xs: model.stateless_call(trained, fixed, xs)[0], trained


def binary(output: Array, ys: Array) -> Any:
    """Return Keras' cross entropy of one probability."""
    return keras.losses.binary_crossentropy(ys[:, None], output)


def classes(output: Array, ys: Array) -> Any:
    """Return Keras' cross entropy of probabilities."""
    return keras.losses.sparse_categorical_crossentropy(ys, output)


def squares(output: Array, ys: Array) -> Any:
    """Return Keras' mean square."""
    return keras.losses.mean_squared_error(ys[:, None], output)


def sum_by_softmax(is_cured: bool) -> Program:
    """A regression whose one unit has a softmax."""
    xs, ys = data.diabetes()
    end = "linear" if is_cured else "softmax"
    model = built((10,), layers.Dense(16, "relu"), layers.Dense(1, end))
    return Program(model, xs, ys, squares, optax.rmsprop(1e-2), data.explained)


def cells_as_measured(is_cured: bool) -> Program:
    """Columns from 0.001 to 4254 into three layers."""
    xs, ys = data.tumours(is_scaled=is_cured)
    model = built(
        (30,), layers.Dense(32, "relu"), layers.Dense(16, "relu"), layers.Dense(1, "sigmoid")
    )
    return Program(model, xs, ys, binary, optax.sgd(0.01), data.accuracy)


def no_softmax_at_the_end(is_cured: bool) -> Program:
    """Linear outputs for a cross entropy that expects probabilities."""
    xs, ys = data.digits()
    end = "softmax" if is_cured else "linear"
    model = built((64,), layers.Dense(32, "relu"), layers.Dense(10, end))
    return Program(model, xs, ys, classes, optax.adam(3e-3), data.accuracy)


def hard_sigmoids(is_cured: bool) -> Program:
    """Convolutions with hard sigmoids, three after another."""
    xs, ys = data.images()
    xs = xs.reshape(-1, 8, 8, 1)
    activation = "relu" if is_cured else "hard_sigmoid"
    convolutions = [layers.Conv2D(8, 3, padding="same", activation=activation) for _ in range(5)]
    model = built((8, 8, 1), *convolutions, layers.Flatten(), layers.Dense(10, "softmax"))
    return Program(model, xs, ys, classes, optax.adam(1e-3), data.accuracy)


def regularised_away(is_cured: bool) -> Program:
    """AdamW with a decay of 50."""
    xs, ys = data.digits()
    optimizer = optax.adamw(3e-3, weight_decay=1e-4 if is_cured else 50.0)
    model = built((64,), layers.Dense(32, "relu"), layers.Dense(10, "softmax"))
    return Program(model, xs, ys, classes, optimizer, data.accuracy)


def line_by_small_steps(is_cured: bool) -> Program:
    """A plain line, by steps a hundred times too small."""
    xs, ys = data.diabetes()
    model = built((10,), layers.Dense(16, "tanh"), layers.Dense(1))
    rate = 0.03 if is_cured else 3e-4
    return Program(model, xs, ys, squares, optax.sgd(rate), data.explained)


def signs_in_the_dark(is_cured: bool) -> Program:
    """Relu convolutions of three filters that are off for every image."""
    xs, ys = data.images()
    xs = xs.reshape(-1, 8, 8, 1)
    activation = "elu" if is_cured else "relu"
    convolutions = [
        layers.Conv2D(
            3, 1, activation=activation, bias_initializer=keras.initializers.Constant(-3)
        ),
        layers.Conv2D(8, 3, activation=activation),
    ]
    model = built((8, 8, 1), *convolutions, layers.Flatten(), layers.Dense(10, "softmax"))
    return Program(model, xs, ys, classes, optax.adam(3e-3), data.accuracy)


def clipped_by_value(is_cured: bool) -> Program:
    """Each entry of the gradient clipped to 0.00001."""
    xs, ys = data.digits()
    optimizer = optax.chain(optax.clip(1.0 if is_cured else 1e-5), optax.sgd(0.1))
    model = built((64,), layers.Dense(32, "relu"), layers.Dense(10, "softmax"))
    return Program(model, xs, ys, classes, optimizer, data.accuracy)


def forty_steps_of_a_simple_rnn(is_cured: bool) -> Program:
    """A recurrent layer that is to remember the first of forty inputs."""
    xs = np.random.default_rng(0).normal(size=(256, 40, 2)).astype(np.float32)
    xs[:, 1:] /= 10
    ys = (xs[:, 0, 0] > 0).astype(np.int32)
    start = keras.initializers.Identity(1.0 if is_cured else 0.3)
    cell = layers.SimpleRNN(16, recurrent_initializer=start, activation="tanh")
    model = built((40, 2), cell, layers.Dense(1, "sigmoid"))
    return Program(model, xs, ys, binary, optax.adam(3e-3), data.accuracy, steps=100, every=10)


def logits_for_probabilities(is_cured: bool) -> Program:
    """A sigmoid, and a loss told that it gets logits."""
    xs, ys = data.moons()

    def loss(output: Array, ys: Array) -> Any:
        return keras.losses.binary_crossentropy(ys[:, None], output, from_logits=not is_cured)

    model = built((2,), layers.Dense(16, "relu"), layers.Dense(1, "sigmoid"))
    return Program(model, xs, ys, loss, optax.sgd(0.3), data.accuracy, steps=100)


def tanh_for_prices(is_cured: bool) -> Program:
    """A tanh at the end, of targets from 25 to 346."""
    xs, _ = data.diabetes()
    _, ys = data.diabetes(is_scaled=False)
    model = built((10,), layers.Dense(16, "relu"), layers.Dense(1, None if is_cured else "tanh"))
    return Program(model, xs, ys, squares, optax.adam(0.1), data.explained, steps=200, every=10)


def hinge_for_ten_classes(is_cured: bool) -> Program:
    """The hinge loss of probabilities, and labels 0 and 1 where it expects -1 and 1."""
    xs, ys = data.digits()

    def hinge(output: Array, ys: Array) -> Any:
        return keras.losses.hinge(jax.nn.one_hot(ys, 10), output)

    model = built((64,), layers.Dense(32, "relu"), layers.Dense(10, "softmax"))
    loss = classes if is_cured else hinge
    return Program(model, xs, ys, loss, optax.sgd(0.1), data.accuracy)


def letters_as_numbers(is_cured: bool) -> Program:
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
    return Program(model, xs, ys, classes, optax.adam(1e-2), data.accuracy, steps=100, batch=64)


def difference_of_means(is_cured: bool) -> Program:
    """A loss of the batch's means, which two wrong outputs can make right together."""
    xs, ys = data.diabetes()

    def of_means(output: Array, ys: Array) -> Array:
        return (jnp.mean(output) - jnp.mean(ys)) ** 2

    model = built((10,), layers.Dense(16, "relu"), layers.Dense(1))
    loss = squares if is_cured else of_means
    return Program(model, xs, ys, loss, optax.adam(1e-2), data.explained)

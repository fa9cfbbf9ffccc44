"""Programs in Keras with the JAX backend whose layers or parameters are at fault."""

import keras
import numpy as np
import optax
from keras import layers

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.keras_parts import binary, built, classified, squares


def hard_sigmoids(is_cured: bool) -> CaseProgram:
    """Convolutions with hard sigmoids, three after another."""
    xs, ys = data.images()
    xs = xs.reshape(-1, 8, 8, 1)
    activation = "relu" if is_cured else "hard_sigmoid"
    convolutions = [layers.Conv2D(8, 3, padding="same", activation=activation) for _ in range(5)]
    model = built((8, 8, 1), *convolutions, layers.Flatten(), layers.Dense(10, "softmax"))
    return classified((xs, ys), model, optax.adam(1e-3))


def signs_in_the_dark(is_cured: bool) -> CaseProgram:
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
    return classified((xs, ys), model, optax.adam(3e-3))


def forty_steps_of_a_simple_rnn(is_cured: bool) -> CaseProgram:
    """A recurrent layer that is to remember the first of forty inputs."""
    xs = np.random.default_rng(0).normal(size=(256, 40, 2)).astype(np.float32)
    xs[:, 1:] /= 10
    ys = (xs[:, 0, 0] > 0).astype(np.int32)
    start = keras.initializers.Identity(1.0 if is_cured else 0.3)
    cell = layers.SimpleRNN(16, recurrent_initializer=start, activation="tanh")
    model = built((40, 2), cell, layers.Dense(1, "sigmoid"))
    return CaseProgram(model, xs, ys, binary, optax.adam(3e-3), data.accuracy, steps=100, every=10)


def exponentials_between(is_cured: bool) -> CaseProgram:
    """Layers of exponentials, one after the other."""
    xs, ys = data.circles()
    activation = "relu" if is_cured else "exponential"
    hidden = [layers.Dense(8, activation, kernel_initializer="he_uniform") for _ in range(8)]
    model = built((2,), *hidden, layers.Dense(1, "sigmoid"))
    return CaseProgram(model, xs, ys, binary, optax.adam(1e-2), data.accuracy, steps=150, every=10)


def relu_through_time(is_cured: bool) -> CaseProgram:
    """Relu over sixty steps of a recurrent layer whose weights are twice too large."""
    generator = np.random.default_rng(0)
    times = np.arange(61) + generator.uniform(0, 50, (512, 1))
    waves = np.sin(0.3 * times) + 0.1 * generator.normal(size=(512, 61))
    xs, ys = waves[:, :60, None].astype(np.float32), waves[:, 60].astype(np.float32)
    start = keras.initializers.Orthogonal(1.0 if is_cured else 2.0)
    cell = layers.SimpleRNN(24, activation="relu", recurrent_initializer=start)
    model = built((60, 1), cell, layers.Dense(1))
    return CaseProgram(
        model, xs, ys, squares, optax.adam(3e-3), data.explained, steps=150, every=10
    )


def relu_in_an_lstm(is_cured: bool) -> CaseProgram:
    """An LSTM after a convolution whose state goes through relu, and has no bounds."""
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
    return classified((xs, ys), model, optax.adam(1e-2), steps=150, every=10)

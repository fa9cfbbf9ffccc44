"""Programs in Keras whose last activation, loss and labels do not fit each other."""

from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
from jaxtyping import Array
from keras import layers

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.keras_parts import built, classes, classified, squares


def sum_by_softmax(is_cured: bool) -> CaseProgram:
    """A regression whose one unit has a softmax."""
    xs, ys = data.diabetes()
    end = "linear" if is_cured else "softmax"
    model = built((10,), layers.Dense(16, "relu"), layers.Dense(1, end))
    return CaseProgram(model, xs, ys, squares, optax.rmsprop(1e-2), data.explained)


def no_softmax_at_the_end(is_cured: bool) -> CaseProgram:
    """Linear outputs for a cross entropy that expects probabilities."""
    end = "softmax" if is_cured else "linear"
    model = built((64,), layers.Dense(32, "relu"), layers.Dense(10, end))
    return classified(data.digits(), model, optax.adam(3e-3))


def logits_for_probabilities(is_cured: bool) -> CaseProgram:
    """A sigmoid, and a loss told that it gets logits."""
    xs, ys = data.moons()

    def loss(output: Array, ys: Array) -> Any:
        return keras.losses.binary_crossentropy(ys[:, None], output, from_logits=not is_cured)

    model = built((2,), layers.Dense(16, "relu"), layers.Dense(1, "sigmoid"))
    return CaseProgram(model, xs, ys, loss, optax.sgd(0.3), data.accuracy, steps=100)


def hinge_for_ten_classes(is_cured: bool) -> CaseProgram:
    """The hinge loss of probabilities, and labels 0 and 1 where it expects -1 and 1."""
    xs, ys = data.digits()

    def hinge(output: Array, ys: Array) -> Any:
        return keras.losses.hinge(jax.nn.one_hot(ys, 10), output)

    model = built((64,), layers.Dense(32, "relu"), layers.Dense(10, "softmax"))
    loss = classes if is_cured else hinge
    return CaseProgram(model, xs, ys, loss, optax.sgd(0.1), data.accuracy)


def difference_of_means(is_cured: bool) -> CaseProgram:
    """A loss of the batch's means, which two wrong outputs can make right together."""
    xs, ys = data.diabetes()

    def of_means(output: Array, ys: Array) -> Array:
        return (jnp.mean(output) - jnp.mean(ys)) ** 2

    model = built((10,), layers.Dense(16, "relu"), layers.Dense(1))
    loss = squares if is_cured else of_means
    return CaseProgram(model, xs, ys, loss, optax.adam(1e-2), data.explained)


def binary_for_ten_classes(is_cured: bool) -> CaseProgram:
    """The cross entropy of two classes, of each column of a softmax over ten."""
    xs, ys = data.digits()

    def of_columns(output: Array, ys: Array) -> Any:
        return keras.losses.binary_crossentropy(jax.nn.one_hot(ys, 10), output)

    model = built((64,), layers.Dense(32, "relu"), layers.Dense(10, "softmax"))
    loss = classes if is_cured else of_columns
    return CaseProgram(model, xs, ys, loss, optax.sgd(0.1), data.accuracy, steps=100)


def densities_that_vanish(is_cured: bool) -> CaseProgram:
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
    return CaseProgram(model, xs, ys, unlikely, optax.adam(3e-2), score, steps=250, every=10)


def counts_below_zero(is_cured: bool) -> CaseProgram:
    """Counts foretold by what may be below 0, for a loss that takes its logarithm."""
    xs, _ = data.wine()
    generator = np.random.default_rng(0)
    ys = generator.poisson(np.exp(0.5 + 0.6 * xs[:, 9] + 0.3 * xs[:, 0])).astype(np.float32)
    poisson = lambda output, ys: keras.losses.poisson(ys[:, None], output)
    model = built(
        (12,), layers.Dense(24, "relu"), layers.Dense(1, "softplus" if is_cured else None)
    )
    given = model, np.delete(xs, 5, axis=1), ys, poisson, optax.adam(1e-2), data.explained
    return CaseProgram(*given, steps=120)

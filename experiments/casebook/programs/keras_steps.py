"""Programs in Keras with the JAX backend whose optimiser, loop or number formats are at fault."""

from typing import Any

import jax.numpy as jnp
import keras
import optax
from jaxtyping import Array
from keras import layers

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.keras_parts import built, classified, squares


def regularised_away(is_cured: bool) -> CaseProgram:
    """AdamW with a decay of 50."""
    optimizer = optax.adamw(3e-3, weight_decay=1e-4 if is_cured else 50.0)
    model = built((64,), layers.Dense(32, "relu"), layers.Dense(10, "softmax"))
    return classified(data.digits(), model, optimizer)


def line_by_small_steps(is_cured: bool) -> CaseProgram:
    """A plain line, by steps a hundred times too small."""
    xs, ys = data.diabetes()
    model = built((10,), layers.Dense(16, "tanh"), layers.Dense(1))
    rate = 0.03 if is_cured else 3e-4
    return CaseProgram(model, xs, ys, squares, optax.sgd(rate), data.explained)


def clipped_by_value(is_cured: bool) -> CaseProgram:
    """Each entry of the gradient clipped to 0.00001."""
    optimizer = optax.chain(optax.clip(1.0 if is_cured else 1e-5), optax.sgd(0.1))
    model = built((64,), layers.Dense(32, "relu"), layers.Dense(10, "softmax"))
    return classified(data.digits(), model, optimizer)


def epsilon_of_keras_in_float16(is_cured: bool) -> CaseProgram:
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
    return CaseProgram(model, xs, ys, loss, optimizer, data.accuracy, steps=150, every=10)

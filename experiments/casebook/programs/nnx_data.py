"""Programs in Flax NNX whose data or targets do not fit."""

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.jax_parts import squares
from experiments.casebook.programs.nnx_parts import Pictures, Reading, classes, classified, mlp


def relu_for_both_signs(is_cured: bool) -> CaseProgram:
    """A relu at the end, of targets that are below 0 as often as above."""
    xs, ys = data.diabetes()
    model = mlp((10, 16, 1), end=None if is_cured else nnx.relu)
    return CaseProgram(model, xs, ys, squares, optax.adam(1e-2), data.explained)


def labels_from_one(is_cured: bool) -> CaseProgram:
    """Labels 1 and 2 for two outputs."""
    xs, ys = data.moons()
    ys = ys if is_cured else ys + 1
    model = mlp((2, 16, 2))
    return classified((xs, ys), model, optax.adam(1e-2))


def autoencoder_of_relu(is_cured: bool) -> CaseProgram:
    """Columns below 0 as often as above, to be made by relu."""
    xs, _ = data.wine()
    activation = nnx.tanh if is_cured else nnx.relu
    model = mlp((13, 26, 6, 26, 13), activation, end=None if is_cured else nnx.relu)
    loss = lambda output, ys: jnp.mean((output - ys) ** 2, axis=-1)
    return CaseProgram(model, xs, xs, loss, optax.adam(1e-2), data.explained, steps=150, every=10)


def labels_divided_by_255(is_cured: bool) -> CaseProgram:
    """Labels that were taken for pixels, divided and cut to whole numbers."""
    xs, ys = data.digits()
    labels = ys if is_cured else (ys / 255).astype(np.int32)
    score = lambda output, _: data.accuracy(output, ys)
    return CaseProgram(mlp((64, 32, 10)), xs, labels, classes, optax.adam(3e-3), score)


def frames_divided_again(is_cured: bool) -> CaseProgram:
    """Frames that the game divides by 255, and the preprocessing once more."""
    images, labels = data.digits(is_scaled=False)
    frames = (images * 15).reshape(-1, 8, 8, 1) / 255
    xs = (frames if is_cured else frames / 255).astype(np.float32)
    actions = np.random.default_rng(0).integers(0, 10, len(labels))
    actions = np.where(np.arange(len(labels)) % 2, labels, actions)
    ys = np.stack([actions, actions == labels], axis=1).astype(np.float32)

    def loss(output: Array, ys: Array) -> Array:
        chosen = jnp.take_along_axis(output, ys[:, :1].astype(jnp.int32), axis=1)[:, 0]
        return (chosen - ys[:, 1]) ** 2

    score = lambda output, ys: data.accuracy(output, labels)
    given = Pictures(nnx.Rngs(0)), xs, ys, loss, optax.adam(3e-3), score
    return CaseProgram(*given, batch=64, steps=300, every=20)


def prices_of_thousands(is_cured: bool) -> CaseProgram:
    """Prices from 1000 to 5000, as they are, into a gated recurrent network."""
    generator = np.random.default_rng(0)
    slopes = generator.normal(size=(600, 1))
    prices = generator.uniform(1000, 5000, (600, 1)) + 10 * slopes * np.arange(16)
    prices = prices + 20 * generator.normal(size=prices.shape)
    ys = (slopes[:, 0] > 0).astype(np.int32)
    centred = prices - prices.mean(axis=1, keepdims=True)
    xs = (centred / centred.std() if is_cured else prices)[..., None].astype(np.float32)
    model = Reading(nnx.Rngs(0), inputs=1, outputs=2)
    return classified((xs, ys), model, optax.adam(1e-2), steps=100, every=10)


def torques_up_to_two(is_cured: bool) -> CaseProgram:
    """A tanh at the end of what chooses torques from -2 to 2."""
    chance = np.random.default_rng(0)
    angles, speeds = chance.uniform(-3, 3, 1500), chance.uniform(-1, 1, 1500)
    xs = np.stack([np.cos(angles), np.sin(angles), speeds], axis=1).astype(np.float32)
    ys = np.clip(-4 * np.sin(angles) - 2 * speeds, -2, 2).astype(np.float32)
    end = (lambda z: 2 * jnp.tanh(z)) if is_cured else jnp.tanh
    model = mlp((3, 48, 48, 1), end=end)
    given = model, xs, ys, squares, optax.adam(3e-3), data.explained
    return CaseProgram(*given, batch=64, steps=200, every=10)


def mean_of_bytes_from_fractions(is_cured: bool) -> CaseProgram:
    """Pixels from 0 to 1, less the mean of bytes, divided by their spread: all near -2."""
    images, ys = data.digits(is_scaled=False)
    mean, spread = np.array([0.3, 0.375]) * (1 if is_cured else 255)
    xs = ((images / 16 - mean) / spread).astype(np.float32)
    return classified((xs, ys), mlp((64, 48, 48, 10)), optax.adam(3e-3), steps=100)

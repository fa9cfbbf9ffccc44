"""Programs in Flax NNX of the second blind round."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.nnx_parts import classes, classified, mlp


class Curves(nnx.Module):
    """A curve from each number to each unit: a sum of tents on a grid from -1 to 1."""

    def __init__(self, inputs: int, units: int, rngs: nnx.Rngs, tents: int = 9):
        drawn = jax.random.normal(rngs.params(), (inputs, tents, units))
        self.heights = nnx.Param(drawn * (2 / inputs) ** 0.5)
        self.grid = tuple(np.linspace(-1, 1, tents).tolist())

    def __call__(self, xs: Array) -> Array:
        step = self.grid[1] - self.grid[0]
        tents = nnx.relu(1 - jnp.abs(xs[..., None] - jnp.array(self.grid)) / step)
        return jnp.einsum("big,igo->bo", tents, self.heights[...])


def millimetres_beyond_the_grid(is_cured: bool) -> CaseProgram:
    """Flowers of 1 to 79 millimetres, for curves that are 0 outside of -1 and 1."""
    xs, ys = data.iris(is_scaled=False)
    xs = 10 * xs
    if is_cured:
        xs = 2 * (xs - xs.min(axis=0)) / np.ptp(xs, axis=0) - 1
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(Curves(4, 8, rngs), nnx.tanh, Curves(8, 3, rngs))
    return classified((xs, ys), model, optax.adam(1e-2), steps=100)


def shares_between_layers(is_cured: bool) -> CaseProgram:
    """Softmax between layers, whose units share a sum of 1."""
    model = mlp((64, 64, 64, 10), nnx.relu if is_cured else nnx.softmax)
    return classified(data.digits(), model, optax.adam(3e-3), steps=100)


def a_view_beside_itself(is_cured: bool) -> CaseProgram:
    """Two views of each thing, of which the first is compared with itself."""
    chance = np.random.default_rng(0)
    things = chance.normal(size=(2000, 1, 6)) @ chance.normal(size=(6, 32))
    around = 4 * chance.normal(size=(2000, 2, 12)) @ chance.normal(size=(12, 32))
    xs = ((things + around) / 10).astype(np.float32)

    def unit(z: Array) -> Array:
        return z / jnp.sqrt(jnp.sum(z**2, axis=-1, keepdims=True) + 1e-6)

    def agreement(output: Array, ys: Array) -> Array:
        first, second = unit(output[:, 0]), unit(output[:, 1])
        logits = first @ (second if is_cured else first).T / 0.1
        return classes(logits, jnp.arange(len(output)))

    def score(output: Array, ys: Array) -> float:
        """Return how many of the first hundred are most like their second view."""
        first, second = unit(output[:100, 0]), unit(output[:100, 1])
        return float(np.mean(np.argmax(first @ second.T, axis=1) == np.arange(100)))

    model = mlp((32, 64, 16))
    given = model, xs, xs, agreement, optax.adam(3e-3), score
    return CaseProgram(*given, batch=128, steps=200, every=10)

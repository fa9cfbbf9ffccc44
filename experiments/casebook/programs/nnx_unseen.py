"""Unseen programs in Flax NNX."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.nnx import classes, mlp, squares


class Pictures(nnx.Module):
    """Two convolutions and a linear layer."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Conv(1, 8, (3, 3), strides=2, rngs=rngs)
        self.second = nnx.Conv(8, 16, (3, 3), strides=2, rngs=rngs)
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, xs: Array) -> Array:
        z = nnx.relu(self.first(xs.reshape(-1, 8, 8, 1)))
        return self.head(nnx.relu(self.second(z)).reshape(len(xs), -1))


def lars_at_the_rate_of_adam(is_cured: bool) -> Program:
    """LARS, whose steps are a thousandth of the weights times the rate, with 0.001."""
    xs, ys = data.digits()
    optimizer = optax.lars(3.0 if is_cured else 1e-3)
    given = Pictures(nnx.Rngs(0)), xs, ys, classes, optimizer, data.accuracy
    return Program(*given, batch=128, steps=200, every=10)


def torques_up_to_two(is_cured: bool) -> Program:
    """A tanh at the end of what chooses torques from -2 to 2."""
    chance = np.random.default_rng(0)
    angles, speeds = chance.uniform(-3, 3, 1500), chance.uniform(-1, 1, 1500)
    xs = np.stack([np.cos(angles), np.sin(angles), speeds], axis=1).astype(np.float32)
    ys = np.clip(-4 * np.sin(angles) - 2 * speeds, -2, 2).astype(np.float32)
    end = (lambda z: 2 * jnp.tanh(z)) if is_cured else jnp.tanh
    model = mlp((3, 48, 48, 1), end=end)
    given = model, xs, ys, squares, optax.adam(3e-3), data.explained
    return Program(*given, batch=64, steps=200, every=10)


class Mixture(nnx.Module):
    """Logarithms of weights, means and logarithms of spreads of five normal distributions."""

    def __init__(self, axis: int):
        self.axis = axis
        self.inner = mlp((1, 48, 48, 15), nnx.tanh)

    def __call__(self, xs: Array) -> Array:
        logits, means, spreads = jnp.split(self.inner(xs), 3, axis=1)
        return jnp.concatenate([jax.nn.log_softmax(logits, self.axis), means, spreads], axis=1)


def mixture_along_the_batch(is_cured: bool) -> Program:
    """Weights of a mixture that sum to 1 over the examples, not over its parts."""
    chance = np.random.default_rng(0)
    ys = chance.uniform(-1, 1, 1000)
    xs = (ys + 0.3 * np.sin(7 * ys) + 0.05 * chance.normal(size=1000))[:, None]

    def unlikely(output: Array, ys: Array) -> Array:
        weights, means, spreads = jnp.split(output, 3, axis=1)
        each = weights - ((ys[:, None] - means) * jnp.exp(-spreads)) ** 2 / 2 - spreads
        return 1 - jax.nn.logsumexp(each, axis=1)

    score = lambda output, ys: float(np.exp(-np.mean(unlikely(output, ys))))
    xs, ys = xs.astype(np.float32), ys.astype(np.float32)
    given = Mixture(1 if is_cured else 0), xs, ys, unlikely, optax.adam(3e-3), score
    return Program(*given, batch=64, steps=250, every=10)

"""Programs in Flax NNX whose last activation, loss and labels do not fit each other."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.jax_parts import binary
from experiments.casebook.programs.nnx_parts import classes, mlp


def relu_for_a_probability(is_cured: bool) -> CaseProgram:
    """A relu where the binary cross entropy expects a probability."""
    xs, ys = data.tumours()

    model = mlp((30, 8, 1), end=nnx.sigmoid if is_cured else nnx.relu)
    last = model.layers[2]
    last.bias[...] = jnp.full(1, -1.0)
    return CaseProgram(model, xs, ys, binary, optax.adam(1e-2), data.accuracy)


def sum_of_errors_turned(is_cured: bool) -> CaseProgram:
    """A likelihood that is made as small as can be."""
    xs, ys = data.wine()
    sign = 1.0 if is_cured else -1.0
    loss = lambda output, ys: sign * classes(output, ys)
    return CaseProgram(mlp((13, 16, 3)), xs, ys, loss, optax.sgd(0.1), data.accuracy)


def squares_of_a_softmax(is_cured: bool) -> CaseProgram:
    """Squares of a softmax, small uniform weights, and no norm of the votes."""
    xs, ys = data.tumours()
    xs = (xs[:, :16] > 0).astype(np.float32)  # above the mean or not
    rngs = nnx.Rngs(0)
    draw = nnx.initializers.uniform(0.1)
    small = lambda key, shape, dtype=jnp.float32: draw(key, shape, dtype) - 0.05
    layer = lambda n, m: nnx.Linear(n, m, kernel_init=small, rngs=rngs)
    first = [nnx.LayerNorm(16, rngs=rngs)] if is_cured else []
    hidden = [layer(16, 64), nnx.tanh, layer(64, 64), nnx.tanh, layer(64, 2)]
    end = [nnx.sigmoid if is_cured else nnx.softmax]
    model = nnx.Sequential(*first, *hidden, *end)

    def squares(output: Array, ys: Array) -> Array:
        return jnp.mean((output - jax.nn.one_hot(ys, 2)) ** 2, axis=-1)

    def binary(output: Array, ys: Array) -> Array:
        p, labels = jnp.clip(output, 1e-7, 1 - 1e-7), jax.nn.one_hot(ys, 2)
        return -jnp.mean(labels * jnp.log(p) + (1 - labels) * jnp.log1p(-p), axis=-1)

    loss = binary if is_cured else squares
    return CaseProgram(model, xs, ys, loss, optax.sgd(0.1), data.accuracy, batch=16, steps=100)


class Variational(nnx.Module):
    """An autoencoder of images beside which the noise stands: returns images, means, spreads."""

    def __init__(self, rngs: nnx.Rngs):
        self.encoder = nnx.Sequential(
            nnx.Linear(64, 64, rngs=rngs), nnx.tanh, nnx.Linear(64, 8, rngs=rngs)
        )
        self.decoder = nnx.Sequential(
            nnx.Linear(4, 64, rngs=rngs), nnx.tanh, nnx.Linear(64, 64, rngs=rngs)
        )

    def __call__(self, xs: Array) -> Array:
        images, noise = jnp.split(xs, [64], axis=1)
        mean, logarithm = jnp.split(self.encoder(images), 2, axis=1)
        made = self.decoder(mean + jnp.exp(logarithm) * noise)
        return jnp.concatenate([made, mean, logarithm], axis=1)


def logarithm_with_a_plus(is_cured: bool) -> CaseProgram:
    """A divergence whose logarithm of the spread has the wrong sign."""
    images, _ = data.digits()
    noise = np.random.default_rng(0).normal(size=(len(images), 4))
    xs = np.concatenate([images, noise], axis=1).astype(np.float32)

    def bound(output: Array, ys: Array, sign: float) -> Array:
        made, mean, logarithm = jnp.split(output, [64, 68], axis=1)
        divergence = (jnp.exp(2 * logarithm) + mean**2 - 1) / 2 + sign * logarithm
        return 5 * jnp.sum((made - ys) ** 2, axis=1) + jnp.sum(divergence, axis=1)

    loss = lambda output, ys: bound(output, ys, -1.0 if is_cured else 1.0)
    score = lambda output, ys: float(np.exp(-np.mean(bound(output, ys, -1.0)) / 64))
    model = Variational(nnx.Rngs(0))
    return CaseProgram(model, xs, images, loss, optax.adam(1e-2), score, steps=200, every=10)


class Mixture(nnx.Module):
    """Logarithms of weights, means and logarithms of spreads of five normal distributions."""

    def __init__(self, axis: int):
        self.axis = axis
        self.inner = mlp((1, 48, 48, 15), nnx.tanh)

    def __call__(self, xs: Array) -> Array:
        logits, means, spreads = jnp.split(self.inner(xs), 3, axis=1)
        return jnp.concatenate([jax.nn.log_softmax(logits, self.axis), means, spreads], axis=1)


def mixture_along_the_batch(is_cured: bool) -> CaseProgram:
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
    return CaseProgram(*given, batch=64, steps=250, every=10)

"""Once blind programs in Flax NNX."""

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.nnx import classes, mlp


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


def logarithm_with_a_plus(is_cured: bool) -> Program:
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
    return Program(model, xs, images, loss, optax.adam(1e-2), score, steps=200, every=10)


def lion_at_the_rate_of_adam(is_cured: bool) -> Program:
    """Lion, each of whose steps is as large as it can be, at the rate that Adam had."""
    images, _ = data.digits()
    noise = np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
    xs = images + 0.5 * noise
    squares = lambda output, ys: jnp.mean((output - ys) ** 2, axis=-1)
    model = mlp((64, 96, 96, 64), nnx.silu)
    optimizer = optax.lion(1e-3 if is_cured else 3e-2)
    return Program(model, xs, images, squares, optimizer, data.explained, steps=200, every=10)


def no_warmup_for_large_batches(is_cured: bool) -> Program:
    """A rate for batches of 256 from the first step on."""
    xs, ys = data.digits()
    rate = optax.linear_schedule(0.0, 0.4, 60) if is_cured else 0.4
    model = mlp((64, 48, 48, 48, 10))
    given = model, xs, ys, classes, optax.sgd(rate, momentum=0.9), data.accuracy
    return Program(*given, batch=256, steps=160)

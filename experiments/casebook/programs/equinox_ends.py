"""Programs in Equinox whose last activation, loss and labels do not fit each other."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.equinox_parts import classes, mlp, squares


def xor_of_one_softmax(is_cured: bool) -> CaseProgram:
    """XOR by sigmoids, with softmax over the one output."""
    xs, ys = data.xor()
    end = jax.nn.sigmoid if is_cured else jax.nn.softmax
    model = mlp((2, 8, 1), jax.nn.sigmoid, end)
    optimizer = optax.adam(0.1)
    return CaseProgram(
        model, xs, ys, squares, optimizer, data.accuracy, steps=200, every=10, each="example"
    )


def softmax_of_the_batch(is_cured: bool) -> CaseProgram:
    """A softmax over all examples of a batch, of one output each."""
    xs, ys = data.diabetes()

    class Net(eqx.Module):
        inner: Any

        def __call__(self, xs: Array) -> Array:
            z = jax.vmap(self.inner)(xs)
            return z if is_cured else jax.nn.softmax(z, axis=0)

    return CaseProgram(Net(mlp((10, 16, 1))), xs, ys, squares, optax.adam(1e-2), data.explained)


class Angles(eqx.Module):
    """Classes by the cosine between an example's vector and one of each class, times a scale."""

    inner: Any
    vectors: Array
    scale: float = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        unit = lambda z: z / jnp.sqrt(jnp.sum(z**2, axis=-1, keepdims=True) + 1e-6)
        return self.scale * unit(self.vectors) @ unit(self.inner(x))


def cosines_as_logits(is_cured: bool) -> CaseProgram:
    """Cosines between -1 and 1 as logits, without a scale."""
    xs, ys = data.digits()
    vectors = jax.random.normal(jax.random.key(1), (10, 16))
    model = Angles(mlp((64, 32, 16)), vectors, 16.0 if is_cured else 1.0)
    given = model, xs, ys, classes, optax.adam(3e-3), data.likelihood_of_logits
    return CaseProgram(*given, steps=100, each="example")


class Views(eqx.Module):
    """Two views of each image in a batch: their projections, and what is foretold of each other."""

    encoder: Any
    scale: Array
    shift: Array
    predictor: Any

    def __call__(self, xs: Array) -> Array:
        z = jax.vmap(jax.vmap(self.encoder))(xs)
        z = (z - z.mean(axis=(0, 1))) / jnp.sqrt(z.var(axis=(0, 1)) + 1e-5)
        z = self.scale * z + self.shift
        return jnp.stack([z, jax.vmap(jax.vmap(self.predictor))(z)], axis=1)


def views_without_a_stop(is_cured: bool) -> CaseProgram:
    """Two views that are to agree, without a stop_gradient: all that they agree on is one point."""
    images, _ = data.digits()
    noise = np.random.default_rng(0).normal(size=(2, *images.shape))
    xs = (images + 0.3 * noise).transpose(1, 0, 2).astype(np.float32)

    def unit(z: Array) -> Array:
        return z / jnp.sqrt(jnp.sum(z**2, axis=-1, keepdims=True) + 1e-6)

    def apart(output: Array, ys: Array) -> Array:
        projections, foretold = unit(output[:, 0]), unit(output[:, 1])
        if is_cured:
            projections = jax.lax.stop_gradient(projections)
        return 1 - jnp.sum(foretold * projections[:, ::-1], axis=-1).mean(axis=-1)

    def score(output: Array, ys: Array) -> float:
        """Return how far directions are spread: 1 of random ones, 0 of one point."""
        directions = np.asarray(unit(output[:, 1, 0]))
        return float(np.sqrt(directions.shape[1]) * directions.std(axis=0).mean())

    model = Views(mlp((64, 64, 16)), jnp.ones(16), jnp.zeros(16), mlp((16, 8, 16)))
    given = model, xs, xs, apart, optax.sgd(0.3, momentum=0.9), score
    return CaseProgram(*given, batch=128, steps=300, every=20)


def cosines_times_the_temperature(is_cured: bool) -> CaseProgram:
    """Cosines of left and right halves, multiplied with a temperature of 0.1, not divided."""
    xs, ys = data.digits()
    halves = xs.reshape(-1, 8, 2, 4).transpose(2, 0, 1, 3).reshape(2, -1, 32)

    class Two(eqx.Module):
        left: Any
        right: Any

        def __call__(self, x: Array) -> Array:
            z = jnp.stack([self.left(x[0]), self.right(x[1])])
            return z / jnp.linalg.norm(z, axis=-1, keepdims=True)

    def loss(output: Array, ys: Array) -> Array:
        cosines = output[:, 0] @ output[:, 1].T
        logits = cosines / 0.1 if is_cured else cosines * 0.1
        alike = ys[:, None] == ys
        return -jnp.sum(jax.nn.log_softmax(logits) * alike, axis=1) / jnp.sum(alike, axis=1)

    def score(output: Array, ys: Array) -> float:
        nearest = jnp.argmax(output[:, 0] @ output[:, 1].T, axis=1)
        return float(jnp.mean(ys[nearest] == ys))

    model = Two(mlp((32, 48, 16)), mlp((32, 48, 48, 16)))
    given = model, np.stack([*halves], axis=1), ys, loss, optax.sgd(0.05), score
    return CaseProgram(*given, batch=128, steps=200, every=10, each="example")

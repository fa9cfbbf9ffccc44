"""Unseen programs in Equinox, whose modules take an example at a time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.equinox import classes, mlp


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


def views_without_a_stop(is_cured: bool) -> Program:
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
    return Program(*given, batch=128, steps=300, every=20)


class Attending(eqx.Module):
    """Attention between the rows of an image, whose products are numbers of 16 bits."""

    weights: dict[str, Array]
    inner: Any
    scales_first: bool = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        q, k, v = (x @ self.weights[name] for name in "qkv")
        size = 1 / q.shape[-1] ** 0.5
        q, k = ((size * q if self.scales_first else q).astype(jnp.float16), k.astype(jnp.float16))
        logits = q @ k.T if self.scales_first else size * (q @ k.T)
        attended = jax.nn.softmax(logits.astype(jnp.float32), axis=-1) @ v
        return self.inner((x + attended @ self.weights["o"]).reshape(-1))


def products_beyond_float16(is_cured: bool) -> Program:
    """Products of queries and keys in float16, too large before they are divided."""
    images, ys = data.digits()
    bright = np.random.default_rng(0).random(len(images)) < 0.02
    xs = np.where(bright[:, None], 100 * images, images).reshape(-1, 8, 8).astype(np.float32)
    keys = jax.random.split(jax.random.key(1), 4)
    shapes = {"q": (8, 64), "k": (8, 64), "v": (8, 64), "o": (64, 8)}
    weights = {
        name: jax.random.normal(key, shape) / shape[0] ** 0.5
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    model = Attending(weights, mlp((64, 48, 10)), is_cured)
    given = model, xs, ys, classes, optax.adam(3e-3), data.accuracy
    return Program(*given, steps=150, every=10, each="example")


class Capsules(eqx.Module):
    """Eight small vectors of an image, and ten of digits: how long one is says how sure it is."""

    primary: eqx.nn.Linear
    transformation: Array  # from each small vector to each digit's

    def __call__(self, x: Array) -> Array:
        small = squashed(self.primary(x).reshape(8, 4))
        votes = jnp.einsum("ia,ijab->ijb", small, self.transformation)
        agreement = jnp.einsum("ijb,jb->ij", votes, squashed(votes.mean(axis=0)))
        coupling = jax.nn.softmax(agreement, axis=1)
        digits = squashed(jnp.einsum("ij,ijb->jb", coupling, votes))
        return jnp.sqrt(jnp.sum(digits**2, axis=-1) + 1e-9)


def squashed(vectors: Array) -> Array:
    """Return vectors that are shorter than 1, in the same direction."""
    square = jnp.sum(vectors**2, axis=-1, keepdims=True)
    return square / (1 + square) * vectors / jnp.sqrt(square + 1e-9)


def capsules_drawn_too_small(is_cured: bool) -> Program:
    """Vectors of digits drawn so small that they have hardly a length to learn from."""
    xs, ys = data.digits()

    def margins(output: Array, ys: Array) -> Array:
        is_digit = jax.nn.one_hot(ys, 10)
        long = is_digit * jax.nn.relu(0.9 - output) ** 2
        short = (1 - is_digit) * jax.nn.relu(output - 0.1) ** 2
        return jnp.sum(long + 0.5 * short, axis=-1)

    keys = jax.random.split(jax.random.key(0))
    spread = 1.0 if is_cured else 0.01
    transformation = spread * jax.random.normal(keys[0], (8, 10, 4, 8))
    model = Capsules(eqx.nn.Linear(64, 32, key=keys[1]), transformation)
    given = model, xs, ys, margins, optax.adam(3e-3), data.accuracy
    return Program(*given, batch=16, steps=120, every=10, each="example")

"""Unseen programs in Flax linen."""

import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.linen import built, classes


def bytes_divided_as_whole_numbers(is_cured: bool) -> Program:
    """Bytes divided by 255 as whole numbers: hardly one of them is not 0."""
    images, ys = data.digits(is_scaled=False)
    pixels = (15 * images).astype(np.uint8)
    xs = (pixels / 255 if is_cured else pixels // 255).astype(np.float32)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            x = x.reshape(-1, 8, 8, 1)
            for size in (8, 16):
                x = nn.relu(nn.Conv(size, (3, 3), strides=(2, 2))(x))
            return nn.Dense(10)(x.reshape(len(x), -1))

    model = built(Net(), xs)
    return Program(model, xs, ys, classes, optax.adam(1e-2), data.accuracy, steps=120)


class Neighbours(nn.Module):
    """Twelve nodes with numbers beside a row of which others are near; means over these."""

    knows_none: bool

    @nn.compact
    def __call__(self, xs: Array) -> Array:
        near, z = xs[..., :12], xs[..., 12:]
        degrees = jnp.sum(near, axis=-1, keepdims=True)
        weights = 1 / degrees
        if self.knows_none:
            weights = jnp.where(degrees > 0, 1 / jnp.maximum(degrees, 1), 0)
        for _ in range(2):
            z = nn.relu(nn.Dense(24)(z) + nn.Dense(24)(weights * (near @ z)))
        return nn.Dense(2)(z.mean(axis=1))


def nodes_without_neighbours(is_cured: bool) -> Program:
    """Graphs in which some nodes have no neighbours: their mean is 0 / 0."""
    chance = np.random.default_rng(0)
    near = np.triu(chance.random((1000, 12, 12)) < 0.2, 1)
    near = near + near.transpose(0, 2, 1)
    numbers = chance.normal(size=(1000, 12, 2))
    xs = np.concatenate([near, numbers], axis=-1).astype(np.float32)
    ys = (np.sum(near @ numbers[..., :1], axis=(1, 2)) > 0).astype(np.int32)
    model = built(Neighbours(is_cured), xs)
    given = model, xs, ys, classes, optax.adam(1e-2), data.accuracy
    return Program(*given, steps=150, every=10)


def tagger_at_a_half(is_cured: bool) -> Program:
    """Adam with 0.5 for a recurrent network that tags letters."""
    letters, following, known = data.text(10)
    xs, ys = letters[::4], following[::4]

    class Net(nn.Module):
        @nn.compact
        def __call__(self, xs: Array) -> Array:
            z = nn.RNN(nn.OptimizedLSTMCell(32))(nn.Embed(known, 32)(xs))
            return nn.Dense(known)(z)

    loss = lambda output, ys: jnp.mean(classes(output, ys), axis=-1)
    score = lambda output, ys: float(np.mean(np.asarray(output).argmax(-1) == ys))
    optimizer = optax.adam(1e-2 if is_cured else 0.5)
    model = built(Net(), xs)
    return Program(model, xs, ys, loss, optimizer, score, batch=64, steps=150, every=10)

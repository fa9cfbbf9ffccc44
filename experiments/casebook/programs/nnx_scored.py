"""Once blind programs in Flax NNX."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import Program
from experiments.casebook.programs.nnx import classes


class Quantised(nnx.Module):
    """An autoencoder whose code is the nearest of the vectors of a book."""

    def __init__(self, is_book_learned: bool, rngs: nnx.Rngs):
        self.is_book_learned = is_book_learned
        self.encoder = nnx.Sequential(
            nnx.Linear(64, 64, rngs=rngs), nnx.relu, nnx.Linear(64, 32, rngs=rngs)
        )
        self.book = nnx.Param(0.1 * jax.random.normal(rngs.params(), (32, 4)))
        self.decoder = nnx.Sequential(
            nnx.Linear(32, 64, rngs=rngs), nnx.relu, nnx.Linear(64, 64, rngs=rngs)
        )

    def __call__(self, xs: Array) -> Array:
        """Return images, codes and what stands for them in the book, side by side."""
        codes = self.encoder(xs).reshape(len(xs), 8, 4)
        squares = jnp.sum((codes[:, :, None] - self.book[...]) ** 2, axis=-1)
        nearest = self.book[...][jnp.argmin(squares, axis=-1)]
        passed = codes + jax.lax.stop_gradient(nearest - codes)
        chosen = nearest if self.is_book_learned else passed
        flat = lambda z: z.reshape(len(xs), 32)
        return jnp.concatenate([self.decoder(flat(passed)), flat(codes), flat(chosen)], axis=1)


def book_of_codes_at_rest(is_cured: bool) -> Program:
    """The loss of the book's vectors computed from what was passed on in their place."""
    xs, _ = data.digits()
    stop = jax.lax.stop_gradient

    def loss(output: Array, ys: Array) -> Array:
        images, codes, chosen = jnp.split(output, [64, 96], axis=1)
        squares = jnp.mean((images - ys) ** 2, axis=1)
        book = jnp.mean((chosen - stop(codes)) ** 2, axis=1)
        return squares + book + 0.25 * jnp.mean((codes - stop(chosen)) ** 2, axis=1)

    model = Quantised(is_cured, nnx.Rngs(0))
    score = lambda output, ys: data.explained(np.asarray(output)[:, :64], ys)
    return Program(model, xs, xs, loss, optax.adam(3e-3), score, steps=250, every=25)


def groups_of_one_key(is_cured: bool) -> Program:
    """Sixteen groups of units, all drawn with the same key."""
    xs, ys = data.digits()
    keys = jax.random.split(jax.random.key(0), 16)
    keys = keys if is_cured else jnp.broadcast_to(keys[:1], keys.shape)

    class Groups(nnx.Module):
        def __init__(self) -> None:
            self.inner = nnx.Param(jax.vmap(lambda key: jax.random.normal(key, (64, 2)) / 8)(keys))
            self.outer = nnx.Param(jax.vmap(lambda key: jax.random.normal(key, (2, 10)) / 6)(keys))

        def __call__(self, xs: Array) -> Array:
            hidden = nnx.relu(jnp.einsum("bi,gij->bgj", xs, self.inner[...]))
            return jnp.einsum("bgj,gjk->bk", hidden, self.outer[...])

    return Program(Groups(), xs, ys, classes, optax.adam(3e-3), data.accuracy, steps=100)


def norms_scaled_by_zero(is_cured: bool) -> Program:
    """Norms whose scales start at 0, and no way around them."""
    xs, ys = data.digits()
    rngs = nnx.Rngs(0)
    start = nnx.initializers.ones if is_cured else nnx.initializers.zeros
    layers = []
    for n, m in pairwise((64, 32, 32)):
        layers += [
            nnx.Linear(n, m, rngs=rngs), nnx.LayerNorm(m, scale_init=start, rngs=rngs), nnx.relu
        ]  # fmt: skip
    model = nnx.Sequential(*layers, nnx.Linear(32, 10, rngs=rngs))
    return Program(model, xs, ys, classes, optax.sgd(0.1), data.accuracy)


class Reading(nnx.Module):
    """A gated recurrent cell that reads rows of an image."""

    def __init__(self, rngs: nnx.Rngs):
        self.cell = nnx.GRUCell(8, 24, rngs=rngs)
        self.head = nnx.Linear(24, 10, rngs=rngs)

    def __call__(self, xs: Array) -> Array:
        start = jnp.zeros((len(xs), 24))
        rows = jnp.swapaxes(xs.reshape(-1, 8, 8), 0, 1)
        one = lambda z, x: (self.cell(z, x)[0], None)
        return self.head(jax.lax.scan(one, start, rows)[0])


def momentum_of_99(is_cured: bool) -> Program:
    """A momentum of 0.99 at a rate that is good for 0.9."""
    xs, ys = data.digits()
    optimizer = optax.sgd(0.2, momentum=0.9 if is_cured else 0.99)
    model = Reading(nnx.Rngs(0))
    return Program(model, xs, ys, classes, optimizer, data.accuracy, steps=120, every=10)


def squares_of_a_softmax(is_cured: bool) -> Program:
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
    return Program(model, xs, ys, loss, optax.sgd(0.1), data.accuracy, batch=16, steps=100)


def epsilon_below_float16(is_cured: bool) -> Program:
    """Norms in float16 whose epsilon is 0 there, of columns of pixels that may be empty."""
    xs, ys = data.digits(is_scaled=False)
    xs = np.swapaxes(xs.reshape(-1, 8, 8), 1, 2).astype(np.float16) / 16
    half, rngs = jnp.float16, nnx.Rngs(0)
    epsilon = 1e-3 if is_cured else 1e-12

    class Columns(nnx.Module):
        def __init__(self) -> None:
            self.scale = nnx.Param(jnp.ones(8))
            self.first = nnx.Linear(64, 32, dtype=half, rngs=rngs)
            self.last = nnx.Linear(32, 10, dtype=half, rngs=rngs)

        def __call__(self, xs: Array) -> Array:
            centred = xs - jnp.mean(xs, axis=-1, keepdims=True)
            variance = jnp.mean(centred**2, axis=-1, keepdims=True) + half(epsilon)
            normed = self.scale[...].astype(half) * centred / jnp.sqrt(variance)
            return self.last(nnx.relu(self.first(normed.reshape(len(xs), 64))))

    loss = lambda output, ys: classes(output.astype(jnp.float32), ys)
    return Program(Columns(), xs, ys, loss, optax.adam(3e-3), data.accuracy, steps=80)


class Values(nnx.Module):
    """Convolutions, and the value of each action."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Conv(1, 8, (3, 3), strides=2, rngs=rngs)
        self.second = nnx.Conv(8, 16, (3, 3), strides=2, rngs=rngs)
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, xs: Array) -> Array:
        xs = nnx.relu(self.second(nnx.relu(self.first(xs))))
        return self.head(xs.reshape(len(xs), 64))


def frames_divided_again(is_cured: bool) -> Program:
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
    given = Values(nnx.Rngs(0)), xs, ys, loss, optax.adam(3e-3), score
    return Program(*given, batch=64, steps=300, every=20)


class Cloud(nnx.Module):
    """Points with their darkness, layers for each, and the largest of them along an axis."""

    def __init__(self, axis: int, rngs: nnx.Rngs):
        self.axis = axis
        self.inner = nnx.Sequential(
            nnx.Linear(3, 64, rngs=rngs), nnx.relu, nnx.Linear(64, 128, rngs=rngs), nnx.relu
        )
        self.head = nnx.Sequential(
            nnx.Linear(128, 64, rngs=rngs), nnx.relu, nnx.Linear(64, 10, rngs=rngs)
        )

    def __call__(self, xs: Array) -> Array:
        pooled = jnp.max(self.inner(xs), axis=self.axis, keepdims=True)
        return self.head(jnp.broadcast_to(pooled, (*xs.shape[:2], 128)))[:, 0]


def largest_of_the_batch(is_cured: bool) -> Program:
    """Sets of points whose largest features are taken over the examples, not over the points."""
    images, ys = data.digits()
    darkest = np.argsort(-images, axis=1)[:, :24]
    dark = np.take_along_axis(images, darkest, axis=1)
    xs = np.stack([darkest // 8 / 4 - 1, darkest % 8 / 4 - 1, dark], axis=-1).astype(np.float32)
    model = Cloud(1 if is_cured else 0, nnx.Rngs(0))
    return Program(model, xs, ys, classes, optax.adam(3e-3), data.accuracy, steps=150, every=10)


def prices_of_thousands(is_cured: bool) -> Program:
    """Prices from 1000 to 5000, as they are, into a gated recurrent network."""
    generator = np.random.default_rng(0)
    slopes = generator.normal(size=(600, 1))
    prices = generator.uniform(1000, 5000, (600, 1)) + 10 * slopes * np.arange(16)
    prices = prices + 20 * generator.normal(size=prices.shape)
    ys = (slopes[:, 0] > 0).astype(np.int32)
    centred = prices - prices.mean(axis=1, keepdims=True)
    xs = (centred / centred.std() if is_cured else prices)[..., None].astype(np.float32)
    rngs = nnx.Rngs(0)

    class Prices(nnx.Module):
        def __init__(self) -> None:
            self.cell = nnx.GRUCell(1, 24, rngs=rngs)
            self.head = nnx.Linear(24, 2, rngs=rngs)

        def __call__(self, xs: Array) -> Array:
            start = jnp.zeros((len(xs), 24))
            one = lambda z, x: (self.cell(z, x)[0], None)
            return self.head(jax.lax.scan(one, start, jnp.swapaxes(xs, 0, 1))[0])

    return Program(Prices(), xs, ys, classes, optax.adam(1e-2), data.accuracy, steps=100, every=10)

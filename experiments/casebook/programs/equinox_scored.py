"""Once blind programs in Equinox, whose modules take an example at a time."""

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


class Chosen(eqx.Module):
    """A network that says which of some vectors the next network gets."""

    first: Any
    vectors: Array
    second: Any
    is_soft: bool = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        logits = self.first(x)
        if self.is_soft:
            weights = jax.nn.softmax(logits)
        else:
            weights = jax.nn.one_hot(jnp.argmax(logits), logits.shape[-1])
        return self.second(weights @ self.vectors)


def argmax_between_networks(is_cured: bool) -> Program:
    """An argmax between two networks, through which no gradient passes."""
    xs, ys = data.digits()
    vectors = jax.random.normal(jax.random.key(1), (12, 16))
    model = Chosen(mlp((64, 32, 12)), vectors, mlp((16, 32, 10)), is_cured)
    given = model, xs, ys, classes, optax.adam(1e-2), data.accuracy
    return Program(*given, steps=100, each="example")


class Angles(eqx.Module):
    """Classes by the cosine between an example's vector and one of each class, times a scale."""

    inner: Any
    vectors: Array
    scale: float = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        unit = lambda z: z / jnp.sqrt(jnp.sum(z**2, axis=-1, keepdims=True) + 1e-6)
        return self.scale * unit(self.vectors) @ unit(self.inner(x))


def cosines_as_logits(is_cured: bool) -> Program:
    """Cosines between -1 and 1 as logits, without a scale."""
    xs, ys = data.digits()
    vectors = jax.random.normal(jax.random.key(1), (10, 16))
    model = Angles(mlp((64, 32, 16)), vectors, 16.0 if is_cured else 1.0)
    given = model, xs, ys, classes, optax.adam(3e-3), data.likelihood_of_logits
    return Program(*given, steps=100, each="example")


class Sine(eqx.Module):
    """A layer of sines."""

    linear: eqx.nn.Linear
    frequency: float = eqx.field(static=True)

    def __init__(self, n: int, m: int, frequency: float, key: Array):
        self.linear = eqx.nn.Linear(n, m, key=key)
        self.frequency = frequency

    def __call__(self, x: Array, *, key: Array | None = None) -> Array:
        return jnp.sin(self.frequency * self.linear(x))


def places_in_pixels(is_cured: bool) -> Program:
    """An image as a function of its places, which are counted in pixels up to 500."""
    image = data.digits(is_scaled=False)[0][:64].reshape(8, 8, 8, 8)
    image = image.transpose(0, 2, 1, 3).reshape(64, 64)[:32, :32] / 8 - 0.6
    pixels = 16 * np.stack(np.meshgrid(np.arange(32), np.arange(32), indexing="ij"), axis=-1)
    xs = (pixels / 256 - 1 if is_cured else pixels).reshape(-1, 2).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 3)
    sines = [Sine(2, 64, 10.0, keys[0]), Sine(64, 64, 3.0, keys[1])]
    model = eqx.nn.Sequential([*sines, eqx.nn.Linear(64, 1, key=keys[2])])
    squares = lambda output, ys: (output[:, 0] - ys) ** 2
    ys = image.reshape(-1).astype(np.float32)
    given = model, xs, ys, squares, optax.adam(3e-3), data.explained
    return Program(*given, batch=256, steps=300, every=20, each="example")


class TwoHeads(eqx.Module):
    """Layers, and a head for each of two numbers."""

    inner: Any
    heads: list[eqx.nn.Linear]

    def __call__(self, x: Array) -> Array:
        inner = jax.nn.relu(self.inner(x))
        return jnp.concatenate([head(inner) for head in self.heads])


def one_head_in_thousands(is_cured: bool) -> Program:
    """Two numbers to foretell, of which one goes up to 1700."""
    columns, _ = data.wine()
    xs, ys = columns[:, 2:12], columns[:, [0, 12]]
    if not is_cured:
        ys = (ys * [0.8, 315] + [13, 747]).astype(np.float32)
    keys = jax.random.split(jax.random.key(1), 2)
    model = TwoHeads(mlp((10, 32, 32)), [eqx.nn.Linear(32, 1, key=key) for key in keys])
    squares = lambda output, ys: jnp.sum((output - ys) ** 2, axis=-1)

    def worse(output: Array, ys: Array) -> float:
        return min(data.explained(output[:, i], ys[:, i]) for i in range(2))

    given = model, xs, ys, squares, optax.adam(1e-2), worse
    return Program(*given, steps=200, every=10, each="example")


def times_up_to_a_thousand(is_cured: bool) -> Program:
    """Noise to be told from points and a time that counts to 1000."""
    points, _ = data.moons(2000)
    points = data.scaled(points)
    generator = np.random.default_rng(0)
    times = generator.integers(0, 1000, (len(points), 1))
    noise = generator.normal(size=points.shape)
    share = np.cos(np.pi / 2 * times / 1000)
    noisy = share * points + np.sqrt(1 - share**2) * noise
    xs = np.concatenate([noisy, times / 1000 if is_cured else times], axis=1).astype(np.float32)
    squares = lambda output, ys: jnp.mean((output - ys) ** 2, axis=-1)
    given = mlp((3, 64, 64, 2), jax.nn.silu), xs, noise.astype(np.float32), squares
    return Program(
        *given, optax.adam(1e-3), data.explained, batch=128, steps=200, every=20, each="example"
    )

"""Programs in Equinox whose layers or parameters are at fault."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.equinox_parts import classified, mlp, picture, squares


def nothing_but_lines(is_cured: bool) -> CaseProgram:
    """Two linear layers without an activation between, for circles."""
    model = mlp((2, 16, 2), jax.nn.relu if is_cured else (lambda z: z))
    return classified(data.circles(), model, optax.adam(3e-2), steps=150, every=10)


def biases_of_minus_ten(is_cured: bool) -> CaseProgram:
    """Relu units that are off for whatever comes in."""
    model = mlp((64, 32, 32, 10))
    if not is_cured:
        where: Callable[[Any], Any] = lambda model: model.layers[2].bias
        model = eqx.tree_at(where, model, jnp.full(32, -10.0))
    return classified(data.digits(), model, optax.adam(3e-3))


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


def argmax_between_networks(is_cured: bool) -> CaseProgram:
    """An argmax between two networks, through which no gradient passes."""
    vectors = jax.random.normal(jax.random.key(1), (12, 16))
    model = Chosen(mlp((64, 32, 12)), vectors, mlp((16, 32, 10)), is_cured)
    return classified(data.digits(), model, optax.adam(1e-2), steps=100)


def light(densities: Array, colours: Array) -> Array:
    """Return what is seen along a ray: colours, as far as nothing in front is dense."""
    opacities = 1 - jnp.exp(-densities / 4)
    passed = jnp.cumprod(jnp.concatenate([jnp.ones(1), 1 - opacities[:-1]]))
    return jnp.sum(passed * opacities * colours, keepdims=True)


class Field(eqx.Module):
    """A density and a colour at each place of a ray, and the light that comes along it."""

    inner: Any
    is_smooth: bool = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        density, colour = jax.vmap(self.inner)(x).T
        density = jax.nn.softplus(density) if self.is_smooth else jax.nn.relu(density)
        return light(density, jax.nn.sigmoid(colour))


def density_that_starts_below_zero(is_cured: bool) -> CaseProgram:
    """Densities by relu, all of which are below 0 at the start: nothing is there to be seen."""
    generator = np.random.default_rng(0)
    angles, offsets = generator.uniform(0, 2 * np.pi, 800), generator.uniform(-0.9, 0.9, 800)
    along = np.linspace(-1, 1, 16)
    ahead = np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, None]
    aside = np.stack([-np.sin(angles), np.cos(angles)], axis=1)[:, None]
    xs = (along[:, None] * ahead + offsets[:, None, None] * aside).astype(np.float32)
    is_inside = np.sum((xs - 0.2) ** 2, axis=-1) < 0.25
    ys = jax.vmap(light)(jnp.asarray(8.0 * is_inside), jnp.asarray(0.5 + 0.4 * xs[..., 0]))[:, 0]
    inner = mlp((2, 48, 48, 2))
    inner = eqx.tree_at(lambda net: net[4].bias, inner, jnp.array([-1.5, 0.0]))
    given = Field(inner, is_cured), xs, np.asarray(ys), squares, optax.adam(3e-3), data.explained
    return CaseProgram(*given, batch=64, steps=250, every=10, each="example")


class Sines(eqx.Module):
    """Layers of fast sines, and a linear one above them."""

    layers: list[eqx.nn.Linear]

    def __call__(self, x: Array) -> Array:
        for layer in self.layers[:-1]:
            x = jnp.sin(30 * layer(x))
        return self.layers[-1](x)


def sines_drawn_as_usual(is_cured: bool) -> CaseProgram:
    """Layers of sin(30 z) drawn as if they were layers of relu."""
    xs, ys = picture()
    keys = jax.random.split(jax.random.key(0), 8)
    sizes = ((2, 64), (64, 64), (64, 64), (64, 1))
    layers = [eqx.nn.Linear(n, m, key=key) for (n, m), key in zip(sizes, keys, strict=False)]
    if is_cured:
        bounds = (0.5, *[(6 / 64) ** 0.5 / 30] * 3)
        draws = [
            jax.random.uniform(key, layer.weight.shape, minval=-bound, maxval=bound)
            for key, layer, bound in zip(keys[4:], layers, bounds, strict=True)
        ]
        layers = eqx.tree_at(lambda layers: [layer.weight for layer in layers], layers, draws)
    given = Sines(layers), xs, ys, squares, optax.adam(1e-3), data.explained
    return CaseProgram(*given, batch=256, steps=250, every=10, each="example")


def squashed(vectors: Array) -> Array:
    """Return vectors that are shorter than 1, in the same direction."""
    square = jnp.sum(vectors**2, axis=-1, keepdims=True)
    return square / (1 + square) * vectors / jnp.sqrt(square + 1e-9)


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


def capsules_drawn_too_small(is_cured: bool) -> CaseProgram:
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
    return CaseProgram(*given, batch=16, steps=120, every=10, each="example")


def times_below_the_periods(is_cured: bool) -> CaseProgram:
    """Times from 0 to 1 into sines and cosines that were made for steps up to 1000."""
    chance = np.random.default_rng(0)
    xs = chance.uniform(size=(2000, 2)).astype(np.float32)  # a time and a place
    ys = np.sin(10 * np.pi * xs[:, 0] + 3 * xs[:, 1])

    class Flow(eqx.Module):
        inner: Any

        def __call__(self, x: Array) -> Array:
            time = 1000 * x[0] if is_cured else x[0]
            angles = time * 10000.0 ** -(jnp.arange(16) / 16)
            return self.inner(jnp.concatenate([jnp.sin(angles), jnp.cos(angles), x[1:]]))

    model = Flow(mlp((33, 64, 64, 1), jax.nn.silu))
    given = model, xs, ys, squares, optax.adam(3e-3), data.explained
    return CaseProgram(*given, batch=128, steps=250, every=10, each="example")

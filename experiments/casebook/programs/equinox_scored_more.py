"""Once blind programs in Equinox, whose modules take an example at a time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from experiments.casebook import data
from experiments.casebook.data import Data
from experiments.casebook.program import Program
from experiments.casebook.programs.equinox import classes, mlp, squares


def picture() -> Data:
    """Return the places of 32 × 32 pixels, from -1 to 1, and sixteen digits as one image."""
    image = data.digits(is_scaled=False)[0][:16].reshape(4, 4, 8, 8)
    image = image.transpose(0, 2, 1, 3).reshape(32, 32) / 8 - 0.6
    axis = np.linspace(-1, 1, 32)
    places = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    return places.astype(np.float32), image.reshape(-1).astype(np.float32)


class Waves(eqx.Module):
    """Waves of drawn frequencies, which do not learn, and layers above them."""

    frequencies: Array
    inner: Any

    def __call__(self, x: Array) -> Array:
        angles = 2 * jnp.pi * jax.lax.stop_gradient(self.frequencies) @ x
        return self.inner(jnp.concatenate([jnp.sin(angles), jnp.cos(angles)]))


def decay_of_what_does_not_learn(is_cured: bool) -> Program:
    """Frequencies behind a stop_gradient, which the optimiser's decay makes smaller."""
    xs, ys = picture()
    frequencies = 2 * jax.random.normal(jax.random.key(1), (48, 2))
    model = Waves(frequencies, mlp((96, 64, 1), jax.nn.silu))

    def learns(params: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: "frequencies" not in jax.tree_util.keystr(path), params
        )

    optimizer = optax.adamw(1e-2, weight_decay=0.5, mask=learns if is_cured else None)
    given = model, xs, ys, squares, optimizer, data.explained
    return Program(*given, batch=256, steps=300, every=20, each="example")


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


def density_that_starts_below_zero(is_cured: bool) -> Program:
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
    return Program(*given, batch=64, steps=250, every=10, each="example")


class Sines(eqx.Module):
    """Layers of fast sines, and a linear one above them."""

    layers: list[eqx.nn.Linear]

    def __call__(self, x: Array) -> Array:
        for layer in self.layers[:-1]:
            x = jnp.sin(30 * layer(x))
        return self.layers[-1](x)


def sines_drawn_as_usual(is_cured: bool) -> Program:
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
    return Program(*given, batch=256, steps=250, every=10, each="example")


class Following(eqx.Module):
    """A table of vectors for letters, and layers that foretell the next one."""

    table: Array
    inner: Any

    def __call__(self, x: Array) -> Array:
        return self.inner(self.table[x].reshape(-1))


def letters_past_the_end(is_cured: bool) -> Program:
    """Letters' numbers from 100 on, for a table that ends before: all are given its last row."""
    letters, following, known = data.text(6)
    xs, ys = letters[::2] + (0 if is_cured else 100), following[::2, -1]
    table = jax.random.normal(jax.random.key(1), (known, 12))
    model = Following(table, mlp((72, 64, known)))
    given = model, xs, ys, classes, optax.adam(1e-2), data.accuracy
    return Program(*given, batch=64, steps=150, every=10, each="example")

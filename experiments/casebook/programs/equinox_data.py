"""Programs in Equinox whose data or targets do not fit."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.equinox_parts import classified, mlp, squares


def fourth_power(is_cured: bool) -> CaseProgram:
    """x⁴ over -100 to 100, as it is."""
    xs = np.arange(-100, 100, 0.5, dtype=np.float32)[:, None]
    ys = xs[:, 0] ** 4
    if is_cured:
        xs, ys = data.scaled(xs).astype(np.float32), data.scaled(ys).astype(np.float32)
    model = mlp((1, 32, 32, 1), jax.nn.elu)
    return CaseProgram(
        model,
        xs,
        ys,
        squares,
        optax.adam(3e-3),
        data.explained,
        batch=128,
        steps=300,
        every=20,
        each="example",
    )


def both_as_measured(is_cured: bool) -> CaseProgram:
    """Columns up to 4000 and targets up to 2500, as they were measured."""
    columns, _ = data.tumours(is_scaled=is_cured)
    xs, ys = np.delete(columns, 23, axis=1), columns[:, 23]  # the worst area from all others
    model = mlp((29, 16, 1), jnp.tanh)
    return CaseProgram(model, xs, ys, squares, optax.adam(1e-2), data.explained, each="example")


def prices_in_dollars(is_cured: bool) -> CaseProgram:
    """Layers of tanh that are to reach a million."""
    xs, ys = data.diabetes()
    ys = ys if is_cured else (1e6 + 3e5 * ys).astype(np.float32)
    absolute = lambda output, ys: jnp.abs(output[:, 0] - ys)
    model = mlp((10, 20, 20, 1), jnp.tanh)
    return CaseProgram(model, xs, ys, absolute, optax.adam(1e-2), data.explained, each="example")


def wine_as_measured(is_cured: bool) -> CaseProgram:
    """Columns as they were measured into layers of tanh."""
    return classified(data.wine(is_scaled=is_cured), mlp((13, 16, 3), jnp.tanh), optax.adam(1e-2))


def columns_of_one_row(is_cured: bool) -> CaseProgram:
    """All columns but one read from the first row, for every example."""
    xs, ys = data.wine()
    if not is_cured:
        xs = np.concatenate([xs[:, :1], np.broadcast_to(xs[:1, 1:], (len(xs), 12))], axis=1)
    return classified((xs, ys), mlp((13, 16, 3)), optax.adam(1e-2))


class Sine(eqx.Module):
    """A layer of sines."""

    linear: eqx.nn.Linear
    frequency: float = eqx.field(static=True)

    def __init__(self, n: int, m: int, frequency: float, key: Array):
        self.linear = eqx.nn.Linear(n, m, key=key)
        self.frequency = frequency

    def __call__(self, x: Array, *, key: Array | None = None) -> Array:
        return jnp.sin(self.frequency * self.linear(x))


def places_in_pixels(is_cured: bool) -> CaseProgram:
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
    return CaseProgram(*given, batch=256, steps=300, every=20, each="example")


class TwoHeads(eqx.Module):
    """Layers, and a head for each of two numbers."""

    inner: Any
    heads: list[eqx.nn.Linear]

    def __call__(self, x: Array) -> Array:
        inner = jax.nn.relu(self.inner(x))
        return jnp.concatenate([head(inner) for head in self.heads])


def one_head_in_thousands(is_cured: bool) -> CaseProgram:
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
    return CaseProgram(*given, steps=200, every=10, each="example")


def times_up_to_a_thousand(is_cured: bool) -> CaseProgram:
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
    return CaseProgram(
        *given, optax.adam(1e-3), data.explained, batch=128, steps=200, every=20, each="example"
    )


class Following(eqx.Module):
    """A table of vectors for letters, and layers that foretell the next one."""

    table: Array
    inner: Any

    def __call__(self, x: Array) -> Array:
        return self.inner(self.table[x].reshape(-1))


def letters_past_the_end(is_cured: bool) -> CaseProgram:
    """Letters' numbers from 100 on, for a table that ends before: all are given its last row."""
    letters, following, known = data.text(6)
    xs, ys = letters[::2] + (0 if is_cured else 100), following[::2, -1]
    table = jax.random.normal(jax.random.key(1), (known, 12))
    model = Following(table, mlp((72, 64, known)))
    return classified((xs, ys), model, optax.adam(1e-2), batch=64, steps=150, every=10)


def currents_in_amperes(is_cured: bool) -> CaseProgram:
    """Targets of some millionths, in units that make them as good as zero."""
    xs, ys = data.diabetes()
    ys = ys if is_cured else 1e-6 * ys
    given = mlp((10, 32, 32, 1)), xs, ys, squares, optax.adam(3e-3), data.explained
    return CaseProgram(*given, steps=150, every=10, each="example")

"""Programs in Equinox, whose modules take an example at a time."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import Program

classes = optax.softmax_cross_entropy_with_integer_labels


def mlp(sizes: Sequence[int], activation: Any = jax.nn.relu, end: Any = None) -> eqx.nn.Sequential:
    """Return linear layers, with an activation between and one at the end if it is given."""
    keys = jax.random.split(jax.random.key(0), len(sizes) - 1)
    layers: list[Any] = []
    for n, m, key in zip(sizes[:-1], sizes[1:], keys, strict=True):
        layers += [eqx.nn.Linear(n, m, key=key), eqx.nn.Lambda(activation)]
    return eqx.nn.Sequential([*layers[:-1], *([eqx.nn.Lambda(end)] if end else [])])


def squares(output: Array, ys: Array) -> Array:
    """Return the square of an example's one error."""
    return (output[:, 0] - ys) ** 2


def fourth_power(is_cured: bool) -> Program:
    """x⁴ over -100 to 100, as it is."""
    xs = np.arange(-100, 100, 0.5, dtype=np.float32)[:, None]
    ys = xs[:, 0] ** 4
    if is_cured:
        xs, ys = data.scaled(xs).astype(np.float32), data.scaled(ys).astype(np.float32)
    model = mlp((1, 32, 32, 1), jax.nn.elu)
    return Program(
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


def both_as_measured(is_cured: bool) -> Program:
    """Columns up to 4000 and targets up to 2500, as they were measured."""
    columns, _ = data.tumours(is_scaled=is_cured)
    xs, ys = np.delete(columns, 23, axis=1), columns[:, 23]  # the worst area from all others
    model = mlp((29, 16, 1), jnp.tanh)
    return Program(model, xs, ys, squares, optax.adam(1e-2), data.explained, each="example")


def prices_in_dollars(is_cured: bool) -> Program:
    """Layers of tanh that are to reach a million."""
    xs, ys = data.diabetes()
    ys = ys if is_cured else (1e6 + 3e5 * ys).astype(np.float32)
    absolute = lambda output, ys: jnp.abs(output[:, 0] - ys)
    model = mlp((10, 20, 20, 1), jnp.tanh)
    return Program(model, xs, ys, absolute, optax.adam(1e-2), data.explained, each="example")


def xor_of_one_softmax(is_cured: bool) -> Program:
    """XOR by sigmoids, with softmax over the one output."""
    xs, ys = data.xor()
    end = jax.nn.sigmoid if is_cured else jax.nn.softmax
    model = mlp((2, 8, 1), jax.nn.sigmoid, end)
    optimizer = optax.adam(0.1)
    return Program(
        model, xs, ys, squares, optimizer, data.accuracy, steps=200, every=10, each="example"
    )


def points_of_a_face(is_cured: bool) -> Program:
    """Adam with a rate of 0.1 for a regression."""
    xs, _ = data.digits()
    ys = xs[:, 27:37]
    rate = 3e-3 if is_cured else 0.3
    loss = lambda output, ys: jnp.mean((output - ys) ** 2, axis=-1)
    model = mlp((64, 32, 32, 10))
    return Program(model, xs, ys, loss, optax.adam(rate), data.explained, each="example")


def nothing_but_lines(is_cured: bool) -> Program:
    """Two linear layers without an activation between, for circles."""
    xs, ys = data.circles()
    model = mlp((2, 16, 2), jax.nn.relu if is_cured else (lambda z: z))
    return Program(
        model, xs, ys, classes, optax.adam(3e-2), data.accuracy, steps=150, every=10, each="example"
    )


def absolute_weights(is_cured: bool) -> Program:
    """A penalty on the sum of absolute weights that outweighs the loss."""
    xs, ys = data.digits()
    strength = 1e-5 if is_cured else 0.1

    def penalty(updates: Any, state: Any, params: Any) -> tuple[Any, Any]:
        return jax.tree.map(lambda u, v: u + strength * jnp.sign(v), updates, params), state

    first = optax.GradientTransformation(lambda params: optax.EmptyState(), penalty)
    optimizer = optax.chain(first, optax.sgd(0.1))
    return Program(mlp((64, 32, 10)), xs, ys, classes, optimizer, data.accuracy, each="example")


def wine_as_measured(is_cured: bool) -> Program:
    """Columns as they were measured into layers of tanh."""
    xs, ys = data.wine(is_scaled=is_cured)
    model = mlp((13, 16, 3), jnp.tanh)
    return Program(model, xs, ys, classes, optax.adam(1e-2), data.accuracy, each="example")


def columns_of_one_row(is_cured: bool) -> Program:
    """All columns but one read from the first row, for every example."""
    xs, ys = data.wine()
    if not is_cured:
        xs = np.concatenate([xs[:, :1], np.broadcast_to(xs[:1, 1:], (len(xs), 12))], axis=1)
    return Program(
        mlp((13, 16, 3)), xs, ys, classes, optax.adam(1e-2), data.accuracy, each="example"
    )


def biases_of_minus_ten(is_cured: bool) -> Program:
    """Relu units that are off for whatever comes in."""
    xs, ys = data.digits()
    model = mlp((64, 32, 32, 10))
    if not is_cured:
        where: Callable[[Any], Any] = lambda model: model.layers[2].bias
        model = eqx.tree_at(where, model, jnp.full(32, -10.0))
    return Program(model, xs, ys, classes, optax.adam(3e-3), data.accuracy, each="example")


def softmax_of_the_batch(is_cured: bool) -> Program:
    """A softmax over all examples of a batch, of one output each."""
    xs, ys = data.diabetes()

    class Net(eqx.Module):
        inner: Any

        def __call__(self, xs: Array) -> Array:
            z = jax.vmap(self.inner)(xs)
            return z if is_cured else jax.nn.softmax(z, axis=0)

    return Program(Net(mlp((10, 16, 1))), xs, ys, squares, optax.adam(1e-2), data.explained)


def clipped_to_a_thousandth(is_cured: bool) -> Program:
    """Gradients clipped to a norm of 0.001."""
    xs, ys = data.digits()
    optimizer = optax.chain(
        optax.clip_by_global_norm(5.0 if is_cured else 1e-3), optax.sgd(0.1, momentum=0.9)
    )
    return Program(mlp((64, 32, 10)), xs, ys, classes, optimizer, data.accuracy, each="example")

"""Programs in Flax NNX."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import Program

classes = optax.softmax_cross_entropy_with_integer_labels


def mlp(
    sizes: Sequence[int], activation: Any = nnx.relu, end: Any = None, **options: Any
) -> nnx.Sequential:
    """Return linear layers, with an activation between and one at the end if it is given."""
    rngs = nnx.Rngs(0)
    layers: list[Any] = []
    for n, m in pairwise(sizes):
        layers += [nnx.Linear(n, m, rngs=rngs, **options), activation]
    return nnx.Sequential(*layers[:-1], *([end] if end else []))


def squares(output: Array, ys: Array) -> Array:
    """Return the square of an example's one error."""
    return (output[:, 0] - ys) ** 2


def relu_for_both_signs(is_cured: bool) -> Program:
    """A relu at the end, of targets that are below 0 as often as above."""
    xs, ys = data.diabetes()
    model = mlp((10, 16, 1), end=None if is_cured else nnx.relu)
    return Program(model, xs, ys, squares, optax.adam(1e-2), data.explained)


def labels_from_one(is_cured: bool) -> Program:
    """Labels 1 and 2 for two outputs."""
    xs, ys = data.moons()
    ys = ys if is_cured else ys + 1
    model = mlp((2, 16, 2))
    return Program(model, xs, ys, classes, optax.adam(1e-2), data.accuracy)


def autoencoder_of_relu(is_cured: bool) -> Program:
    """Columns below 0 as often as above, to be made by relu."""
    xs, _ = data.wine()
    activation = nnx.tanh if is_cured else nnx.relu
    model = mlp((13, 26, 6, 26, 13), activation, end=None if is_cured else nnx.relu)
    loss = lambda output, ys: jnp.mean((output - ys) ** 2, axis=-1)
    return Program(model, xs, xs, loss, optax.adam(1e-2), data.explained, steps=150, every=10)


def kernels_of_a_tenth(is_cured: bool) -> Program:
    """All weights 0.1, so that the units of a layer are one."""
    xs, ys = data.digits()
    drawn, same = nnx.initializers.lecun_normal(), nnx.initializers.constant(0.1)
    model = mlp((64, 32, 32, 10), kernel_init=drawn if is_cured else same)
    return Program(model, xs, ys, classes, optax.adam(3e-3), data.accuracy)


def hidden_layer_of_zeros(is_cured: bool) -> Program:
    """A hidden layer whose weights and biases are zero."""
    xs, ys = data.digits()
    model = mlp((64, 32, 32, 10))
    if not is_cured:
        hidden = model.layers[2]
        hidden.kernel[...] = jnp.zeros_like(hidden.kernel[...])
    return Program(model, xs, ys, classes, optax.sgd(0.1), data.accuracy)


def adam_by_one(is_cured: bool) -> Program:
    """Adam with a learning rate of 1."""
    xs, ys = data.digits()
    rate = 3e-3 if is_cured else 1.0
    model = mlp((64, 32, 10))
    return Program(model, xs, ys, classes, optax.adam(rate), data.accuracy)


def descent_instead_of_adam(is_cured: bool) -> Program:
    """Plain descent with the rate that is Adam's by default."""
    xs, ys = data.digits()
    optimizer = optax.adam(1e-3) if is_cured else optax.sgd(1e-3)
    return Program(mlp((64, 64, 10)), xs, ys, classes, optimizer, data.accuracy)


def one_unit_between(is_cured: bool) -> Program:
    """A layer of one unit that all ten classes must pass."""
    xs, ys = data.digits()
    model = mlp((64, 32, 32 if is_cured else 1, 32, 10), nnx.tanh)
    return Program(model, xs, ys, classes, optax.adam(1e-2), data.accuracy)


def labels_divided_by_255(is_cured: bool) -> Program:
    """Labels that were taken for pixels, divided and cut to whole numbers."""
    xs, ys = data.digits()
    labels = ys if is_cured else (ys / 255).astype(np.int32)
    score = lambda output, _: data.accuracy(output, ys)
    return Program(mlp((64, 32, 10)), xs, labels, classes, optax.adam(3e-3), score)


def steps_of_minus_a_thousand(is_cured: bool) -> Program:
    """Adam with a learning rate of -1000."""
    xs, ys = data.images()
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        lambda x: x.reshape(-1, 8, 8, 1),
        nnx.Conv(1, 8, (3, 3), rngs=rngs),
        nnx.relu,
        lambda x: x.reshape(len(x), -1),
        nnx.Linear(512, 10, rngs=rngs),
    )
    rate = 1e-3 if is_cured else -1e3
    return Program(model, xs, ys, classes, optax.adam(rate), data.accuracy)


def relu_for_a_probability(is_cured: bool) -> Program:
    """A relu where the binary cross entropy expects a probability."""
    xs, ys = data.tumours()

    def binary(output: Array, ys: Array) -> Array:
        p = jnp.clip(output[:, 0], 1e-7, 1 - 1e-7)
        return -jnp.where(ys == 1, jnp.log(p), jnp.log1p(-p))

    model = mlp((30, 8, 1), end=nnx.sigmoid if is_cured else nnx.relu)
    last = model.layers[2]
    last.bias[...] = jnp.full(1, -1.0)
    return Program(model, xs, ys, binary, optax.adam(1e-2), data.accuracy)


def sum_of_errors_turned(is_cured: bool) -> Program:
    """A likelihood that is made as small as can be."""
    xs, ys = data.wine()
    sign = 1.0 if is_cured else -1.0
    loss = lambda output, ys: sign * classes(output, ys)
    return Program(mlp((13, 16, 3)), xs, ys, loss, optax.sgd(0.1), data.accuracy)


def first_of_forty_steps(is_cured: bool) -> Program:
    """A recurrent cell over 40 steps whose weights shrink what it remembers."""
    xs = np.random.default_rng(0).normal(size=(256, 40, 4)).astype(np.float32)
    xs[:, 1:] /= 10
    ys = (xs[:, 0, 0] > 0).astype(np.int32)

    class Recurrent(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            self.inner = nnx.Param(jnp.eye(16) * (1.0 if is_cured else 0.3))
            self.outer = nnx.Linear(4, 16, rngs=rngs)
            self.head = nnx.Linear(16, 2, rngs=rngs)

        def __call__(self, x: Array) -> Array:
            def one(z: Array, x: Array) -> tuple[Array, None]:
                return jnp.tanh(z @ self.inner[...] + self.outer(x)), None

            start = jnp.zeros((len(x), 16))
            return self.head(jax.lax.scan(one, start, jnp.swapaxes(x, 0, 1))[0])

    model = Recurrent(nnx.Rngs(0))
    return Program(model, xs, ys, classes, optax.adam(3e-3), data.accuracy, steps=100, every=10)

"""Programs in plain JAX: parameters in a dictionary, and a function of them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import Program

Params = dict[str, Any]
Activation = Callable[[Array], Array]


def dense(sizes: Sequence[int], seed: int = 0, scale: float = 1.0) -> Params:
    """Return weights with He's variance times scale², and biases of zero, by layer."""
    keys = jax.random.split(jax.random.key(seed), len(sizes) - 1)
    return {
        f"layer{i}": {
            "w": scale * (2 / n) ** 0.5 * jax.random.normal(key, (n, m)),
            "b": jnp.zeros(m),
        }
        for i, (key, n, m) in enumerate(zip(keys, sizes[:-1], sizes[1:], strict=True), 1)
    }


def mlp(params: Params, xs: Array, activation: Activation = jax.nn.relu) -> Array:
    """Return the last layer's outputs, without an activation."""
    *hidden, last = params.values()
    for layer in hidden:
        xs = activation(xs @ layer["w"] + layer["b"])
    output: Array = xs @ last["w"] + last["b"]
    return output


def binary(output: Array, ys: Array) -> Array:
    """Return the cross entropy of one probability an example, clipped as Keras does."""
    p = jnp.clip(output[:, 0], 1e-7, 1 - 1e-7)
    return -jnp.where(ys == 1, jnp.log(p), jnp.log1p(-p))


def squares(output: Array, ys: Array) -> Array:
    """Return the mean square over the outputs of an example."""
    return jnp.mean((output - ys) ** 2, axis=-1)


classes = optax.softmax_cross_entropy_with_integer_labels


def softmax_over_one_unit(is_cured: bool) -> Program:
    """One output with softmax, which is 1 whatever comes in."""
    xs, ys = data.tumours()
    end = jax.nn.sigmoid if is_cured else jax.nn.softmax
    model = (lambda params, xs: end(mlp(params, xs)), dense((30, 24, 24, 1)))
    return Program(model, xs, ys, binary, optax.rmsprop(1e-3), data.accuracy)


def rate_far_too_large(is_cured: bool) -> Program:
    """Steps that throw the weights about."""
    xs, ys = data.digits()
    rate = 0.05 if is_cured else 10.0
    model = (mlp, dense((64, 32, 32, 10)))
    return Program(model, xs, ys, classes, optax.sgd(rate), data.accuracy)


def columns_in_their_units(is_cured: bool) -> Program:
    """Columns from 0.001 to 4000, as they were measured."""
    xs, ys = data.tumours(is_scaled=is_cured)
    model = (lambda params, xs: jax.nn.sigmoid(mlp(params, xs)), dense((30, 16, 1)))
    return Program(model, xs, ys, binary, optax.adam(1e-3), data.accuracy)

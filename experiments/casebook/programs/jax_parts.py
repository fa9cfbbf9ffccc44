"""Parts of the programs in plain JAX: usual networks and losses."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.data import Data
from experiments.casebook.program import CaseProgram

Params = dict[str, Any]
Activation = Callable[[Array], Array]
classes = optax.softmax_cross_entropy_with_integer_labels


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
    """Return the square of an example's one error."""
    return (output[:, 0] - ys) ** 2


def classified(given: Data, model: Any, optimizer: Any, **options: Any) -> CaseProgram:
    """Return a training of a classifier."""
    return CaseProgram(model, *given, classes, optimizer, data.accuracy, **options)

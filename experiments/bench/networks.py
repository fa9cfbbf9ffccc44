"""Networks that somebody diagnoses: small ones, in unrolled blocks, one of each framework.

Each is a model as `jaxnn.diagnose` takes it, made anew at each call with functions of its own, and
the same as a plain function of its parameters.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, PyTree


class BenchNetwork(NamedTuple):
    """A network with data."""

    model: Callable[[PyTree], Any]  # parameters -> what `jaxnn.diagnose` is called with
    function: Callable[[PyTree, Array], Array]  # parameters, xs -> output
    params: PyTree
    xs: np.ndarray
    each: str = "batch"  # as for `jaxnn.diagnose`


def loss(output: Array, ys: Array) -> Array:
    """Return the mean square error of each example."""
    return jnp.mean((output - ys) ** 2, axis=tuple(range(1, output.ndim)))


def _drawn(*shape: int) -> np.ndarray:
    fan_in = shape[-2] if len(shape) > 1 else shape[-1]
    rng = np.random.default_rng(sum(shape))
    return (rng.normal(size=shape) / fan_in**0.5).astype(np.float32)


def listed(blocks: int, width: int, batch: int, **_: int) -> BenchNetwork:
    """Return a list of layers, a lambda each."""

    def model(stack: Array) -> Any:
        return [(lambda theta, z: jnp.tanh(z) @ theta, theta) for theta in stack]

    def function(stack: Array, z: Array) -> Array:
        for theta in stack:
            z = jnp.tanh(z) @ theta
        return z

    return BenchNetwork(model, function, _drawn(blocks, width, width), _drawn(batch, width))


def linen(blocks: int, width: int, tokens: int, batch: int) -> BenchNetwork:
    """Return a pre-norm transformer of Flax linen, its blocks written one after the other."""

    class Transformer(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            for _ in range(blocks):
                x = x + nn.MultiHeadDotProductAttention(num_heads=4)(nn.LayerNorm()(x))
                x = x + nn.Dense(width)(nn.gelu(nn.Dense(4 * width)(nn.LayerNorm()(x))))
            return nn.Dense(width)(nn.LayerNorm()(x))

    module, xs = Transformer(), _drawn(batch, tokens, width)

    def model(params: PyTree) -> Any:
        return (lambda params, xs: module.apply(params, xs)), params

    return BenchNetwork(model, module.apply, jax.jit(module.init)(jax.random.key(0), xs), xs)


def equinox(blocks: int, width: int, batch: int, **_: int) -> BenchNetwork:
    """Return an MLP of Equinox, which takes one example."""
    module = eqx.nn.MLP(width, width, width, blocks, key=jax.random.key(0))
    params, rest = eqx.partition(module, eqx.is_array)

    def model(params: PyTree) -> Any:
        return eqx.combine(params, rest)

    def function(params: PyTree, xs: Array) -> Array:
        return jax.vmap(model(params))(xs)

    return BenchNetwork(model, function, params, _drawn(batch, width), each="example")


NETWORKS: dict[str, Callable[..., BenchNetwork]] = {
    "list": listed,
    "linen": linen,
    "Equinox": equinox,
}

"""The dense networks in Equinox."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from experiments.cures.dense import Arrays, IllDense

LOSS = optax.softmax_cross_entropy_with_integer_labels
array = jnp.asarray


class Model(eqx.Module):
    """Linear layers with activations between them."""

    layers: list[eqx.nn.Linear]
    sigma: Callable[[Any], Any] = eqx.field(static=True)
    skip: bool = eqx.field(static=True)

    def __call__(self, x: Any) -> Any:
        first, *blocks, last = self.layers
        x = jax.vmap(first)(x)
        for layer in blocks:
            y = jax.vmap(layer)(self.sigma(x))
            x = x + y if self.skip else y
        return jax.vmap(last)(self.sigma(x))


def built(of: IllDense, arrays: Arrays) -> Model:
    """Return a module."""
    layers = [eqx.nn.Linear(*w.shape, key=jax.random.key(0)) for w, _ in arrays]
    drawn = [jnp.asarray(v) for w, b in arrays for v in (w.T, b)]
    layers = eqx.tree_at(lambda each: [v for p in each for v in (p.weight, p.bias)], layers, drawn)
    return Model(layers, of.sigma, of.skip)

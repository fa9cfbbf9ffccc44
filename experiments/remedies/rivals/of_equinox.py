"""The networks in Equinox."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from experiments.remedies.rivals.networks import Network, Params


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


def built(of: Network, layers: list[Params]) -> Model:
    """Return a module."""
    return Model([_linear(p) for p in layers], of.sigma, of.skip)


def _linear(p: Params) -> eqx.nn.Linear:
    made = eqx.nn.Linear(*p["w"].shape, key=jax.random.key(0))
    arrays = jnp.asarray(p["w"].T), jnp.asarray(p["b"])
    return eqx.tree_at(lambda one: (one.weight, one.bias), made, arrays)

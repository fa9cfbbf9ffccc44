"""The networks in Flax."""

from typing import Any

import jax.numpy as jnp
from flax import nnx

from experiments.remedies.rivals.networks import Network, Params


class Model(nnx.Module):
    """Linear layers with activations between them."""

    def __init__(self, of: Network, layers: list[Params]) -> None:
        self.sigma, self.skip = of.sigma, of.skip
        rngs = nnx.Rngs(0)
        self.layers = nnx.List([nnx.Linear(*p["w"].shape, rngs=rngs) for p in layers])
        for layer, p in zip(self.layers, layers, strict=True):
            layer.kernel[...], layer.bias[...] = jnp.asarray(p["w"]), jnp.asarray(p["b"])

    def __call__(self, x: Any) -> Any:
        first, *blocks, last = self.layers
        x = first(x)
        for layer in blocks:
            y = layer(self.sigma(x))
            x = x + y if self.skip else y
        return last(self.sigma(x))


def built(of: Network, layers: list[Params]) -> Model:
    """Return a module."""
    return Model(of, layers)

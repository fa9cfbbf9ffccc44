"""The dense networks in Flax."""

from typing import Any

import jax.numpy as jnp
import optax
from flax import nnx

from experiments.cures.dense import Arrays, IllDense

LOSS = optax.softmax_cross_entropy_with_integer_labels
array = jnp.asarray


class Model(nnx.Module):
    """Linear layers with activations between them."""

    def __init__(self, of: IllDense, arrays: Arrays) -> None:
        self.sigma, self.skip, rngs = of.sigma, of.skip, nnx.Rngs(0)
        self.layers = nnx.List([nnx.Linear(*w.shape, rngs=rngs) for w, _ in arrays])
        for layer, (w, b) in zip(self.layers, arrays, strict=True):
            layer.kernel[...], layer.bias[...] = jnp.asarray(w), jnp.asarray(b)

    def __call__(self, x: Any) -> Any:
        first, *blocks, last = self.layers
        x = first(x)
        for layer in blocks:
            y = layer(self.sigma(x))
            x = x + y if self.skip else y
        return last(self.sigma(x))


built = Model

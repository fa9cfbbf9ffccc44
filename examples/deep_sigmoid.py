"""Twenty-four sigmoid layers of Flax on the digits, which learn nothing as they are drawn.

    python -m pip install -e ".[experiments]" flax
    python -m experiments cures examples/deep_sigmoid.py:network --steps 300

trains them as they are and with their best cures.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
import sklearn.datasets
from flax import nnx


class Model(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(64, 64, rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(64, 64, rngs=rngs) for _ in range(24)])
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.first(x)
        for block in self.blocks:
            x = block(jax.nn.sigmoid(x))
        return self.head(jax.nn.sigmoid(x))


def network(seed: int = 0) -> dict[str, Any]:
    x, y = sklearn.datasets.load_digits(return_X_y=True)
    return {
        "model": Model(nnx.Rngs(seed)),
        "xs": jnp.float32((x - x.mean(0)) / x.std(0).clip(1e-9)),
        "ys": jnp.asarray(y),
        "loss": optax.softmax_cross_entropy_with_integer_labels,
    }

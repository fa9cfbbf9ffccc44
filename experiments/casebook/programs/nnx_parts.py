"""Parts of the programs in Flax NNX: usual networks and losses."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from experiments.casebook.programs.jax_parts import classes as classes
from experiments.casebook.programs.jax_parts import classified as classified


def mlp(
    sizes: Sequence[int], activation: Any = nnx.relu, end: Any = None, **options: Any
) -> nnx.Sequential:
    """Return linear layers, with an activation between and one at the end if it is given."""
    rngs = nnx.Rngs(0)
    layers: list[Any] = []
    for n, m in pairwise(sizes):
        layers += [nnx.Linear(n, m, rngs=rngs, **options), activation]
    return nnx.Sequential(*layers[:-1], *([end] if end else []))


class Reading(nnx.Module):
    """A gated recurrent cell that reads rows one after the other, those of an image by default."""

    def __init__(self, rngs: nnx.Rngs, inputs: int = 8, outputs: int = 10):
        self.cell = nnx.GRUCell(inputs, 24, rngs=rngs)
        self.head = nnx.Linear(24, outputs, rngs=rngs)

    def __call__(self, xs: Array) -> Array:
        start = jnp.zeros((len(xs), 24))
        rows = jnp.swapaxes(xs.reshape(len(xs), -1, self.cell.in_features), 0, 1)
        one = lambda z, x: (self.cell(z, x)[0], None)
        return self.head(jax.lax.scan(one, start, rows)[0])


class Pictures(nnx.Module):
    """Two convolutions and a linear layer."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Conv(1, 8, (3, 3), strides=2, rngs=rngs)
        self.second = nnx.Conv(8, 16, (3, 3), strides=2, rngs=rngs)
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, xs: Array) -> Array:
        z = nnx.relu(self.first(xs.reshape(-1, 8, 8, 1)))
        return self.head(nnx.relu(self.second(z)).reshape(len(xs), -1))

"""Parts of the programs in Flax NNX: usual networks and losses."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import optax
from flax import nnx

from experiments.casebook import data
from experiments.casebook.data import Data
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


def classified(given: Data, model: Any, optimizer: Any, **options: Any) -> Program:
    """Return a training of a classifier."""
    return Program(model, *given, classes, optimizer, data.accuracy, **options)

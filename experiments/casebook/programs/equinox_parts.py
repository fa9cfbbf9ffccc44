"""Parts of the programs in Equinox, whose modules take an example at a time."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np

from experiments.casebook import data
from experiments.casebook.data import Data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs.jax_parts import classes as classes
from experiments.casebook.programs.jax_parts import squares as squares


def mlp(sizes: Sequence[int], activation: Any = jax.nn.relu, end: Any = None) -> eqx.nn.Sequential:
    """Return linear layers, with an activation between and one at the end if it is given."""
    keys = jax.random.split(jax.random.key(0), len(sizes) - 1)
    layers: list[Any] = []
    for n, m, key in zip(sizes[:-1], sizes[1:], keys, strict=True):
        layers += [eqx.nn.Linear(n, m, key=key), eqx.nn.Lambda(activation)]
    return eqx.nn.Sequential([*layers[:-1], *([eqx.nn.Lambda(end)] if end else [])])


def picture() -> Data:
    """Return the places of 32 × 32 pixels, from -1 to 1, and sixteen digits as one image."""
    image = data.digits(is_scaled=False)[0][:16].reshape(4, 4, 8, 8)
    image = image.transpose(0, 2, 1, 3).reshape(32, 32) / 8 - 0.6
    axis = np.linspace(-1, 1, 32)
    places = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    return places.astype(np.float32), image.reshape(-1).astype(np.float32)


def classified(given: Data, model: Any, optimizer: Any, **options: Any) -> CaseProgram:
    """Return a training of a classifier, an example at a time."""
    return CaseProgram(model, *given, classes, optimizer, data.accuracy, each="example", **options)

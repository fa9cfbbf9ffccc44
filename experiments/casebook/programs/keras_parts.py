"""Parts of the programs in Keras with the JAX backend: usual networks and losses."""

from collections.abc import Callable
from typing import Any

import keras
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.data import Data
from experiments.casebook.program import CaseProgram

Model = tuple[Callable[..., Any], list[Any]]


def built(shape: tuple[int, ...], *parts: Any) -> Model:
    """Return the function of a Sequential, and its trained variables."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(shape), *parts])
    fixed = [variable.value for variable in model.non_trainable_variables]
    trained = [variable.value for variable in model.trainable_variables]
    return lambda trained, xs: model.stateless_call(trained, fixed, xs)[0], trained


def binary(output: Array, ys: Array) -> Any:
    """Return Keras' cross entropy of one probability."""
    return keras.losses.binary_crossentropy(ys[:, None], output)


def classes(output: Array, ys: Array) -> Any:
    """Return Keras' cross entropy of probabilities."""
    return keras.losses.sparse_categorical_crossentropy(ys, output)


def squares(output: Array, ys: Array) -> Any:
    """Return Keras' mean square."""
    return keras.losses.mean_squared_error(ys[:, None], output)


def classified(given: Data, model: Any, optimizer: Any, **options: Any) -> CaseProgram:
    """Return a training of a classifier."""
    return CaseProgram(model, *given, classes, optimizer, data.accuracy, **options)

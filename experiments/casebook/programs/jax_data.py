"""Programs in plain JAX whose data or targets do not fit."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from experiments.casebook import data
from experiments.casebook.program import CaseProgram
from experiments.casebook.programs import jax_digits as digits
from experiments.casebook.programs.jax_parts import binary, classified, dense, mlp, squares


def columns_in_their_units(is_cured: bool) -> CaseProgram:
    """Columns from 0.001 to 4000, as they were measured."""
    xs, ys = data.tumours(is_scaled=is_cured)
    model = (lambda params, xs: jax.nn.sigmoid(mlp(params, xs)), dense((30, 16, 1)))
    return CaseProgram(model, xs, ys, binary, optax.adam(1e-3), data.accuracy)


def line_far_from_zero(is_cured: bool) -> CaseProgram:
    """A line over 0 to 100, and a step for columns of size 1."""
    xs = np.linspace(0, 100, 100, dtype=np.float32)[:, None]
    ys = 0.5 * xs[:, 0] + np.random.default_rng(0).normal(size=100).astype(np.float32)
    xs = data.scaled(xs).astype(np.float32) if is_cured else xs
    model = [(mlp, dense((1, 1)))]
    return CaseProgram(model, xs, ys, squares, optax.sgd(0.1), data.explained)


def classes_in_order(is_cured: bool) -> CaseProgram:
    """Digits of one class after the other, never shuffled."""
    xs, ys = data.digits()
    rows = np.argsort(ys, kind="stable")
    xs, ys = xs[rows], ys[rows]
    model = (mlp, dense((64, 32, 10)))
    return classified((xs, ys), model, optax.sgd(0.1), steps=112, is_shuffled=is_cured)


def labels_shuffled_later(is_cured: bool) -> CaseProgram:
    """Labels of other examples, from step 200 on."""

    def labels(step: int, ys: Any) -> Any:
        return ys if is_cured or step < 200 else np.roll(ys, 7)

    return digits.training((digits.mlp, digits.start_of_mlp()), digits.SGD, labels=labels)


def labels_from_one_to_ten(is_cured: bool) -> CaseProgram:
    """Labels 1 to 10 for ten columns from 0 on: the last class has none."""
    xs, ys = data.digits()
    first = 0 if is_cured else 1

    def cross_entropy(output: Array, ys: Array) -> Array:
        return optax.softmax_cross_entropy(output, jax.nn.one_hot(ys, 10))

    model, ys = (mlp, dense((64, 32, 10))), ys + first
    return CaseProgram(model, xs, ys, cross_entropy, optax.adam(3e-3), data.accuracy, steps=120)


def rates_of_large_columns(is_cured: bool) -> CaseProgram:
    """Counts whose expectation is the exponential of a sum of columns up to 1680."""
    columns, _ = data.wine(is_scaled=is_cured)
    measured, _ = data.wine()
    xs = np.delete(columns, 9, axis=1)
    ys = np.random.default_rng(0).poisson(np.exp(1 + 0.7 * measured[:, 9])).astype(np.float32)

    def poisson(output: Array, ys: Array) -> Array:
        return jnp.exp(output[:, 0]) - ys * output[:, 0]

    score = lambda output, ys: data.explained(np.exp(np.minimum(np.asarray(output), 20.0)), ys)
    model = [(mlp, dense((12, 1), scale=0.1))]
    return CaseProgram(model, xs, ys, poisson, optax.sgd(0.01), score, steps=150, every=10)


def tumours_labelled_two_and_four(is_cured: bool) -> CaseProgram:
    """Classes that the file counts as 2 and 4, of which a one-hot of two columns has nothing."""
    xs, labels = data.tumours()
    ys = labels if is_cured else 2 + 2 * labels
    loss = lambda output, ys: optax.softmax_cross_entropy(output, jax.nn.one_hot(ys, 2))
    score = lambda output, _: data.accuracy(output, labels)
    return CaseProgram((mlp, dense((30, 16, 2))), xs, ys, loss, optax.adam(1e-2), score)


def angles_in_degrees(is_cured: bool) -> CaseProgram:
    """Angles in degrees for a loss that takes their cosine as if they were radians."""
    chance = np.random.default_rng(0)
    angles = chance.uniform(-90, 90, 1000)
    directions = np.stack([np.cos(np.radians(angles)), np.sin(np.radians(angles))], axis=1)
    xs = directions + 0.05 * chance.normal(size=directions.shape)
    ys = np.radians(angles) if is_cured else angles
    loss = lambda output, ys: 1 - jnp.cos(output[:, 0] - ys)
    given = (mlp, dense((2, 32, 32, 1))), xs.astype(np.float32), ys.astype(np.float32), loss
    return CaseProgram(*given, optax.adam(3e-3), data.explained, steps=150, every=10)

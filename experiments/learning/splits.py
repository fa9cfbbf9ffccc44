"""Splits: the rows of a table to train on, to validate on while training, and to hold out.

Encoder and scalers are fitted on the training rows alone, so that nothing of the others reaches
the network: `table, fractions, seed -> rows of each part -> encoder, scalers -> parts`. Of classes
each part has its share of each, and one row at least.
"""

from typing import NamedTuple

import jax
import numpy as np

from experiments.learning.data import Scaler, Table
from experiments.learning.encoding import Encoder
from experiments.learning.words import counted, quoted
from jaxnn.train.steps import permutation_of_epoch


class Part(NamedTuple):
    """Some rows of a table, standardised.

    rows: their places in the table, from 0.
    x: features, (N, n[0]).
    y: labels, (N,), of regression standardised too.
    """

    rows: np.ndarray
    x: np.ndarray
    y: np.ndarray


class Split(NamedTuple):
    """The parts of a table, disjoint and together all of it, and the scalers of its columns.

    validation, test: None if their fraction is 0.
    encoder: of the columns.
    x_scaler: of the features.
    y_scaler: of a regression target, else None.
    """

    training: Part
    validation: Part | None
    test: Part | None
    encoder: Encoder
    x_scaler: Scaler
    y_scaler: Scaler | None

    @property
    def parts(self) -> dict[str, Part]:
        """The parts that are not None, by name."""
        named = {"training": self.training, "validation": self.validation, "test": self.test}
        return {name: part for name, part in named.items() if part is not None}


def split(table: Table, validation: float, test: float, seed: int) -> Split:
    """Return the parts, drawn at random: fractions of all rows, of classes the same of each.

    Raises:
        ValueError: a fraction outside [0, 1), or a part that would be empty or without a class.
    """
    key_test, key_validation, _ = jax.random.split(jax.random.key(seed), 3)  # the last is free
    every = np.arange(len(table.y))
    rest, test_rows = _held_out("test", table, every, test, key_test)
    rest, validation_rows = _held_out("validation", table, rest, validation, key_validation)
    encoder = Encoder.fitted(table.frame[rest], table.missing)
    x = encoder.encoded(table.frame)
    x_scaler = Scaler.fitted(x[rest])
    y_scaler = Scaler.fitted(table.y[rest][:, None]) if table.task == "regression" else None

    def part(rows: np.ndarray) -> Part:
        y = table.y[rows] if y_scaler is None else y_scaler.scaled(table.y[rows][:, None])[:, 0]
        return Part(rows, x_scaler.scaled(x[rows]), y)

    held_out = (part(rows) if len(rows) else None for rows in (validation_rows, test_rows))
    validation_part, test_part = held_out
    return Split(part(rest), validation_part, test_part, encoder, x_scaler, y_scaler)


def _held_out(
    name: str, table: Table, rows: np.ndarray, fraction: float, key: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that are left, and those held out: a fraction of all rows of each class."""
    if not 0 <= fraction < 1:
        raise ValueError(f"{name}: expected a fraction from 0 to below 1, got {fraction:g}")
    if fraction == 0:
        return rows, rows[:0]
    out = round(fraction * len(table.y))
    if not 0 < out < len(rows):
        raise ValueError(
            f"{name}: expected rows on both sides, got {out} held out by {fraction:g} of "
            f"{counted(len(table.y), 'row')}, of which {len(rows)} are left"
        )
    mixed = rows[np.asarray(permutation_of_epoch(key, 0, len(rows)))]
    held = np.zeros(len(mixed), bool)
    labels = table.y if table.classes else np.zeros(len(table.y))
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels[mixed] == label)
        count = max(1, round(fraction * int(np.count_nonzero(labels == label))))
        if count >= len(of_class):
            raise ValueError(
                f"{name}: expected rows of class {quoted(table.classes[int(label)])} on both "
                f"sides, got {count} held out by the fraction {fraction:g} of {len(of_class)} that "
                "are left; leave out rare classes, or hold out less"
            )
        held[of_class[:count]] = True
    return mixed[~held], mixed[held]

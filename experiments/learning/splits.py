"""Splits: the rows of a table to train on, to validate on while training, and to hold out.

The scalers are fitted on the training rows alone, so that nothing of the others reaches the
network: `table, fractions, seed -> rows of each part -> scalers of the training rows -> parts`.
"""

from typing import NamedTuple

import jax
import numpy as np

import jaxnn
from experiments.learning.data import Scaler, Table


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
    x_scaler: of the features.
    y_scaler: of a regression target, else None.
    """

    training: Part
    validation: Part | None
    test: Part | None
    x_scaler: Scaler
    y_scaler: Scaler | None

    @property
    def parts(self) -> dict[str, Part]:
        """The parts that are not None, by name."""
        named = {"training": self.training, "validation": self.validation, "test": self.test}
        return {name: part for name, part in named.items() if part is not None}


def split(table: Table, validation: float, test: float, seed: int) -> Split:
    """Return the parts, drawn at random.

    Args:
        table: what to split.
        validation: the fraction of the rows to validate on, of all of them; 0 for none.
        test: the fraction of the rows to hold out, of all of them; 0 for none.
        seed: of the draw.

    Raises:
        ValueError: a fraction outside [0, 1), or a part that would be empty.
    """
    key_test, key_validation, _ = jax.random.split(jax.random.key(seed), 3)  # the last is free
    every = len(table.x)
    rest, test_rows = _held_out("test", np.arange(every), test, every, key_test)
    rest, validation_rows = _held_out("validation", rest, validation, every, key_validation)
    x_scaler = Scaler.fitted(table.x[rest])
    y_scaler = Scaler.fitted(table.y[rest][:, None]) if table.task == "regression" else None

    def part(rows: np.ndarray) -> Part:
        y = table.y[rows] if y_scaler is None else y_scaler.scaled(table.y[rows][:, None])[:, 0]
        return Part(rows, x_scaler.scaled(table.x[rows]), y)

    held_out = (part(rows) if len(rows) else None for rows in (validation_rows, test_rows))
    validation_part, test_part = held_out
    return Split(part(rest), validation_part, test_part, x_scaler, y_scaler)


def _held_out(
    name: str, rows: np.ndarray, fraction: float, every: int, key: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that are left, and those held out: a fraction of `every`, of all rows."""
    if not 0 <= fraction < 1:
        raise ValueError(f"{name}: expected a fraction from 0 to below 1, got {fraction:g}")
    if fraction == 0:
        return rows, rows[:0]
    out = round(fraction * every)
    if not 0 < out < len(rows):
        raise ValueError(
            f"{name}: expected rows on both sides, got {out} of {len(rows)} held out by the "
            f"fraction {fraction:g}"
        )
    (left, _), (held, _) = jaxnn.split(rows, rows, out / len(rows), key)
    return left, held

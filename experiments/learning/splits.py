"""Splits: the rows of a table that are trained on, looked at while training, and held out.

What standardises is fitted on the training rows alone, so that nothing of the others reaches the
network: `table, fractions, seed -> rows of each part -> scalers of the training rows -> parts`.
"""

from typing import NamedTuple

import jax
import numpy as np

import jaxnn
from experiments.learning.data import Scaler, Table


class Part(NamedTuple):
    """Some rows of a table, standardised.

    rows: which of the table, from 0.
    x: features, (N, n[0]).
    y: labels, (N,), of regression standardised too.
    """

    rows: np.ndarray
    x: np.ndarray
    y: np.ndarray


class Split(NamedTuple):
    """The parts of a table, disjoint and together all of it, and what standardised them.

    validation, test: None where none were asked for.
    of_x: of the features.
    of_y: of a regression target, else None.
    """

    training: Part
    validation: Part | None
    test: Part | None
    of_x: Scaler
    of_y: Scaler | None

    @property
    def parts(self) -> dict[str, Part]:
        """Those that there are, by name."""
        named = {"training": self.training, "validation": self.validation, "test": self.test}
        return {name: part for name, part in named.items() if part is not None}


def split(table: Table, validation: float, test: float, seed: int) -> Split:
    """Draws the parts.

    Args:
        table: what to split.
        validation: the fraction of the rows to validate on, of all of them; 0 for none.
        test: the fraction of the rows to hold out, of all of them; 0 for none.
        seed: which of the rows.

    Raises:
        ValueError: a fraction outside [0, 1), or a part that would be empty.
    """
    key_test, key_validation, _ = jax.random.split(jax.random.key(seed), 3)  # the last is free
    every = len(table.x)
    rest, test_rows = _held_out("test", np.arange(every), test, every, key_test)
    rest, validation_rows = _held_out("validation", rest, validation, every, key_validation)
    of_x = Scaler.fitted(table.x[rest])
    of_y = Scaler.fitted(table.y[rest][:, None]) if table.task == "regression" else None

    def part(rows: np.ndarray) -> Part:
        y = table.y[rows] if of_y is None else of_y.scaled(table.y[rows][:, None])[:, 0]
        return Part(rows, of_x.scaled(table.x[rows]), y)

    on_look, at_end = (part(rows) if len(rows) else None for rows in (validation_rows, test_rows))
    return Split(part(rest), on_look, at_end, of_x, of_y)


def _held_out(
    name: str, rows: np.ndarray, fraction: float, every: int, key: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """The rows that are left, and those held out: that fraction of every row of the table."""
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

"""Splits: the rows of a table to train on, to validate on while training, and to hold out.

The pipeline of the columns and the scale of a target are fitted on the training rows alone, so that
nothing of the others reaches the network. Of classes each part has its share of each.
"""

from typing import Any, NamedTuple

import numpy as np

from experiments.learning.data import DataTable, pipeline


class SplitRows(NamedTuple):
    """Some rows of a table, standardised."""

    rows: np.ndarray  # their places in the table, from 0
    x: np.ndarray
    y: np.ndarray  # of regression standardised too


class Split(NamedTuple):
    """The parts of a table."""

    parts: dict[str, SplitRows]  # training, and validation and test unless their fraction is 0
    pipeline: Any  # from columns to features, fitted
    mean: float  # of the target of a regression; 0 and 1 of classes
    spread: float


def split(table: DataTable, validation: float, test: float, seed: int) -> Split:
    """Return the parts, drawn at random: fractions of all rows, of classes the same of each."""
    from sklearn.model_selection import train_test_split

    rest, held_out = np.arange(len(table.y)), {}
    for name, fraction in (("test", test), ("validation", validation)):
        count = round(fraction * len(table.y))
        if not 0 <= fraction < 1:
            raise ValueError(f"{name}: expected a fraction from 0 to below 1, got {fraction:g}")
        if fraction > 0:
            classes = table.y[rest] if table.classes else None
            try:
                rest, held_out[name] = train_test_split(
                    rest, test_size=count, stratify=classes, random_state=seed
                )
            except ValueError as error:  # too few rows of all, or of a class
                raise ValueError(f"{name}: cannot hold out {count} rows: {error}") from None
    made = pipeline(table.frame)
    made.fit(table.frame[rest])
    x = made.transform(table.frame)
    is_number = not table.classes
    unit = np.max(np.abs(table.y[rest])) or 1.0  # squares of huge entries stay in range
    scaled = table.y[rest] / unit
    mean, spread = (scaled.mean() * unit, scaled.std() * unit) if is_number else (0.0, 1.0)
    y = (table.y - mean) / (spread or 1.0) if is_number else table.y
    rows = {"training": rest} | {n: held_out[n] for n in ("validation", "test") if n in held_out}
    parts = {name: SplitRows(of_part, x[of_part], y[of_part]) for name, of_part in rows.items()}
    return Split(parts, made, float(mean), float(spread or 1.0))

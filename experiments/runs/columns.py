"""The columns of rows.parquet, by experiment: types, units, meanings; and a check of what is read.

Logarithms say so in their names, `log10_…` of a number without a unit, and so do fractions. Depth
counts hidden layers, width units, batch examples.
"""

from typing import NamedTuple

import polars as pl


class Column(NamedTuple):
    """A column: what it holds, in which unit, and whether that may be missing."""

    dtype: pl.DataType
    unit: str
    meaning: str
    optional: bool = False
    known: tuple[str, ...] = ()  # the texts it may hold; none where any


TEXT, COUNT, REAL, FLAG = pl.String(), pl.Int64(), pl.Float64(), pl.Boolean()
FROM_ZERO = ("seed", "example", "epoch", "step")
STATES = ("number", "underflow", "overflow", "zero")

DEPTH = {
    "activation": Column(TEXT, "name", "σ of the hidden layers"),
    "weights": Column(TEXT, "name", "initialisation"),
    "sigma_w": Column(REAL, "1", "σ_w of a hidden layer; missing where theory has none", True),
    "sigma_b": Column(REAL, "1", "standard deviation of the biases"),
    "width": Column(COUNT, "units", "in every hidden layer"),
    "depth": Column(COUNT, "hidden layers", "of the network"),
    "batch": Column(COUNT, "examples", "whose mean loss is differentiated"),
    "dtype": Column(TEXT, "name", "in which it is computed"),
    "data": Column(TEXT, "name", "set or file"),
    "seed": Column(COUNT, "1", "draws weights and batch"),
    "layer": Column(COUNT, "layers", "l, from 1; depth + 1 is the output"),
    "log10_delta_z": Column(REAL, "decades", "log₁₀ ‖Δz[l]‖; -inf for zero"),
    "log10_delta_theta": Column(REAL, "decades", "log₁₀ ‖Δθ[l-1]‖"),
    "log10_gain": Column(REAL, "decades", "log₁₀ ‖Δz[l]‖ / ‖Δz[l+1]‖; nan for the output"),
    "log10_mean_square_z": Column(REAL, "decades", "log₁₀ of the mean of z[l]²"),
    "saturated_fraction": Column(REAL, "of units", "on a plateau of σ"),
    "dead_fraction": Column(REAL, "of units", "with no slope for any example"),
    "delta_z": Column(TEXT, "word", "Δz[l] in plain backpropagation", known=STATES),
}
SPECTRUM = {
    "activation": Column(TEXT, "name", "σ of the hidden layers"),
    "weights": Column(TEXT, "name", "kind of weights"),
    "depth": Column(COUNT, "factors", "of the Jacobian"),
    "seed": Column(COUNT, "1", "draws weights and inputs"),
    "example": Column(COUNT, "1", "which of the inputs"),
    "log10_singular_values": Column(pl.List(REAL), "decades", "log₁₀ s, descending"),
    "log10_mean": Column(REAL, "decades", "log₁₀ of the mean of s²"),
    "variance": Column(REAL, "1", "of s² / mean s²; missing where that is zero", True),
    "predicted": Column(REAL, "1", "the variance at infinite width"),
    "comparable": Column(FLAG, "yes or no", "whether the width is large enough for it"),
}
TRAINABILITY = {
    "depth": Column(COUNT, "hidden layers", "of the network"),
    "sigma_w_squared": Column(REAL, "1", "σ_w², the variance of the weights times fan_in"),
    "seed": Column(COUNT, "1", "draws weights and batches"),
    "accuracy": Column(REAL, "of examples", "fraction that is told right, of all the data"),
    "loss": Column(REAL, "nats", "mean over all the data"),
}
TRAIN = {
    "epoch": Column(COUNT, "epochs", "that are done; of the test set those of the parameters kept"),
    "step": Column(COUNT, "steps", "that are done"),
    "set": Column(TEXT, "name", "of rows", known=("training", "validation", "test")),
    "metric": Column(TEXT, "name", "of the value", known=("accuracy", "R²")),
    "loss": Column(REAL, "nats, or ½ variance of the target", "mean over the set"),
    "value": Column(REAL, "1", "accuracy, or R² of a regression"),
    "auc": Column(REAL, "1", "area under the ROC curve; of a binary task only", True),
}
FLOW = {  # of a training run's flow.parquet
    "epoch": Column(COUNT, "epochs", "that are done"),
    "step": Column(COUNT, "steps", "that are done"),
    "layer": Column(COUNT, "layers", "l, from 1; the last is the output"),
    "log10_delta_z": Column(REAL, "decades", "log₁₀ ‖Δz[l]‖ of one batch; -inf for zero"),
    "log10_delta_theta": Column(REAL, "decades", "log₁₀ ‖Δθ[l-1]‖"),
    "log10_mean_square_z": Column(REAL, "decades", "log₁₀ of the mean of z[l]²"),
    "saturated_fraction": Column(REAL, "of units", "on a plateau of σ"),
    "dead_fraction": Column(REAL, "of units", "with no slope for any example"),
}
PEERS = {
    "data": Column(TEXT, "name", "set or file"),
    "seed": Column(COUNT, "1", "draws split, weights and batches"),
    "library": Column(TEXT, "name", "that trained", known=("jaxnn", "scikit-learn")),
    "metric": Column(TEXT, "name", "of the value", known=("accuracy", "R²")),
    "value": Column(REAL, "1", "accuracy or R² of the rows held out"),
    "seconds": Column(REAL, "s", "that training and testing took"),
}
LAWS = {
    "law": Column(TEXT, "name", "of the law"),
    "case": Column(TEXT, "name", "what is compared"),
    "source": Column(TEXT, "name", "where the law is from"),
    "relation": Column(TEXT, "sign", "of the measured to the predicted", known=("=", "≥", "≤")),
    "predicted": Column(REAL, "that of the case", "by the law's formula"),
    "measured": Column(REAL, "that of the case", "in networks"),
    "standard_error": Column(REAL, "that of the case", "of the measured; missing for one", True),
    "tolerance": Column(REAL, "that of the case", "by which they may differ"),
    "reason": Column(TEXT, "words", "where the tolerance comes from"),
    "holds": Column(FLAG, "yes or no", "whether they agree"),
}

KINDS_OF_BENCH = ("warm", "cold", "floor", "growth", "memory")
BENCH = {
    "row": Column(TEXT, "name", "of the goal"),
    "workload": Column(TEXT, "words", "what is done"),
    "against": Column(TEXT, "words", "what it is compared with"),
    "kind": Column(TEXT, "word", "what is timed", known=KINDS_OF_BENCH),
    "case": Column(TEXT, "name", "sizes"),
    "goal": Column(REAL, "1", "largest ratio that meets it"),
    "ratio": Column(REAL, "1", "ours / theirs, median of pairs; of growth the exponent"),
    "ratio_low": Column(REAL, "1", "lower quartile of the pairs"),
    "ratio_high": Column(REAL, "1", "upper quartile of the pairs"),
    "holds": Column(FLAG, "yes or no", "whether the goal is met"),
    "pairs": Column(COUNT, "pairs", "that were timed"),
    "ours_seconds": Column(REAL, "s", "a repetition of ours, median"),
    "theirs_seconds": Column(REAL, "s", "a repetition of theirs; missing without a peer", True),
    "floor_seconds": Column(REAL, "s", "operations over their measured rates", True),
    "over_floor": Column(REAL, "1", "ours_seconds / floor_seconds", True),
    "ours_first": Column(REAL, "s", "the first repetition of a process, with compiling"),
    "theirs_first": Column(REAL, "s", "the same of theirs", True),
    "ours_import": Column(REAL, "s", "for the imports of the process"),
    "theirs_import": Column(REAL, "s", "the same of theirs", True),
    "difference": Column(REAL, "1", "of the numbers that both compute, largest", True),
}


def check(rows: pl.DataFrame, expected: dict[str, Column]) -> None:
    """Makes sure that rows are those of an experiment.

    Raises:
        ValueError: one sentence on the first column that is not.
    """
    missing, more = set(expected) - set(rows.columns), set(rows.columns) - set(expected)
    if missing or more:
        words = (("without ", missing), ("with ", more))
        found = " and ".join(f"{word}{', '.join(sorted(names))}" for word, names in words if names)
        raise ValueError(f"expected the columns {', '.join(expected)}, got them {found}")
    if rows.is_empty():
        raise ValueError("expected rows, got none")
    for name, column in expected.items():
        values = rows[name]
        if values.dtype != column.dtype:
            raise ValueError(f"column {name}: expected {column.dtype}, got {values.dtype}")
        if values.null_count() and not column.optional:
            raise ValueError(f"column {name}: expected no missing values")
        wrong = _wrong(name, values, column)
        if wrong.len():
            wanted = ", ".join(column.known) or "counts"
            raise ValueError(f"column {name}: expected {wanted}, got {wrong[0]!r}")


def _wrong(name: str, values: pl.Series, column: Column) -> pl.Series:
    if column.known:
        return values.filter(~values.is_in(column.known))
    if column.dtype == COUNT:
        return values.filter(values < (0 if name in FROM_ZERO else 1))
    return values.clear()

"""The columns of a depth sweep's rows.parquet: one row a seed and layer.

Depth counts hidden layers, width units, batch examples; `log10_…` are logarithms to the base ten.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from experiments.runs.schema import COUNT, REAL, TEXT, Column

IN_THEORY = (
    *("delta_z_theory", "delta_z_theory_error", "delta_z_theory_sd", "gain_theory"),
    *("mean_square_z_theory", "spread_theory"),
)
STATES = ("number", "underflow", "overflow", "zero")

COLUMNS = {
    "activation": Column(TEXT, "name", "σ of the hidden layers"),
    "weights": Column(TEXT, "name", "initialisation"),
    "hidden": Column(TEXT, "name", "kind of block between hidden layers, and its scale"),
    "sigma_w": Column(REAL, "1", "σ_w of a hidden layer; missing where theory has none", True),
    "sigma_b": Column(REAL, "1", "standard deviation of the biases", True),
    "width": Column(COUNT, "units", "in every hidden layer"),
    "depth": Column(COUNT, "hidden layers", "of the network"),
    "batch": Column(COUNT, "examples", "whose mean loss is differentiated"),
    "dtype": Column(TEXT, "name", "in which it is computed"),
    "data": Column(TEXT, "name", "set or file"),
    "seed": Column(COUNT, "1", "draws weights and batch"),
    "layer": Column(COUNT, "layers", "l, from 1; depth + 1 is the output"),
    "log10_delta_z": Column(REAL, "decades", "log₁₀ ‖Δz[l]‖ of the batch; -inf for zero"),
    "log10_delta_z_example": Column(
        REAL,
        "decades",
        "mean of log₁₀ ‖Δz[l]‖ over examples that have a gradient",
        True,
    ),
    "log10_delta_theta": Column(REAL, "decades", "log₁₀ ‖Δθ[l-1]‖"),
    "log10_gain": Column(REAL, "decades", "log₁₀ ‖Δz[l]‖ / ‖Δz[l+1]‖; nan for the output"),
    "log10_mean_square_z": Column(REAL, "decades", "log₁₀ of the mean of z[l]²"),
    "log10_spread": Column(
        REAL,
        "decades",
        "log₁₀ of what differs between examples, relative to z[l]; --examples",
        True,
    ),
    "cosine": Column(REAL, "1", "mean cosine between the z[l] of two examples; --examples", True),
    "rank": Column(
        REAL, "examples", "effective rank of what differs; nan where rounding; --examples", True
    ),
    "saturated_fraction": Column(
        REAL, "of units", "on a plateau of σ; missing if that is not known", True
    ),
    "dead_fraction": Column(
        REAL, "of units", "with no slope for any example; missing if σ is not known", True
    ),
    # Of a network of the user's own, which is swept by `jaxnn.sweep`: missing here, as ever.
    **{f"log10_{name}": Column(REAL, "decades", "missing", True) for name in IN_THEORY},
    "delta_z": Column(TEXT, "word", "Δz[l] in plain backpropagation", known=STATES),
}


def rows_of(values: Mapping[str, Any], log_delta: np.ndarray, lost: np.ndarray) -> pl.DataFrame:
    """Return rows of values by column, each an array or the same in all rows; others are missing.

    log_delta: ln ‖Δz[l]‖, and lost whether plain backpropagation has no number for it.
    """
    states = [np.isneginf(log_delta), lost & (log_delta < 0), lost]
    words = np.select(states, ["zero", "underflow", "overflow"], "number")
    return pl.DataFrame(
        {name: values.get(name) for name in COLUMNS} | {"delta_z": words},
        {name: column.dtype for name, column in COLUMNS.items()},
    )

"""The columns of a spectrum's rows.parquet: one row a Jacobian."""

import polars as pl

from experiments.runs.schema import COUNT, FLAG, REAL, TEXT, Column

COLUMNS = {
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

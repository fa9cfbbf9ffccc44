"""The columns of rows.parquet: one row a number, of a network, a change of it, and a seed."""

from typing import Any

import numpy as np
import polars as pl

from experiments.runs.schema import COUNT, REAL, TEXT, Column

GRADIENT, DISTANCE, ACCURACY = "log10_gradient", "distance", "accuracy"
DELTA, LOSS = "log10_delta", "loss"
CHART = "cures"  # the name of its picture
OF_ARTICLE, BEFORE, CURE, NONE = "article", "as it is", "cures", "none"
FRAMEWORKS = "jaxnn", "flax", "equinox", "jax", "torch"  # jaxnn: of remedies; jax: a user's own
RIVALS = (
    *("He", "Glorot", "orthogonal weights", "orthogonal with gain", "LSUV", "anyinit", "GradInit"),
    *("with a norm", "residual with a norm"),
)

COLUMNS = {
    "network": Column(TEXT, "name", f"{OF_ARTICLE!r}, one of dense.py, or FILE.py:NAME"),
    "framework": Column(TEXT, "name", "that it is built in", known=FRAMEWORKS),
    "change": Column(
        TEXT,
        "name",
        f"a remedy of the article; else {BEFORE!r}, the kind of a cure, {NONE!r}, or a rival",
    ),
    "advice": Column(TEXT, "words", "what was changed, or why nothing was", optional=True),
    "depth": Column(COUNT, "layers", "hidden ones of the article's networks; of others all"),
    "seed": Column(COUNT, "1", "draws weights and batches"),
    "quantity": Column(
        TEXT,
        "name",
        "log10_gradient: log₁₀ ‖Δz[1]‖ / ‖Δz[L]‖, L the last hidden layer, in decades, the mean "
        "over examples, or with a batch norm that of the batch; distance: 1 - the mean correlation "
        "of two examples' z[L]; accuracy and loss: of all the data after some steps; log10_delta: "
        "log₁₀ ‖Δ‖ of a layer",
        known=(GRADIENT, DISTANCE, ACCURACY, DELTA, LOSS),
    ),
    "layer": Column(COUNT, "layers", "of a log10_delta, from 1, next to the input", True),
    "step": Column(COUNT, "steps", "of training, before this accuracy or loss", True),
    "rate": Column(REAL, "1", "step size of the training", True),
    "value": Column(REAL, "of the quantity", "-inf, inf or nan where there is no number"),
}
DTYPES = {name: column.dtype for name, column in COLUMNS.items()}


def rows_of(quantities: dict[str, Any], **place: Any) -> pl.DataFrame:
    """Return a row for each value of each quantity; what the place does not name is empty."""
    place = {**dict.fromkeys(DTYPES), **place}
    return pl.concat(
        pl.DataFrame(place | {"quantity": name, "value": np.atleast_1d(values)}, DTYPES)
        for name, values in quantities.items()
    )

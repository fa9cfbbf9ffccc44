"""The columns of rows.parquet: one row a number, that is a remedy, depth, seed and quantity."""

from experiments.runs.schema import COUNT, REAL, TEXT, Column

GRADIENT, DISTANCE, ACCURACY = QUANTITIES = ("log10_gradient", "distance", "accuracy")
DELTA, LOSS = "log10_delta", "loss"
CHART = "remedies"  # the name of its picture
BEFORE = "as it is"  # a network of the user's own, before any cure

COLUMNS = {
    "remedy": Column(
        TEXT, "name", f"see `remedies.table`; of a network of the user's own {BEFORE!r}, or a cure"
    ),
    "depth": Column(COUNT, "layers", "hidden ones of the network; all of one of the user's own"),
    "seed": Column(COUNT, "1", "draws weights and batches"),
    "quantity": Column(
        TEXT,
        "name",
        "log10_gradient: log₁₀ ‖Δz[1]‖ / ‖Δz[L]‖, L the last hidden layer, in decades, the mean "
        "over examples, or with a batch norm that of the batch; distance: "
        "1 - the mean correlation of two examples' z[L]; accuracy and loss: of all the data after "
        "some steps; log10_delta: log₁₀ ‖Δ‖ of a layer, in decades",
        known=(*QUANTITIES, LOSS, DELTA),
    ),
    "layer": Column(COUNT, "layers", "of a log10_delta, from 1, next to the input", True),
    "step": Column(COUNT, "steps", "of training, before this accuracy or loss", True),
    "rate": Column(REAL, "1", "step size of the training", True),
    "value": Column(REAL, "of the quantity", "-inf, inf or nan where there is no number"),
}
DTYPES = {name: column.dtype for name, column in COLUMNS.items()}

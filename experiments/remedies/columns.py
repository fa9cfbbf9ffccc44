"""The columns of rows.parquet: one row a number, that is a remedy, depth, seed and quantity."""

from experiments.runs.schema import COUNT, REAL, TEXT, Column

GRADIENT, DISTANCE, ACCURACY = QUANTITIES = ("log10_gradient", "distance", "accuracy")

COLUMNS = {
    "remedy": Column(TEXT, "name", "see `remedies.table`"),
    "depth": Column(COUNT, "hidden layers", "of the network"),
    "seed": Column(COUNT, "1", "draws weights and batches"),
    "quantity": Column(
        TEXT,
        "name",
        "log10_gradient: log₁₀ ‖Δz[1]‖ / ‖Δz[L]‖, L the last hidden layer, in decades; distance: "
        "1 - the mean correlation of two examples' z[L]; accuracy: after training, of all the data",
        known=QUANTITIES,
    ),
    "value": Column(REAL, "of the quantity", "-inf, inf or nan where there is no number"),
}

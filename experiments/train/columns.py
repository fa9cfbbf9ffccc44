"""The columns of a training run's tables.

COLUMNS are those of rows.parquet, one row an epoch and set; FLOW those of flow.parquet, one row a
look and layer.
"""

from experiments.runs.schema import COUNT, REAL, TEXT, Column

COLUMNS = {
    "epoch": Column(COUNT, "epochs", "done; of the test set that of the exported parameters"),
    "step": Column(COUNT, "steps", "done"),
    "set": Column(TEXT, "name", "of rows", known=("training", "validation", "test")),
    "metric": Column(TEXT, "name", "of the value", known=("accuracy", "R²")),
    "loss": Column(REAL, "nats, or ½ variance of the target", "mean over the set"),
    "value": Column(REAL, "1", "accuracy, or R² of a regression"),
}
FLOW = {
    "epoch": Column(COUNT, "epochs", "done"),
    "step": Column(COUNT, "steps", "done"),
    "layer": Column(COUNT, "layers", "l, from 1; the last is the output"),
    "log10_delta_z": Column(REAL, "decades", "log₁₀ ‖Δz[l]‖ of one batch; -inf for zero"),
    "log10_delta_theta": Column(REAL, "decades", "log₁₀ ‖Δθ[l-1]‖"),
    "log10_mean_square_z": Column(REAL, "decades", "log₁₀ of the mean of z[l]²"),
    "saturated_fraction": Column(REAL, "of units", "on a plateau of σ"),
    "dead_fraction": Column(REAL, "of units", "with no slope for any example"),
}

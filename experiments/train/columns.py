"""The columns of a training run's tables.

COLUMNS are those of rows.parquet, one row an epoch and set; FLOW those of flow.parquet, one row a
look and layer.
"""

from typing import NamedTuple

from experiments.runs.schema import COUNT, REAL, TEXT, Column


class LayerQuantity(NamedTuple):
    """Quantities that a look measures in each layer."""

    field: str  # of a flow
    label: str
    unit: str


QUANTITIES = {
    "log10_delta_z": LayerQuantity("log_delta", "log₁₀ ‖Δz[l]‖", "decades"),
    "log10_delta_theta": LayerQuantity("log_delta_theta", "log₁₀ ‖Δθ[l-1]‖", "decades"),
    "log10_mean_square_z": LayerQuantity(
        "log_mean_square", "log₁₀ of the mean of z[l]²", "decades"
    ),
    "saturated_fraction": LayerQuantity("saturated", "saturated units", "of units"),
    "dead_fraction": LayerQuantity("dead", "dead units", "of units"),
}
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
    **{name: Column(REAL, of.unit, of.label) for name, of in QUANTITIES.items()},
}

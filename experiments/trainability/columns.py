"""The columns of a trainability map's rows.parquet: one row a network."""

from experiments.runs.schema import COUNT, REAL, Column

COLUMNS = {
    "depth": Column(COUNT, "hidden layers", "of the network"),
    "sigma_w_squared": Column(REAL, "1", "σ_w², the variance of the weights times fan_in"),
    "seed": Column(COUNT, "1", "draws weights and batches"),
    "accuracy": Column(REAL, "of examples", "fraction that is told right, of all the data"),
    "loss": Column(REAL, "nats", "mean over all the data"),
}

"""The columns of a comparison's rows.parquet: one row a network."""

from experiments.runs.schema import COUNT, REAL, TEXT, Column

COLUMNS = {
    "data": Column(TEXT, "name", "set or file"),
    "seed": Column(COUNT, "1", "draws split, weights and batches"),
    "library": Column(TEXT, "name", "that trained", known=("jaxnn", "scikit-learn")),
    "metric": Column(TEXT, "name", "of the value", known=("accuracy", "R²")),
    "value": Column(REAL, "1", "accuracy or R² of the rows held out; nan: it blew up"),
    "seconds": Column(REAL, "s", "that training and testing took, without compiling"),
}

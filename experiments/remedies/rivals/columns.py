"""The columns of rows.parquet: one row for each network, remedy, seed, step size and length."""

from experiments.remedies.rivals.networks import FRAMEWORKS
from experiments.runs.schema import COUNT, REAL, TEXT, Column

COLUMNS = {
    "network": Column(TEXT, "name", "of networks.py"),
    "framework": Column(TEXT, "name", "that it is built in", known=FRAMEWORKS),
    "remedy": Column(TEXT, "name", "of rivals.py, or the first cure"),
    "change": Column(TEXT, "name", "kind of the first cure; empty if there is none, and of others"),
    "advice": Column(TEXT, "words", "what the cure changes; the error of a package", optional=True),
    "seed": Column(COUNT, "1", "draws weights and batches"),
    "rate": Column(REAL, "1", "the step size of Adam"),
    "step": Column(COUNT, "steps", "after which it is evaluated"),
    "accuracy": Column(REAL, "1", "over all examples; nan of a package that ends in an error"),
}

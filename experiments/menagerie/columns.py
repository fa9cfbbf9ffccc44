"""The columns of the menagerie's rows.parquet: one row a network."""

from experiments.runs.schema import COUNT, REAL, TEXT, Column

MEASURED, DIFFERS, REFUSED, ABSENT = "measured", "differs", "refused", "absent"
RESULTS = (MEASURED, DIFFERS, REFUSED, ABSENT)

COLUMNS = {
    "package": Column(TEXT, "name", "that ships the network or its layers"),
    "network": Column(TEXT, "name", "of the line in the table of its package"),
    "title": Column(TEXT, "name", "of the network, as its package has it"),
    "result": Column(TEXT, "name", "measured, refused, or absent as its package", known=RESULTS),
    "layers": Column(COUNT, "layers", "that the flow has; 0 without one"),
    "arrays": Column(COUNT, "arrays", "of parameters with a gradient"),
    "compared": Column(COUNT, "arrays", "of them whose norms are compared"),
    "states": Column(COUNT, "states", "whose Δ is compared"),
    "difference": Column(REAL, "1", "largest relative one to plain gradients; nan without a flow"),
    "where": Column(TEXT, "name", "the array with the largest difference"),
    "dtype": Column(TEXT, "name", "of the numbers; empty without a flow"),
    "unmeasured": Column(COUNT, "layers", "without a number"),
    "seconds": Column(REAL, "s", "to build, measure and compare it, with compiling"),
    "message": Column(TEXT, "words", "the error message; empty if there is none"),
}

"""The columns of rows.parquet of the cures: one row for each network, framework and change."""

from experiments.runs.schema import COUNT, FLAG, REAL, TEXT, Column

BEFORE = "as it is"
RIVALS = "anyinit analytic", "anyinit empirical", "LSUV", "GradInit"
FRAMEWORKS = {"flax": "network_nnx", "equinox": "network_equinox", "torch": "network_torch"}

COLUMNS = {
    "network": Column(TEXT, "name", "of recipes.py"),
    "framework": Column(TEXT, "name", "that the network is built in", known=tuple(FRAMEWORKS)),
    "change": Column(TEXT, "name", "its kind; 'as it is' before any; a rival, of torch"),
    "advice": Column(TEXT, "words", "what was changed, or a rival's error; empty before any"),
    "layers": Column(COUNT, "layers", "of the flow"),
    "decades": Column(REAL, "decades a layer", "the rate towards the input; nan if there is none"),
    "total": Column(REAL, "decades", "of the whole network"),
    "signal": Column(REAL, "decades", "that the root mean square varies by; nan if not measured"),
    "log10_spread": Column(REAL, "1", "what differs between examples at the top, of the state"),
    "works": Column(FLAG, "1", "whether gradient, signal and examples are kept"),
    "own": Column(FLAG, "1", "whether the parameters have the structure of the user's own"),
    "seconds": Column(REAL, "s", "of processors, to diagnose it and to try all changes"),
}

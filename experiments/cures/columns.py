"""The columns of rows.parquet of the cures: one row for each network and change."""

from experiments.runs.schema import COUNT, FLAG, REAL, TEXT, Column

BEFORE = "as it is"
RIVALS = ANYINIT, LSUV = "anyinit", "LSUV"

COLUMNS = {
    "network": Column(TEXT, "name", "of networks.py"),
    "change": Column(TEXT, "name", "its kind; 'as it is' before any; a rival of plain networks"),
    "advice": Column(TEXT, "words", "what was changed; empty before any"),
    "layers": Column(COUNT, "layers", "of the flow"),
    "decades": Column(REAL, "decades a layer", "the rate towards the input; nan if there is none"),
    "total": Column(REAL, "decades", "of the whole network"),
    "signal": Column(REAL, "decades", "that the root mean square varies by; nan if not measured"),
    "log10_spread": Column(REAL, "1", "what differs between examples at the top, of the state"),
    "works": Column(FLAG, "1", "whether gradient, signal and examples are kept"),
    "seconds": Column(REAL, "s", "to try all our changes of the network, with compiling"),
}

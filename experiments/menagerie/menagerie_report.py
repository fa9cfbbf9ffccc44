"""The menagerie in words: how many networks are measured, and a table."""

import polars as pl
from rich.table import Table
from rich.text import Text

from experiments.pages import tables
from experiments.runs.missing import NOTHING, Missing
from experiments.runs.schema import COUNT, REAL, TEXT, Column
from jaxnn.texts import counted

TITLE = "networks as they are: layers, largest relative difference to plain gradients"

MEASURED, DIFFERS, REFUSED, ABSENT = "measured", "differs", "refused", "absent"
RESULTS = (MEASURED, DIFFERS, REFUSED, ABSENT)
# Of rows.parquet, one row a network.
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


def verdicts(rows: pl.DataFrame) -> list[str]:
    """Return how many networks are measured, and a sentence on each that is not."""
    tried = rows.filter(pl.col("result") != ABSENT)
    measured = tried.filter(result=MEASURED)
    sentences = [
        f"{measured.height} of {counted(tried.height, 'network')} are measured as they are"
    ]
    if measured.height:
        worst = measured["difference"].to_numpy().max()
        sentences[0] += f", at most {worst:.0e} from plain gradients"
    others = tried.filter(pl.col("result").is_in([REFUSED, DIFFERS])).rows(named=True)
    sentences += [f"{row['package']} {row['network']}: {_what(row)}" for row in others]
    absent = rows.filter(result=ABSENT)["package"].unique(maintain_order=True)
    if len(absent):
        sentences.append(f"not installed: {', '.join(absent)}")
    return sentences


def _what(row: dict[str, object]) -> str:
    if row["result"] == DIFFERS:
        return f"differs by {row['difference']:.1e} at {row['where']}"
    return f"refused, {' '.join(str(row['message']).split())}"


def table(rows: pl.DataFrame, missing: Missing = NOTHING) -> Table:
    """Return a line a network; it fits into 80 characters."""
    heads = ("layers", "difference", "s", "result")
    shown = tables.table(TITLE, "network", *heads, width=36)
    for row in rows.rows(named=True):
        has_flow = row["result"] in (MEASURED, DIFFERS)
        shown.add_row(
            Text(f"{row['package']} {row['network']}"),
            str(row["layers"]) if has_flow else "–",
            f"{row['difference']:.0e}" if has_flow else "–",
            f"{row['seconds']:.1f}",
            str(row["result"]),
        )
    for place in missing.rows(rows, "package", "network").rows(named=True):
        name = Text(f"{place['package']} {place['network']}")
        shown.add_row(name, *len(heads) * (tables.NOT_MEASURED,))
    return shown

"""The casebook in words: scores of each part, and a table."""

import polars as pl
from rich.table import Table
from rich.text import Text

from experiments.casebook.case import BLIND, CURED, ILL, PARTS, PROGRAMS, SCORE, SCORED, WRITE
from experiments.casebook.checked import LEARNED, LEARNS
from experiments.casebook.scores import SILENT, share
from experiments.pages import tables
from experiments.runs.missing import NOTHING, Missing
from jaxnn.texts import counted

TITLE = "casebook: what is said of programs that do not train"
OF_CASE = ("framework", "source", "fault", "part", "wrong", "fix")
IN_WORDS = {
    WRITE: "cases that rules were written on",
    SCORE: "cases that scored them",
    SCORED: "cases that were blind",
    BLIND: "blind cases",
}


def verdicts(rows: pl.DataFrame) -> list[str]:
    """Return the scores of each part, the twins that are not silent, and what was not ill."""
    said = []
    for part in PARTS:
        ill = rows.filter(program=ILL, part=part)
        twins = rows.filter(program=CURED, part=part)
        if ill.height:
            marks = ", ".join(f"{mark} right in {share(ill[mark])}" for mark in MARKED)
            silent = share(twins["cause"], SILENT)
            others = ill["cured"].filter(ill["cured"].ne_missing(LEARNED))
            learns = f"the first advice makes it learn in {share(others, LEARNS)}"
            if len(others) < ill.height:
                learns += f", {ill.height - len(others)} more learned without it"
            said.append(f"{ill.height} {IN_WORDS[part]}: {marks}; {learns}; twins silent {silent}")
    loud = rows.filter(pl.col("cause") != SILENT, program=CURED).rows(named=True)
    said += [f"{row['case']}, cured: {row['others']}" for row in loud]
    return said + _not_ill(rows)


MARKED = ("cause", "advice", "place")


def _not_ill(rows: pl.DataFrame) -> list[str]:
    """Return a sentence on cases whose twin does no better, if there are any."""
    ill, cured = (rows.filter(program=program) for program in PROGRAMS)
    both = ill.join(cured, on="case", suffix="_cured")
    alike = both.filter(pl.col("score_cured") <= pl.col("score"))["case"]
    if alike.is_empty():
        return []
    return [f"{counted(len(alike), 'case')} whose twin does no better: {', '.join(alike)}"]


def table(rows: pl.DataFrame, missing: Missing = NOTHING) -> Table:
    """Return a line a program; it fits into 80 characters."""
    shown = tables.table(TITLE, "case", "cause", "advice", "place", "at", "others", width=30)
    for row in rows.rows(named=True):
        step = "–" if row["at"] != row["at"] else f"{row['at']:.0f}"
        marks = [str(row[mark]) for mark in MARKED]
        shown.add_row(Text(f"{row['case']}, {row['program']}"), *marks, step, Text(row["others"]))
    for place in missing.rows(rows, "case", "program").rows(named=True):
        shown.add_row(Text(place["case"]), *5 * (tables.NOT_MEASURED,))
    return shown

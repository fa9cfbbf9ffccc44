"""The cures in words: the best change of each network, a table, and two runs side by side."""

from typing import Any, NamedTuple

import polars as pl
from rich.table import Table

from experiments.cures.columns import BEFORE, RIVALS
from experiments.pages import tables
from experiments.runs.comparison import comparison
from experiments.runs.missing import NOTHING, Missing

TITLE = "cures: decades a layer, before and after"
PLACE = ("network", "framework")
BAR, TIME = 0.005, 30.0  # decades a layer, and seconds, that a cure is to take at most


class Case(NamedTuple):
    """The rows of a network in a framework.

    before: as it is.
    best: after the best change that works; None if none does, or none was tried.
    is_ill: whether changes were tried.
    rivals: what each rival makes of it.
    """

    before: dict[str, Any]
    best: dict[str, Any] | None
    is_ill: bool
    rivals: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """The network and its framework."""
        return " in ".join(self.before[key] for key in PLACE)


def cases(rows: pl.DataFrame) -> list[Case]:
    """Return the networks, in the order of their rows, which has the best change first."""
    found = []
    for _, group in rows.group_by(PLACE, maintain_order=True):
        before = group.filter(change=BEFORE).row(0, named=True)
        ours = group.filter(~pl.col("change").is_in([BEFORE, *RIVALS]))
        works = ours.filter("works")
        best = works.row(0, named=True) if works.height else None
        rivals = group.filter(pl.col("change").is_in(RIVALS)).rows(named=True)
        found.append(Case(before, best, ours.height > 0, rivals))
    return found


def meets(case: Case) -> bool:
    """Tell whether an ill network is cured: its rate, its signal and examples, and in time."""
    is_cured = case.best is not None and abs(case.best["decades"]) <= BAR
    return is_cured and case.before["seconds"] <= TIME


def verdicts(rows: pl.DataFrame) -> list[str]:
    """Return how many ill networks are cured, and a sentence on each that misses the bar."""
    all_cases = cases(rows)
    ill = [case for case in all_cases if case.is_ill]
    cured = [case.best for case in ill if case.best is not None]
    rates = [abs(best["decades"]) for best in cured]
    seconds = max((case.before["seconds"] for case in ill), default=0.0)
    most = f", to at most {max(rates, default=0.0):.4f} decades a layer, in {seconds:.0f} s or less"
    said = [f"{len(cured)} of {len(ill)} ill networks are cured{most if rates else ''}"]
    for case in ill:
        if case.best is None:
            said.append(f"{case.name}: no change helps")
        elif not abs(case.best["decades"]) <= BAR:
            said.append(f"{case.name}: {case.best['decades']:+.4f} decades a layer are left")
        if case.before["seconds"] > TIME:
            said.append(f"{case.name}: it takes {case.before['seconds']:.0f} s")
    well = [case.name for case in all_cases if not case.is_ill]
    return [*said, *([f"not ill: {', '.join(well)}"] if well else [])]


def table(rows: pl.DataFrame, missing: Missing = NOTHING) -> Table:
    """Return a line a network and a rival; it fits into 80 characters."""
    shown = tables.table(TITLE, *PLACE, "before", "after", "by", "s", width=14)
    for case in cases(rows):
        place = [case.before[key] for key in PLACE]
        after = "–" if case.best is None else f"{case.best['decades']:+.4f}"
        by = ("none" if case.is_ill else "not ill") if case.best is None else case.best["change"]
        before, seconds = f"{case.before['decades']:+.4f}", f"{case.before['seconds']:.1f}"
        shown.add_row(*place, before, after, by, seconds)
        for rival in case.rivals:
            lost = "" if rival["works"] else ", lost"
            shown.add_row(*place, before, f"{rival['decades']:+.4f}", f"{rival['change']}{lost}")
    for place_of in missing.rows(rows, *PLACE).rows(named=True):
        shown.add_row(*place_of.values(), *4 * (tables.NOT_MEASURED,))
    return shown


def compare(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return for each run the rate before and after the best change of each network."""
    return [
        comparison(
            pl.DataFrame(
                [
                    {key: row[key] for key in PLACE} | {"when": when, "decades": row["decades"]}
                    for case in cases(rows)
                    for when, row in (("before", case.before), ("after", case.best))
                    if row is not None
                ]
            ),
            PLACE,
            "when",
            "decades",
        )
        for rows in runs
    ]

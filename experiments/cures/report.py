"""The cures in words: the best change of each network, a table, and two runs side by side."""

from typing import Any

import polars as pl
from rich.table import Table

from experiments.cures.columns import BEFORE, RIVALS
from experiments.pages import tables
from experiments.runs.comparison import comparison
from experiments.runs.missing import NOTHING, Missing

TITLE = "cures: decades a layer, before and after"


def best(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Return for each network its row before, that of the best change, and the rivals' rates.

    The best is None if no change works.
    """
    found = []
    for (network,), group in rows.group_by("network", maintain_order=True):
        before = group.filter(change=BEFORE).row(0, named=True)
        ours = group.filter(~pl.col("change").is_in([BEFORE, *RIVALS]))
        rivals = {rival: group.filter(change=rival)["decades"].to_list() for rival in RIVALS}
        works, tried = ours.filter("works"), ours.height > 0
        first = works.row(0, named=True) if works.height else None
        found.append(
            {"network": network, "before": before, "best": first, "rivals": rivals, "tried": tried}
        )
    return found


def verdicts(rows: pl.DataFrame) -> list[str]:
    """Return how many ill networks are cured, and a sentence on each that is not."""
    ill = [one for one in best(rows) if one["tried"]]
    cured = [one for one in ill if one["best"] is not None]
    rates = [abs(one["best"]["decades"]) for one in cured]
    seconds = max((one["before"]["seconds"] for one in ill), default=0.0)
    most = f", to at most {max(rates):.4f} decades a layer, in {seconds:.0f} s or less"
    most = most if rates else ""
    well = [one["network"] for one in best(rows) if not one["tried"]]
    said = [f"{len(cured)} of {len(ill)} ill networks are cured{most}"]
    said += [f"{one['network']}: no change helps" for one in ill if one["best"] is None]
    return [*said, *([f"not ill: {', '.join(well)}"] if well else [])]


def table(rows: pl.DataFrame, missing: Missing = NOTHING) -> Table:
    """Return a line a network; it fits into 80 characters."""
    shown = tables.table(TITLE, "network", "before", "after", "by", *RIVALS, "s", width=14)
    for one in best(rows):
        after = one["best"]
        rivals = (" ".join(f"{v:+.3f}" for v in one["rivals"][name]) or "–" for name in RIVALS)
        shown.add_row(
            one["network"],
            f"{one['before']['decades']:+.4f}",
            "–" if after is None else f"{after['decades']:+.4f}",
            ("none" if one["tried"] else "not ill") if after is None else after["change"],
            *rivals,
            f"{one['before']['seconds']:.1f}",
        )
    for place in missing.rows(rows, "network").rows(named=True):
        shown.add_row(place["network"], *6 * (tables.NOT_MEASURED,))
    return shown


def compare(runs: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return for each run the rate before and after the best change of each network."""
    return [
        comparison(
            pl.DataFrame(
                [
                    {"network": one["network"], "when": when, "decades": row["decades"]}
                    for one in best(rows)
                    for when, row in (("before", one["before"]), ("after", one["best"]))
                    if row is not None
                ]
            ),
            ("network",),
            "when",
            "decades",
        )
        for rows in runs
    ]

"""The tables of ill networks with their first cure beside every remedy known, each trained.

    python docs/rivals.py runs/rivals

takes runs of `python -m experiments experiments/remedies/rivals/experiment.py:EXPERIMENT`, finished
or not, and writes what each remedy reaches on the networks that have all into
`docs/data/rivals.csv`, in place of rows of the same network and length. `docs/hooks.py` puts the
tables into the page where it has `<!-- table: rivals networks -->` and `rivals means`.
"""

import csv
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from experiments.remedies.rivals import report
from experiments.remedies.rivals.networks import NETWORKS
from experiments.remedies.rivals.rivals import CURE, PLAIN
from jaxnn.texts import counted

DATA = Path(__file__).parent / "data" / "rivals.csv"
COLUMNS = ("network", "framework", "steps", "remedy", "change", "accuracy", "error")
CHANGES = {  # that are first cures, where their names are not enough
    "": "none",
    "skip": "skip",
    "pre-norm": "skip and norm",
    "branch norm": "norm in the branches",
}


def main() -> None:
    """Store what the runs that the command line names have reached."""
    there = {(one.network, one.step): one for one in read()} if DATA.exists() else {}
    for folder in map(Path, sys.argv[1:]):
        there |= {(one.network, one.step): one for one in of_run(folder)}
    write(there.values())


def of_run(folder: Path) -> list[report.Comparison]:
    """Return what a run has reached."""
    import polars as pl

    return report.comparisons(pl.read_parquet(folder / "rows.parquet"))


def write(compared: Iterable[report.Comparison]) -> None:
    """Write them in the order of the networks."""
    names = [of.name for of in NETWORKS]
    with DATA.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for one in sorted(compared, key=lambda one: (names.index(one.network), one.step)):
            for reached in one.reached:
                place = one.network, one.framework, one.step, reached.remedy, reached.change
                writer.writerow((*place, f"{reached.mean:.5f}", f"{reached.error:.5f}"))


def read() -> Iterator[report.Comparison]:
    """Yield what is stored, network by network, and step by step."""
    with DATA.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for place, group in groupby(rows, lambda row: (row["network"], row["framework"], row["steps"])):
        reached = tuple(
            report.Reached(
                row["remedy"], float(row["accuracy"]), float(row["error"]), row["change"]
            )
            for row in group
        )
        yield report.Comparison(*place[:2], int(place[2]), reached)


def markdown(of: str) -> str:
    """Return the table of networks, or that of means."""
    compared = list(read())
    return "\n".join(networks(compared) if of == "networks" else means(compared))


def networks(compared: list[report.Comparison]) -> Iterator[str]:
    """Yield how many first cures hold, and a line a network: what is reached, by length.

    A first cure that is not within an error of the best remedy known is bold.
    """
    lengths = sorted({one.step for one in compared})
    held = [[one.holds for one in compared if one.step == n] for n in lengths]
    counts = (
        f"{sum(of)} of {len(of)} after {n:,} steps" for n, of in zip(lengths, held, strict=True)
    )
    yield "**The first cure is within one standard error of the best remedy known on"
    yield f"{' and on '.join(counts)}.**\n"
    head = "".join(f" {n:,} steps | best remedy known | |" for n in lengths)
    yield f"| network | as it is | first cure |{head}"
    yield f"|:---|---:|:---|{'---:|---:|:---|' * len(lengths)}"
    for name, group in groupby(compared, lambda one: one.network):
        by_length = {one.step: one for one in group}
        first = by_length[lengths[0]]
        plain, kind = _value(first.reached_by(PLAIN)), first.cure.change
        cells = "".join(
            f" {_cells(by_length[n])} |" if n in by_length else " | | |" for n in lengths
        )
        yield f"| {name} ({first.framework}) | {plain} | {CHANGES.get(kind, kind)} |{cells}"


def _cells(one: report.Comparison) -> str:
    cure = _value(one.cure)
    reached = cure if one.holds else f"**{cure}**"
    return f"{reached} | {_value(one.best)} | {one.best.remedy}"


def means(compared: list[report.Comparison]) -> Iterator[str]:
    """Yield a line a remedy: its mean over the networks, by length."""
    lengths = sorted({one.step for one in compared})
    by_length = {n: [one for one in compared if one.step == n] for n in lengths}
    mean = {n: report.means(of) for n, of in by_length.items()}
    head = "".join(f" {n:,} steps, {counted(len(by_length[n]), 'network')} |" for n in lengths)
    yield f"| remedy |{head}"
    yield f"|:---|{'---:|' * len(lengths)}"
    for name in mean[lengths[0]]:
        cells = "".join(f" {_short(mean[n][name])} |" for n in lengths)
        yield f"| {f'**{name}**' if name == CURE else name} |{cells}"


def _value(of: report.Reached) -> str:
    return f"{_short(of.mean)} ± {_short(of.error)}"


def _short(number: float) -> str:
    return f"{number:.3f}".removeprefix("0")


if __name__ == "__main__":
    main()

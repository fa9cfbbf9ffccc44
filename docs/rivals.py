"""The tables of ill networks with their first cure beside every remedy known, each trained.

    python docs/rivals.py runs/cures

takes runs of `python -m experiments cures --networks ...`, finished or not, and writes what each
network reaches as it is, cured and by its rivals into `docs/data/rivals.csv`, in place of rows of
the same network, framework and length. `docs/tables.py` writes the tables into the page.
"""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from experiments.cures import cures_report
from experiments.cures.columns import BEFORE, RIVALS
from experiments.cures.cures_report import Mean
from experiments.cures.dense import ILL
from jaxnn.texts import counted

DATA = Path(__file__).parent / "data" / "rivals.csv"
COLUMNS = ("network", "framework", "steps", "remedy", "change", "accuracy", "error")
CURE = "first cure"
CHANGES = {  # that are first cures, where their names are not enough
    "": "none",
    "skip": "skip",
    "pre-norm": "skip and norm",
    "branch norm": "norm in the branches",
}


class Compared(NamedTuple):
    """A network with its accuracies by remedy, the best first, after some steps.

    change: the kind of the first cure; "" if none works, and it is left as it is.
    """

    network: str
    framework: str
    step: int
    change: str
    reached: dict[str, Mean]

    @property
    def best(self) -> str:
        """The best of the remedies known."""
        return next(name for name in self.reached if name not in (CURE, BEFORE))

    @property
    def holds(self) -> bool:
        """True if the first cure is within one standard error of the difference of the best."""
        return cures_report.is_within(self.reached[CURE], self.reached[self.best])


def main() -> None:
    """Store what the runs that the command line names have reached."""
    there = {one[:3]: one for one in read()} if DATA.exists() else {}
    for folder in map(Path, sys.argv[1:]):
        there |= {one[:3]: one for one in of_run(folder)}
    write(there.values())


def of_run(folder: Path) -> Iterator[Compared]:
    """Yield what the networks of a run have reached whose rivals were trained."""
    import polars as pl

    settings = json.loads((folder / "run.json").read_text(encoding="utf-8"))["what"]["settings"]
    lines = cures_report.lines(pl.read_parquet(folder / "rows.parquet"))
    for (network, framework), group in cures_report.by_network(lines):
        rivals = [x for x in lines if x.network == network and x.change in RIVALS]
        known = {line.change: line.accuracy for line in rivals}
        cure, known[BEFORE] = cures_report.first_cure(group), group[0].accuracy
        known[CURE] = cure.accuracy
        known = {name: mean for name, mean in known.items() if mean.value == mean.value}
        if rivals and {CURE, BEFORE} <= known.keys():
            reached = dict(sorted(known.items(), key=lambda item: -item[1].value))
            change = "" if cure.change == BEFORE else cure.change
            yield Compared(network, framework, settings["steps"], change, reached)


def write(compared: Iterable[Compared]) -> None:
    """Write them in the order of the networks."""
    names = [*ILL]
    with DATA.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for one in sorted(compared, key=lambda one: (names.index(one.network), one.step)):
            for name, mean in one.reached.items():
                place = *one[:3], name, one.change if name == CURE else ""
                writer.writerow((*place, f"{mean.value:.5f}", f"{mean.error:.5f}"))


def read() -> Iterator[Compared]:
    """Yield what is stored, network by network, and step by step."""
    with DATA.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for place, group in groupby(rows, lambda row: (row["network"], row["framework"], row["steps"])):
        of = {row["remedy"]: row for row in group}
        reached = {n: Mean(float(r["accuracy"]), float(r["error"])) for n, r in of.items()}
        yield Compared(*place[:2], int(place[2]), of[CURE]["change"], reached)


def markdown(of: str) -> str:
    """Return the table of networks, or that of means."""
    compared = list(read())
    return "\n".join(networks(compared) if of == "networks" else means(compared))


def networks(compared: list[Compared]) -> Iterator[str]:
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
        plain, kind = _value(first.reached[BEFORE]), first.change
        cells = "".join(
            f" {_cells(by_length[n])} |" if n in by_length else " | | |" for n in lengths
        )
        yield f"| {name} ({first.framework}) | {plain} | {CHANGES.get(kind, kind)} |{cells}"


def _cells(one: Compared) -> str:
    cure = _value(one.reached[CURE])
    reached = cure if one.holds else f"**{cure}**"
    return f"{reached} | {_value(one.reached[one.best])} | {one.best}"


def means(compared: list[Compared]) -> Iterator[str]:
    """Yield a line a remedy: its mean over the networks, by length."""
    lengths = sorted({one.step for one in compared})
    by_length = {n: [one for one in compared if one.step == n] for n in lengths}
    mean = {n: means_of(of) for n, of in by_length.items()}
    head = "".join(f" {n:,} steps, {counted(len(by_length[n]), 'network')} |" for n in lengths)
    yield f"| remedy |{head}"
    yield f"|:---|{'---:|' * len(lengths)}"
    for name in mean[lengths[0]]:
        cells = "".join(f" {_short(mean[n][name])} |" for n in lengths)
        yield f"| {f'**{name}**' if name == CURE else name} |{cells}"


def means_of(compared: list[Compared]) -> dict[str, float]:
    """Return the mean of each remedy over the networks on which it has a number, the best first."""
    values: dict[str, list[float]] = {}
    for one in compared:
        for name, mean in one.reached.items():
            values.setdefault(name, []).append(mean.value)
    return dict(
        sorted(((n, sum(v) / len(v)) for n, v in values.items()), key=lambda item: -item[1])
    )


def _value(of: Mean) -> str:
    return f"{_short(of.value)} ± {_short(of.error)}"


def _short(number: float) -> str:
    return f"{number:.3f}".removeprefix("0")


if __name__ == "__main__":
    main()

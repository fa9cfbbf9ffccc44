"""Tables of the casebook: findings and alarms for programs that do not train, and other tools.

    python docs/casebook.py runs/casebook [runs/casebook-torch …]

takes runs of `python -m experiments casebook` and writes their rows into `docs/data/casebook.csv`;
those of cases that were not run stay. `docs/tables.py` writes the tables of `TABLES` into pages;
`tests/healthy.py` writes what the last two show.
"""

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from experiments.casebook.case import (  # noqa: E402
    BLIND,
    CURED,
    FAULTS,
    ILL,
    SCORE,
    SCORED,
    WRITE,
    cases,
)
from experiments.casebook.checked import FAILS, LEARNED, LEARNS, WORDS, Checked  # noqa: E402
from experiments.casebook.said import BEFORE  # noqa: E402
from experiments.casebook.scores import NONE, RIGHT, SILENT, shown_at, wilson  # noqa: E402
from experiments.menagerie import catalogue  # noqa: E402

DATA = ROOT / "docs" / "data" / "casebook.csv"
COLUMNS = (
    *("case", "program", "framework", "source", "fault", "part", "wrong", "fix", "before"),
    *("during", "cause", "advice", "place", "at", *Checked._fields, "others", "score"),
    *("shown", "seconds"),
)
NUMBERS = "at", "score", "seconds", "as_it_is", "with_it"
SERVED = {
    BLIND: "blind: written by somebody who had not read the code of the rules",
    SCORED: "blind when they were scored first, then used to write rules",
    SCORE: "that scored the rules, then improved them",
    WRITE: "on which rules were written",
}
# While they were blind: how many of all were right, and of how many twins something was said.
WHEN_BLIND = (
    ("the first 74 when they were blind", (43, 74), (42, 74), (21, 42), (7, 74)),
    ("the next 40 when they were blind", (22, 40), (22, 40), (9, 17), (4, 40)),
)
PLANTED = "planted"  # sources whose twins have the same loss
# From the papers and repositories of the tools: what they report of their own benchmarks.
OTHERS = (
    ("DeepDiagnosis (ICSE 2022)", "53", "46 of 53 seen", "28 of 53", "34 of 53", ""),
    ("UMLAUT", "the same 53", "26 of 53 seen", "15 of 53", "3 of 53", ""),
    ("DeepLocalize", "the same 53", "45 of 53 seen", "0 of 53", "26 of 53", ""),
    ("AutoTrainer", "the same 53", "24 of 53 seen", "8 of 53", "0 of 53", ""),
    ("DeepFD (ICSE 2022)", "52", "47 seen, 27 diagnosed", "", "22 of 52", ""),
    (
        "the best of four, independently (2025)",
        "22",
        "recall 61 %",
        "",
        "",
        "precision 37 %",
    ),
    ("NeuraLint", "34", "recall 70.5 %", "", "", "precision 100 %"),
    ("DEFault (2025)", "52", "94 % seen, 63 % cause", "", "", ""),
    ("TrainCheck (OSDI 2025)", "20 silent errors", "18 of 20 seen", "", "", "1.5 to 4 % false"),
)
SOURCES = {
    "so-": ("https://stackoverflow.com/questions/", "Stack Overflow "),
    "gh-": ("https://github.com/", ""),
}
Record = Mapping[str, str]


def main() -> None:
    """Write the rows of the runs that the command line names."""
    collect(map(Path, sys.argv[1:]))


def collect(folders: Iterable[Path], path: Path = DATA) -> None:
    """Write the rows of runs; those of cases that they do not have stay."""
    import polars as pl

    records = {(r["case"], r["program"]): dict(r) for r in (read(path) if path.exists() else [])}
    for folder in folders:
        rows = pl.read_parquet(folder / "rows.parquet").rows(named=True)
        losses = {(row["case"], row["program"]): json.loads(row["losses"]) for row in rows}
        for row in rows:
            key, twin = (row["case"], row["program"]), losses.get((row["case"], CURED), [])
            shown = shown_at(losses[key], twin) if row["source"] == PLANTED and twin else None
            numbers = {name: f"{row[name]:.3g}" for name in NUMBERS}
            record = {**row, **numbers, **_spoken(row["records"])}
            record["shown"] = "" if shown is None else str(shown)
            records[key] = {name: str(record[name]) for name in COLUMNS}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records[key] for key in sorted(records))


def read(path: Path = DATA) -> list[Record]:
    """Return the records of all programs."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def markdown(name: str, path: Path = DATA) -> str:
    """Return a table for a page, one of `TABLES`."""
    source = path.with_name("healthy.csv") if name in ("healthy", "modules") else path
    known = [r for r in read(source) if r.get("cause", True) or name == "cured"]
    return "\n".join(TABLES[name](known))


def ours(records: Sequence[Record]) -> list[str]:
    """Return the scores of each part of the cases."""
    heads = ("programs", "cause", "advice", "place", "twins not silent")
    return [_line(heads), _rule("lllll"), *map(_line, _of_parts(records))]


def others(_: Sequence[Record]) -> list[str]:
    """Return what other tools report of their own benchmarks."""
    heads = ("tool", "programs", "cause", "advice", "place", "wrong alarms")
    return [_line(heads), _rule("llllll"), *map(_line, OTHERS)]


def _of_parts(records: Sequence[Record]) -> Iterator[tuple[str, ...]]:
    """Yield what each part is, its shares of right marks, and of twins that are not silent."""
    for part, words in SERVED.items():
        of = [r for r in records if r["part"] == part]
        ill, twins = ([r for r in of if r["program"] == one] for one in (ILL, CURED))
        marks = [_share([r[mark] for r in ill], RIGHT) for mark in ("cause", "advice", "place")]
        loud = _share(["silent" if r["cause"] == SILENT else "loud" for r in twins], "loud")
        if ill:
            yield f"{len(ill)} {words}", *marks, loud
        if ill and part == SCORED:
            yield from ((what, *(_of(*counts) for counts in marks)) for what, *marks in WHEN_BLIND)


def cured(records: Sequence[Record]) -> list[str]:
    """Return the outcomes of the first advice: of blind cases, of known changes, and of others."""
    heads = ("programs", "learn", "fail", "learned as they were", "in words alone", "no advice")
    known = {case.name for case in cases() if case.changes}
    groups = {
        "blind": [r for r in records if r["case"] in known and r["part"] == BLIND],
        "blind in the first round": [
            r for r in records if r["case"] in known and r["part"] != BLIND
        ],
        "others": [r for r in records if r["case"] not in known],
    }
    lines = [_line((*heads, "twins advised")), _rule("llrrrrr")]
    for words, of in groups.items():
        outcomes = [r["cured"] for r in of if r["program"] == ILL and r["cured"]]
        counts = Counter(outcomes)
        twins = [r["cured"] for r in of if r["program"] == CURED and r["cured"]]
        learned = _of(counts[LEARNS], len(outcomes) - counts[LEARNED])
        rest = (str(counts[name]) for name in (FAILS, LEARNED, WORDS, SILENT))
        loud = f"{sum(one != SILENT for one in twins)} of {len(twins)}"
        lines.append(_line((f"{len(outcomes)} {words}", learned, *rest, loud)))
    return lines


def faults(records: Sequence[Record]) -> list[str]:
    """Return the scores of each class of faults."""
    heads = ("fault", "programs", "cause", "partly", "advice", "place", "twins not silent")
    lines = [_line(heads), _rule("lrrrrrr")]
    for fault, words in FAULTS.items():
        of = [r for r in records if r["fault"] == fault]
        ill, twins = ([r for r in of if r["program"] == one] for one in (ILL, CURED))
        counts = [
            sum(r["cause"] == RIGHT for r in ill),
            sum(r["cause"] == "partly" for r in ill),
            sum(r["advice"] == RIGHT for r in ill),
        ]
        placed = [r["place"] for r in ill if r["place"] != NONE]
        loud = sum(r["cause"] != SILENT for r in twins)
        place = f"{placed.count(RIGHT)} of {len(placed)}" if placed else "–"
        lines.append(_line((words, str(len(ill)), *map(str, counts), place, str(loud))))
    return lines


def every(records: Sequence[Record]) -> list[str]:
    """Return a folded table for each class of faults, a row a case."""
    lines: list[str] = []
    ill = [r for r in records if r["program"] == ILL]
    twins = {r["case"]: r for r in records if r["program"] == CURED}
    order = [*FAULTS]
    ill.sort(key=lambda r: (order.index(r["fault"]), r["case"]))
    for fault, group in groupby(ill, key=lambda r: r["fault"]):
        rows = [_line(("wrong", "fix", "in", "said", "cause", "advice", "place", "its twin"))]
        rows.append(_rule("llllllll"))
        rows += [_line(_cells(record, twins.get(record["case"]))) for record in group]
        lines += [
            "<details markdown>",
            f"<summary>{FAULTS[fault].capitalize()}</summary>",
            "",
            *rows,
        ]
        lines += ["", "</details>", ""]
    return lines


def planted(records: Sequence[Record]) -> list[str]:
    """Return when a planted fault is said, and when the loss shows it."""
    heads = ("fault", "before training", "during it", "cause", "loss shows it at step")
    lines = [_line(heads), _rule("lllrr")]
    for record in records:
        if record["source"] == PLANTED and record["program"] == ILL:
            words = (_rules(record["before"]), _rules(record["during"]))
            lines.append(
                _line((record["wrong"], *words, record["cause"], record["shown"] or "never"))
            )
    return lines


def healthy(records: Sequence[Record]) -> list[str]:
    """Return how many networks that packages ship are silent, and what is said of the others.

    A word is of the gradient of a drawn network, which packages do not always keep.
    """
    rules: dict[str, list[str]] = {}
    for record in records:
        for rule in filter(None, record["said"].split(", ")):
            rules.setdefault(rule, []).append(f"{record['package']} {record['network']}")
    silent = sum(not record["said"] for record in records)
    first = f"**Of {silent} of {len(records)} networks nothing is said.**"
    order = sorted(rules.items(), key=lambda entry: -len(entry[1]))
    rows = [_line((f"`{rule}`", str(len(of)), ", ".join(of))) for rule, of in order]
    table = [_line(("rule", "networks", "of")), _rule("lrl"), *rows]
    fold = ["<details markdown>", "<summary>What is said of the others</summary>", "", *table]
    return [first, "", *fold, "", "</details>"]


def modules(records: Sequence[Record]) -> list[str]:
    """Return for each package of PyTorch how its networks are measured, cut and judged."""
    wanted = catalogue.ENTRIES
    known = [r for r in records if r["package"] in catalogue.OF_TORCH]
    heads = ("package", "networks", "measured", "every block is a layer", "verdict as it should be")
    lines, totals = [], Counter[str]()
    for package, group in groupby(known, key=lambda record: record["package"]):
        counts = Counter[str]()
        for record in group:
            rules = wanted[package, record["network"]].says.split()
            found, _, blocks = record["blocks"].partition(" of ")
            counts["networks"] += 1
            counts["measured"] += record["word"] != "refused"
            counts["cut"] += bool(blocks) and found == blocks
            counts["judged"] += {*filter(None, record["said"].split(", "))} == {*rules}
        lines.append(_line((package, *map(str, counts.values()))))
        totals += counts
    all_of_them = _line(("**all**", *(f"**{count}**" for count in totals.values())))
    reasons = [
        f"- {r['package']} {r['network']}: {_rules(r['said'])}. {why}."
        for r in known
        if (why := wanted[r["package"], r["network"]].why)
    ]
    return [_line(heads), _rule("lrrrr"), *lines, all_of_them, "", *reasons]


TABLES = {
    "ours": ours,
    "cured": cured,
    "others": others,
    "faults": faults,
    "cases": every,
    "planted": planted,
    "healthy": healthy,
    "modules": modules,
}


def _cells(record: Record, twin: Record | None) -> tuple[str, ...]:
    said = "; ".join(filter(None, (_rules(record["before"]), _rules(record["during"])))) or "–"
    of_twin = "–" if twin is None else "silent" if twin["cause"] == SILENT else twin["others"]
    marks = [f"**{v}**" if v != RIGHT else v for v in (record["cause"], record["advice"])]
    wrong = f"{record['wrong']}{_linked(record['source'])}"
    place = "–" if record["place"] == NONE else record["place"]
    where = f"{record['framework']}, {record['part']}"
    return wrong, record["fix"], where, said, *marks, place, of_twin


def _spoken(records: str) -> dict[str, str]:
    """Return the rules said before training, and those during it with their steps."""
    said = [json.loads(line) for line in records.splitlines()]
    before = [one["rule"] for one in said if one["step"] == BEFORE]
    during = {one["rule"]: one["step"] for one in reversed(said) if one["step"] != BEFORE}
    steps = [f"{rule} {step}" for rule, step in reversed(during.items())]
    return {"before": ", ".join(dict.fromkeys(before)), "during": ", ".join(steps)}


def _rules(spoken: str) -> str:
    """Return rules as code, with the step that may stand behind."""
    parts = (part.rpartition(" ") for part in spoken.split(", ") if part)
    return ", ".join(
        f"`{rule}` {last}" if last.isdigit() else f"`{f'{rule} {last}'.strip()}`"
        for rule, _, last in parts
    )


def _linked(source: str) -> str:
    for prefix, (url, _) in SOURCES.items():
        if source.startswith(prefix):
            address = source.removeprefix(prefix)
            return f" ([{source}]({url}{address.partition('@')[0]}))"
    return f" ({source})"


def _share(marks: Sequence[str], mark: str) -> str:
    """Return a count, a share and its interval: 8 of 10, 80 % (49 to 94)."""
    counted = [one for one in marks if one != NONE]
    return _of(counted.count(mark), len(counted))


def _of(count: int, total: int) -> str:
    """Return a count of a total in the words of `_share`."""
    if not total:
        return "–"
    low, high = (f"{100 * end:.0f}" for end in wilson(count, total))
    return f"{count} of {total}, {100 * count / total:.0f}\u00a0% ({low} to {high})"


def _rule(sides: str) -> str:
    return _line(["---:" if side == "r" else ":---" for side in sides])


def _line(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()

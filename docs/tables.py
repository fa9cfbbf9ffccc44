"""Tables and code of the site's pages, written into them.

    python docs/tables.py                        all of them, from what is stored
    python docs/tables.py runs/laws runs/bench   after the numbers of these runs have been stored

Between two comments a page has

    <!-- table: laws -->
    <!-- /table -->                                   a table, of this file or of one beside it
    <!-- code: jaxnn/passes/walk.py down -->
    <!-- /code -->                                    that function as it stands in the file

and `tests/test_docs.py` says which page is older than what it shows. Finished runs of
`python -m experiments laws`, `bench` and `menagerie` go into `docs/data`: `laws.csv`, `bench.csv`
and so on, with `about.json` for the machine, versions and days. A run of some laws, of some
networks of the menagerie, or of some rows of the benchmark (`--row`), replaces the rows of these.
`verdicts.csv` is written by `tests/draws.py`; `alarms` and `findings` are tables of the rules.

A comparison that does not hold and a ratio that misses its goal are bold.
"""

import argparse
import ast
import csv
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT, DATA = DOCS.parent, DOCS / "data"
sys.path.insert(0, str(DOCS))
import casebook  # noqa: E402
import found_and_cured  # noqa: E402
import hundred_layers  # noqa: E402
import rivals  # noqa: E402

OTHERS = {
    "casebook": casebook.markdown,
    "found": found_and_cured.markdown,
    "hundred": hundred_layers.markdown,
    "rivals": rivals.markdown,
}
WRITTEN = re.compile(r"^<!-- (code|table): (.+?) -->\n.*?^<!-- /\1 -->$", re.DOTALL | re.MULTILINE)
LAWS = (
    "number",
    "law",
    "source",
    "case",
    "relation",
    "predicted",
    "measured",
    "standard_error",
    "tolerance",
    "reason",
    "holds",
    "chi_square",
    "freedom",
    "chance",
    "factor",
    "power",
)
REALS = ("predicted", "measured", "standard_error", "tolerance")
REALS += ("chi_square", "freedom", "chance", "power")
BENCH = (
    "workload",
    "against",
    "case",
    "ours",
    "theirs",
    "ratio",
    "quartiles",
    "goal",
    "met",
)
MENAGERIE = (
    *("package", "network", "title", "result", "layers", "arrays", "compared"),
    *("difference", "dtype", "seconds", "message"),
)
KEY = ("workload", "against", "case")  # of the bench
MEAN = "all, geometric mean"
COLUMNS = {
    "laws": LAWS,
    "bench": BENCH,
    "menagerie": MENAGERIE,
}
IN_PARTS = ("menagerie",)  # whose runs may be of some networks, and unfinished
MOST = 3  # comparisons of a law that are shown, if all hold
# Of the laws, and the papers that they are from.
TITLES = {
    "gradient-exponent": "Each layer multiplies the gradient by √χ",
    "layer-jacobian": "How much one layer stretches",
    "he-xavier": "Thirty relu layers need He's weights",
    "orthogonal-learning": "Deep linear networks learn at one speed if they are orthogonal",
    "length-correlation": "How lengths and correlations travel",
    "trainability": "How deep a network trains",
    "jacobian-spectrum": "Singular values of the whole network",
    "self-normalising": "selu normalises the signal, not the gradient",
    "width-over-depth": "Gradients scatter by depth over width",
    "ten-thousand-layers": "A signal survives ten thousand orthogonal layers",
    "batch-norm": "Batch norm makes gradients explode",
    "norm-with-skip": "A norm inside a skip connection turns exponentials into powers",
    "residual": "A residual branch needs the scale 1/√L",
    "width-alone": "With scaled branches only the width makes gradients scatter",
    "shattered-gradients": "Deep plain networks shatter gradients",
    "norm-place": "Pre-norm and post-norm give the last block different gradients",
    "tailored": "A hundred plain layers train with tailored units",
    "step-size": "One step size for all depths",
    "forgetting": "After how many layers a float forgets the input",
    "attention-length": "How many tokens a random softmax sees",
    "dropout": "Dropout limits how well two passes agree",
    "skip-init": "The first step of many blocks",
    "delta-orthogonal": "A thousand convolutions keep a signal in its place",
    "recurrence": "Gradients through time, with gates and without",
    "dynamic-tanh": "tanh instead of a norm",
    "deep-norm": "Post-norm at a thousand layers",
    "rank-collapse": "Attention alone makes all tokens alike",
    "transformer-moments": "Variances inside a transformer",
    "wide-twin": "Wide networks of any kind follow their theory",
    "narrow": "A narrow network's gradient is one number for an example, another for a batch",
    "one-draw": "A weight that is used several times is one random matrix",
    "slow-growth": "Powers and stretched exponentials of depth are told apart",
    "collapsed": "Tokens that are nearly alike part or meet, by two exponents",
    "any-spectrum": "Jacobians and attention of any layers have spectra of random matrices",
}
PAPERS = {
    "Alekseev 2026": "https://arxiv.org/abs/2604.11890",
    "Arora et al. 2018": "https://arxiv.org/abs/1802.06509",
    "Balduzzi et al. 2017": "https://arxiv.org/abs/1702.08591",
    "Bordelon et al. 2023": "https://arxiv.org/abs/2309.16620",
    "Chen, Pennington & Schoenholz 2018": "https://arxiv.org/abs/1806.05394",
    "Cowsik et al. 2024": "https://arxiv.org/abs/2403.02579",
    "De & Smith 2020": "https://arxiv.org/abs/2002.10444",
    "Dong et al. 2021": "https://arxiv.org/abs/2103.03404",
    "Doshi et al. 2021": "https://arxiv.org/abs/2111.12143",
    "Giorlandino & Goldt 2025": "https://arxiv.org/abs/2505.24333",
    "Glorot & Bengio 2010": "https://proceedings.mlr.press/v9/glorot10a.html",
    "Hanin & Nica 2018": "https://arxiv.org/abs/1812.05994",
    "Hanin & Rolnick 2018": "https://arxiv.org/abs/1803.01719",
    "He et al. 2015": "https://arxiv.org/abs/1502.01852",
    "Kedia et al. 2024": "https://arxiv.org/abs/2403.09635",
    "Klambauer et al. 2017": "https://arxiv.org/abs/1706.02515",
    "Nait Saada et al. 2024": "https://arxiv.org/abs/2410.07799",
    "Noci et al. 2022": "https://arxiv.org/abs/2206.03126",
    "Pennington et al. 2017": "https://arxiv.org/abs/1711.04735",
    "Poole et al. 2016": "https://arxiv.org/abs/1606.05340",
    "Saxe et al. 2014": "https://arxiv.org/abs/1312.6120",
    "Schoenholz et al. 2017": "https://arxiv.org/abs/1611.01232",
    "Wang et al. 2022": "https://arxiv.org/abs/2203.00555",
    "Xiao et al. 2018": "https://arxiv.org/abs/1806.05393",
    "Xiong et al. 2020": "https://arxiv.org/abs/2002.04745",
    "Yang 2019": "https://arxiv.org/abs/1910.12478",
    "Yang 2020": "https://arxiv.org/abs/2006.14548",
    "Yang & Schoenholz 2017": "https://arxiv.org/abs/1712.08969",
    "Yang et al. 2019": "https://arxiv.org/abs/1902.08129",
    "Zhang et al. 2022": "https://arxiv.org/abs/2203.08120",
    "Zhang, Dauphin & Ma 2019": "https://arxiv.org/abs/1901.09321",
}

Record = Mapping[str, str]


def main() -> None:
    """Store the runs that the command line names, and write all tables and code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", nargs="*", type=Path, help="folders of finished runs")
    for folder in parser.parse_args().runs:
        collect(folder)
    for path in DOCS.rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        if text != (new := written(text)):
            path.write_text(new, encoding="utf-8")


def written(page: str) -> str:
    """Return a page with its tables and its code as they are now."""
    return WRITTEN.sub(_renewed, page)


def _renewed(match: re.Match[str]) -> str:
    kind, of = match[1], match[2]
    text = (code(*of.split()) if kind == "code" else markdown(of)).strip("\n")
    return f"<!-- {kind}: {of} -->\n\n{text}\n\n<!-- /{kind} -->"


def code(path: str, *names: str) -> str:
    """Return functions, classes or constants of a file of the repository as blocks of code."""
    sources = (source(ROOT / path, name) for name in names)
    return "\n\n".join(f'```python title="{path}"\n{text}\n```' for text in sources)


def source(path: Path, name: str) -> str:
    """Return a function, class or constant of a file, without its docstring.

    Raises:
        LookupError: the file has no such name.
    """
    text = path.read_text(encoding="utf-8")
    node: Any = ast.parse(text)
    for part in name.split("."):
        node = _member(node, part, path)
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    lines = text.splitlines()[first - 1 : node.end_lineno]
    body = getattr(node, "body", None)
    if body and isinstance(body[0], ast.Expr) and ast.get_docstring(node) is not None:
        start, end = body[0].lineno - first, (body[0].end_lineno or 0) - first
        following = body[1].lineno - first if len(body) > 1 else end + 1
        comments = [line for line in lines[end + 1 : following] if line.strip()]
        lines = [*lines[:start], *comments, *lines[following:]]
    indent = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[indent:] for line in lines)


def _member(node: Any, name: str, path: Path) -> Any:
    for child in node.body:
        targets = child.targets if isinstance(child, ast.Assign) else [getattr(child, "target", 0)]
        names = {getattr(child, "name", None), *(getattr(t, "id", None) for t in targets)}
        if name in names:
            return child
    raise LookupError(f"{path.name} has no {name}")


def collect(folder: Path, data: Path = DATA) -> None:
    """Write the data of one run.

    Raises:
        ValueError: the folder is not a finished run of `laws`, `bench` or `menagerie`.
    """
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    kind = run["what"].get("experiment", "")
    if kind not in COLUMNS or not (run["finished"] or kind in IN_PARTS):
        raise ValueError(
            f"{folder}: expected a finished run of laws, bench or menagerie, got {kind!r}"
        )
    settings = run["what"].get("settings", {})
    if settings.get("quick") and kind == "laws":
        raise ValueError(f"{folder}: expected a full run of laws, got one with --quick")
    about_file = data / "about.json"
    about = json.loads(about_file.read_text(encoding="utf-8")) if about_file.exists() else {}
    parts = ("law", "row", "packages", "networks")
    some = next((settings[name] for name in parts if settings.get(name)), [])
    of_some = bool(some) and kind in about
    if kind in IN_PARTS:
        records = _menagerie(folder, data)
    elif kind == "bench":
        records = _merged(_bench(folder), KEY, read(kind, data) if settings.get("row") else [])
    else:
        records = _laws(folder)
        records = _with_other_laws(records, read(kind, data)) if of_some else records
    write(data / f"{kind}.csv", COLUMNS[kind], records)
    about[kind] = _about(run, records) | (_of_some(some, about[kind], run) if of_some else {})
    text = json.dumps(about, indent=2, ensure_ascii=False)
    about_file.write_text(text + "\n", encoding="utf-8")


def write(path: Path, columns: Sequence[str], records: Iterable[Mapping[str, Any]]) -> None:
    """Write records as CSV, with the same line ends on every system."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


def read(name: str, data: Path = DATA) -> list[Record]:
    """Return the records of a table."""
    with (data / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _laws(folder: Path) -> list[dict[str, Any]]:
    """One record a comparison, those that use most of their tolerance first in each law."""
    import polars as pl

    from experiments.laws.experiment import LAWS as KNOWN
    from experiments.laws.laws_report import nearest

    rows = pl.read_parquet(folder / "rows.parquet")
    records = []
    for law in KNOWN:
        for row in nearest(rows.filter(pl.col("law") == law.name)).rows(named=True):
            row["number"] = law.number
            row["holds"] = "yes" if row["holds"] else "no"
            for name in REALS:
                row[name] = "" if row[name] is None else f"{row[name]:.6g}"
            records.append({name: row[name] for name in LAWS})
    return records


def _with_other_laws(
    records: list[dict[str, Any]], there: Sequence[Record]
) -> list[dict[str, Any]]:
    """Return records in the order of the laws, with those that are there of laws not measured."""
    measured = {record["law"] for record in records}
    others = [dict(record) for record in there if record["law"] not in measured]
    return sorted([*others, *records], key=lambda record: int(record["number"]))


def _of_some(
    names: Sequence[str], about: Mapping[str, Any], run: Mapping[str, Any]
) -> dict[str, Any]:
    """Say what was said before, and when each of some laws or rows was measured anew."""
    anew = dict.fromkeys(names, run["started"][:10])
    return {"measured": about["measured"], "anew": about.get("anew", {}) | anew}


def _bench(folder: Path) -> list[dict[str, str]]:
    """One record a case, and one for the mean of a row that has a goal for it."""
    import polars as pl

    from experiments.bench import bench_report
    from experiments.bench.rows import ROWS

    rows = pl.read_parquet(folder / "rows.parquet")
    records = []
    for row in ROWS:
        about, cases = (row.workload, row.against), rows.filter(row=row.name)
        for case in cases.rows(named=True):
            cells = (
                *about,
                case["case"],
                *bench_report.cells(case),
                "yes" if case["holds"] else "no",
            )
            records.append(dict(zip(BENCH, cells, strict=True)))
        if row.overall is not None and cases.height == len(row.cases):
            mean = bench_report.overall(cases)
            met = "yes" if mean <= row.overall else "no"
            cells = (*about, MEAN, "", "", f"{mean:.3g}", "", f"{row.overall:.3g}", met)
            records.append(dict(zip(BENCH, cells, strict=True)))
    return records


def _menagerie(folder: Path, data: Path) -> list[dict[str, str]]:
    """One record a network, package by package; those of networks that were not run stay."""
    import polars as pl

    rows = pl.read_parquet(folder / "rows.parquet").rows(named=True)
    there = read("menagerie", data) if (data / "menagerie.csv").exists() else []
    measured = []
    for row in rows:
        numbers = {"difference": f"{row['difference']:.1e}", "seconds": f"{row['seconds']:.1f}"}
        record = {name: str(row[name]) for name in MENAGERIE} | numbers
        record["message"] = " ".join(row["message"].split())
        measured.append(record)
    records = _merged(measured, ("package", "network"), there)
    packages = dict.fromkeys(record["package"] for record in records)
    return [r for package in packages for r in records if r["package"] == package]


def _merged(
    records: Iterable[Record], key: Sequence[str], there: Iterable[Record]
) -> list[dict[str, str]]:
    """Return records in the places of those of the same key, new ones at the end."""
    of_key = {tuple(record[name] for name in key): record for record in (*there, *records)}
    return [dict(record) for record in of_key.values()]


def _about(run: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Say on which machine, with which versions and when a run was measured."""
    machine = run.get("machine", {})
    versions = {**run["versions"], **machine.get("peers", {})}
    versions |= run.get("packages", {})
    shown = ("python", "jax", "torch", "flax", "equinox", "scikit-learn")
    names = ", ".join(f"{name} {versions[name]}" for name in shown if name in versions)
    where = ", ".join(filter(None, (machine.get("processor"), *run["devices"][:1])))
    if "cores" in machine:
        where += f", {machine['cores']} cores"
    about: dict[str, Any] = {"measured": f"{run['started'][:10]}, {where}; {names}"}
    if records and "result" in records[0]:
        results = [record["result"] for record in records if record["result"] != "absent"]
        return about | {"met": results.count("measured"), "of": len(results)}
    met = [record.get("holds") or record.get("met") for record in records]
    return about | {"met": met.count("yes"), "of": met.count("yes") + met.count("no")}


def markdown(name: str, data: Path = DATA) -> str:
    """Return a table for a page, by its name."""
    other, _, of = name.partition(" ")
    if other in OTHERS:
        return OTHERS[other](of)
    if name in RULES:
        return "\n".join(RULES[name]())
    if name in DRAWN:
        return "\n".join(DRAWN[name](read(OF.get(name, name), data)))
    about = json.loads((data / "about.json").read_text(encoding="utf-8"))[name]
    noun, verb = WORDS[name]
    first = f"**{about['met']} of {about['of']} {noun} {verb}.** Measured {_measured(about)}."
    return "\n".join([first, "", *LINES[name](read(name, data))])


def _measured(about: Mapping[str, Any]) -> str:
    """Return the first and the last day of a table, the machine and the versions."""
    first, rest = about["measured"][:10], about["measured"][10:]
    days = sorted({first, *about.get("anew", {}).values()})
    return " to ".join(dict.fromkeys((days[0], days[-1]))) + rest


def laws(records: Sequence[Record]) -> list[str]:
    """Return a fold a law: what it says, some comparisons, and which errors would be seen."""
    from experiments.laws.experiment import LAWS as KNOWN

    known = {law.name: law for law in KNOWN}
    lines = []
    for name, group in groupby(records, key=lambda record: record["law"]):
        comparisons = list(group)
        failed = [r for r in comparisons if r["holds"] != "yes"]
        first = comparisons[0]
        statement = known[name].statement
        lines += ["<details markdown>", f"<summary>{first['number']}. {TITLES[name]}</summary>", ""]
        lines += [f"{statement[0].upper()}{statement[1:]}. *{_linked(first['source'])}.*", ""]
        lines += [_line(("case", "predicted", "measured", "tolerance")), _rule("l|r|r|r")]
        shown = comparisons[: max(MOST, len(failed))]
        lines += [_line((r["case"], *_compared(r), _number(r["tolerance"], 2))) for r in shown]
        holding = f"{len(comparisons) - len(failed)} of {len(comparisons)} comparisons hold."
        together = [_together(first)] if first.get("chance") else []
        lines += ["", " ".join([holding, *together, *_seen(comparisons, known[name].coarse)])]
        lines += ["", "</details>", ""]
    return lines


def twins(records: Sequence[Record]) -> list[str]:
    """Return two rows a kind of wide network: Δ, and states, at the layer farthest from its twin.

    Args:
        records: of laws, of which those of wide twins are named KIND: SIZE of layer NUMBER.
    """
    head = ("network", "size", "layers", "worst layer", "measured", "theory", "z", "error seen")
    lines = [_line(head), _rule("l|l|r|r|r|r|r|r")]
    last = ""
    of_twins = [record for record in records if record["law"] == "wide-twin"]
    pairs = {record["case"].rpartition(" of layer ")[0] for record in of_twins}
    for pair in sorted(pairs, key=lambda pair: (pair.rpartition(":")[0], pair.endswith("state"))):
        group = [r for r in of_twins if r["case"].startswith(f"{pair} of layer ")]
        worst = max(group, key=lambda record: abs(_joint_errors(record)))
        kind, _, size = pair.rpartition(": ")
        name = kind if kind != last else ""
        last = kind
        layer = worst["case"].rpartition(" ")[2]
        numbers = (f"{float(worst[v]):+.4f}" for v in ("measured", "predicted"))
        numbers = (v.replace("-", "−") for v in (*numbers, f"{_joint_errors(worst):+.1f}"))
        seen = _percent(worst["power"]) if name else ""
        lines.append(_line((name, size, str(len(group)), layer, *numbers, seen)))
    return lines


def _joint_errors(record: Record) -> float:
    """Return by how many joint standard errors, of which the tolerance is three, a twin is off."""
    apart = float(record["measured"]) - float(record["predicted"])
    return 3 * apart / float(record["tolerance"]) if float(record["tolerance"]) else 0.0


def _together(record: Record) -> str:
    chi_square, freedom, chance = (
        _number(record[name], digits)
        for name, digits in (("chi_square", 3), ("freedom", 3), ("chance", 2))
    )
    return f"χ² {chi_square} (degrees of freedom: {freedom}), chance {chance}."


def _linked(source: str) -> str:
    """Return a source with each paper that it names as a link."""
    for name, address in PAPERS.items():
        source = source.replace(name, f"[{name}]({address})")
    return source


def _seen(comparisons: Sequence[Record], reasons: Iterable[tuple[str, str]]) -> list[str]:
    """Say which errors of the law's factors the run would have seen, and why no smaller ones."""
    powers = {r["factor"]: _percent(r["power"]) for r in comparisons if r["factor"]}
    errors = ", ".join(f"{power} in {factor}" for factor, power in powers.items())
    seen = [f"An error of {errors} would be seen."] if errors else []
    return [*seen, *(f"{factor}: {why}." for factor, why in reasons)]


def _percent(part: str) -> str:
    if not part:
        return "–"
    return f"{100 * float(part):.2g} %" if float(part) < 1 else f"{100 * float(part):.0f} %"


def _compared(record: Record) -> tuple[str, str]:
    """Return prediction and measurement of a law as cells; bold if they disagree."""
    sign = "" if record["relation"] == "=" else f"{record['relation']} "
    measured = _number(record["measured"])
    if record["standard_error"]:
        measured += f" ± {_number(record['standard_error'], 2)}"
    if record["holds"] != "yes":
        measured = f"**{measured}**"
    return f"{sign}{_number(record['predicted'])}", measured


def verdicts(records: Sequence[Record]) -> list[str]:
    """Return a row for each kind of network."""
    lines = [_line((*list(records[0])[:-1], "wrong")), _rule("l|l|r|r|r|l|r")]
    return [*lines, *(_line(list(record.values())) for record in records)]


def errors(records: Sequence[Record]) -> list[str]:
    """Return a sentence on how many verdicts are wrong."""
    said = []
    for are, error in (("well", "called ill"), ("ill", "missed")):
        of = [record for record in records if record["are"] == are]
        wrong, drawn = (sum(int(record[name]) for record in of) for name in ("wrong", "drawn"))
        said.append(f"{wrong} of {drawn} networks that are {are} are {error}")
    return [f"**{', and '.join(said)}.**"]


def bench(records: Sequence[Record]) -> list[str]:
    """Return a table a workload and peer; a ratio that misses its goal is bold."""
    columns = ["case", *(c for c in BENCH[3:-1] if any(record[c] for record in records))]
    rule = _rule("|".join("l" if c == "case" else "r" for c in columns))
    lines: list[str] = []
    for (workload, peer), group in groupby(records, key=lambda r: (r["workload"], r["against"])):
        title = workload if "_" in workload else workload[0].upper() + workload[1:]
        lines += ["", f"**{title}**, compared with {peer}:", "", _line(columns), rule]
        for record in group:
            ratio = f"**{record['ratio']}**" if record["met"] == "no" else record["ratio"]
            cells = {**record, "ratio": ratio}
            lines.append(_line([cells[name] or "–" for name in columns]))
    return lines


def changes() -> list[str]:
    """Return the changes that may cure a network, by their names in a `Cure`."""
    from jaxnn.trials.cures import ordered

    rows = [(f"`{one.name}`", one.summary) for one in ordered(cures=True)]
    return [_line(("kind", "change")), _rule("l|l"), *map(_line, rows)]


def alarms() -> list[str]:
    """Return the rules of a watch: what each sees, what that means and what to try."""
    from jaxnn.watching.alarms import guide  # here, for the other tables need no JAX

    columns = ("rule", "what was seen", "what it means", "what to try")
    rows = [(f"`{name}`", *cells) for name, *cells in guide()]
    return [_line(columns), _rule("l|l|l|l"), *map(_line, rows)]


def findings() -> list[str]:
    """Return the rules of a verdict: what each finds, and when."""
    from jaxnn.flow.verdict.findings import FINDINGS  # here, for the other tables need no JAX

    rows = [row for row in FINDINGS.paragraphs() if len(row) == 3]  # what may be wrong
    rows.sort(key=lambda row: FINDINGS[row[0]].rank)
    columns = ("rule", "finding", "when")
    return [_line(columns), _rule("l|l|l"), *(_line((f"`{name}`", *row)) for name, *row in rows)]


def menagerie(records: Sequence[Record]) -> list[str]:
    """Return a row a package with its largest differences, and what was refused, and why."""
    lines = ["<details markdown>", "<summary>The largest difference of each package</summary>", ""]
    lines += [_line(("package", "networks", "largest difference")), _rule("l|r|r")]
    refused = []
    for package, group in groupby(records, key=lambda record: record["package"]):
        networks, largest = list(group), dict[str, float]()
        for record in networks:
            if record["result"] in ("refused", "absent"):
                message = _code(record["message"])
                refused.append(f"- {package}, {record['title']}, {record['result']}: {message}")
            else:
                of_format = largest.get(record["dtype"], 0.0)
                largest[record["dtype"]] = max(of_format, float(record["difference"]))
        numbers = [f"{v:.0e}".replace("e-0", "e-").replace("-", "−") for v in largest.values()]
        formats = ("" if name == "float64" else f" in {name}" for name in largest)
        cells = ", ".join(map("".join, zip(numbers, formats, strict=True)))
        lines.append(_line((package, str(len(networks)), cells or "–")))
    return [*lines, "", *refused, "", "</details>"]


def _code(text: str) -> str:
    return f"`{text.replace('`', '')}`"


def _number(text: str, digits: int = 4) -> str:
    if not text:
        return "–"
    value = float(text)
    return "0" if abs(value) < 1e-9 else f"{value:.{digits}g}".replace("-", "−")


def _rule(columns: str) -> str:
    """The line below a table's head: `l` and `r` are its columns."""
    return _line(["---:" if side == "r" else ":---" for side in columns.split("|")])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


WORDS = {
    "laws": ("comparisons", "hold"),
    "bench": ("cases", "meet their goals"),
    "menagerie": ("networks", "are measured unchanged"),
}
LINES = {"laws": laws, "bench": bench, "menagerie": menagerie}
DRAWN = {"verdicts": verdicts, "errors": errors, "twins": twins}
OF = {"errors": "verdicts", "twins": "laws"}
RULES = {"alarms": alarms, "findings": findings, "changes": changes}


if __name__ == "__main__":
    main()

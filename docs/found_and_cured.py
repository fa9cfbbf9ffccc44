"""The numbers of the page "found and cured": what jaxnn says of the networks of an example.

    python docs/found_and_cured.py                  measures the three networks
    python docs/found_and_cured.py resnet           one of them
    python docs/found_and_cured.py runs/lstm        takes accuracies of a run of `experiments cures`

They are stored in `docs/data/found_and_cured.json`. `docs/tables.py` writes them into the page, as
text that was printed and as a table.
"""

import importlib.metadata
import json
import re
import runpy
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
DATA = DOCS / "data" / "found_and_cured.json"
EXAMPLE = DOCS.parent / "examples" / "found_and_cured.py"
PACKAGES = {"resnet": "torchvision", "gpt": "transformers", "lstm": "flax"}
KINDS = {
    "scale": "one factor on all weights",
    "scale by layer": "a factor for each layer",
    "orthogonal": "orthogonal matrices, with one factor",
    "branch scale": "a factor on what branches add",
    "branch norm": "a norm in front of each branch",
    "queries and keys": "a factor on queries and keys alone",
    "gates": "the bias of a gate",
}

TRAINED = {
    ("recall", "as it is"): "as Flax draws it",
    ("recall", "gates"): "a forget bias of ln 64, by `jaxnn.cures`",
    ("recall", "scale"): "its recurrent weights × 3.2, by `jaxnn.cures`",
    ("recall_with_bias", "as it is"): "a forget bias of 3, by hand",
}
MARKS = re.compile(r"[*_`\[\]<>]")  # that Markdown would take for its own

Record = Mapping[str, Any]


def main() -> None:
    """Measure the networks, or take the runs, that the command line names."""
    stored = json.loads(DATA.read_text(encoding="utf-8")) if DATA.exists() else {}
    for name in sys.argv[1:] or PACKAGES:
        if name in PACKAGES:
            stored[name] = measured(name)
        else:
            stored.setdefault("trained", {}).update(trained(Path(name)))
        DATA.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def network(name: str, **size: Any) -> dict[str, Any]:
    """Return a network of the example."""
    made: dict[str, Any] = runpy.run_path(str(EXAMPLE))[name](**size)
    return made


def measured(name: str) -> Record:
    """Return the verdict before, all changes, and the verdict after the best one."""
    import jaxnn

    diagnosis = jaxnn.diagnose(**network(name))
    cures = diagnosis.cures
    package = PACKAGES[name]
    return {
        "versions": [f"{package} {importlib.metadata.version(package)}"],
        "before": str(diagnosis.verdict).splitlines(),
        "changes": [
            {
                "kind": cure.kind,
                "advice": cure.advice,
                "by": _by(cure.values),
                "decades": float(f"{cure.decades:.3g}"),
                "total": float(f"{cure.repeated:.3g}"),
                "signal": float(f"{cure.signal:.3g}"),
                "works": cure.works,
                "reason": cure.reason,
            }
            for cure in cures
        ],
        "after": str(jaxnn.verdict(cures[0].flow)).splitlines(),
    }


def trained(folder: Path) -> dict[str, Any]:
    """Return what training reaches, by the network of a run and the change."""
    import polars as pl

    from experiments.cures import cures_report
    from experiments.cures.columns import ACCURACY, GRADIENT, LOSS

    what = json.loads((folder / "run.json").read_text(encoding="utf-8"))["what"]
    name = what["settings"]["network"].partition(":")[2]
    reached = []
    for line in cures_report.lines(pl.read_parquet(folder / "rows.parquet")):
        (decades,) = line.of(GRADIENT).values()
        means = {
            quantity: mean for quantity in (LOSS, ACCURACY) for mean in line.of(quantity).values()
        }
        if not means:  # of a network that no change would cure
            continue
        record = {"change": line.change, "decades": float(f"{decades.value:.3g}")}
        record["rate"] = means[ACCURACY].rate
        record |= {q: [float(f"{v:.3g}") for v in mean[:2]] for q, mean in means.items()}
        reached.append(record)
    return {name: reached}


def markdown(name: str) -> str:
    """Return what was printed of a network before and after, and the table of changes.

    Of `training` the table of what is reached by it.
    """
    if name == "training":
        return "\n".join(_training(json.loads(DATA.read_text(encoding="utf-8"))["trained"]))
    record = json.loads(DATA.read_text(encoding="utf-8"))[name]
    return "\n".join(
        [
            *_printed(record["before"]),
            "",
            "<details markdown>",
            f"<summary>{len(record['changes'])} changes, the best first</summary>",
            "",
            "| change | decades a layer | in all | |",
            "|:---|---:|---:|:---|",
            *map(_row, record["changes"]),
            "",
            f"The first one in full: *{record['changes'][0]['advice']}*",
            "",
            "</details>",
            "",
            "After the first one:",
            "",
            *_printed(record["after"]),
        ]
    )


def _printed(lines: list[str]) -> Iterator[str]:
    """Yield what was printed as a quotation, whose lines a phone can break."""
    for line in lines:
        yield f"> {MARKS.sub(lambda mark: chr(92) + mark[0], line)}  "


def _row(change: Record) -> str:
    works = "" if change["works"] else f"no cure: {change['reason']}"
    numbers = " | ".join(_number(change[name]) for name in ("decades", "total"))
    kind = KINDS.get(change["kind"], change["kind"])
    by = f": {change['by']}" if change["by"] else ""
    return f"| {kind}{by} | {numbers} | {works} |"


def _by(values: Mapping[str, Any]) -> str:
    """Return what a change multiplies by, of a factor for each layer the least and the largest."""
    if "factors" in values:
        least, most = min(values["factors"]), max(values["factors"])
        return f"{least:g} to {most:g}, {values['what']}"
    if "entries" in values:
        return f"{values['value']:g}"
    return values.get("why") or str(values.get("factor", ""))


def _training(networks: Mapping[str, list[Record]]) -> Iterator[str]:
    yield "| LSTM | gradient, decades over 65 layers | step size | loss | accuracy |"
    yield "|:---|---:|---:|---:|---:|"
    for name, cases in networks.items():
        for case in cases:
            words = TRAINED[name, case["change"]]
            reached = (case["loss"], case["accuracy"])
            numbers = (f"{mean:.3g} ± {error:.2g}" for mean, error in reached)
            decades = _number(case["decades"])
            yield f"| {words} | {decades} | {case['rate']:g} | {' | '.join(numbers)} |"


def _number(value: float) -> str:
    return "0" if abs(value) < 5e-5 else f"{value:+.2g}".replace("-", "−")


if __name__ == "__main__":
    main()

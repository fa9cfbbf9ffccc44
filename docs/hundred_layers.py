"""The table of networks of a hundred layers that were trained, cured and initialised by rivals.

    python docs/hundred_layers.py runs/relu runs/relu_lsuv ...

takes finished runs of `python -m experiments cures examples/a_hundred_layers.py:NAME` and writes
a row for each network into `docs/data/hundred_layers.csv`, in place of rows of the same network.
`docs/tables.py` writes the table into the page.
"""

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

DATA = Path(__file__).parent / "data" / "hundred_layers.csv"
COLUMNS = ("activation", "weights", "decades", "rate", "loss", "loss_error", "accuracy", "error")
COLUMNS += ("seeds", "steps", "advice")
ACTIVATIONS = ("tanh", "relu", "gelu", "sigmoid")
BEFORE = "as it is"
WEIGHTS = {  # in the order of the table
    "": "as PyTorch draws them",
    "orthogonal": "orthogonal, with PyTorch's gain",
    "lsuv": "LSUV",
    "anyinit": "anyinit 0.4.0",
}
CURES = {
    "scale": "one factor on all weights",
    "scale by layer": "a factor for each layer",
    "orthogonal": "orthogonal, with one factor",
    "looks-linear": "looks-linear",
    "skip": "a skip / √99 around each layer",
    "norm": "a norm in front of each layer",
    "pre-norm": "a skip / √99 around a norm and each layer",
    "units": "tailored units",
}

Record = Mapping[str, str]


def main() -> None:
    """Store the rows of the runs that the command line names."""
    rows = {(row["activation"], row["weights"]): row for row in read()} if DATA.exists() else {}
    for folder in map(Path, sys.argv[1:]):
        made = {(row["activation"], row["weights"]): row for row in of_run(folder)}
        cured = {activation for activation, weights in made if weights.startswith("cured")}
        rows = {at: row for at, row in rows.items() if at[0] not in cured or at[1] in WEIGHTS}
        rows |= made
    write(sorted(rows.values(), key=_place))


def of_run(folder: Path) -> Iterator[dict[str, str]]:
    """Yield a row for each change of the network of a run."""
    import polars as pl

    from experiments.cures import cures_report
    from experiments.cures.columns import ACCURACY, GRADIENT, LOSS

    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    of = run["what"]["settings"]
    activation, _, weights = of["network"].partition(":")[2].partition("_")
    for line in cures_report.lines(pl.read_parquet(folder / "rows.parquet")):
        (decades,), (loss,), (accuracy,) = (
            line.of(quantity).values() for quantity in (GRADIENT, LOSS, ACCURACY)
        )
        changed = weights if line.change == BEFORE else f"cured: {line.change}"
        numbers = decades.value, accuracy.rate, *loss[:2], *accuracy[:2]
        texts = (f"{number:.4g}" for number in numbers)
        size = str(of["seeds"]), str(of["steps"])
        yield dict(zip(COLUMNS, (activation, changed, *texts, *size, line.advice), strict=True))


def _place(row: Record) -> tuple[int, int]:
    order = list(WEIGHTS)
    of = row["weights"]
    return ACTIVATIONS.index(row["activation"]), order.index(of) if of in order else len(order)


def write(rows: list[dict[str, str]]) -> None:
    """Write the rows."""
    with DATA.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read() -> list[dict[str, str]]:
    """Return the rows that are stored."""
    with DATA.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def markdown(_: str = "") -> str:
    """Return the table: each activation with its rivals, and what `jaxnn.cures` makes of it."""
    lines = ["| 100 layers of | weights | gradient, decades | step size | loss | accuracy |"]
    lines.append("|:---|:---|---:|---:|---:|---:|")
    last = ""
    for row in read():
        of = row["weights"].removeprefix("cured: ")
        is_cured = of != row["weights"]
        words = f"**cured: {CURES[of]}**" if is_cured else WEIGHTS[of]
        decades = f"{float(row['decades']):+.1f}".replace("-", "−")
        loss = _average(row["loss"], row["loss_error"])
        accuracy = _average(row["accuracy"], row["error"])
        name = row["activation"] if row["activation"] != last else ""
        last = row["activation"]
        lines.append(f"| {name} | {words} | {decades} | {row['rate']} | {loss} | {accuracy} |")
    return "\n".join(lines)


def _average(mean: str, error: str) -> str:
    """Return a mean with its error, if that is not too small to be shown."""
    digits = 3 if float(error) < 0.0095 else 2
    of = f" ± {float(error):.{digits}f}" if float(error) >= 0.0005 else ""
    return f"{float(mean):.{digits}f}{of}"


if __name__ == "__main__":
    main()

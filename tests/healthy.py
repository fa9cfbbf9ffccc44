"""What is said of networks that packages ship, drawn as their packages draw them.

    python tests/healthy.py            all networks of the menagerie that are not in the table
    python tests/healthy.py jax keras  those of these packages

Each is given to `jaxnn.diagnose` with its example batch: one of PyTorch that returns logits with
labels and their cross-entropy, others with their own loss or a random one. What is said but for
what is healthy is counted by rules, and stored in `docs/data/healthy.csv` for the pages of the
casebook and the menagerie, with how many of the blocks of a module of PyTorch are layers. A run
that was stopped goes on; rows that are deleted are measured again.
"""

import csv
import sys
import warnings
from pathlib import Path

import jax
import torch

import jaxnn
from experiments.casebook import said
from experiments.menagerie import catalogue

TABLE = Path(__file__).parents[1] / "docs" / "data" / "healthy.csv"
COLUMNS = ("package", "network", "word", "said", "blocks")
NO_CLASSIFIERS = ("torch", "torch_geometric")  # of layers put together


def arguments_of(entry):
    """Return the arguments of `jaxnn.diagnose`, with labels and their loss for logits."""
    torch.manual_seed(0)
    arguments = entry.arguments()
    model = arguments["model"]
    if not hasattr(model, "register_forward_hook") or entry.package in NO_CLASSIFIERS:
        return arguments
    with torch.no_grad():
        output = catalogue.called(model, arguments["xs"])
    if isinstance(output, torch.Tensor) and output.ndim == 2 and output.shape[1] > 1:
        ys = 7 * torch.arange(len(output)) % output.shape[1]
        arguments |= {"ys": ys, "loss": torch.nn.CrossEntropyLoss()}
    return arguments


def judged(entry):
    """Return the row of a network."""
    blocks = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages
        try:
            arguments = arguments_of(entry)
            verdict = jaxnn.diagnose(**arguments).verdict
            word, rules = verdict.word, [one.rule for one in said.told(verdict)]
            wanted = entry.blocks_in(arguments["model"])
            if wanted:
                blocks = f"{len(wanted & {*verdict.names})} of {len(wanted)}"
        except (RuntimeError, TypeError, ValueError) as error:
            word, rules = "refused", [type(error).__name__]
    jax.clear_caches()
    return entry.package, entry.network, word, ", ".join(dict.fromkeys(rules)), blocks


def main(packages=tuple(catalogue.PACKAGES)):
    """Measure networks that are not in the table, and write it."""
    rows = {}
    if TABLE.exists():
        with TABLE.open(encoding="utf-8", newline="") as file:
            rows = {tuple(row[:2]): row for row in list(csv.reader(file))[1:]}
    for key, entry in catalogue.ENTRIES.items():
        if entry.package not in packages or not entry.is_installed or key in rows:
            continue
        row = judged(entry)
        rows[row[:2]] = row
        print(*row, sep="  ", flush=True)
        with TABLE.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows[key] for key in sorted(rows))


if __name__ == "__main__":
    main(*([tuple(sys.argv[1:])] if sys.argv[1:] else []))

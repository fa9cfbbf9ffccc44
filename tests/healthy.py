"""What is said of networks that packages ship, drawn as their packages draw them.

    python tests/healthy.py               every fifth network of the menagerie
    python tests/healthy.py 1 jax keras   all of these packages

Each is given to `jaxnn.diagnose` with its example batch and a random loss, as in the menagerie.
What is said but for what is healthy is counted by rules, and stored in `docs/data/healthy.csv` for
the page of the casebook; networks that were measured before and not now stay.
"""

import csv
import sys
import warnings
from pathlib import Path

import jax

import jaxnn
from experiments.casebook import said
from experiments.menagerie import catalogue

TABLE = Path(__file__).parents[1] / "docs" / "data" / "healthy.csv"
COLUMNS = ("package", "network", "word", "said")
EVERY = 5


def chosen(every, packages):
    """Every so many networks of the packages that are installed."""
    listed = [entry for name in packages for entry in catalogue.of_package(name)]
    return [entry for entry in listed[::every] if entry.is_installed]


def judged(entry):
    """The row of a network: the verdict's word, and what else is said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages
        try:
            verdict = jaxnn.diagnose(**entry.arguments()).verdict
            word, rules = verdict.word, [one.rule for one in said.told(verdict)]
        except (TypeError, ValueError) as error:
            word, rules = "refused", [type(error).__name__]
    jax.clear_caches()
    return entry.package, entry.network, word, ", ".join(dict.fromkeys(rules))


def main(every=EVERY, packages=tuple(catalogue.PACKAGES)):
    """Measure networks, and write the table."""
    rows = {}
    if TABLE.exists():
        with TABLE.open(encoding="utf-8", newline="") as file:
            rows = {tuple(row[:2]): row for row in list(csv.reader(file))[1:]}
    for entry in chosen(every, packages):
        row = judged(entry)
        rows[row[:2]] = row
        print(*row, sep="  ", flush=True)
        with TABLE.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows[key] for key in sorted(rows))


if __name__ == "__main__":
    numbers, names = sys.argv[1:2], sys.argv[2:]
    main(*map(int, numbers), *([tuple(names)] if names else []))

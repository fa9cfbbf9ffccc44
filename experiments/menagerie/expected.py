"""Words on networks: titles, and what is expected of those of PyTorch.

`networks.csv` has the title of each network and, for those of PyTorch, the patterns of their
blocks, written by hand from their code, and the rules that should speak of them, with the reason;
none for a healthy one.
"""

import csv
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.menagerie import table_of_torch

if TYPE_CHECKING:
    import torch

Key = tuple[str, str]  # package and network


class Expected(NamedTuple):
    """The blocks of a network, and the rules that should speak of it.

    blocks: patterns of the names of its blocks, whose * stands for what has no dot.
    says: the rules that should speak.
    why: they should; "" if none should.
    """

    blocks: tuple[str, ...]
    says: tuple[str, ...]
    why: str


@cache
def _rows() -> dict[Key, dict[str, str]]:
    path = Path(__file__).with_name("networks.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return {(row["package"], row["network"]): row for row in csv.DictReader(file)}


def titles() -> dict[Key, str]:
    """Return the titles of all networks."""
    return {key: row["title"] for key, row in _rows().items()}


def table() -> dict[Key, Expected]:
    """Return what is expected of networks of PyTorch."""
    return {
        key: Expected(tuple(row["blocks"].split()), tuple(row["says"].split()), row["why"])
        for key, row in _rows().items()
        if key[0] in table_of_torch.TABLES
    }


def blocks(key: Key, model: object) -> set[str]:
    """Return the names of a module's blocks; none if nothing is expected of it."""
    known = table().get(key)
    module = getattr(model, "_orig_mod", model)
    return set() if known is None else {*matching(module, known.blocks)}


def matching(module: Any, patterns: tuple[str, ...]) -> Iterator[str]:
    """Yield the names of modules that have one of these patterns."""
    for name, _ in module.named_modules():
        parts = name.split(".")
        for pattern in patterns:
            wanted = pattern.split(".")
            if len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted)):
                yield name


def called(model: "torch.nn.Module", xs: Any) -> Any:
    """Return what a module makes of its inputs: one, several or by their names."""
    if isinstance(xs, dict):
        return model(**xs)
    return model(*xs) if isinstance(xs, tuple) else model(xs)

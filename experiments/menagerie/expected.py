"""Expectations for PyTorch networks, written by hand: their blocks, and what is said of them.

`expected.csv` has for each network the patterns of its blocks, written by hand from its code, and
the rules that should speak of it, with the reason; none for a healthy one.
"""

import csv
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.menagerie.catalogue import Entry

if TYPE_CHECKING:
    import torch

PATH = Path(__file__).with_name("expected.csv")


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
def table() -> dict[tuple[str, str], Expected]:
    """Return what is expected, by package and network."""
    with PATH.open(encoding="utf-8", newline="") as file:
        return {
            (row["package"], row["network"]): Expected(
                tuple(row["blocks"].split()), tuple(row["says"].split()), row["why"]
            )
            for row in csv.DictReader(file)
        }


def blocks(entry: Entry, model: object) -> set[str]:
    """Return the names of a module's blocks; none if nothing is expected of it."""
    known = table().get((entry.package, entry.network))
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

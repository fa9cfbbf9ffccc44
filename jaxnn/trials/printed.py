"""Cures as they are printed: one line a cure, the best marked; in vain, last and short.

cures that work -> groups of almost the same factors -> a line each
the others      -> kinds by the reason why they are none, one line
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..texts import counted, listed
from .cure import Cure

ALMOST = 0.1  # of a factor: factors that differ by less are one line


class CureLine(NamedTuple):
    """A line on some changes, and whether they work."""

    text: str
    works: bool


def lines(tried: Sequence[Cure], first: str = "Best: ") -> Iterator[CureLine]:
    """Yield a line for each group of cures that work, the best first, and one for the others."""
    for number, (cure, *others) in enumerate(_groups(cure for cure in tried if cure.works)):
        yield CureLine(f"{'Or: ' if number else first}{cure}{_alike(others)}", True)
    in_vain: dict[str, list[str]] = {}
    for cure in tried:
        if not cure.works:
            in_vain.setdefault(cure.reason, []).append(cure.kind)
    if in_vain:
        texts = [f"{listed(dict.fromkeys(kinds))} ({why})" for why, kinds in in_vain.items()]
        yield CureLine(f"In vain: {'; '.join(texts)}.", False)


def _groups(working: Iterable[Cure]) -> Iterable[list[Cure]]:
    """Return cures, those together whose factors on the weights are almost those of the first."""
    groups: dict[Cure, list[Cure]] = {}
    for cure in working:
        first = next((first for first in groups if _are_alike(first, cure)), cure)
        groups.setdefault(first, []).append(cure)
    return groups.values()


def _are_alike(cure: Cure, other: Cure) -> bool:
    """Tell whether both are factors, which differ by a tenth at most."""
    pair = cure.factors, other.factors
    if pair[0] is None or pair[1] is None or not (pair[0] > 0).all() or not (pair[1] > 0).all():
        return False
    same_arrays = (cure.kind == "branch scale") == (other.kind == "branch scale")
    return same_arrays and float(np.abs(np.log(pair[0] / pair[1])).max()) <= np.log1p(ALMOST)


def _alike(others: Sequence[Cure]) -> str:
    """Return how many cures are left out for one, as a sentence."""
    if not others:
        return ""
    verb = "does" if len(others) == 1 else "do"
    return f" So {verb} {counted(len(others), 'change')} whose factors differ by a tenth at most."

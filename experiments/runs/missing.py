"""The part of a run that was planned and not measured, in words, in tables and as rows.

A stopped run concludes from what there is. Its conclusion takes from here which cells are missing,
and says so wherever a missing cell would look like a result.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from experiments.pages.tables import NOT_MEASURED
from experiments.runs.schema import Column
from jaxnn.texts import cleaned

SIGN = f"{NOT_MEASURED} in tables and maps"
MOST_GROUPS, MOST_VALUES = 6, 5  # of the missing cells in words


@dataclass(frozen=True)
class Missing:
    """The cells that were not measured; false if there are none."""

    measured: int = 0
    planned: int = 0
    what: str = "cells measured"
    # Of each cell its value in each column in which the planned ones differ; a list of several.
    places: tuple[dict[str, Any], ...] = ()
    goes_on: bool = True  # the same command measures them, and would not fail again

    @classmethod
    def of(cls, places: Sequence[Mapping[str, Any]], done: Sequence[bool]) -> "Missing":
        """Return the missing ones among planned places."""
        varied = [name for name in places[0] if any(p[name] != places[0][name] for p in places)]
        missing = tuple(
            {name: place[name] for name in varied}
            for place, there in zip(places, done, strict=True)
            if not there
        )
        return cls(len(places) - len(missing), len(places), places=missing)

    def __bool__(self) -> bool:
        """Tell whether anything is missing."""
        return self.measured < self.planned

    @property
    def count(self) -> str:
        """The number of cells that were measured, of those planned, in words."""
        return f"{self.measured} of {self.planned} {self.what}"

    @property
    def sentence(self) -> str:
        """Words that say of a stopped run what it has not measured; empty if nothing is missing."""
        if not self:
            return ""
        names = f" Not measured ({SIGN}): {_in_words(self.places)}." if self.places else ""
        then = " The same command again goes on." if self.goes_on else ""
        return f"The run was stopped: {self.count}.{names}{then}"

    def rows(self, measured: pl.DataFrame, *columns: str) -> pl.DataFrame:
        """Return the places as rows; a column that they do not name has every measured value."""
        values = {name: measured[name].unique(maintain_order=True) for name in columns}
        rows = itertools.chain.from_iterable(
            itertools.product(
                *(_listed(place[n]) if n in place else values[n].to_list() for n in columns)
            )
            for place in self.places
        )
        schema = {name: values[name].dtype for name in columns}
        return pl.DataFrame(list(rows), schema, orient="row").unique(maintain_order=True)

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of run.json."""
        return {**vars(self), "places": list(self.places)}


NOTHING = Missing()


def read(entry: object, columns: Mapping[str, Column]) -> Missing:
    """Return what `Missing.as_dict` has written, checked against the columns of the rows."""
    try:
        members: Any = entry
        found = Missing(**members)
        values = [("", [found.measured, found.planned])]
        values += [(n, _listed(v)) for place in found.places for n, v in place.items()]
        for name, listed in values:
            known = columns[name].dtype if name in columns else None
            dtype = pl.UInt64 if known == pl.Int64 or not name else known
            if pl.Series(listed, dtype=dtype).null_count():
                raise ValueError
        same = len({(*place,) for place in found.places}) < 2 and all(found.places)
        if len(members) != len(vars(NOTHING)) or not (
            same and isinstance(found.what + found.sentence, str)
        ):
            raise ValueError
    except (TypeError, ValueError, AttributeError, OverflowError, pl.exceptions.PolarsError):
        raise ValueError("missing: expected cells with columns of the rows") from None
    return replace(found, places=tuple(map(cleaned, found.places)))


def _in_words(places: Sequence[dict[str, Any]]) -> str:
    """Name places, those together that differ in one column only: the one with most numbers."""

    def numbers(name: str) -> int:
        values = itertools.chain.from_iterable(_listed(place[name]) for place in places)
        return len({value for value in values if not isinstance(value, str)})

    # Depths are many numbers of few kinds: "relu, depth 1, 2, … 64" says more than 64 places.
    *_, folded = sorted(places[0], key=numbers)  # the last, if none has numbers
    groups: dict[tuple[str, ...], dict[str, list[Any]]] = {}
    for place in places:
        key = tuple(str(value) for name, value in place.items() if name != folded)
        group = groups.setdefault(
            key, {n: [] if n == folded else _listed(v) for n, v in place.items()}
        )
        group[folded] += _listed(place[folded])
    words = [", ".join(itertools.starmap(_named, group.items())) for group in groups.values()]
    more = len(words) - MOST_GROUPS
    return "; ".join([*words[:MOST_GROUPS], *([f"and {more} more"] if more > 0 else [])])


def _named(name: str, values: Iterable[Any]) -> str:
    unique = list(dict.fromkeys(values))
    if any(isinstance(value, str) for value in unique):
        more = len(unique) - MOST_VALUES
        words = [f"“{value}”" if "," in str(value) else str(value) for value in unique]
        return ", ".join(words[:MOST_VALUES]) + (f" and {more} more" if more > 0 else "")
    texts = [f"{v:g}" if isinstance(v, float) else str(v) for v in sorted(unique)]
    if len(texts) > MOST_VALUES:
        texts = [*texts[:2], "…", texts[-1]]
    return f"{name} {', '.join(texts)}"


def _listed(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]

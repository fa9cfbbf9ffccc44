"""The part of a run that was planned and not measured, in words, in tables and as rows.

A stopped run concludes from what there is. Its conclusion takes from here which cells are missing,
and says so wherever a missing cell would look like a result.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from experiments.pages.tables import NOT_MEASURED
from experiments.runs.schema import Column

SIGN = f"{NOT_MEASURED} in tables and maps"
MOST_GROUPS, MOST_VALUES = 6, 5  # of the missing cells in words


@dataclass(frozen=True)
class Missing:
    """The cells that were not measured; false if there are none.

    measured, planned: the numbers of cells.
    what: that is counted, and how it is called once it is done.
    places: of each cell that was not measured, its value in each column in which the planned cells
        differ; a list of several.
    goes_on: whether the same command measures them; not after a failure that it would repeat.
    """

    measured: int = 0
    planned: int = 0
    what: str = "cells measured"
    places: tuple[dict[str, Any], ...] = ()
    goes_on: bool = True

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
        """Return the places as rows with some of the columns of the measured rows.

        A column that a place does not name takes every value that was measured.
        """
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
    """Return what `Missing.as_dict` has written, checked against the columns of the rows.

    Raises:
        ValueError: it is something else.
    """
    members = entry if isinstance(entry, dict) else {}
    counts = [members.get(name) for name in ("measured", "planned")]
    right = (
        set(members) == set(vars(NOTHING))
        and all(type(n) is int and n >= 0 for n in counts)
        and isinstance(members["what"], str)
        and isinstance(members["goes_on"], bool)
        and isinstance(members["places"], list)
        and _are_places(members["places"], columns)
    )
    if not right:
        raise ValueError("missing: expected cells with columns of the rows")
    return Missing(**{**members, "places": tuple(map(_printable, members["places"]))})


def _are_places(places: list[Any], columns: Mapping[str, Column]) -> bool:
    """Tell whether these are values of the same columns each."""
    if not all(isinstance(place, dict) and place.keys() == places[0].keys() for place in places):
        return False
    dtypes = {name: column.dtype for name, column in columns.items()}
    values = ((name, v) for place in places for name, vs in place.items() for v in _listed(vs))
    return all(places) and all(_is_value(value, dtypes.get(name)) for name, value in values)


def _is_value(value: object, dtype: pl.DataType | None) -> bool:
    if dtype == pl.String():
        return isinstance(value, str)
    if dtype == pl.Int64():
        return type(value) is int and 0 <= value < 2**63
    return type(value) in (str, int, float) if dtype is None else type(value) in (int, float)


def _printable(place: dict[str, Any]) -> dict[str, Any]:
    """A place without characters that a terminal would obey."""

    def clean(value: object) -> Any:
        if isinstance(value, list):
            return list(map(clean, value))
        text = value if isinstance(value, str) else ""
        return "".join(c if c.isprintable() else "�" for c in text) if text else value

    return {name: clean(value) for name, value in place.items()}


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

"""Lists: an entry for each layer where one for all could be given."""

from collections.abc import Callable, Iterable, Sequence, Sized
from itertools import groupby
from typing import Any, TypeVar

import jax
import numpy as np

T = TypeVar("T")
SHOWN = 8  # stretches of equal entries that are written out


def is_list(value: object) -> bool:
    """Tell whether a value is a list: a sequence other than a string, or an array with one axis."""
    if isinstance(value, jax.Array | np.ndarray):
        return value.ndim == 1
    return isinstance(value, Sequence) and not isinstance(value, str)


def each(what: str, values: Iterable[Any], check: Callable[[Any], T]) -> tuple[T, ...]:
    """Return the checked entries of a list; an error names the entry."""

    def one(i: int, value: object) -> T:
        try:
            return check(value)
        except (TypeError, ValueError) as error:
            named = str(error).replace(f"{what}: ", f"{what}[{i}]: ", 1)
            raise type(error)(named) from None

    return tuple(one(i, value) for i, value in enumerate(values))


def check_count(what: str, values: Sized, count: int, unit: str) -> None:
    """Raise unless a list has as many entries as there are layers; `of` says which ones."""
    if len(values) != count:
        raise ValueError(
            f"{what}: expected one for all or a list with one entry for each {unit}, {count} here, "
            f"got {len(values)}"
        )


def one_if_equal(values: tuple[T, ...]) -> T | tuple[T, ...]:
    """Return the one entry of a list whose entries are all equal, or the list."""
    return values[0] if len(set(values)) == 1 else values


def grouped(values: Iterable[Any]) -> str:
    """Return a list as Python writes it, equal neighbours as one, shortened in the middle."""
    stretches = [(value, len(list(same))) for value, same in groupby(values)]
    texts = [f"{v!r}" if count == 1 else f"*[{v!r}] * {count}" for v, count in stretches]
    if len(texts) > SHOWN:
        texts = [*texts[: SHOWN - 2], "…", texts[-1]]
    return f"[{', '.join(texts)}]"


def counted(values: Iterable[str]) -> str:
    """Return in words how many layers have what, the middle of a long list left out.

    Example:
        >>> counted(["tanh", "relu", "tanh"])
        'tanh in 2 layers, relu in 1'
    """
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    texts = [f"{value} in {count}" for value, count in counts.items()]
    texts[0] += " layer" if next(iter(counts.values())) == 1 else " layers"
    return ", ".join(texts if len(texts) <= SHOWN else [*texts[:2], "…", texts[-1]])

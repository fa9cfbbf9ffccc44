"""Words: a change as a sentence that can be followed without this library, and only in one way.

arrays -> `layer[*].weight` for * = 1 to 7        layers -> 2 to 5 and 8

A * without numbers stands for every number that an array of the network has at that place.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from ..texts import listed

STAR = "*"
DIGITS = 5  # of a number that a change is made with

Values = tuple[str, ...]  # the numbers in a name
T = TypeVar("T")


def to_digits(value: float, digits: int = DIGITS) -> float:
    """Return a number with so few digits that a sentence holds all of them.

    Example:
        >>> to_digits(5.6512), to_digits(0.000123456), to_digits(0.0)
        (5.6512, 0.00012346, 0.0)
    """
    return float(f"{value:.{digits}g}")


def numbers_in_words(numbers: Iterable[int]) -> str:
    """Return increasing numbers in words, stretches by their ends.

    Example:
        >>> numbers_in_words([4]), numbers_in_words([2, 3, 4, 5]), numbers_in_words([0, 2, 4, 6])
        ('4', '2 to 5', '0 to 6 in steps of 2')
        >>> numbers_in_words([1, 2, 3, 7, 9, 10])
        '1 to 3, 7, 9 and 10'
    """
    every = sorted(set(numbers))
    steps = {b - a for a, b in pairwise(every)}
    if len(every) > 2 and len(steps) == 1 and steps != {1}:
        return f"{every[0]} to {every[-1]} in steps of {steps.pop()}"
    return listed(_stretches(every))


def _stretches(numbers: list[int]) -> Iterator[str]:
    """Yield the stretches of at least three numbers by their ends, and all other numbers."""
    starts = [i for i, n in enumerate(numbers) if i == 0 or n != numbers[i - 1] + 1]
    for start, stop in pairwise([*starts, len(numbers)]):
        if stop - start > 2:
            yield f"{numbers[start]} to {numbers[stop - 1]}"
        else:
            yield from map(str, numbers[start:stop])


def names_in_words(names: Iterable[str], known: Iterable[str]) -> str:
    """Return names of arrays or modules in words, those that differ in a number with a *.

    Example:
        >>> known = [f"[{i}].{name}" for i in range(9) for name in "wb"]
        >>> names_in_words([f"[{i}].w" for i in range(9)], known)
        '`[*].w`'
        >>> names_in_words([f"[{i}].w" for i in range(1, 9)], known)
        '`[*].w` for * = 1 to 8'
        >>> known = [f"[{i}].conv{k}" for i in range(9) for k in (1, 2)]
        >>> names_in_words(known[2:], known)
        '`[*].conv1` for * = 1 to 8, `[*].conv2` for * = 1 to 8'
    """
    groups = _by_template(names)
    every = _by_template(known)
    return ", ".join(
        text
        for template, values in groups.items()
        for text in _group(template, values, every.get(template, values))
    )


def template(name: str) -> str:
    """Return a name with a * for each of its numbers."""
    return re.sub(r"\d+", STAR, name)


def with_numbers(template: str, numbers: Sequence[str]) -> str:
    """Return a name whose stars are filled in."""
    head, *pieces = template.split(STAR)
    return head + "".join(a + b for a, b in zip(numbers, pieces, strict=True))


def split_by_number(
    group: Sequence[tuple[str, T]],
) -> Iterator[tuple[tuple[int, ...], str, list[T]]]:
    """Yield values of i, a name with i and the edits of names that differ in one number."""
    numbers = [re.findall(r"\d+", path) for path, _ in group]
    differing = [n for n, column in enumerate(zip(*numbers, strict=True)) if len({*column}) > 1]
    if len(differing) > 1:
        least = min(differing, key=lambda n: len({row[n] for row in numbers}))
        for value in dict.fromkeys(row[least] for row in numbers):
            pairs = zip(group, numbers, strict=True)
            yield from split_by_number([one for one, row in pairs if row[least] == value])
        return
    path, edits = group[0][0], [edit for _, edit in group]
    if not differing:
        yield (), path, edits
        return
    (at,) = differing
    shown = [STAR if n == at else number for n, number in enumerate(numbers[0])]
    yield tuple(int(row[at]) for row in numbers), with_numbers(template(path), shown), edits


def order_of(kinds: Mapping[str, Any]) -> list[str]:
    """Return the paths of arrays, each with its kind, in the order in which lines draw them.

    Example:
        >>> order_of({"a[0].w": 2, "a[0].v": 2, "a[1].w": 2, "a[1].v": 2})
        ['a[0].w', 'a[1].w', 'a[0].v', 'a[1].v']
    """
    groups: dict[tuple[str, Any], list[tuple[str, str]]] = {}
    for path, kind in kinds.items():
        groups.setdefault((template(path), kind), []).append((path, path))
    return [
        path for group in groups.values() for *_, alike in split_by_number(group) for path in alike
    ]


def _by_template(names: Iterable[str]) -> dict[str, list[Values]]:
    """Return the numbers in each name, by what is left of it."""
    groups: dict[str, list[Values]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(template(name), []).append(tuple(re.findall(r"\d+", name)))
    return groups


def _group(template: str, values: list[Values], known: list[Values]) -> Iterator[str]:
    """Yield names of one template, with a * for the numbers in which they differ."""
    differing = [i for i, column in enumerate(zip(*values, strict=True)) if len({*column}) > 1]
    some = _alike(values[0], known, differing) > len(values)  # not all that there are
    if some and len(differing) > 1:
        # In several places: one after the other for one place, the one that leaves the fewest.
        apart = (
            [
                text
                for number in dict.fromkeys(v[place] for v in values)
                for text in _group(template, [v for v in values if v[place] == number], known)
            ]
            for place in differing
        )
        yield from min(apart, key=len)
        return
    name = with_numbers(template, [STAR if i in differing else v for i, v in enumerate(values[0])])
    numbers = ""
    if some and differing:
        numbers = f" for {STAR} = {numbers_in_words(int(v[differing[0]]) for v in values)}"
    yield f"`{name}`{numbers}"


def _alike(values: Values, known: list[Values], differing: list[int]) -> int:
    """Return how many known names have the numbers of one, but for some places."""
    fixed = [i for i in range(len(values)) if i not in differing]
    return sum(all(other[i] == values[i] for i in fixed) for other in known)

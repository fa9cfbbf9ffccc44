"""Rules: which of them speak, in which order, and what silences them."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from jaxnn.rules import Rules, Sight


class Sizes(NamedTuple):
    """Facts: a size for each of a few arrays."""

    by_path: dict[str, float]

    def label(self, layer: int) -> str:
        return f"the {layer}th"


def a_table(**options: bool | str) -> Rules[Sizes]:
    """Return rules on large and small sizes, of which the last has options."""
    rules: Rules[Sizes] = Rules()

    @rules.rule("small", "{path} is small.", rank=2)
    def small(sizes: Sizes) -> Iterator[Sight]:
        yield from (Sight(1, path) for path, size in sizes.by_path.items() if size < 1)

    @rules.rule("large", lambda name, path, **_: f"{path.upper()} of {name}.", rank=1, **options)
    def large(sizes: Sizes) -> Iterator[Sight]:
        for path, size in sizes.by_path.items():
            if size > 10:
                yield Sight(2, path, {"size": size}, frozenset({("small", 1, "b")}))

    return rules


def rules_of(rules: Rules[Sizes], sizes: dict[str, float], **options: list[str]) -> list[str]:
    return [found.rule for found in rules.found(Sizes(sizes), **options)]


def test_rules_speak_by_rank_of_each_sight():
    found = list(a_table().found(Sizes({"a": 0.1, "b": 2.0, "c": 20.0})))
    assert [(each.rule, each.layer, each.path) for each in found] == [
        ("large", 2, "c"),
        ("small", 1, "a"),
    ]
    assert list(map(str, found)) == ["C of the 2th.", "a is small."]
    assert found[0].values == {"size": 20.0}
    assert found[0].advice == ""


def test_a_sight_is_left_out_if_another_explains_it():
    assert rules_of(a_table(), {"a": 0.1, "b": 0.1}) == ["small", "small"]
    assert rules_of(a_table(), {"a": 0.1, "b": 0.1, "c": 20.0}) == ["large", "small"]


def test_rules_are_silent_for_those_that_have_spoken():
    ill = {"a": 0.1, "c": 20.0}
    assert rules_of(a_table(), ill) == ["large", "small"]
    assert rules_of(a_table(final=True), ill) == ["large"]
    assert rules_of(a_table(), ill, ignore=["large"]) == ["small"]
    assert rules_of(a_table(), ill, spoken=["large"]) == ["small"]
    assert rules_of(a_table(final=True), ill, spoken=["large"]) == []
    assert rules_of(a_table(unless="file"), ill, spoken=["file"]) == ["small"]


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match="expected a name that is not in the table, got 'large'"):
        a_table().rule("large", "")

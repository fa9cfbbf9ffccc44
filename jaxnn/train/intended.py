"""Things that are so on purpose, of which nothing need be said: kinds of alarms, and arrays."""

from collections.abc import Collection
from typing import NamedTuple

from ..flow.verdict.findings import FINDINGS
from ..texts import listed, told
from .alarms import ALARMS, FAILURES
from .watched import is_within

ADVERSARIAL = frozenset(("spike", "diverges", "plateau", "endless", "order"))


class Intended(NamedTuple):
    """Rules that give no alarm, and arrays that none is on.

    arrays: their paths, or what these begin with, such as the name of a module.
    """

    rules: frozenset[str] = frozenset()
    arrays: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, names: Collection[str], adversarial: bool = False, paths: Collection[str] | None = None
    ) -> "Intended":
        """Return them, by names of rules and paths of arrays.

        Args:
            names: of both.
            adversarial: whether two networks play against each other, where no loss falls for good.
            paths: of all arrays; None if they are not known yet.

        Raises:
            ValueError, TypeError: one sentence.
        """
        if not isinstance(names, tuple | list | set | frozenset):
            raise TypeError(
                "intended: expected a tuple of names of rules and paths of arrays, got "
                f"{told(names)}"
            )
        if not isinstance(adversarial, bool):
            raise TypeError(f"adversarial: expected True or False, got {told(adversarial)}")
        rules = {name for name in names if name in {*ALARMS, *FINDINGS, *FAILURES}}
        arrays = tuple(name for name in names if name not in rules)
        for array in arrays:
            if not isinstance(array, str) or not (
                paths is None or any(is_within(path, array) for path in paths)
            ):
                known = f" or paths such as {listed([*paths][:2])}" if paths else ""
                raise ValueError(
                    f"intended: expected names of rules such as {listed([*ALARMS][:2])}{known}, "
                    f"got {told(array)}"
                )
        return cls(frozenset(rules | (ADVERSARIAL if adversarial else frozenset())), arrays)

    def has(self, path: str) -> bool:
        """Tell whether an array is as it is on purpose."""
        return any(is_within(path, array) for array in self.arrays)

    def covers(self, rule: str, path: str) -> bool:
        """Tell whether nothing need be said by a rule of an array."""
        return rule in self.rules or (bool(path) and self.has(path))

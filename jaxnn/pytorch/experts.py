"""PyTorch: experts among the parameters of a module: lists of equal modules, and stacked arrays."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Group(NamedTuple):
    """Parameters of as many experts."""

    place: str  # the name of the list, or of the module that has the array
    names: tuple[str, ...]  # of the parameters


class Experts(NamedTuple):
    """The groups of parameters that may be experts, by their number."""

    groups: dict[int, list[Group]]

    @property
    def counts(self) -> Iterable[int]:
        """The numbers of experts."""
        return self.groups.keys()

    def of(self, router: Iterable[str], count: int, used: set[str]) -> tuple[str, ...]:
        """Return the parameters, of those used in its layer, of the experts nearest to a router."""
        router = [*router]
        nearest: dict[int, list[str]] = {}
        for place, names in self.groups.get(count, ()):
            if len(names) == 1 or not any(_is_in(name, place) for name in router):
                inside = [name for name in names if name in used and name not in router]
                if inside:
                    near = max(_common(name, place) for name in router)
                    nearest.setdefault(near, []).extend(names)
        return tuple(sorted(nearest[max(nearest)])) if nearest else ()


def experts_of(parameters: Mapping[str, Any]) -> Experts:
    """Return the groups of the parameters of a module, by name."""
    groups: dict[int, list[Group]] = {}
    lists: dict[str, dict[str, dict[str, Any]]] = {}
    for name, p in parameters.items():
        parts = name.split(".")
        for i, part in enumerate(parts[:-1]):
            if part.isdigit():
                shapes = lists.setdefault(".".join(parts[:i]), {}).setdefault(part, {})
                shapes[".".join(parts[i + 1 :])] = tuple(p.shape)
        if p.ndim == 3:
            groups.setdefault(p.shape[0], []).append(Group(".".join(parts[:-1]), (name,)))
    for place, entries in lists.items():
        several = [*entries.values()]
        if len(several) > 1 and all(shapes_of_one == several[0] for shapes_of_one in several):
            start = f"{place}." if place else ""
            names = (
                f"{start}{i}.{rest}"
                for i, shapes_of_one in entries.items()
                for rest in shapes_of_one
            )
            groups.setdefault(len(several), []).append(Group(place, tuple(names)))
    return Experts(groups)


def _is_in(name: str, place: str) -> bool:
    """Tell whether a parameter lies in one of the modules of a list."""
    start = f"{place}." if place else ""
    return name.startswith(start) and name[len(start) :].split(".")[0].isdigit()


def _common(name: str, place: str) -> int:
    """Return how many parts of their names two have in common from the front."""
    count = 0
    for a, b in zip(name.split("."), place.split("."), strict=False):
        if a != b:
            break
        count += 1
    return count

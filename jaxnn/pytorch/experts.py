"""PyTorch: lists of equal modules among the parameters of a module, which may be experts."""

from collections.abc import Mapping
from typing import Any

Lists = list[tuple[int, tuple[str, ...]]]  # how many modules, and the names of their parameters


def lists_of(parameters: Mapping[str, Any]) -> Lists:
    """Return the lists of equal modules that have parameters, given by name."""
    places: dict[str, dict[str, dict[str, Any]]] = {}
    for name, p in parameters.items():
        parts = name.split(".")
        for i, part in enumerate(parts[:-1]):
            if part.isdigit():
                modules = places.setdefault(".".join([*parts[:i], ""]), {})
                modules.setdefault(part, {})[".".join(parts[i + 1 :])] = tuple(p.shape)
    return [
        (len(modules), tuple(f"{place}{i}.{name}" for i in modules for name in shapes))
        for place, modules in places.items()
        for shapes in [next(iter(modules.values()))]
        if len(modules) > 1 and all(of_one == shapes for of_one in modules.values())
    ]

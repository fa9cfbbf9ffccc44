"""A network as a line of a table: its builder and its inputs."""

import importlib
from collections.abc import Callable
from typing import Any

# What a package makes, or a pair (f, params) of JAX that is measured as it is, in NNX of `Rngs`; a
# batch of NumPy, or several in a tuple or by their names; and further arguments of `diagnose`.
Network = (
    tuple[Callable[..., Any], Callable[[], Any]]
    | tuple[Callable[..., Any], Callable[[], Any], dict[str, Any]]
)
Networks = dict[str, Network]  # of a package, by their names


class Lazy:
    """A module that is imported when it is first used, so that tables need no package."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # asked by what reads modules, such as a search of doctests
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)


def own(package: str) -> Lazy:
    """Return the networks of layers of a package that stand in `networks`."""
    return Lazy(f"experiments.menagerie.networks.of_{package}")

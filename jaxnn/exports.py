"""Names that a module imports where they are first asked for.

A module lists them once, as imports in a block `if TYPE_CHECKING:`; type checkers and the
reference read them as what they are, and Python reads the same lines here.
"""

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def on_demand(of: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` of a module, read in its own source."""
    module = sys.modules[of]
    source = module.__spec__.loader.get_source(of)  # type: ignore[union-attr]
    package = module.__spec__.parent  # type: ignore[union-attr]
    (block,) = (node for node in ast.parse(source).body if isinstance(node, ast.If))
    places = {
        alias.name: (node.level * ".", node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    names = sorted(places, key=lambda name: (not name.isupper(), not name[0].isupper(), name))

    def getattr_(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {of!r} has no attribute {name!r}")
        dots, place = places[name]
        if place is None:  # a module, which the import sets
            return _imported(dots + name, package)
        value = getattr(_imported(dots + place, package), name)
        setattr(module, name, value)
        return value

    return getattr_, lambda: list(names), names


def _imported(name: str, package: str | None) -> Any:
    """Import a module; JAX draws random numbers of NumPy's then, and those are the user's."""
    random = sys.modules.get("numpy.random") if "jax" not in sys.modules else None
    state = random and random.get_state()
    try:
        return import_module(name, package)
    finally:
        if random:
            random.set_state(state)

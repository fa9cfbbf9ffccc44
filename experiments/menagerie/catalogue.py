"""The list of networks, read from their source: which there are, and the lines that each takes.

    networks/of_PACKAGE.py  ->  its public functions  ->  an entry each

Nothing is imported to make the list, so that a network is in it whose package is not installed.
"""

import ast
import importlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "networks"
# The module that is imported, by the name of the file; those of torch are run by torch.
PACKAGES = {
    "jax": "jax",
    "equinox": "equinox",
    "linen": "flax",
    "nnx": "flax",
    "haiku": "haiku",
    "keras": "keras",
    "jraph": "jraph",
    "diffrax": "diffrax",
    "flowjax": "flowjax",
    "numpyro": "numpyro",
    "equimo": "equimo",
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "transformers": "transformers",
    "vit_pytorch": "vit_pytorch",
    "x_transformers": "x_transformers",
}


@dataclass(frozen=True)
class Entry:
    """A network.

    package: the name of its file, without of_.
    network: the function of the file that returns it.
    title: its docstring.
    lines: the statements of the function, and of the helpers of its file that it calls.
    """

    package: str
    network: str
    title: str
    lines: int

    @property
    def is_installed(self) -> bool:
        """True if the package of the network can be imported."""
        return importlib.util.find_spec(PACKAGES[self.package]) is not None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `jaxnn.diagnose`."""
        module = importlib.import_module(f"experiments.menagerie.networks.of_{self.package}")
        built: dict[str, Any] = getattr(module, self.network)()
        return built


def find(package: str, network: str) -> Entry:
    """Return a network."""
    return next(entry for entry in of_package(package) if entry.network == network)


def versions() -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    names = metadata.packages_distributions()
    modules = [name for name in dict.fromkeys(PACKAGES.values()) if name in names]
    return {name: metadata.version(names[name][0]) for name in modules}


@cache
def of_package(package: str) -> tuple[Entry, ...]:
    """Return the networks of a package, in the order of its file."""
    tree = ast.parse((FOLDER / f"of_{package}.py").read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    parts = {part.name: part for part in tree.body if isinstance(part, kinds)}
    return tuple(
        Entry(package, name, (ast.get_docstring(part) or name).rstrip("."), _lines(name, parts))
        for name, part in parts.items()
        if not name.startswith("_")
    )


def _lines(name: str, parts: dict[str, Any]) -> int:
    """Count the statements of a function, without docstrings, and of what it uses of its file."""
    used, waiting = {name}, [name]
    while waiting:
        names = {n.id for n in ast.walk(parts[waiting.pop()]) if isinstance(n, ast.Name)}
        waiting += [*(names & parts.keys() - used)]
        used |= names & parts.keys()
    statements = (n for u in used for n in ast.walk(parts[u]) if isinstance(n, ast.stmt))
    count = sum(
        not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)) for s in statements
    )
    return count - len(used & {n for n in parts if isinstance(parts[n], ast.FunctionDef)})

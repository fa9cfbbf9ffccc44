"""The list of networks: a line of `networks.csv` each, and an adapter for each framework.

    line: builder, inputs  ->  adapter of the package  ->  arguments of `jaxnn.diagnose`

A builder is a module and an expression of its names, as in `torch.nn:LSTM(8, 8, 3)`; a module that
begins with a dot is one of `networks`. Inputs, and what else `jaxnn.diagnose` is to be given, are
expressions too; all know the names of `inputs`. Nothing is imported to make the list, so that a
network is in it whose package is not installed. Of networks of PyTorch a line has what is expected
too, written by hand: the patterns of their blocks, whose * stands for what has no dot, and the
rules that should speak of them, with the reason; none for a healthy one.
"""

import ast
import csv
import importlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from experiments.menagerie import inputs
from experiments.menagerie.inputs import KEY

if TYPE_CHECKING:
    import torch

Arguments = dict[str, Any]  # of `jaxnn.diagnose`, by their names


class CatalogueEntry(NamedTuple):
    """A line of the table."""

    package: str
    network: str
    title: str
    builder: str
    inputs: str
    more: str = ""
    blocks: str = ""
    says: str = ""
    why: str = ""

    @property
    def is_installed(self) -> bool:
        """True if the package of the network can be imported."""
        return importlib.util.find_spec(PACKAGES[self.package]) is not None

    def arguments(self) -> Arguments:
        """Return the arguments of `jaxnn.diagnose`."""
        name, _, expression = self.builder.partition(":")
        module = importlib.import_module(name, "experiments.menagerie.networks")
        xs = evaluated(self.inputs, inputs, module)
        built = evaluated(expression, module, inputs)
        more = evaluated(self.more or "{}", module)
        if self.package in OF_TORCH:
            return {"model": built, "xs": mapped(_tensor, xs), **more}
        model = MODELS[self.package](built, xs) if self.package in MODELS else built
        each = {"each": EACH[self.package]} if self.package in EACH else {}
        return {"model": model, "xs": xs, **each, **more}

    def blocks_in(self, model: object) -> set[str]:
        """Return the names of a module's blocks; none if nothing is expected of it."""
        return {*matching(getattr(model, "_orig_mod", model), self.blocks.split())}


def evaluated(expression: str, *modules: object) -> Any:
    """Return the value of an expression of names of modules, the first that has one."""
    names = {node.id for node in ast.walk(ast.parse(expression)) if isinstance(node, ast.Name)}
    known = {n: getattr(m, n) for m in reversed(modules) for n in names if hasattr(m, n)}
    return eval(expression, known)  # noqa: S307  (a cell of our own table)


def matching(module: Any, patterns: Iterable[str]) -> Iterator[str]:
    """Yield the names of modules that have one of these patterns."""
    wanted = [pattern.split(".") for pattern in patterns]
    for name, _ in module.named_modules() if wanted else ():
        parts = name.split(".")
        if any(len(parts) == len(of) and all(map(fnmatchcase, parts, of)) for of in wanted):
            yield name


def called(model: "torch.nn.Module", xs: Any) -> Any:
    """Return what a module makes of its inputs: one, several or by their names."""
    if isinstance(xs, dict):
        return model(**xs)
    return model(*xs) if isinstance(xs, tuple) else model(xs)


def mapped(change: Callable[[Any], Any], xs: Any) -> Any:
    """Return inputs of which each is changed: one, several or by their names."""
    if isinstance(xs, dict):
        return {name: mapped(change, v) for name, v in xs.items()}
    return tuple(mapped(change, v) for v in xs) if isinstance(xs, tuple) else change(xs)


def versions() -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    names = metadata.packages_distributions()
    modules = [name for name in dict.fromkeys(PACKAGES.values()) if name in names]
    return {name: metadata.version(names[name][0]) for name in modules}


# Adapters: (what is built, inputs) -> model. A pair (f, params) is measured as it is.


def _of_pairs(built: Any, xs: Any) -> Any:
    """Return what functions `init` and `apply` are, as stax has them."""
    init, apply = built
    return apply, init(KEY, xs.shape)[1]


def _of_linen(built: Any, xs: Any) -> Any:
    return built if isinstance(built, tuple) else (built.apply, built.init(KEY, xs))


def _of_nnx(built: Any, xs: Any) -> Any:
    from flax import nnx

    return built(nnx.Rngs(0))


def _of_haiku(built: Any, xs: Any) -> Any:
    if isinstance(built, tuple):
        return built
    import haiku as hk

    model = hk.without_apply_rng(hk.transform(built))
    return model.apply, model.init(KEY, xs)


def _of_keras(built: Any, xs: Any) -> Any:
    fixed = [variable.value for variable in built.non_trainable_variables]
    trained = [variable.value for variable in built.trainable_variables]
    return lambda trained, xs: built.stateless_call(trained, fixed, xs)[0], trained


def _of_equimo(built: Any, xs: Any) -> Any:
    return lambda model, x: model(x, key=KEY, inference=True), built


def _tensor(xs: Any) -> Any:
    """Return an array as a tensor, whole numbers as torch takes them."""
    if not isinstance(xs, np.ndarray):
        return xs
    import torch

    tensor = torch.from_numpy(xs)
    return tensor.long() if xs.dtype.kind == "i" else tensor


MODELS: dict[str, Callable[[Any, Any], Any]] = {
    "jax": _of_pairs,
    "numpyro": _of_pairs,
    "linen": _of_linen,
    "nnx": _of_nnx,
    "haiku": _of_haiku,
    "jraph": _of_haiku,
    "keras": _of_keras,
    "equimo": _of_equimo,
}
EACH = {**dict.fromkeys(("equinox", "diffrax", "flowjax", "equimo"), "example"), "jraph": "whole"}


def _entries() -> Iterator[CatalogueEntry]:
    path = Path(__file__).with_name("networks.csv")
    with path.open(encoding="utf-8", newline="") as file:
        yield from (CatalogueEntry(**row) for row in csv.DictReader(file))


ENTRIES = {(entry.package, entry.network): entry for entry in _entries()}
# The module that is imported, by the name of the package.
PACKAGES = {name: {"linen": "flax", "nnx": "flax"}.get(name, name) for name, _ in ENTRIES}
OF_TORCH = [*PACKAGES][[*PACKAGES].index("torch") :]  # those that are for PyTorch

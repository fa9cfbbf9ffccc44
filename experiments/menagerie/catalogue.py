"""The list of networks: a table for JAX, one for PyTorch, and an adapter for each framework.

    line: builder, inputs  ->  adapter of the package  ->  arguments of `jaxnn.diagnose`

Nothing is imported to make the list, so that a network is in it whose package is not installed.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import jax
import numpy as np

from experiments.menagerie import expected, table_of_jax, table_of_torch
from experiments.menagerie.network import Lazy, Networks

Arguments = dict[str, Any]  # of `jaxnn.diagnose`, by their names
Build = Callable[..., Any]
KEY = jax.random.key(0)
TABLES: dict[str, Networks] = {**table_of_jax.TABLES, **table_of_torch.TABLES}
# The module that is imported, by the name of the package.
PACKAGES = {name: {"linen": "flax", "nnx": "flax"}.get(name, name) for name in TABLES}


@dataclass(frozen=True)
class Entry:
    """A network by its package and its name in the table."""

    package: str
    network: str

    @property
    def title(self) -> str:
        """The title of the network."""
        return expected.titles()[self.package, self.network]

    @property
    def is_installed(self) -> bool:
        """True if the package of the network can be imported."""
        return importlib.util.find_spec(PACKAGES[self.package]) is not None

    def arguments(self) -> Arguments:
        """Return the arguments of `jaxnn.diagnose`."""
        build, inputs, *more = TABLES[self.package][self.network]
        xs = inputs()
        if self.package in table_of_torch.TABLES:
            return {"model": build(), "xs": _tensors(xs), **dict(*more)}
        model = MODELS.get(self.package, _as_built)(build, xs)
        each = {"each": EACH[self.package]} if self.package in EACH else {}
        return {"model": model, "xs": xs, **each, **dict(*more)}


def of_package(package: str) -> tuple[Entry, ...]:
    """Return the networks of a package, in the order of its table."""
    return tuple(Entry(package, name) for name in TABLES[package])


def versions() -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    names = metadata.packages_distributions()
    modules = [name for name in dict.fromkeys(PACKAGES.values()) if name in names]
    return {name: metadata.version(names[name][0]) for name in modules}


# Adapters: (builder, inputs) -> model. What is a pair (f, params) is measured as it is.


def _as_built(build: Build, xs: Any) -> Any:
    return build()


def _of_pairs(build: Build, xs: Any) -> Any:
    """Return what functions `init` and `apply` are, as stax has them."""
    init, apply = build()
    return apply, init(KEY, xs.shape)[1]


def _of_linen(build: Build, xs: Any) -> Any:
    module = build()
    return module if isinstance(module, tuple) else (module.apply, module.init(KEY, xs))


def _of_nnx(build: Build, xs: Any) -> Any:
    return build(Lazy("flax.nnx").Rngs(0))


def _of_haiku(build: Build, xs: Any) -> Any:
    network = build()
    if isinstance(network, tuple):
        return network
    hk = Lazy("haiku")
    model = hk.without_apply_rng(hk.transform(network))
    return model.apply, model.init(KEY, xs)


def _of_keras(build: Build, xs: Any) -> Any:
    model = build()
    fixed = [variable.value for variable in model.non_trainable_variables]
    trained = [variable.value for variable in model.trainable_variables]
    return lambda trained, xs: model.stateless_call(trained, fixed, xs)[0], trained


def _of_equimo(build: Build, xs: Any) -> Any:
    return lambda model, x: model(x, key=KEY, inference=True), build()


MODELS = {
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


def _tensors(xs: Any) -> Any:
    """Return arrays as tensors, whole numbers as torch takes them."""
    if isinstance(xs, dict):
        return {name: _tensors(v) for name, v in xs.items()}
    if isinstance(xs, tuple):
        return tuple(map(_tensors, xs))
    if not isinstance(xs, np.ndarray):
        return xs
    tensor = Lazy("torch").from_numpy(xs)
    return tensor.long() if xs.dtype.kind == "i" else tensor

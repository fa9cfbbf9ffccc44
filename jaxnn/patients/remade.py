"""Changed networks of JAX as their user hands them over: what `diagnose` takes and what is trained.

other numbers       the user's own module, pair (f, params) or list, with these numbers
another structure   a function of the same arguments, with the user's own pytree as parameters
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ..chain.apply import through
from ..chain.chain import Chain, Function
from ..models import Model, is_pair
from ..network.network import Network
from . import code
from .structure import Rebuild, with_form


@dataclass(frozen=True)
class Reformed:
    """A function (params, xs) -> output of the user's own pytree, some layers in another form."""

    # It rebuilds its layers when traced: batches of any size, also under `jit`, `grad` and `vmap`.

    net: Chain
    meant: tuple[bool, ...]  # the layers in another form
    form: Rebuild

    def __call__(self, params: PyTree, xs: PyTree) -> Any:
        is_one = takes_one(self.net)
        batch = jax.tree.map(lambda v: v[None], xs) if is_one else xs
        state = self.net.state(jax.tree.map(jnp.asarray, batch))
        lowered, own = self.net.for_batch(state), self.net.params(params)
        formed = with_form(lowered, own, np.array(self.meant), self.form)
        output = through(*formed, state)[0]
        return jax.tree.map(lambda v: v[0], output) if is_one else output


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ReformedModule:
    """A module whose layers have another form; its arrays are those of the user's own module."""

    module: PyTree
    call: Reformed = field(metadata={"static": True})

    def __call__(self, xs: PyTree) -> Any:
        return self.call(self.module, xs)


def with_numbers(model: Model, net: Network | Chain, params: PyTree, tree: PyTree) -> Any:
    """Return a model with other numbers: params of the network, or the user's own tree."""
    if not is_pair(model):
        return tree
    f, _ = model
    return (net, params) if isinstance(f, Network | Chain) else (f, tree)


def with_structure(model: Model, call: Reformed, tree: PyTree) -> Any:
    """Return a model whose layers have another form; arguments as above."""
    is_module = callable(model) and not is_pair(model)
    return ReformedModule(tree, call) if is_module else (call, tree)


def takes_one(net: Chain) -> bool:
    """Tell whether a network is cut from a function of one example, as modules of Equinox are."""
    return isinstance(net.made_of, Function) and net.made_of.each


def dialect_of(model: Model, tree: PyTree) -> code.Dialect:
    """Return how a change of numbers is written for a model; `tree` is its pytree."""
    is_list = not callable(model) and not is_pair(model)
    name = "params" if is_pair(model) else "layers" if is_list else "model"
    leaves = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    containers = (
        [[*layer[1:]] if type(layer) is tuple else layer for layer in tree] if is_list else tree
    )
    kinds = set(_kinds_of(jax.tree.structure(containers)))
    packages = {base.__module__.partition(".")[0] for kind in kinds for base in kind.__mro__}
    if "equinox" in packages:
        return code.OfEquinox(name)
    if name == "model" and "flax" in packages:
        return code.OfNnx(name)
    if any(issubclass(kind, tuple) or _is_frozen(kind) for kind in kinds):
        return code.OfLeaves(name, leaves)
    return code.InPlace(name, () if name == "model" else leaves)


def _kinds_of(structure: jax.tree_util.PyTreeDef) -> Iterator[type]:
    """Yield the classes of a pytree's containers."""
    node = structure.node_data()
    if node is not None:
        yield node[0]
    for child in structure.children():
        yield from _kinds_of(child)


def _is_frozen(kind: type) -> bool:
    """Tell a class whose entries cannot be set, as that of a frozen dataclass."""
    options = getattr(kind, "__dataclass_params__", None)
    return bool(options and options.frozen)

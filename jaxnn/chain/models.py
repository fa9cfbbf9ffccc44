"""Models as people have them: a module, a function with its parameters, a list of layers."""

from collections.abc import Mapping
from typing import Any

import jax

from ..network.network import Network
from .chain import Chain, from_function, from_layers
from .parameter_handover import is_array


def is_of_torch(model: object) -> bool:
    """Tell whether a model is a module of PyTorch."""
    return hasattr(model, "register_forward_hook")


def refuse_each(each: str, what: str) -> None:
    """Raise a ValueError for an `each` that would do nothing."""
    if each != "batch":
        raise ValueError(f"each: expected batch with {what}, which takes one, got {each}")


def _refuse_cuts(cuts: object) -> None:
    """Raise a ValueError for cuts of what has its layers already."""
    if cuts is not None:
        raise ValueError("cuts: expected none with a list of layers or a pair (net, params)")


def network_of(model: Any, xs: Any, each: Any, cuts: Any) -> tuple[Any, Any]:
    """Return a network that `gradient_flow` takes, and its parameters.

    Raises:
        TypeError: the model is none.
    """
    if isinstance(model, tuple) and len(model) == 2:
        if isinstance(model[0], Chain | Network):
            refuse_each(each, "a pair (net, params)")
            _refuse_cuts(cuts)
            return model
        return from_function(*model, xs, each=each, cuts=cuts)
    if isinstance(model, Mapping | list):
        _refuse_cuts(cuts)
        return from_layers(model, each=each)
    if callable(model) and any(map(is_array, jax.tree.leaves(model))):
        return from_function(_called, model, xs, each=each, cuts=cuts)
    raise TypeError(
        "model: expected a module of Equinox, NNX or PyTorch, a pair (f, params), a list of layers "
        f"or a pair (net, params), got {type(model).__name__}; parameters that a function closes "
        "over have to be handed over with it"
    )


def _called(module: Any, xs: Any) -> Any:
    return module(xs)

"""Models as people have them: a module, a function with its parameters, a list of layers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, TypeGuard

import jax
from jaxtyping import PyTree

from .arrays.arguments import check_arguments
from .chain.chain import Chain, from_function, from_layers
from .chain.cut_points import MOST_STREAMS
from .chain.parameter_handover import is_array
from .network.checks import check_loss
from .network.network import Network
from .pytorch.call import Call
from .pytorch.conversion import from_torch
from .pytorch.types import Module

Net = Network | Chain
Cuts = str | Sequence[Any] | None
Model: TypeAlias = (
    tuple[Net, PyTree]  # of ours
    | tuple[Callable[[Any, Any], Any], PyTree]  # (f, params) with f(params, xs)
    | Iterable[Any]  # layers
    | Mapping[Any, Any]  # layers by name
    | Callable[..., Any]  # a module of Equinox or NNX
    | Module
)


def is_of_torch(model: Any) -> TypeGuard[Module]:
    """Tell whether a model is a module of PyTorch; a class of them is none."""
    return not isinstance(model, type) and hasattr(model, "register_forward_hook")


def check_call(model: Any, **arguments: Any) -> None:
    """Raise one sentence on the first thing that cannot be meant in a call of a public function."""
    f = model[0] if type(model) is tuple and len(model) == 2 else model
    layers = model.values() if isinstance(model, Mapping) else model
    is_transformed = not callable(f) and hasattr(f, "init") and hasattr(f, "apply")
    if isinstance(f, type):
        got = f"the class {f.__name__}; make a module of it: {f.__name__}(…)"
    elif isinstance(model, list | tuple | Mapping) and any(map(is_of_torch, layers)):
        got = "several of PyTorch; make one of them, such as with torch.nn.Sequential(*modules)"
    elif is_transformed or any(v.__module__.startswith("flax.linen") for v in type(f).__mro__):
        got = f"a {type(f).__name__} of Flax Linen alone; hand over (module.apply, params)"
        if is_transformed:  # apply of Haiku takes a key between the two
            got = "a Transformed of Haiku; hand over (hk.without_apply_rng(module).apply, params)"
    else:
        check_arguments(is_of_torch(model), **arguments)
        return
    raise TypeError(f"model: expected a module, or a function with its parameters, got {got}")


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Program:
    """A model with its data, its loss and its optimiser, as a public function was given them."""

    model: Any
    xs: PyTree = None
    ys: PyTree = None
    loss: Any = None
    cotangent: PyTree = None
    each: str = "batch"
    cuts: Cuts = None
    optimizer: Any = None
    step: Any = None  # the user's own step of a training

    @classmethod
    def of(cls, **arguments: Any) -> "Program":
        """Check the arguments of a public function; return those that a program has."""
        check_call(**arguments)
        own = {name: v for name, v in arguments.items() if name in cls.__dataclass_fields__}
        program = cls(**own | {"loss": check_loss(own.get("loss"))})
        if program.of_torch:
            refuse_each(program.each, "a module of PyTorch")
        return program

    @property
    def of_torch(self) -> bool:
        """True of a module of PyTorch."""
        return is_of_torch(self.model)

    @cached_property
    def network(self) -> tuple[Net, PyTree]:
        """The pair (net, params) of a model of JAX."""
        return as_network(self.model, self.xs, each=self.each, cuts=self.cuts)

    @property
    def call(self) -> Call:
        """The call of a module of PyTorch, and where its gradient starts."""
        return Call(self.model, self.xs, self.ys, self.loss, self.cotangent)

    @property
    def data(self) -> dict[str, PyTree]:
        """All arrays but the model's, by the names of their arguments."""
        return {"xs": self.xs, "ys": self.ys, "cotangent": self.cotangent}

    def but(self, **changes: Any) -> "Program":
        """Return this program with other data, another loss or network; it is not cut again."""
        other = copy(self)
        vars(other).update(changes)
        return other


def refuse_each(each: str, what: str) -> None:
    """Raise a ValueError for an `each` that would do nothing."""
    if each != "batch":
        raise ValueError(f"each: expected batch with {what}, which takes one, got {each}")


def _refuse_cuts(cuts: Cuts) -> None:
    """Raise a ValueError for cuts of what has its layers already."""
    if cuts is not None:
        raise ValueError("cuts: expected none with a list of layers or a pair (net, params)")


def as_network(
    model: Model,
    xs: PyTree = None,
    *,
    each: str = "batch",
    cuts: Cuts = None,
    streams: int = MOST_STREAMS,
) -> tuple[Any, Any]:
    """Return any model as a pair (net, params), which every function takes as a model again.

    A module or a function is cut where one array is alive, a stream, and a product with parameters
    follows; so an activation belongs to the product above it. What depends on xs alone, such as
    tokens, masks, lengths, keys and noise levels, rides along and counts in no layer; but a float
    that a skip carries over the first block is the state below that block. Where one stream is not
    enough to cut a network, as with the skips of a U-Net, the memory beside a decoder or the cell
    of an LSTM, a state holds several, `flow.streams`.

    Equal layers that follow each other become a run, also in patterns of several, and so does a
    scan, whose steps are layers: over stacked parameters, or over time. Parameters that several
    layers use count into Δθ of each. Δθ is that of the parameters as they are handed over, whatever
    a function makes of them first: a cast, a scale, a weight norm.

    A layer of a function is named by what holds its weights in params, such as `blocks[2].linear2`,
    else by its modules, else by the file and line; those of one name are numbered.

    Args:
        model: a module of Equinox or of Flax NNX, or any callable pytree with arrays; a pair
            (f, params) of any pytree, with f(params, xs) -> floats, a pytree of arrays; a list or
            tuple of layers, or a dict of them by name; or a pair (net, params) of ours, which comes
            back as it is. A layer is a callable pytree, a pair (f, params) with f(params, state) ->
            state, a `jaxnn.Run`, or a function of the state, which is a pytree of arrays with the
            examples first. Of PyTorch a Sequential of Linear modules with activations between them,
            as a Network of regression with copies of its parameters; `jaxnn.gradient_flow` and the
            functions like it take any module.
        xs: an example batch, of a module or a function: a pytree of arrays with the examples first.
            For a batch of other shapes it is traced again, with the same layers and parameters.
        each: "batch" if a module, function or layer takes a batch, "example" if it takes one
            example, as modules of Equinox do; then it is mapped over the examples. "whole" if there
            are no examples, as in a graph or in one long sequence: all of xs is measured as one,
            and loss and cotangent are of the output as it is.
        cuts: the name of a module, or a pattern such as "encoderblock_*", or several of them: then
            each layer of a function ends with one of these. All places where it can be cut by
            default.
        streams: the most arrays with a Δ of their own that a state of a function may hold.

    Returns:
        net: the static description, hashable: a Network, or a Chain. `net.params(user_params)` of a
            chain takes other numbers, such as trained ones, `net.user(params)` gives your pytree
            back.
        params: its arrays, a pytree; equal layers that follow each other are stacked.

    Raises:
        TypeError: something that is no model, or no layer; a function that cannot be called.
        ValueError: a function that cannot be cut, or without xs; no layers, an unknown `each`, cuts
            that name nothing; a module of PyTorch with another child, by name.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> def network(stack, z):
        ...     return jax.lax.scan(lambda z, theta: (jnp.tanh(z) @ theta, None), z, stack)[0]
        >>> stack = jax.random.normal(jax.random.key(0), (50, 32, 32)) / 32**0.5
        >>> net, params = jaxnn.as_network((network, stack), jnp.ones((8, 32)))
        >>> net.lengths
        (50,)
        >>> layers = [(lambda theta, z: jnp.tanh(z) @ theta, theta) for theta in stack]
        >>> net, params = jaxnn.as_network(layers)
        >>> net.paths[49]
        ('[49][1]',)
    """
    check_call(model, xs=xs)
    if is_pair(model):
        f, params = model
        if isinstance(f, Net):
            refuse_each(each, "a pair (net, params)")
            _refuse_cuts(cuts)
            return f, params
        return _from_function(f, params, xs, each, cuts, streams)
    if is_of_torch(model):
        refuse_each(each, "a module of PyTorch")
        return from_torch(model)
    if _is_list(model):
        _refuse_cuts(cuts)
        return from_layers(model, xs, each=each)
    if callable(model) and _has_arrays(model):
        return _from_function(_called, model, xs, each, cuts, streams)
    raise TypeError(
        "model: expected a module of Equinox, NNX or PyTorch, a pair (f, params), a list of layers "
        f"or a pair (net, params), got {type(model).__name__}; parameters that a function closes "
        "over have to be handed over with it"
    )


def own_pytree(model: Model) -> PyTree | None:
    """Return the pytree that a model's parameters come back in; None of a pair (net, params)."""
    if not is_pair(model):
        return model
    return None if isinstance(model[0], Net) else model[1]


def is_pair(model: Any) -> TypeGuard[tuple[Any, PyTree]]:
    """Tell a pair (f, params) or (net, params) from a tuple of two layers, which hold arrays."""
    if type(model) is not tuple or len(model) != 2 or isinstance(model[0], tuple | list):
        return False
    return isinstance(model[0], Net) or not _has_arrays(model[0])


def _is_list(model: Any) -> bool:
    """Tell layers, one after the other or by name, from a text or an array."""
    is_none = callable(model) or isinstance(model, str) or hasattr(model, "dtype")
    return isinstance(model, Iterable) and not is_none


def _has_arrays(tree: PyTree) -> bool:
    return any(map(is_array, jax.tree.leaves(tree)))


def _from_function(
    f: Any, params: PyTree, xs: PyTree, each: str, cuts: Cuts, streams: int
) -> tuple[Chain, tuple[Any, ...]]:
    if xs is None and callable(f):
        raise ValueError("xs: expected an example batch, with which the function is cut, got None")
    return from_function(f, params, xs, each=each, cuts=cuts, streams=streams)


def _called(module: Callable[[Any], Any], xs: PyTree) -> Any:
    return module(xs)

"""Chain: a network of the user's own, as a sequence of layers.

    state[0] = x,   state[l] = f[l](params[l], state[l-1])

A layer is a function of JAX: a module of Equinox or Flax, a function with its parameters, or one
without any. Its state is an array or a pytree of arrays, the examples first. In a chain the reverse
rule of a layer is `jax.vjp` of that one layer; the recursion between them is the walk's, with the
cotangent in block floating point. That is exact, since a vjp is linear in its cotangent.

A layer without parameters, such as an activation, joins the next one that has some, so that a state
is a z. Equal layers that follow each other, also in patterns of several, become runs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..arrays.rows import is_float
from ..network.params import Stacked
from ..texts import cleaned, label
from .cut import cut

LONGEST_PATTERN = 8  # layers


class Run(NamedTuple):
    """Layers that are one function with k sets of parameters, such as a scan over blocks.

    f: (params, state) -> state, or (params, state, x) -> state if xs is given. The state keeps its
        shapes and dtypes.
    params: a pytree of arrays, each (k, …): layer j has entry j; if tied, one set for all layers.
    k: the number of layers.
    xs: a pytree of arrays, each (k, …), that are data: layer j takes entry j. With tied parameters
        that is a recurrent network, and time is depth.
    tied: whether all layers share `params`.
    """

    f: Callable[..., Any]
    params: Any
    k: int
    xs: Any = None
    tied: bool = False


class Static:
    """A leaf that is no array: equal by value where it can be compared, else by identity."""

    def __init__(self, value: Any) -> None:
        self.value = value
        try:
            self.hash = hash(value)
        except TypeError:
            self.hash = id(value)

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Static) or self.hash != other.hash:
            return False
        if self.value is other.value:
            return True
        try:
            return type(self.value) is type(other.value) and bool(self.value == other.value)
        except Exception:  # of a user's own comparison
            return False


@dataclass(frozen=True)
class Part:
    """A function within a layer: static; its arrays are handed over.

    f: (params, state, *xs) -> state, or None where the layer itself, rebuilt, is called.
    structure: of the pytree that the arrays and the static leaves are of.
    leaves: the static leaves, and None where an array goes.
    trained: for each array, whether it is a parameter of a float type.
    each: whether the function takes one example.
    """

    f: Static | None
    structure: Static
    leaves: tuple[Static | None, ...]
    trained: tuple[bool, ...]
    each: bool

    def __call__(self, arrays: Sequence[Array], state: Any) -> Any:
        given = iter(arrays)
        leaves = [next(given) if leaf is None else leaf.value for leaf in self.leaves]
        layer = jax.tree.unflatten(self.structure.value, leaves)

        def called(state: Any) -> Any:
            if self.f is None:
                return layer(state)
            params, *xs = layer
            return self.f.value(params, state, *xs)

        return jax.vmap(called)(state) if self.each else called(state)


class Weights(NamedTuple):
    """The arrays of one layer, for each of its links for each of its parts.

    mixes: for each link whether its examples meet, (links,); None before that is known.
    """

    arrays: Any
    mixes: Any = None


@dataclass(frozen=True)
class Link:
    """One layer: functions applied in turn, with the name that a user knows it by.

    number: of the layer, or of the first of those that are equal, counted from 1.
    """

    name: str
    parts: tuple[Part, ...]
    number: int = 0

    def __call__(self, arrays: Sequence[Sequence[Array]], state: Any) -> Any:
        state = decoded(state)
        for part, own in zip(self.parts, arrays, strict=True):
            state = part(own, state)
        return encoded(state)

    @property
    def label(self) -> str:
        """The layer in words."""
        return label(self.number, self.name)

    @property
    def trained(self) -> tuple[tuple[bool, ...], ...]:
        """For each array of each part whether it is a parameter."""
        return tuple(part.trained for part in self.parts)


@jax.tree_util.register_static
@dataclass(frozen=True)
class Chain:
    """The static description of a network of the user's own; made by `jaxnn.chain`.

    kinds: for each entry of its parameters what it computes, one layer or a pattern of several.
    lengths: for each entry the number of times that it is repeated; 0 for one that stands alone.
    given: for each entry whether it is a `jaxnn.Run` of the user's.
    names: of the layers, from the first to the last.

    Hashable, and static under `jax.jit`: a pytree without leaves. Functions and whatever cannot be
    compared count by identity: make a chain once, and it compiles once.
    """

    kinds: tuple[Any, ...]
    lengths: tuple[int, ...]
    given: tuple[bool, ...]
    names: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Chain of {len(self.names)} layers, {short(cleaned(self.names))}"


@dataclass(frozen=True)
class Pattern:
    """Links that follow each other, repeated as a whole."""

    links: tuple[Link, ...]


def chain(
    layers: Any, params: Any = None, xs: Any = None, *, each: str = "batch"
) -> tuple[Chain, tuple[Any, ...]]:
    """Make a network of layers of your own, for `jaxnn.gradient_flow` and `jaxnn.verdict`.

    A function of parameters and examples is cut into layers by itself, where one array that depends
    on xs is alive and a product with parameters follows; so an activation belongs to the product
    above it. Equal layers become a run, and so does a scan over stacked parameters; parameters that
    several layers use count into Δθ of each. Δθ is that of the parameters as they are handed over,
    whatever the function makes of them first: a cast, a scale, a weight norm. Names are those of
    modules, or the file and line.

    Args:
        layers: in their order, or by name: callable pytrees (modules of Equinox, or of Flax NNX),
            pairs (f, params) with f(params, state) -> state, `jaxnn.Run`s, and functions of the
            state. The state is a pytree of arrays with the examples first. Or a function
            f(params, xs), cut by itself.
        params: of such a function, any pytree; its float arrays are the parameters.
        xs: of such a function, an example batch. The chain takes xs of these shapes alone.
        each: "batch" if the layers take a batch, "example" if they take one example, as those of
            Equinox do; then they are mapped over the examples.

    Returns:
        net: the static description, hashable.
        params: its arrays, a pytree; equal layers that follow each other are stacked.

    Raises:
        TypeError: something that is no layer.
        ValueError: no layers, an unknown `each`, or a function that cannot be cut.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> keys = jax.random.split(jax.random.key(0), 50)
        >>> dense = lambda theta, z: jnp.tanh(z) @ theta
        >>> layers = [(dense, jax.random.normal(key, (32, 32)) / 32**0.5) for key in keys]
        >>> net, params = jaxnn.chain(layers)
        >>> net
        Chain of 50 layers, <lambda> … <lambda>
        >>> params[0].per_layer[0][0][0].shape  # one run
        (50, 32, 32)
        >>> def network(stack, z):
        ...     return jax.lax.scan(lambda z, theta: (dense(theta, z), None), z, stack)[0]
        >>> jaxnn.chain(network, params[0].per_layer[0][0][0], jnp.ones((8, 32)))[0].lengths  # cut
        (50,)
    """
    if each not in ("batch", "example"):
        raise ValueError(f"each: expected 'batch' or 'example', got {each!r}")
    if callable(layers) and xs is not None:
        return _cut(layers, params, xs, each == "example")
    if params is not None or xs is not None:
        raise TypeError(
            "params, xs: expected both, with a function f(params, xs) to cut, and none with a list "
            f"of layers, got {_kind(layers)}"
        )
    if not isinstance(layers, Mapping) and (callable(layers) or not isinstance(layers, Iterable)):
        raise TypeError(
            f"layers: expected a list of layers, or a dict by name, got {_kind(layers)}; of a "
            "sequential module hand over its layers, of a function f(params, xs) all three"
        )
    named = (
        layers.items()
        if isinstance(layers, Mapping)
        else ((name_of(layer), layer) for layer in layers)
    )
    entries = _joined(
        [
            _entry(label(i, str(name)), str(name), layer, each == "example")
            for i, (name, layer) in enumerate(named, 1)
        ]
    )
    if not entries:
        raise ValueError("layers: expected at least one layer, got none")
    return _made(_repeated(entries))


def _cut(f: Any, params: Any, xs: Any, each: bool) -> tuple[Chain, tuple[Any, ...]]:
    """Make a chain of a function of parameters and examples."""
    check_examples(xs)
    leaves, structure = jax.tree.flatten(params)

    def of(arrays: list[Any], xs: Any) -> Any:
        given = iter(arrays)
        whole = jax.tree.unflatten(structure, [next(given) if is_array(v) else v for v in leaves])
        return jax.vmap(lambda x: f(whole, x))(xs) if each else f(whole, xs)

    pieces = cut(of, [v for v in leaves if is_array(v)], jax.tree.map(jnp.asarray, xs))
    entries = []
    for name, program, own, tied, trained, k in pieces:
        tree = Static(jax.tree.structure(([0] * len(own),)))
        part = Part(Static(program), tree, (None,) * len(own), trained, each=False)
        entries.append(Entry(Link(name, (part,)), (own,), (tied,) if k else (), k))
    return _made(_repeated(entries))


class Entry(NamedTuple):
    """A layer before runs are found; k is 0 unless it is a run of the user's."""

    link: Link
    own: tuple[list[Any], ...]
    tied: tuple[list[Any], ...] = ()
    k: int = 0

    @property
    def signature(self) -> Any:
        """Equal for layers that compute the same function of arrays of the same types."""
        types = tuple((v.shape, v.dtype) for part in self.own for v in part if v is not None)
        return self.link.parts, types, self.k


def _entry(place: str, name: str, layer: Any, each: bool) -> Entry:
    if isinstance(layer, Run):
        return _entry_of_run(place, name, layer, each)
    pair = isinstance(layer, tuple | list) and len(layer) == 2 and callable(layer[0])
    if not (pair or callable(layer)):
        raise TypeError(
            f"layer {place}: expected something to call, a pair (f, params) or a jaxnn.Run, got "
            f"{_kind(layer)}"
        )
    f, tree = (Static(layer[0]), (layer[1],)) if pair else (None, layer)
    part, arrays = _part(f, tree, each)
    return Entry(Link(name, (part,)), (arrays,))


def _entry_of_run(place: str, name: str, run: Run, each: bool) -> Entry:
    if each and run.xs is not None:
        raise ValueError(
            f"layer {place}: xs need each='batch', since they have no examples of ours"
        )
    xs = () if run.xs is None else (run.xs,)
    part, arrays = _part(Static(run.f), (run.params, *xs), each, data=xs)
    params = len([v for v in jax.tree.leaves(run.params) if is_array(v)])
    for v in arrays[params:] if run.tied else arrays:
        if not v.ndim or v.shape[0] != run.k:
            raise ValueError(
                f"layer {place}: expected arrays of {run.k} entries, one for each layer of the run,"
                f" got shape {v.shape}; tied=True shares the parameters"
            )
    own = [None if run.tied and i < params else v for i, v in enumerate(arrays)]
    tied = [v if run.tied and i < params else None for i, v in enumerate(arrays)]
    return Entry(Link(name, (part,)), (own,), (tied,), run.k)


def _part(f: Static | None, tree: Any, each: bool, data: Any = ()) -> tuple[Part, list[Any]]:
    """Return a function without its arrays, and its arrays; those of `data` are not trained."""
    leaves, structure = jax.tree.flatten(tree)
    arrays = [v for v in leaves if is_array(v)]
    parameters = len(arrays) - len([v for v in jax.tree.leaves(data) if is_array(v)])
    trained = (is_float(v) and i < parameters for i, v in enumerate(arrays))
    static = (None if is_array(v) else Static(v) for v in leaves)
    return Part(f, Static(structure), tuple(static), tuple(trained), each), arrays


def _joined(entries: list[Entry]) -> list[Entry]:
    """Let layers without arrays join the next one that has some and is no run."""
    joined: list[Entry] = []
    waiting: list[Entry] = []
    for entry in entries:
        if not entry.k and not any(entry.own):
            waiting.append(entry)
            continue
        if waiting and not entry.k:
            parts = (*(part for e in waiting for part in e.link.parts), *entry.link.parts)
            own = (*(part for e in waiting for part in e.own), *entry.own)
            entry = entry._replace(link=replace(entry.link, parts=parts), own=own)
        else:
            joined += waiting
        joined.append(entry)
        waiting = []
    return joined + waiting


def _repeated(entries: list[Entry]) -> Iterable[tuple[int, list[Entry]]]:
    """Yield stretches of equal patterns, each with the number of entries of its pattern.

    An entry that stands alone, or is a run of the user's, is a stretch of its own.
    """
    numbers: dict[Any, int] = {}
    order = count()
    marks = [numbers.setdefault(e.signature, next(order)) for e in entries]
    i = 0
    while i < len(entries):
        best = (1, 1)
        for p in range(1, min(LONGEST_PATTERN, (len(entries) - i) // 2) + 1):
            k = 1
            while marks[i + k * p : i + (k + 1) * p] == marks[i : i + p]:
                k += 1
            if k > 1 and k * p > best[0] * best[1]:
                best = (p, k)
        p, k = best
        if any(entry.k for entry in entries[i : i + p]):
            p, k = 1, 1
        yield p, entries[i : i + p * k]
        i += p * k


def _made(stretches: Iterable[tuple[int, list[Entry]]]) -> tuple[Chain, tuple[Any, ...]]:
    """Return the chain of stretches, and its arrays, stacked for those that are repeated."""
    kinds, lengths, given = [], [], []
    names: list[str] = []
    params: list[Any] = []
    links: tuple[Link, ...]
    for p, stretch in stretches:
        numbers = count(len(names) + 1)
        stretch = [
            e._replace(link=replace(e.link, number=n))
            for e, n in zip(stretch, numbers, strict=False)
        ]
        first = stretch[0]
        if first.k:
            links, k = (first.link,), first.k
            params.append(Stacked((first.own,), (first.tied,), merged, k))
            names += [first.link.name] * k
        elif len(stretch) == 1:
            links, k = (first.link,), 0
            params.append(Weights((first.own,)))
            names.append(first.link.name)
        else:
            links, k = tuple(e.link for e in stretch[:p]), len(stretch) // p
            own = tuple(stacked([e.own for e in stretch[i::p]]) for i in range(p))
            params.append(Stacked(own, None, merged, k))
            names += [e.link.name for e in stretch]
        kinds.append(Pattern(links))
        lengths.append(k)
        given.append(bool(first.k))
    return Chain(tuple(kinds), tuple(lengths), tuple(given), tuple(names)), tuple(params)


def stacked(trees: list[Any]) -> Any:
    """Stack the arrays of equal trees; NumPy's stay NumPy's, keys stay keys."""

    def stack(*values: Any) -> Any:
        if all(isinstance(v, np.ndarray) for v in values):
            return np.stack(values)
        if all(map(_is_in_host_memory, values)):  # where no program need be compiled for it
            return jnp.asarray(np.stack([np.asarray(v) for v in values]))
        return jnp.stack(values)

    return jax.tree.map(stack, *trees)


def _is_in_host_memory(v: Any) -> bool:
    """Tell what NumPy reads in place: its own arrays, and JAX's where the device is a CPU."""
    if not isinstance(v, jax.Array):
        return True
    if isinstance(v, jax.core.Tracer) or is_key(v):
        return False
    here = jax.devices()[0]
    return here.platform == "cpu" and v.devices() == {here}


def merged(own: Any, tied: Any) -> Weights:
    """Put the arrays of one layer of a run together."""
    if tied is None:
        return Weights(own)
    return Weights(
        jax.tree.map(
            lambda a, b: b if a is None else a, own, tied, is_leaf=lambda leaf: leaf is None
        )
    )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RawKey:
    """Random keys as the numbers that they are made of: loops write numbers only."""

    data: Any  # of uint32
    implementation: Static = field(metadata={"static": True})


def encoded(state: Any) -> Any:
    """Return a state with its typed keys as numbers."""

    def raw(v: Any) -> Any:
        return RawKey(jax.random.key_data(v), Static(jax.random.key_impl(v))) if is_key(v) else v

    return jax.tree.map(raw, state)


def decoded(state: Any) -> Any:
    """Undo `encoded`."""

    def key(v: Any) -> Any:
        if not isinstance(v, RawKey):
            return v
        return jax.random.wrap_key_data(v.data, impl=v.implementation.value)

    return jax.tree.map(key, state, is_leaf=lambda v: isinstance(v, RawKey))


def check_examples(xs: Any) -> None:
    """Raise unless all arrays of a batch have the same number of examples."""
    shapes = [np.shape(v) for v in jax.tree.leaves(xs)]
    counts = {shape[0] if shape else 0 for shape in shapes}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            f"xs: expected arrays with the same number of examples first, at least one, got "
            f"the shapes {', '.join(map(str, shapes)) or 'of no array'}"
        )


def is_array(v: Any) -> bool:
    """Tell arrays from what is static."""
    return isinstance(v, jax.Array | np.ndarray | np.generic)


def is_key(v: Any) -> bool:
    """Tell typed random keys."""
    return hasattr(v, "dtype") and bool(jnp.issubdtype(v.dtype, jax.dtypes.prng_key))


def name_of(layer: Any) -> str:
    """Return the name of a layer's class or function."""
    if isinstance(layer, Run):
        return name_of(layer.f)
    if isinstance(layer, tuple | list) and layer:
        return name_of(layer[0])
    named = getattr(layer, "__name__", None) or type(layer).__name__
    return str(named)


def short(names: Sequence[str]) -> str:
    """Return the first name and the last."""
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"


def _kind(value: Any) -> str:
    return type(value).__name__

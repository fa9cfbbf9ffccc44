"""Chain: a network of the user's own, as a sequence of layers.

    state[0] = x,   state[l] = f[l](params[l], state[l-1])

Its reverse rule is `jax.vjp` of one layer at a time; the recursion between them is the walk's, with
the cotangent in block floating point. That is exact, since a vjp is linear in its cotangent.
A layer without parameters, such as an activation, joins the next one that has some, so that a state
is a z. Equal layers that follow each other, also in patterns of several, become runs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import count, islice
from types import FunctionType
from typing import Any, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from ..arrays.arguments import Shape, misfit
from ..arrays.rows import can_be_learned
from ..arrays.spread import ArrayOrType, are_spread, on_mesh_of, type_of, types_over, varying
from ..jaxpr.program import Closed, LayerProgram, TracedFunction, resized, typed
from ..jaxpr.scan_params import Source
from ..jaxpr.source_location import line_of
from ..texts import cleaned, counted, labels, told
from .cut_points import MOST_STREAMS
from .cutting import cut
from .parameter_handover import (
    Handover,
    Identity,
    Layout,
    Made,
    Pytree,
    Sources,
    Static,
    is_array,
    is_key,
)
from .state import NOTHING_FILLED, Filled

LONGEST_PATTERN = 8  # layers
Batch = tuple[Any, tuple[ArrayOrType, ...]]  # structure and types of xs
UserLayers = Iterable[PyTree] | Mapping[Any, PyTree]


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
    params: PyTree
    k: int
    xs: PyTree = None
    tied: bool = False


@dataclass(frozen=True)
class Part:
    """A function within a layer: static; its arrays are handed over."""

    # (params, state, *xs) -> state, or None where the layer itself, rebuilt, is called.
    f: Static | None
    structure: Static  # of the pytree that the arrays and the static leaves are of
    leaves: tuple[Static | None, ...]  # the static leaves, and None where an array goes
    # For each array, whether it is a parameter of a float or complex type.
    trained: tuple[bool, ...]
    each: bool  # the function takes one example

    def __call__(self, arrays: Sequence[Array], state: PyTree) -> Any:
        given = iter(arrays)
        leaves = [next(given) if leaf is None else leaf.value for leaf in self.leaves]
        layer = jax.tree.unflatten(self.structure.value, leaves)

        def called(state: PyTree) -> Any:
            if self.f is None:
                return layer(state)
            params, *xs = layer
            return self.f.value(params, state, *xs)

        return jax.vmap(called)(state) if self.each else called(state)

    def known(
        self, types: Sequence[ArrayOrType], state: PyTree
    ) -> tuple["Part", PyTree[ArrayOrType]] | None:
        """Return the function known by its program, and what it returns; None if it has none."""
        count = jax.tree.leaves(state)[0].shape[0]
        if self.each:
            state = jax.tree.map(lambda v: resized(v, v.shape[1:]), state)
        traced = TracedFunction.of(replace(self, each=False), list(types), state)
        if not isinstance(traced, TracedFunction):
            return None
        structure = Static(jax.tree.structure(([0] * len(types),)))
        part = Part(Static(traced), structure, (None,) * len(types), self.trained, self.each)
        made = traced.output
        if self.each:
            made = jax.tree.map(lambda v: resized(v, (count, *v.shape)), made)
        return part, made


@dataclass(frozen=True)
class Link:
    """One layer: functions applied in turn, with the name that a user knows it by."""

    name: str
    parts: tuple[Part, ...]
    label: str = ""  # the layer in words, or the first of those that are equal
    filled: Filled = NOTHING_FILLED  # what the layers of a run fill, a place each

    def __call__(self, arrays: Sequence[Sequence[Array]], state: PyTree) -> Any:
        state = decoded(state)
        for part, arrays_of_part in zip(self.parts, arrays, strict=True):
            state = part(arrays_of_part, state)
        return encoded(state)

    @property
    def is_recognised(self) -> bool:
        """True if attentions and routers in its program are; not of a layer of a wide twin."""
        return True

    @property
    def trained(self) -> tuple[tuple[bool, ...], ...]:
        """For each array of each part whether it is a parameter."""
        return tuple(part.trained for part in self.parts)


@dataclass(frozen=True)
class Lowered:
    """A chain as it is measured, for batches of one shape: its layers, their names and arrays."""

    # For each entry of its parameters what it computes, one layer or a pattern of several.
    kinds: tuple["Pattern", ...]
    # For each entry the number of times that it is repeated; 0 for one that stands alone.
    lengths: tuple[int, ...]
    given: tuple[bool, ...]  # for each entry whether it is a `jaxnn.Run` of the user's
    names: tuple[str, ...]  # of the layers, from the first to the last
    # Of each array of each layer, in the order of `Link.trained`, the path in the user's pytree, as
    # `jax.tree_util.keystr` prints it, with the entry that it takes of a stack; "" for data that is
    # not in it.
    paths: tuple[tuple[str, ...], ...]
    # Likewise what tells arrays that layers share from others.
    identities: tuple[tuple[Identity, ...], ...]
    # The layer that holds most products in a program that is not taken apart, such as a loop of
    # unknown length.
    closed: Closed | None


@jax.tree_util.register_static
@dataclass(frozen=True, repr=False)
class Chain(Lowered):
    """The static description of a network of the user's own.

    Made by `jaxnn.as_network`. `names` are those of its layers, `paths`
    those of their arrays in the user's pytree. Hashable, and static under `jax.jit`: a pytree
    without leaves. With an example batch functions count by their programs, and an equal chain is
    not compiled again; without it, and where they have none that can be compared, by identity.
    """

    handover: Handover
    made_of: "Layers | Function"
    batches: dict[Any, Lowered] = field(default_factory=dict, compare=False)

    @property
    def whole(self) -> bool:
        """True if the batch is measured as one, without examples (`each="whole"`)."""
        return self.made_of.whole

    @property
    def replicas(self) -> int:
        """The number of replicas of its state, behind the examples; 0 but for a wide twin."""
        return 0

    def __repr__(self) -> str:
        return f"Chain of {counted(len(self.names), 'layer')}, {short(cleaned(self.names))}"

    def params(self, user_params: PyTree) -> tuple[Any, ...]:
        """Return the chain's parameters of other numbers in the user's pytree.

        Pure, inside of `jit`, `grad` and `vmap` too: nothing is cut and compiled again.

        Args:
            user_params: what the chain was made of, the parameters of a function or the layers,
                with other numbers in its arrays.

        Raises:
            ValueError: another structure, or arrays of other shapes or dtypes.

        Example:
            >>> import jax, jax.numpy as jnp, jaxnn
            >>> f = lambda p, xs: jnp.tanh(xs @ p["a"]) @ p["b"]
            >>> p, xs = {"a": jnp.eye(3), "b": jnp.eye(3)}, jnp.ones((5, 3))
            >>> net, params = jaxnn.as_network((f, p), xs)
            >>> trained = jax.tree.map(lambda v: v / 2, p)
            >>> flow = jaxnn.gradient_flow((net, net.params(trained)), xs, cotangent=xs)
            >>> net.user(net.params(trained))["b"][0]
            Array([0.5, 0. , 0. ], dtype=float32)
        """
        return self.handover.params(self._arrays(user_params, "params"))

    def user(self, params: Any, like: Any = None) -> Any:
        """Return the user's pytree of the chain's parameters.

        What several layers share comes back once. While `jax.jit` traces, floats of which they have
        different copies come back as nan.

        Args:
            params: the chain's parameters.
            like: a pytree like the user's, for the arrays that no layer has; needed if there are
                some, such as those that the function does not use.

        Raises:
            ValueError: parameters that are not this chain's, copies that differ, or no `like` where
                it is needed.

        Example:
            >>> import jax.numpy as jnp, jaxnn
            >>> layers = {"a": (jnp.matmul, jnp.eye(3)), "b": (jnp.matmul, jnp.ones((3, 3)))}
            >>> net, params = jaxnn.as_network(layers)
            >>> net.user(params)["b"][1].shape
            (3, 3)
        """
        others = None if like is None else self._arrays(like, "like")
        tree = self.handover.pytree.filled(self.handover.arrays(params, others))
        return self.made_of.restored(tree) if isinstance(self.made_of, Layers) else tree

    def _arrays(self, tree: PyTree, name: str) -> list[Any]:
        """Return the arrays of a pytree like the user's."""
        if isinstance(self.made_of, Layers):
            other, arrays = Pytree.of(self.made_of.listed(tree, name), self.made_of.keys)
        else:
            other, arrays = Pytree.of(tree)
        self.handover.pytree.check(other, name)
        return arrays

    def state(self, xs: PyTree) -> Any:
        """Return xs as the first layer takes them: without examples, as a batch of one."""
        return as_one_example(xs) if self.whole else xs

    def for_batch(self, xs: PyTree) -> Lowered:
        """Return what the chain computes with a batch; a function is traced again for new shapes.

        xs: as `state` returns them.

        Raises:
            ValueError: a batch that the function does not take, or is another network with.
        """
        batch = _types(xs)
        if isinstance(self.made_of, Layers) or batch == self.made_of.batch:
            return _lowered(self)
        if batch not in self.batches:
            self.batches[batch] = self._cut_again(self.made_of, batch)
        return self.batches[batch]

    def _cut_again(self, function: "Function", batch: Batch) -> Lowered:
        was, now = (f"xs of {typed(types)}" for types in (function.batch[1], batch[1]))
        try:
            chain = _cut(replace(function, batch=batch), self.handover.pytree)
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            raise ValueError(
                f"xs: expected a batch that f takes, as it took {was}, got {now}, with which it "
                f"ends in {type(error).__name__}: {first}"
            ) from error
        if (chain.names, chain.handover) != (self.names, self.handover):
            raise ValueError(
                f"xs: expected a batch with which f has the layers that it has with {was}, got "
                f"{now}, with which it has others; cut it again with these"
            )
        return _lowered(chain)


def _lowered(chain: Chain) -> Lowered:
    return Lowered(
        **{attribute.name: getattr(chain, attribute.name) for attribute in fields(Lowered)}
    )


@dataclass(frozen=True)
class Pattern:
    """Links that follow each other, repeated as a whole."""

    links: tuple[Link, ...]
    between: bool = False  # no layer, but turns one state into another, next to a run


@dataclass(frozen=True)
class Layers:
    """The container in which the user handed the layers over: a list, a tuple, or a dict's keys."""

    sequence: type
    keys: tuple[Any, ...] | None
    whole: bool  # there are no examples, but one batch that they take as it is

    @classmethod
    def of(cls, layers: UserLayers, whole: bool) -> "Layers":
        """Return how layers are handed over."""
        keys = tuple(layers) if isinstance(layers, Mapping) else None
        return cls(tuple if isinstance(layers, tuple) else list, keys, whole)

    def listed(self, layers: UserLayers, name: str = "layers") -> list[Any]:
        """Return layers in their order, each with a function as one leaf, whatever that holds."""
        if self.keys is None:
            if isinstance(layers, Mapping) or not isinstance(layers, Iterable):
                raise ValueError(f"{name}: expected the list of layers, got {_kind(layers)}")
            return list(map(_with_leaf, layers))
        if not isinstance(layers, Mapping) or {*layers} != {*self.keys}:
            got = ", ".join(map(str, layers)) if isinstance(layers, Mapping) else _kind(layers)
            raise ValueError(
                f"{name}: expected the layers by name, {', '.join(map(str, self.keys))}, got {got}"
            )
        return [_with_leaf(layers[key]) for key in self.keys]

    def restored(self, layers: list[PyTree]) -> Any:
        """Return layers as they were handed over."""
        if self.keys is None:
            return self.sequence(layers)
        return dict(zip(self.keys, layers, strict=True))


def _with_leaf(layer: PyTree) -> Any:
    """Return a layer with the function of a pair or of a run as one leaf."""
    if isinstance(layer, Run):
        leaf: Any = Static(layer.f)
        return layer._replace(f=leaf, k=int(layer.k), tied=bool(layer.tied))
    if not _is_pair(layer):
        return layer
    (f, params), structure = jax.tree.flatten(layer, is_leaf=lambda v: v is not layer)
    return jax.tree.unflatten(structure, [Static(f), params])


def _is_pair(layer: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(layer, tuple | list) and len(layer) == 2 and callable(layer[0])


@dataclass(frozen=True)
class Function:
    """A function (params, xs) -> output that a chain is cut from."""

    f: Static
    each: bool  # it takes one example, or all of xs as if it were one
    batch: Batch  # structure and types of the xs that it is traced with
    streams: int  # at a place where it is cut, at most
    whole: bool  # there are no examples
    cuts: tuple[str, ...] | None  # names of modules with which layers end; None for all places

    def of(self, pytree: Pytree) -> LayerProgram:
        """Return the function of the arrays of its parameters."""
        f = self.f.value

        def called(arrays: list[Array], xs: PyTree) -> Any:
            whole = pytree.filled(arrays)
            return jax.vmap(lambda x: f(whole, x))(xs) if self.each else f(whole, xs)

        return called


def _types(xs: PyTree) -> Batch:
    """Return structure and types of a batch."""
    leaves, structure = jax.tree.flatten(xs)
    return structure, tuple(resized(v, v.shape) for v in map(type_of, leaves))


def as_one_example(tree: PyTree) -> Any:
    """Return arrays without examples as those of a batch of one."""
    return jax.tree.map(lambda v: jnp.asarray(v)[None], tree)


def from_layers(
    layers: Any, xs: PyTree = None, *, each: str = "batch"
) -> tuple[Chain, tuple[Any, ...]]:
    """Make a chain of a list of layers, or of a dict of them by name; see `jaxnn.as_network`.

    With an example batch layers are equal if their programs are, else if their functions are.
    """
    _check_each(each)
    if not isinstance(layers, Mapping | Sequence):
        layers = list(layers)
    made_of = Layers.of(layers, each == "whole")
    pytree, arrays = Pytree.of(made_of.listed(layers), made_of.keys)
    keyed = isinstance(layers, Mapping)
    names = [*map(str, layers)] if keyed else [*map(name_of, layers)]
    values = layers.values() if keyed else layers
    sources = iter(enumerate(pytree.types))
    entries = [
        _entry(f"{i} ({name})", name, layer, each != "batch", sources)
        for i, (name, layer) in enumerate(zip(names, values, strict=True), 1)
    ]
    if not entries:
        raise ValueError("layers: expected at least one layer, got none")
    given = jax.tree.leaves(xs)
    if given and all(is_array(v) and np.ndim(v) for v in given) and not are_spread(arrays, given):
        entries = _with_programs(entries, xs)
    chain = _made(_repeated(_joined(entries)), pytree, (), made_of)
    return chain, chain.handover.params(arrays)


def from_function(
    f: Any,
    params: Any,
    xs: Any,
    *,
    each: str = "batch",
    cuts: Any = None,
    streams: int = MOST_STREAMS,
) -> tuple[Chain, tuple[Any, ...]]:
    """Cut a function of parameters and examples into layers; see `jaxnn.as_network`."""
    _check_each(each)
    if not callable(f):
        raise TypeError(f"f: expected f(params, xs) -> output, got {_kind(f)}")
    if each == "whole":
        xs = as_one_example(xs)
    check_examples(xs)
    pytree, arrays = Pytree.of(params)
    if isinstance(streams, bool) or not isinstance(streams, int) or streams < 1:
        raise ValueError(f"streams: expected an integer of at least 1, got {told(streams)}")
    if cuts is not None:
        is_one = isinstance(cuts, str) or not isinstance(cuts, Iterable)
        cuts = (cuts,) if is_one else tuple(cuts)
        if not all(isinstance(name, str) for name in cuts):
            raise ValueError(
                f"cuts: expected names of modules, or patterns of them, got {told(cuts)}"
            )
    function = Function(Static(f), each != "batch", _types(xs), streams, each == "whole", cuts)
    try:
        chain = _cut(function, pytree)
    except Exception as error:
        batch = jax.tree.unflatten(*function.batch)
        arguments = function.of(pytree), list(pytree.types), batch
        hint = hint_of(*arguments, error, may_be_one=not function.each)
        if hint is None:
            raise
        raise ValueError(f"model: {hint}") from error
    return chain, chain.handover.params(arrays)


def hint_of(
    f: LayerProgram, arrays: PyTree, state: PyTree, error: Exception, may_be_one: bool
) -> str | None:
    """Return a sentence on a state that a function takes instead; None if there is none."""

    def takes(state: PyTree, f: LayerProgram = f) -> bool:
        try:
            jax.eval_shape(f, arrays, state)
        except Exception:
            return False
        return True

    if takes(state):
        return None
    raised = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    if may_be_one and takes(state, jax.vmap(f, (None, 0))):
        return (
            f"expected a function of a batch, {typed(state)}, got one of a single example, as "
            f"modules of Equinox are: say each='example' (of a batch it raises {raised})"
        )
    leaves, structure = jax.tree.flatten(state)
    sizes = [size for v in jax.tree.leaves(arrays) for size in v.shape]
    for i, v in enumerate(leaves):

        def takes_shape(shape: Shape, i: int = i, v: Any = v) -> bool:
            others = [*leaves[:i], resized(v, shape), *leaves[i + 1 :]]
            return takes(jax.tree.unflatten(structure, others))

        if (hint := misfit(takes_shape, v.shape, sizes)) is not None:
            return f"{hint}{line_of(error)}; {raised}"
    return None


def _check_each(each: str) -> None:
    if each not in ("batch", "example", "whole"):
        raise ValueError(f"each: expected 'batch', 'example' or 'whole', got {told(each)}")


def _cut(function: Function, pytree: Pytree) -> Chain:
    """Make a chain of a function of parameters and examples."""
    structure, types = function.batch
    xs = jax.tree.unflatten(structure, types)
    with on_mesh_of((pytree.types, xs)):
        # Inside shard_map the flow takes parameters as the device's own, as its examples are.
        params = types_over(pytree.types, frozenset[Any]().union(*map(varying, types)))
        arguments = function.of(pytree), params, xs, pytree.paths
        pieces, made = cut(*arguments, function.streams, function.cuts)
    entries = []
    closed: Closed | None = None
    number = 1
    for names, program, per_layer, shared, trained, k, of_piece, between, filled in pieces:
        closed = of_piece._replace(layer=number) if of_piece else closed
        number += 0 if between else max(k, 1)
        tree = Static(jax.tree.structure(([0] * len(per_layer),)))
        part = Part(Static(program), tree, (None,) * len(per_layer), trained, each=False)
        link = Link(names[0], (part,), filled=filled)
        entries.append(Entry(link, (per_layer,), (shared,) if k else (), k, (), between, names))
    return replace(_made(_repeated(entries), pytree, made, function), closed=closed)


class Entry(NamedTuple):
    """A layer before runs are found; k is 0 unless it is a run of the user's."""

    link: Link
    per_layer: Sources
    shared: Sources = ()
    k: int = 0
    types: tuple[Any, ...] = ()
    between: bool = False  # no layer, but turns one state into another
    names: tuple[str, ...] = ()  # of the layers of a run, if each has its own

    @property
    def signature(self) -> Any:
        """Equal for layers that compute the same function of arrays of the same types."""
        return self.link.parts, self.types, self.k, self.between


Numbered = Iterator[tuple[int, Any]]  # the numbers and types of arrays in the user's pytree


def _entry(place: str, name: str, layer: PyTree, each: bool, numbered: Numbered) -> Entry:
    if isinstance(layer, Run):
        return _entry_of_run(place, name, layer, each, numbered)
    pair = _is_pair(layer)
    if isinstance(layer, type) or not (pair or callable(layer)):
        got = f"the class {layer.__name__}" if isinstance(layer, type) else _kind(layer)
        raise TypeError(
            f"layer {place}: expected something to call, a pair (f, params) or a jaxnn.Run, got "
            f"{got}"
        )
    f, tree = (Static(layer[0]), (layer[1],)) if pair else (None, layer)
    part, sources, types = _part(f, tree, each, numbered)
    return Entry(Link(name, (part,)), (sources,), types=types)


def _entry_of_run(place: str, name: str, run: Run, each: bool, numbered: Numbered) -> Entry:
    if each and run.xs is not None:
        raise ValueError(
            f"layer {place}: xs need each='batch', since they have no examples of ours"
        )
    xs = () if run.xs is None else (run.xs,)
    part, sources, types = _part(Static(run.f), (run.params, *xs), each, numbered, data=xs)
    params = len([v for v in jax.tree.leaves(run.params) if is_array(v)])
    for v in types[params:] if run.tied else types:
        if not v.ndim or v.shape[0] != run.k:
            raise ValueError(
                f"layer {place}: expected arrays of {run.k} entries, one for each layer of the run,"
                f" got shape {v.shape}; tied=True shares the parameters"
            )
    per_layer = tuple(None if run.tied and i < params else v for i, v in enumerate(sources))
    shared = tuple(v if run.tied and i < params else None for i, v in enumerate(sources))
    return Entry(Link(name, (part,)), (per_layer,), (shared,), run.k, types)


def _part(
    f: Static | None, tree: Any, each: bool, numbered: Numbered, data: Any = ()
) -> tuple[Part, tuple[Source, ...], tuple[Any, ...]]:
    """Return a function without its arrays, their sources and types; `data` is not trained."""
    leaves, structure = jax.tree.flatten(tree)
    arrays = [v for v in leaves if is_array(v)]
    numbers, types = zip(*islice(numbered, len(arrays)), strict=True) if arrays else ((), ())
    parameters = len(arrays) - len([v for v in jax.tree.leaves(data) if is_array(v)])
    trained = (can_be_learned(v) and i < parameters for i, v in enumerate(types))
    static = (None if is_array(v) else Static(v) for v in leaves)
    part = Part(f, Static(structure), tuple(static), tuple(trained), each)
    return part, tuple(map(Source, numbers)), tuple(types)


def _with_programs(entries: list[Entry], xs: PyTree) -> list[Entry]:
    """Return layers known by their programs, from the lowest up to the first that has none."""
    state = jax.tree.unflatten(*_types(xs))
    known: dict[Any, tuple[Part, PyTree] | None] = {}
    for i, entry in enumerate(entries):
        (part,) = entry.link.parts
        key = _written(part), entry.types, str(state)
        if key not in known:
            known[key] = None if entry.k else part.known(entry.types, state)
        if (found := known[key]) is None:
            return entries
        part, state = found
        entries[i] = entry._replace(link=replace(entry.link, parts=(part,)))
    return entries


def _written(part: Part) -> Any:
    """Return a key of a part: its function by its code, variables and defaults."""
    f = None if part.f is None else part.f.value
    if not isinstance(f, FunctionType):
        return part
    try:
        variables = [id(cell.cell_contents) for cell in f.__closure__ or ()]
    except ValueError:  # of one without a value
        return part
    defaults = [id(v) for v in (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values())]
    # Lambdas that a loop makes, one for each layer, have equal keys if they use the same variables,
    # and are traced once. No variable changes while a list is read.
    made_of = f.__code__, id(f.__globals__), *variables, *defaults
    return replace(part, f=None), made_of


def _joined(entries: list[Entry]) -> list[Entry]:
    """Let layers without arrays join the next one that has some and is no run."""
    joined: list[Entry] = []
    waiting: list[Entry] = []
    for entry in entries:
        if not entry.k and not any(entry.per_layer):
            waiting.append(entry)
            continue
        if waiting and not entry.k:
            parts = (*(part for e in waiting for part in e.link.parts), *entry.link.parts)
            per_layer = (*(part for e in waiting for part in e.per_layer), *entry.per_layer)
            entry = entry._replace(link=replace(entry.link, parts=parts), per_layer=per_layer)
        else:
            joined += waiting
        joined.append(entry)
        waiting = []
    return joined + waiting


def _repeated(entries: list[Entry]) -> Iterable[tuple[int, list[Entry]]]:
    """Yield stretches of equal patterns, each with the number of entries of its pattern."""
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
        # A run of the user's is a stretch of its own.
        if any(entry.k or entry.between for entry in entries[i : i + p]):
            p, k = 1, 1
        yield p, entries[i : i + p * k]
        i += p * k


def _made(
    stretches: Iterable[tuple[int, list[Entry]]],
    pytree: Pytree,
    made: tuple[Made, ...],
    made_of: Layers | Function,
) -> Chain:
    """Return the chain of stretches; those that are repeated are runs."""
    kinds, lengths, given = [], [], []
    names: list[str] = []
    numbers: list[int] = []  # of the layers below a kind
    layouts: list[Layout] = []
    for p, stretch in stretches:
        first = stretch[0]
        per_layer = tuple(e.per_layer for e in stretch)
        k = first.k or (len(stretch) // p if len(stretch) > 1 else 0)
        if first.k:
            layouts.append(Layout(per_layer, (first.shared,), k, is_stacked=True))
        elif k:
            layouts.append(Layout.found(per_layer, k))
        else:
            layouts.append(Layout(per_layer, None, 0, between=first.between))
        numbers.append(len(names))
        if not first.between:
            of_run = first.names or [first.link.name] * k
            names += of_run if first.k else [e.link.name for e in stretch]
        kinds.append(Pattern(tuple(e.link for e in stretch[:p]), first.between))
        lengths.append(k)
        given.append(bool(first.k))
    handover = Handover(pytree, made, tuple(layouts))
    in_words = labels(names)
    named = tuple(
        kind if kind.between else _labelled(kind, in_words[number:])
        for kind, number in zip(kinds, numbers, strict=True)
    )
    statics = named, tuple(lengths), tuple(given), tuple(names)
    return Chain(*statics, *handover.origins(), None, handover, made_of)


def _labelled(kind: "Pattern", labels: Sequence[str]) -> "Pattern":
    """Return a pattern whose layers know what they are called."""
    links = (replace(link, label=label) for link, label in zip(kind.links, labels, strict=False))
    return replace(kind, links=tuple(links))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RawKey:
    """Random keys as the numbers that they are made of: loops write numbers only."""

    data: Array  # of uint32
    implementation: Static = field(metadata={"static": True})


def encoded(state: PyTree) -> Any:
    """Return a state with its typed keys as numbers."""

    def raw(v: Array) -> Any:
        return RawKey(jax.random.key_data(v), Static(jax.random.key_impl(v))) if is_key(v) else v

    return jax.tree.map(raw, state)


def decoded(state: PyTree) -> Any:
    """Undo `encoded`."""

    def key(v: Array | RawKey) -> Any:
        if not isinstance(v, RawKey):
            return v
        return jax.random.wrap_key_data(v.data, impl=v.implementation.value)

    return jax.tree.map(key, state, is_leaf=lambda v: isinstance(v, RawKey))


def check_examples(xs: PyTree) -> None:
    """Raise unless all arrays of a batch have the same number of examples."""
    shapes = [np.shape(v) for v in jax.tree.leaves(xs)]
    counts = {shape[0] if shape else 0 for shape in shapes}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            f"xs: expected arrays with the same number of examples first, at least one, got "
            f"the shapes {', '.join(map(str, shapes)) or 'of no array'}"
        )


def name_of(layer: object) -> str:
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


def _kind(value: object) -> str:
    return type(value).__name__

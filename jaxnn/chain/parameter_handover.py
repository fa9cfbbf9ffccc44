"""Handover: parameters between the user's own pytree and the layers of a chain.

    params    an array of the pytree, or rows of it          -> an array of a layer, or of a run
              moved: arrays of the pytree, stacked or turned -> rows of that -> an array of a run
    user      the same ways back; what several layers have of one array comes back once

A chain notes for each of its arrays where it comes from. So other numbers in the user's pytree are
other numbers in its layers, without another cut.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import DictKey, keystr, tree_flatten_with_path
from jaxtyping import Array, PyTree

from ..arrays.compiled import Numbers, computed
from ..arrays.rows import can_be_learned
from ..arrays.spread import ArrayOrType, type_of
from ..jaxpr.interpreter import function
from ..jaxpr.primitives import Rows
from ..jaxpr.program import TracedProgram, resized, typed
from ..jaxpr.scan_params import Source
from ..network.params import Stacked
from ..texts import told


class Static:
    """A leaf that is no array: equal by value where it can be compared, else by identity."""

    def __init__(self, value: object) -> None:
        self.value: Any = value
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


class LayerWeights(NamedTuple):
    """The arrays of one layer, for each of its links for each of its parts."""

    arrays: Any
    # For each link whether its examples meet, (links,); None before that is known.
    mixes: Any = None


def is_array(v: object) -> bool:
    """Tell arrays from what is static."""
    return isinstance(v, jax.Array | np.ndarray | np.generic)


def is_key(v: object) -> bool:
    """Tell typed random keys."""
    dtype = getattr(v, "dtype", None)
    return dtype is not None and bool(jnp.issubdtype(dtype, jax.dtypes.prng_key))


# The user's pytree


@dataclass(frozen=True)
class Pytree:
    """A pytree without its arrays."""

    structure: Static  # its treedef
    statics: tuple[Static | None, ...]  # its other leaves, and None where an array goes
    places: tuple[str, ...]  # the paths of all leaves, such as `[3].attn.q.kernel`
    types: tuple[Any, ...]  # of the arrays
    paths: tuple[str, ...]  # of the arrays

    @classmethod
    def of(cls, tree: PyTree, keys: Sequence[Hashable] | None = None) -> tuple["Pytree", list[Any]]:
        """Take the arrays out of a pytree; keys name what is in a list."""
        flat, structure = tree_flatten_with_path(tree)
        if keys is not None:
            flat = [((DictKey(keys[path[0].idx]), *path[1:]), v) for path, v in flat]
        statics = tuple(
            None if is_array(v) else v if isinstance(v, Static) else Static(v) for _, v in flat
        )
        places = tuple(keystr(path) for path, _ in flat)
        for place, (_, v) in zip(places, flat, strict=True):
            if isinstance(v, np.ndarray | np.generic) and v.dtype.kind in "OUSMm":
                raise TypeError(
                    f"params: expected arrays of numbers, got {told(v)} at {place}; leave it out"
                )
        paths = tuple(at for at, v in zip(places, statics, strict=True) if v is None)
        arrays = [v for _, v in flat if is_array(v)]
        types = tuple(resized(v, v.shape) for v in map(type_of, arrays))
        return cls(Static(structure), statics, places, types, paths), arrays

    def check(self, other: "Pytree", name: str) -> None:
        """Raise unless another pytree differs in no more than the numbers of its arrays."""
        if self.structure != other.structure:
            raise ValueError(f"{name}: {self._difference(other)}")
        for path, ours, theirs in zip(self.places, self.statics, other.statics, strict=True):
            if ours != theirs:
                raise ValueError(
                    f"{name}: expected {_worded(ours)}{_at(path)}, as when the chain was made, got "
                    f"{_worded(theirs)}; make another chain of it"
                )
        for path, ours, theirs in zip(self.paths, self.types, other.types, strict=True):
            if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
                raise ValueError(
                    f"{name}: expected {typed([ours])}{_at(path)}, as when the chain was made, got "
                    f"{typed([theirs])}"
                )

    def _difference(self, other: "Pytree") -> str:
        """Say how the structure of another pytree differs."""
        ours, theirs = set(self.paths), set(other.paths)
        for path in self.paths:
            if path not in theirs:
                return f"expected an array{_at(path)}, as when the chain was made, got none"
        for path in other.paths:
            if path not in ours:
                return f"expected no array{_at(path)}, as when the chain was made, got one"
        return (
            "expected the pytree that the chain was made of, got one of other classes or other "
            "static fields"
        )

    def filled(self, arrays: Sequence[Numbers]) -> Any:
        """Return the pytree with these arrays."""
        given = iter(arrays)
        leaves = [next(given) if v is None else v.value for v in self.statics]
        return jax.tree.unflatten(self.structure.value, leaves)


def _worded(static: Static | None) -> str:
    if static is None:
        return "an array"
    return getattr(static.value, "__name__", None) or repr(static.value)


def _at(path: str) -> str:
    return f" at {path}" if path else ""


# Where the arrays of layers come from


class Made(NamedTuple):
    """A value that is made of arrays of the pytree: a parameter moved, or data."""

    program: TracedProgram  # (arrays, ()) -> [value]
    arrays: tuple[int, ...]  # the numbers of those that it is made of


class Identity(NamedTuple):
    """Identity of an array of a layer: equal for two layers only if they share the array."""

    # Equal for layers that have one array, or one entry of it; None of what is no parameter.
    array: Any
    # Its own of what the layer makes of all of the array; None if it takes all.
    entry: int | None = None


# For each number of a value the array that it is of, and its place there.
Numbering = tuple[np.ndarray, np.ndarray]
Sources = tuple[tuple[Source | None, ...], ...]  # for each part of a link, for each array


class Layout(NamedTuple):
    """The sources of the arrays of one layer, or of one run of equal layers."""

    # For each link; of a pattern that is found equal those of all repetitions, in their order.
    links: tuple[Sources, ...]
    # Of a run, for each link of its pattern, what all repetitions share, which is not copied; None
    # if that is nothing, and for a layer.
    shared: tuple[Sources, ...] | None
    k: int  # the length of a run; 0 for a layer
    is_stacked: bool = False  # a run whose arrays have an entry for each layer already
    between: bool = False  # no layer, but turns one state into another

    @classmethod
    def found(cls, links: tuple[Sources, ...], k: int) -> "Layout":
        """Return a run that is found, of the links of all repetitions of its pattern."""
        p = len(links) // k
        shared = tuple(_shared(links[i::p]) for i in range(p))
        if not any(s for link in shared for part in link for s in part):
            return cls(links, None, k)
        per_layer = tuple(_without(link, shared[i % p]) for i, link in enumerate(links))
        return cls(per_layer, shared, k)

    def arrays(self, values: Sequence[Numbers]) -> LayerWeights | Stacked:
        """Return the parameters."""
        links = [_taken(link, values) for link in self.links]
        if not self.k:
            return LayerWeights(tuple(links))
        shared = tuple(_taken(link, values) for link in self.shared or ()) or None
        p = len(links) // self.k
        per_layer = links if self.is_stacked else [stacked(links[i::p]) for i in range(p)]
        return Stacked(tuple(per_layer), shared, merged, self.k)

    def layers(self) -> list[list[tuple[Source, int | None]]]:
        """Return for each layer the sources of its arrays, of a stack's with the layer's entry."""
        layers: list[list[tuple[Source, int | None]]] = []
        if self.between:
            return layers
        shared = self.shared or self.links
        for j in range(self.k if self.is_stacked else len(self.links)):
            link = self.links[0 if self.is_stacked else j]
            parts = zip(link, shared[j % len(shared)], strict=True)
            pairs = [pair for part in parts for pair in zip(*part, strict=True)]
            row = j if self.is_stacked else None
            both = [(s, row) if s else (t, None) for s, t in pairs]
            layers.append([(s, j) for s, j in both if s is not None])
        return layers

    def uses(self, params: LayerWeights | Stacked) -> Iterator[tuple[Source, Numbers]]:
        """Yield the arrays of parameters, each with its source."""
        if isinstance(params, LayerWeights):
            yield from _with_sources(self.links[0], params.arrays[0])
            return
        for link, arrays in zip(self.shared or (), params.shared or (), strict=True):
            yield from _with_sources(link, arrays)
        if self.is_stacked:
            yield from _with_sources(self.links[0], params.per_layer[0])
            return
        p = len(self.links) // self.k
        for i, link in enumerate(self.links):
            for source, stack in _with_sources(link, params.per_layer[i % p]):
                yield source, stack[i // p]


def _shared(links: Sequence[Sources]) -> Sources:
    """Return the sources that several links have in the same place; None elsewhere."""
    return tuple(
        tuple(several[0] if len({*several}) == 1 else None for several in zip(*parts, strict=True))
        for parts in zip(*links, strict=True)
    )


def _without(link: Sources, shared: Sources) -> Sources:
    return tuple(
        tuple(None if t else s for s, t in zip(*part, strict=True))
        for part in zip(link, shared, strict=True)
    )


def _with_sources(
    link: Sources, arrays: Sequence[Sequence[Numbers]]
) -> Iterator[tuple[Source, Numbers]]:
    for part, values in zip(link, arrays, strict=True):
        for source, v in zip(part, values, strict=True):
            if source is not None:
                yield source, v


def _taken(link: Sources, values: Sequence[Numbers]) -> tuple[list[Any], ...]:
    return tuple([None if s is None else s.taken(values) for s in part] for part in link)


def merged(per_layer: PyTree, shared: PyTree) -> LayerWeights:
    """Put the arrays of one layer of a run together."""
    if shared is None:
        return LayerWeights(per_layer)
    return LayerWeights(
        jax.tree.map(
            lambda a, b: b if a is None else a, per_layer, shared, is_leaf=lambda leaf: leaf is None
        )
    )


def stacked(trees: list[PyTree]) -> Any:
    """Stack the arrays of equal trees; NumPy's stay NumPy's, keys stay keys."""

    def stack(*values: Numbers) -> Numbers:
        if all(isinstance(v, np.ndarray) for v in values):
            return np.stack(values)
        if all(map(_is_in_host_memory, values)):  # where no program need be compiled for it
            on_device: Array = jax.device_put(np.stack([np.asarray(v) for v in values]))
            return on_device
        return jnp.stack(values)

    return jax.tree.map(stack, *trees)


def _is_in_host_memory(v: Numbers) -> bool:
    """Tell what NumPy reads in place: its own arrays, and JAX's where the device is a CPU."""
    if not isinstance(v, jax.Array):
        return True
    if isinstance(v, jax.core.Tracer) or is_key(v):
        return False
    here = jax.devices()[0]
    return here.platform == "cpu" and v.devices() == {here}


# Both ways


@dataclass(frozen=True)
class Handover:
    """The way from the user's pytree to the parameters of a chain."""

    pytree: Pytree  # as it was handed over
    made: tuple[Made, ...]  # the values that are made of its arrays
    layouts: tuple[Layout, ...]  # of each entry of the chain's parameters

    def params(self, arrays: Sequence[Numbers]) -> tuple[Any, ...]:
        """Return the chain's parameters of the arrays of a pytree."""
        needed = {i: arrays[i] for made in self.made for i in made.arrays}
        values = [*arrays, *(_evaluated(self.made, needed) if self.made else ())]
        return tuple(layout.arrays(values) for layout in self.layouts)

    def origins(self) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[Identity, ...], ...]]:
        """Return for each layer the paths of its arrays, and their identities."""
        numbers = self.numbers()
        layers = [layer for layout in self.layouts for layer in layout.layers()]
        paths = (tuple(self._path(s, j, numbers) for s, j in layer) for layer in layers)
        identities = (
            tuple(self._identity(s, j, i, numbers) for s, j in layer)
            for i, layer in enumerate(layers)
        )
        return tuple(paths), tuple(identities)

    def _identity(
        self, source: Source, j: int | None, layer: int, numbers: dict[int, Numbering]
    ) -> Identity:
        row, entry = source.row(j), layer if source.by_index else None
        if source.value < len(self.pytree.paths):
            return Identity((source.value, row), entry)
        if source.value not in numbers:
            return Identity(None)
        leaf, at = (v if row is None else v[row] for v in numbers[source.value])
        first = int(leaf.flat[0]) if leaf.size else 0
        if np.all(leaf == first) and at.size == np.prod(self.pytree.types[first].shape):
            return Identity((first, None), entry)  # all of it, turned or reshaped
        return Identity(hash((leaf.tobytes(), at.tobytes())), entry)

    def _path(self, source: Source, j: int | None, numbers: dict[int, Numbering]) -> str:
        row = source.row(j)
        if source.value < len(self.pytree.paths):
            path = self.pytree.paths[source.value]
            return path if row is None else f"{path}[{row}]"
        if source.value not in numbers or row is None:
            return ""
        leaf, at = (v[row] for v in numbers[source.value])
        return " + ".join(self._part(int(i), at[leaf == i]) for i in dict.fromkeys(leaf.flat))

    def _part(self, i: int, at: np.ndarray) -> str:
        """Return the path of some numbers of an array, such as `['w'][:, 3]`; […] of no block."""
        path, shape = self.pytree.paths[i], self.pytree.types[i].shape
        places = list(map(np.unique, np.unravel_index(at, shape)))
        blocks = [int(along[-1] - along[0] + 1) for along in places]
        if np.prod([*blocks, 1]) != at.size:
            return f"{path}[…]"
        index = [_range(along, n) for along, n in zip(places, shape, strict=True)]
        while index and index[-1] == ":":
            index.pop()
        return f"{path}[{', '.join(index)}]" if index else path

    def arrays_of(self, source: Source) -> tuple[int, ...]:
        """Return the numbers of the arrays of the pytree that an array of a layer is made of."""
        count = len(self.pytree.types)
        return (source.value,) if source.value < count else self.made[source.value - count].arrays

    def numbers(self) -> dict[int, Numbering]:
        """Return, for each number of the parameters that are moved, its array and place there."""
        count = len(self.pytree.types)
        return {
            count + i: made
            for i, made in enumerate(_numbers(made, self.pytree.types) for made in self.made)
            if made is not None
        }

    def arrays(self, params: PyTree, like: Sequence[Numbers] | None) -> list[Any]:
        """Return the arrays of the pytree of parameters; those that no layer has are in `like`.

        Raises:
            ValueError: other parameters, copies that differ, or nothing for what no layer has.
        """
        expected = jax.eval_shape(self.params, self.pytree.types)
        if _described(params) != _described(expected):
            raise ValueError(
                "params: expected the chain's parameters, of the structure, shapes and dtypes that "
                "net.params returns, got others"
            )
        count, numbers = len(self.pytree.types), self.numbers()
        uses: list[list[_ArrayUse]] = [[] for _ in range(count)]
        for layout, entry in zip(self.layouts, params, strict=True):
            for (value, rows, _), v in layout.uses(entry):
                if value < count:
                    uses[value].append(_ArrayUse(v, rows))
                elif value in numbers:
                    leaf, at = (n if rows is None else n[np.array(rows)] for n in numbers[value])
                    for i in np.unique(leaf):
                        uses[i].append(_ArrayUse(v[leaf == i], None, at[leaf == i]))
        others = [None] * count if like is None else like
        of_arrays = zip(self.pytree.paths, self.pytree.types, uses, others, strict=True)
        return [_united(*of_array) for of_array in of_arrays]


def _range(along: np.ndarray, n: int) -> str:
    """Return the places first … last of an axis of n as an index."""
    first, last = int(along[0]), int(along[-1])
    if first == last and n > 1:
        return str(first)
    return f"{first or ''}:{last + 1 if last + 1 < n else ''}"


def _described(params: PyTree) -> tuple[Any, list[Any]]:
    leaves, structure = jax.tree.flatten(jax.eval_shape(lambda params: params, params))
    return structure, [(v.shape, v.dtype) for v in leaves]


@partial(jax.jit, static_argnums=0)
def _evaluated(made: tuple[Made, ...], arrays: dict[int, Array]) -> list[Array]:
    return [one.program([arrays[i] for i in one.arrays], ())[0] for one in made]


def _numbers(made: Made, types: Sequence[ArrayOrType]) -> Numbering | None:
    """Return the array that each number of a value is of, and its place there; None of data."""
    if not made.arrays or not all(can_be_learned(types[i]) for i in made.arrays):
        return None
    run = function(made.program.closed)
    shapes = [types[i].shape for i in made.arrays]
    arrays = [np.full(shape, i, np.int32) for i, shape in zip(made.arrays, shapes, strict=True)]
    places = [np.arange(np.prod(shape), dtype=np.int32).reshape(shape) for shape in shapes]
    both = computed(
        lambda *v: (run(*v[: len(arrays)])[0], run(*v[len(arrays) :])[0]), *arrays, *places
    )
    return np.asarray(both[0]), np.asarray(both[1])


class _ArrayUse(NamedTuple):
    """An array of a layer that is of one array of the pytree."""

    v: Numbers  # the array
    rows: Rows | None  # the entries of the pytree's array that it is; None for all of it
    places: np.ndarray | None = None  # instead, the places of its numbers there, which is flat then


def _united(path: str, type_: ArrayOrType, uses: list[_ArrayUse], like: Numbers | None) -> Any:
    """Return an array of the pytree from all that layers have of it."""
    if uses and all(use.rows is None and use.places is None for use in uses):
        united = uses[0].v
        for use in uses[1:]:
            united = _checked(path, united, ..., use.v)
        return united
    # Layers may have rows of an array, or its numbers moved: then all uses are laid side by side,
    # each place is taken from the first that has it, and the others are compared with that one.
    by_rows = all(use.places is None for use in uses) and len(type_.shape) > 0
    shape = type_.shape if by_rows else (int(np.prod(type_.shape)),)
    every = np.arange(shape[0])
    places = [_places(use, type_.shape, every, by_rows) for use in uses]
    found, first, of_each = np.unique(
        np.concatenate([every[:0], *places]), return_index=True, return_inverse=True
    )
    if len(found) < len(every) and like is None:
        has = "the layers do not have all of" if uses else "no layer has"
        raise ValueError(
            f"like: expected the pytree that the parameters are of, since {has} "
            f"{path or 'its array'}, got None"
        )
    if not uses:
        return like
    values = jnp.concatenate([jnp.reshape(use.v, (-1, *shape[1:])) for use in uses])
    united = values[first]
    if len(of_each) > len(found):
        united = _checked(path, united, of_each, values)
    if len(found) < len(every):
        united = jnp.asarray(like).reshape(shape).at[found].set(united)
    return jnp.reshape(united, type_.shape)


def _places(use: _ArrayUse, shape: tuple[int, ...], every: np.ndarray, by_rows: bool) -> Any:
    """Return the places of an array's rows, or of its numbers, in the flat array of the pytree."""
    if use.places is not None:
        return use.places.reshape(-1)
    if by_rows:
        return every if use.rows is None else np.array(use.rows)
    whole = every.reshape(shape)
    return whole.reshape(-1) if use.rows is None else whole[np.array(use.rows)].reshape(-1)


def _checked(path: str, united: Numbers, at: Any, copies: Numbers) -> Any:
    """Return an array that copies are of; nan where they differ and their numbers are not known."""
    expected = united if at is ... else united[at]
    same = (expected == copies) | ((expected != expected) & (copies != copies))
    if isinstance(same, jax.core.Tracer):
        off = jnp.where(same, 0, jnp.nan).astype(united.dtype) if can_be_learned(united) else None
        return united if off is None else jnp.asarray(united).at[at].add(off)
    if not np.all(same):
        raise ValueError(
            f"params: expected equal copies of {path or 'an array'} in the layers that share it, "
            "got some that differ; change the pytree that they are of, and hand it to net.params"
        )
    return united

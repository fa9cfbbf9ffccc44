"""Cutting: a function f(params, xs) taken apart into layers, by the program that JAX traces of it.

    f(params, xs)    ->  what depends on what (`dependence.py`)  ->  places (`cut_points.py`)
    between places   ->  layers, of a scan a run, each a program (arrays, state) -> state

Layers are equal if their programs, traced once more each, print equal; of stacked parameters that a
Python loop takes apart, each layer has its own entry. A state has the examples first.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ..arrays.rows import can_be_learned
from ..arrays.spread import zeros
from ..jaxpr.program import Closed, Flat, Program, behind, evaluated, function, resized, struct
from ..jaxpr.scan_params import Need, ScanInputs, prepared
from .cut_points import MOST_IN_A_ROW, Places, Stretch, main_first
from .dependence import Traced, traced
from .input_streams import with_roots
from .names import Parts, common, joined, module_in, name_of_weights, numbered, parts_of
from .parameter_handover import Made, Source
from .scan_runs import Scanned
from .state import NOTHING_FILLED, Filled, State


class Piece(NamedTuple):
    """A layer, or a run of k layers.

    names: of its layers.
    program: (arrays, state) -> state.
    per_layer: the sources of its arrays; of a run (k, …), None where all layers share one.
    shared: of a run the sources of what all layers share, None elsewhere.
    trained: for each array whether it is a parameter.
    k: the length of a run; 0 for a layer.
    closed: the products in programs within the layer that are not taken apart, if most are there;
        its layer is not numbered yet.
    between: no layer, but what turns one state into another, next to a run.
    filled: of a run the outputs of its steps.
    """

    names: tuple[str, ...]
    program: Program
    per_layer: tuple[Source | None, ...]
    shared: tuple[Source | None, ...]
    trained: tuple[bool, ...]
    k: int
    closed: Closed | None = None
    between: bool = False
    filled: Filled = NOTHING_FILLED


def cut(
    f: Callable[[list[Any], Any], Any],
    params: list[Any],
    xs: Any,
    paths: Sequence[str],
    most: int,
    cuts: tuple[str, ...] | None,
) -> tuple[list[Piece], tuple[Made, ...]]:
    """Take a function apart.

    Args:
        f: (params, xs) -> floats, a pytree of arrays.
        params: types of arrays; those of a float or complex type are its parameters.
        xs: types of an example batch, a pytree with the examples first.
        paths: of params, in the user's pytree.
        most: the streams alive at a place, at most.
        cuts: names of modules, or patterns of them, with which layers end; None for all places.

    Returns:
        At least two layers, or a run; applied in turn they are f, for xs of these shapes. And what
        is made of params for them beforehand.

    Raises:
        ValueError: an f that cannot be cut, with what to hand over instead.
    """
    places = _places(traced(f, params, xs), most)
    network = places.network
    stretches = places.stretches(checked=cuts is None)
    ends: dict[Stretch, Parts | None] = {}
    if cuts is not None:
        ends = _merged(network, places, stretches, cuts, paths)
        stretches = [*ends]
    runs = [places.run(a, b) for a, b in stretches]
    names = _names(network, stretches, runs, paths, ends)
    knife = _Knife(network, _riding(network, stretches, runs))
    pieces: list[Piece] = []
    at: list[int] | None = None  # the values of the state; None for xs, and for the output
    for i, ((a, b), run, own) in enumerate(zip(stretches, runs, names, strict=True)):
        last = i == len(stretches) - 1
        roots = network.entering(a, b)
        if roots and run is None:
            into = main_first(network, a, roots)
            if not knife.is_same(at, into):
                pieces.append(knife.layer(own, a, a, at, into)._replace(between=True))
            at = into
        if run is None:
            above = None if last else runs[i + 1]
            out = None if last else main_first(network, b, set()) if above is None else above.into
            piece = knife.layer(own, a, b, at, out)
            turns = i > 0 and runs[i - 1] is not None and above is not None
            pieces.append(piece._replace(between=turns and not any(piece.trained)))
            at = out
            continue
        if not knife.is_same(at, run.into):
            between = knife.layer(own[:1], a, a, at, run.into)
            pieces.append(between._replace(between=not any(between.trained)))
        pieces.append(knife.run(own, run))
        at = run.out
        if last and not knife.is_same(None, at):
            pieces.append(knife.layer(own[:1], b, b, at, None)._replace(between=True))
    return pieces, tuple(_made(network, v) for v in network.made)


def _places(network: Traced, most: int) -> Places:
    """Return the places of a network with its roots, or without if it cannot be cut with them."""
    places = Places(with_roots(network), most)
    return places if not places.network.roots or places.are_enough() else Places(network, most)


def _names(
    network: Traced,
    stretches: Sequence[Stretch],
    runs: Sequence[Scanned | None],
    paths: Sequence[str],
    ends: dict[Stretch, Parts | None],
) -> list[list[str]]:
    """Return the names of the layers of each stretch; of one that ends with a module, its name."""
    origins = [_origin(network, *of) for of in zip(stretches, runs, strict=True)]
    scopes = [scope for scope, _ in origins]
    shared = common(scopes)
    root = max(0, len(shared) - all(scope == shared for scope in scopes))  # names all the same
    names: list[list[str]] = []
    for stretch, run, (scope, location) in zip(stretches, runs, origins, strict=True):
        own = joined(ends.get(stretch) or ()) or name_of_weights(_weights(network, stretch, paths))
        name = own or "/".join(scope[root:]) or location
        if run is None:
            names.append([name])
        elif own and not network.parameters.isdisjoint(run.stacks):
            names.append([f"{name}[{row}]" for row in run.rows])
        else:
            names.append([name] * run.scan.k)
    unique = iter(numbered([name for of_stretch in names for name in of_stretch]))
    return [[next(unique) for _ in of_stretch] for of_stretch in names]


def _weights(network: Traced, stretch: Stretch, paths: Sequence[str]) -> list[Parts]:
    """Return the paths of the parameters that the products of a stretch take."""
    taken = [
        v
        for step in network.main[slice(*stretch)]
        if network.is_product(step)
        for v in step.inputs
        if v in network.parameters
    ]
    weights: dict[Parts, None] = {}
    raw = network.raw
    for v in taken:
        values = behind([v], network.prologue)[1]
        for u in (u for u in network.sources if u in values and u in network.parameters):
            rows = network.sources[u].rows
            row = "" if rows is None else f"[{rows[0]}]"
            of = [u] if u in raw else behind([u], network.before)[1]
            for path in (paths[raw[w]] for w in of if w in raw):
                weights[parts_of(path + row)] = None
    return list(weights)


def _origin(network: Traced, stretch: Stretch, run: Scanned | None) -> tuple[tuple[str, ...], str]:
    """Return the modules that all products of a layer are in, and the location of the last one."""
    products = network.products(*stretch)
    scope = common([step.scope for step in products])
    if run is None:
        return scope, products[-1].location
    body = Flat(run.scan.body).steps
    inside = [step for step in body if step.is_product] or products
    return scope + common([step.scope for step in body]), inside[-1].location


def _merged(
    network: Traced, places: Places, stretches: list[Stretch], cuts: Any, paths: Sequence[str]
) -> dict[Stretch, Parts | None]:
    """Return longer stretches, each with the module that it ends with, of those that cuts name.

    Raises:
        ValueError: cuts that name none.
    """
    modules = [module_in(_weights(network, stretch, paths), cuts) for stretch in stretches]
    if not any(modules):
        names = [joined(parts) for s in stretches for parts in _weights(network, s, paths)[-1:]]
        raise ValueError(
            f"cuts: expected names of modules that hold weights such as {', '.join(names[:3])}, or "
            f"patterns such as 'block_*', got {', '.join(map(repr, cuts)) or 'none'}"
        )
    merged: dict[Stretch, Parts | None] = {}
    begin = None
    for i, (a, b) in enumerate(stretches):
        run, following = places.run(a, b), modules[i + 1 : i + 2]
        before_run = bool(following) and places.run(*stretches[i + 1]) is not None
        begin = a if begin is None else begin
        ends = modules[i] is not None and [modules[i]] != following
        if ends or run is not None or before_run or not following:
            merged[begin, b] = modules[i]
            begin = None
    return merged


def _riding(
    network: Traced, stretches: Sequence[tuple[int, int]], runs: Sequence[Scanned | None]
) -> list[int]:
    """Return the riders: what layers above the first need of xs, or of what takes long to make."""
    needs: set[int] = set()
    for i, ((a, b), run) in enumerate(zip(stretches, runs, strict=True)):
        roots = network.entering(a, b)
        own = {v for step in network.main[a:b] for v in step.inputs} - network.roots.keys()
        if i:
            own.update(network.roots[v] for v in roots)
        elif run is not None:
            own.difference_update(run.into)
        if i or run is not None or roots:
            needs |= own
    if len(stretches) > 1 or needs:
        needs.update(network.flat.outputs)
    short = [step for step in network.prologue if not network.takes_long(step)]
    values = behind(needs, short)[1]
    rest = (v for step in network.prologue if network.takes_long(step) for v in step.outputs)
    return [v for v in (*network.xs, *rest) if v in values and v in network.dependent]


# One layer


class _Knife:
    """Cuts a traced network into the programs of its layers.

    network: the network.
    riding: the riders, which every state has.
    """

    def __init__(self, network: Traced, riding: list[int]) -> None:
        self.network, self.riding = network, riding
        known = {*riding}
        self.prologue = [s for s in network.prologue if known.isdisjoint(s.outputs)]

    def is_same(self, at: list[int] | None, values: list[int]) -> bool:
        """Tell whether a state is that of other values; None is xs, or the output."""
        network = self.network
        if at is not None:
            return at == values
        values = [network.roots.get(v, v) for v in values]
        outside = [[*network.xs], [*network.flat.outputs]]
        structures = [network.into, network.out]
        leaf = jax.tree.structure(0)
        return not self.riding and any(
            structure == leaf and values == whole and network.axes.get(values[0]) == 0
            for structure, whole in zip(structures, outside, strict=True)
        )

    def inside(self, v: int, array: Any) -> Any:
        """Return an array of a state as the program has it."""
        axis = self.network.axes.get(v, 0)
        return jnp.moveaxis(array, 0, axis) if axis else array

    def outside(self, v: int, array: Any) -> Any:
        """Return an array of the program as a state has it, the examples first."""
        axis = self.network.axes.get(v, 0)
        return jnp.moveaxis(array, axis, 0) if axis else array

    def packed(self, streams: Sequence[Any], riders: Sequence[Any]) -> Any:
        """Return a state; of one stream alone that is the array."""
        if len(streams) == 1 and not riders:
            return streams[0]
        return State(tuple(streams), tuple(riders))

    def type_of(self, values: Sequence[int]) -> Any:
        """Return the types of a state."""
        types, axes = self.network.flat.types, self.network.axes
        streams, riders = (
            [struct(types[v], axes.get(v, 0)) for v in group] for group in (values, self.riding)
        )
        return self.packed(streams, riders)

    def layer(
        self, names: Sequence[str], a: int, b: int, into: list[int] | None, out: list[int] | None
    ) -> Piece:
        """Return main steps a … b as a layer, which runs its prologue too.

        Args:
            names: the name of the layer.
            a: its first step.
            b: the step behind its last.
            into: the values of the state that goes in; None for xs.
            out: those of the state that comes out; None for the output.
        """
        network, flat, steps = self.network, self.network.flat, self.network.main[a:b]
        taken = network.xs if into is None else [*into, *self.riding]
        made = flat.outputs if out is None else [*out, *self.riding]
        blank = {v for v in made if v in network.blank}
        needs = {v for step in steps for v in step.inputs}.union(made) - blank
        whole = network.prologue if into is None else self.prologue
        prologue, values = behind(needs - {*taken}, [*whole])
        used = [v for v in network.sources if v in values]
        if into is not None:
            used += sorted(network.indices & values)

        def run(arrays: list[Array], state: Any) -> Any:
            leaves = dict(zip(taken, jax.tree.leaves(state), strict=True))
            empty = {v: zeros(1, flat.types[v])[0] for v in blank}
            given = {v: x if into is None else self.inside(v, x) for v, x in leaves.items()}
            known = flat.constants | empty | dict(zip(used, arrays, strict=True)) | given
            values = evaluated(made, [*prologue, *steps], known)
            if out is None:
                return jax.tree.unflatten(network.out, values)
            arrays = [
                leaves[v] if v in leaves and into is not None else self.outside(v, x)
                for v, x in zip(made, values, strict=True)
            ]
            return self.packed(arrays[: len(out)], arrays[len(out) :])

        stacks = (s.inputs[0] for s in prologue if s.entry is not None)
        apart = behind(network.parameters.intersection(stacks), prologue)[1]
        per_layer = tuple(network.source(v)._replace(by_index=v in apart) for v in used)
        if into is None:
            state = jax.tree.unflatten(network.into, [struct(flat.types[v]) for v in taken])
        else:
            state = self.type_of(into)
        program = Program.of(run, [struct(flat.types[v]) for v in used], state)
        trained = tuple(can_be_learned(flat.types[v]) for v in used)
        closed = _closed(network, a, b)
        return Piece(tuple(names), program, per_layer, (None,) * len(per_layer), trained, 0, closed)

    def run(self, names: Sequence[str], run: Scanned) -> Piece:
        """Return a scan as a run of its body."""
        network, flat = self.network, self.network.flat
        streams, riders = network.streams, network.dependent - network.streams
        ridden = [v for v in run.stacks if v in riders]
        inputs = ScanInputs(
            [*(v for v in run.consts if v not in streams), *ridden],
            [v for v in run.stacks if v not in network.dependent],
            run.rows,
        )
        needs, by_index, entry = prepared(
            flat,
            [step for step in network.before if {*self.riding}.isdisjoint(step.outputs)],
            network.parameters,
            {*network.raw},
            inputs,
        )

        # Of the size of the batch perhaps, such as a mask, or riders; a layer makes it again.
        free = [
            v for v, rows in needs if rows is None and (v in riders or not network.is_of_params(v))
        ]
        steps, values = behind({*free} - {*self.riding}, self.prologue)
        handed = [need for need in needs if need.value not in free or need.rows is not None]
        also = [Need(v, None) for v in network.sources if v in values]
        handed += [need for need in also if need not in handed]
        row = Need(flat.value(*_indices(run.scan.k)), run.rows)
        if ridden or run.blank or not streams.isdisjoint(run.stacks):
            handed.append(row)
        carried, blank = len(run.order), len(run.blank)

        def body(arrays: list[Array], state: Any) -> Any:
            given = dict(zip(handed, arrays, strict=True))
            leaves = jax.tree.leaves(state)
            outputs, rest = leaves[carried : carried + blank], leaves[carried + blank :]
            passing = dict(zip((*run.held, *self.riding), rest, strict=True))
            known = {v: self.inside(v, x) for v, x in passing.items()}
            known |= {need.value: given[need] for need in also} | flat.constants
            made = dict(zip(free, evaluated(free, steps, known), strict=True))
            whole = [given[need] if need in given else made[need.value] for need in needs]
            consts, entries = map(iter, entry(whole))
            at = given.get(row)

            def entry_of(v: int) -> Any:
                if v not in streams:
                    return lax.dynamic_index_in_dim(made[v], at, 0, keepdims=False)
                axis = network.axes.get(v, 0)
                taken = lax.dynamic_index_in_dim(passing[v], at, min(axis, 1), keepdims=False)
                return jnp.moveaxis(taken, 0, axis - 1) if axis > 1 else taken

            carries = [None] * carried
            for i, v, x in zip(run.order, run.carries(run.step.outputs), leaves, strict=False):
                carries[i] = self.inside(v, x)
            out = function(run.scan.body)(
                *[known[v] if v in streams else next(consts) for v in run.consts],
                *carries,
                *[entry_of(v) if v in network.dependent else next(entries) for v in run.stacks],
            )
            ends = zip(run.carries(run.step.outputs), run.carries(out), strict=True)
            filled = [
                self.filled(v, whole, at, x)
                for v, whole, x in zip(run.blank, outputs, out[carried:], strict=True)
            ]
            streams_out = [*(self.outside(v, x) for v, x in ends), *filled]
            held = rest[: len(run.held)]
            return self.packed([*streams_out, *held], rest[len(run.held) :])

        types = [
            struct(flat.types[v])
            if rows is None
            else resized(flat.types[v], flat.types[v].shape[1:])
            for v, rows in handed
        ]
        per_layer = tuple(None if rows is None else network.source(v, rows) for v, rows in handed)
        shared = tuple(
            network.source(need.value)._replace(by_index=need in by_index)
            if need.rows is None
            else None
            for need in handed
        )
        program = Program.of(body, types, self.type_of(run.into))
        trained = tuple(
            v in network.parameters and can_be_learned(t)
            for (v, _), t in zip(handed, types, strict=True)
        )
        leaves = ((carried + i, min(network.axes.get(v, 0), 1)) for i, v in enumerate(run.blank))
        filled = (
            Filled(tuple(leaves), handed.index(row), run.scan.reverse) if blank else NOTHING_FILLED
        )
        entries = (tuple(names), program, per_layer, shared, trained, run.scan.k)
        return Piece(*entries, filled=filled)

    def filled(self, v: int, whole: Any, at: Any, x: Any) -> Any:
        """Return the outputs of all steps with that of one."""
        axis = self.network.axes.get(v, 0)
        x = jnp.moveaxis(x, axis - 1, 0) if axis > 1 else x
        return lax.dynamic_update_index_in_dim(whole, x, at, min(axis, 1))


def _closed(network: Traced, a: int, b: int) -> Closed | None:
    """Return the products within main steps that hold a program, if they are most of all."""
    counts = [step.products for step in network.main]
    closed = [step for step in network.main[a:b] if step.products > MOST_IN_A_ROW]
    products = sum(step.products for step in closed)
    if 2 * products <= sum(counts):
        return None
    most = max(closed, key=lambda step: step.products)
    usual = "write it as lax.scan, or hand over its layers as a list"
    return Closed(0, products, most.way_out(usual))


def _indices(k: int) -> tuple[Any, Any]:
    """Return 0 … k - 1, its type and its numbers."""
    index = np.arange(k, dtype=np.int32)
    return index, index


def _made(network: Traced, v: int) -> Made:
    """Return a value of the prologue as it is made of params."""
    flat, raw = network.flat, network.raw
    steps, values = behind([v], network.before)
    used = [u for u in raw if u in values]

    def run(arrays: list[Array], _: Any) -> list[Any]:
        return evaluated([v], steps, flat.constants | dict(zip(used, arrays, strict=True)))

    program = Program.of(run, [struct(flat.types[u]) for u in used], ())
    return Made(program, tuple(raw[u] for u in used))

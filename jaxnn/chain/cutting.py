"""Cutting: a function f(params, xs) taken apart into layers, by the program that JAX traces of it.

    f(params, xs)    ->  what depends on what (`dependence.py`)  ->  places (`cut_points.py`)
    between places   ->  layers, of a scan a run, each a program (`layer_programs.py`)

Layers are equal if their programs, traced once more each, print equal; of stacked parameters that a
Python loop takes apart, each layer has its own entry. A state has the examples first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jax
from jaxtyping import PyTree

from ..jaxpr.program import MOST_BYTES, Flat, LayerProgram, TracedProgram, behind
from .cut_points import Places, Stretch, main_first
from .dependence import TracedNetwork, traced
from .input_streams import with_roots
from .layer_programs import Knife, Piece, made_of_params
from .names import Parts, common, is_place, joined, module_in, name_of_weights, numbered, parts_of
from .parameter_handover import Made
from .scan_runs import Scanned

KEPT = 32  # cuts


def cut(
    f: LayerProgram,
    params: list[jax.ShapeDtypeStruct],
    xs: PyTree,
    paths: Sequence[str],
    most: int,
    cuts: tuple[str, ...] | None,
) -> tuple[list[Piece], tuple[Made, ...]]:
    """Return the layers of f(params, xs), and what is made of params for them beforehand.

    These are at least two layers, or a run; applied in turn they are f, for xs of these shapes.

    Raises:
        ValueError: an f that cannot be cut, with what to hand over instead.
    """
    program = TracedProgram.of(f, params, xs, is_located=True)
    uncut = _Uncut(
        program,
        (*program.closed.in_avals, jax.tree.structure(xs), jax.sharding.get_abstract_mesh()),
        tuple(paths),
        most,
        cuts,
        (f, params, xs),
    )
    # The last cuts are kept: a function that is cut again is traced once, and taken apart only if
    # its program, the modules that it is in or its lines are others.
    is_kept = sum(map(len, program.constants)) <= MOST_BYTES
    return _pieces(uncut) if is_kept else _pieces.__wrapped__(uncut)


@dataclass(frozen=True)
class _Uncut:
    """A function before it is cut; equal if it would be cut into equal layers of equal names."""

    program: TracedProgram  # with the modules and the line of each equation
    types: tuple[Any, ...]  # of what it takes, with the structure of xs and the mesh
    paths: tuple[str, ...]
    most: int
    cuts: tuple[str, ...] | None
    given: tuple[LayerProgram, list[jax.ShapeDtypeStruct], PyTree] = field(compare=False)


@lru_cache(maxsize=KEPT)
def _pieces(uncut: _Uncut) -> tuple[list[Piece], tuple[Made, ...]]:
    """Return the layers of a function, and what is made of its parameters for them."""
    cuts, paths = uncut.cuts, uncut.paths
    places = _places(traced(uncut.program, *uncut.given), uncut.most)
    network = places.network
    stretches = places.stretches(checked=cuts is None)
    ends: dict[Stretch, Parts | None] = {}
    if cuts is not None:
        ends = _merged(network, places, stretches, cuts, paths)
        stretches = [*ends]
    runs = [places.run(a, b) for a, b in stretches]
    names = _names(network, stretches, runs, paths, ends)
    knife = Knife(network, _riding(network, stretches, runs))
    pieces: list[Piece] = []
    # From xs up, each piece takes the state that the one below leaves. A scan has a state of its
    # own making, and a root is a stream only from the block on that takes it: where the two sides
    # of a place differ, a layer without steps turns one state into the other.
    at: list[int] | None = None  # the values of the state; None for xs, and for the output
    for i, ((a, b), run, names_inside) in enumerate(zip(stretches, runs, names, strict=True)):
        last = i == len(stretches) - 1
        roots = network.entering(a, b)
        if roots and run is None:
            into = main_first(network, a, roots)
            if not knife.is_same(at, into):
                pieces.append(knife.layer(names_inside, a, a, at, into)._replace(between=True))
            at = into
        if run is None:
            above = None if last else runs[i + 1]
            out = None if last else main_first(network, b, set()) if above is None else above.into
            piece = knife.layer(names_inside, a, b, at, out)
            turns = i > 0 and runs[i - 1] is not None and above is not None
            pieces.append(piece._replace(between=turns and not any(piece.trained)))
            at = out
            continue
        if not knife.is_same(at, run.into):
            between = knife.layer(names_inside[:1], a, a, at, run.into)
            pieces.append(between._replace(between=not any(between.trained)))
        pieces.append(knife.run(names_inside, run))
        at = run.out
        if last and not knife.is_same(None, at):
            pieces.append(knife.layer(names_inside[:1], b, b, at, None)._replace(between=True))
    return pieces, tuple(made_of_params(network, v) for v in network.made)


def _places(network: TracedNetwork, most: int) -> Places:
    """Return the places of a network with its roots, or without if it cannot be cut with them."""
    places = Places(with_roots(network), most)
    return places if not places.network.roots or places.are_enough() else Places(network, most)


def _names(
    network: TracedNetwork,
    stretches: Sequence[Stretch],
    runs: Sequence[Scanned | None],
    paths: Sequence[str],
    ends: dict[Stretch, Parts | None],
) -> list[list[str]]:
    """Return the names of the layers of each stretch; of one that ends with a module, its name."""
    origins = [_origin(network, *place) for place in zip(stretches, runs, strict=True)]
    scopes = [scope for scope, _ in origins]
    shared = common(scopes)
    root = max(0, len(shared) - all(scope == shared for scope in scopes))  # names all the same
    names: list[list[str]] = []
    for stretch, run, (scope, location) in zip(stretches, runs, origins, strict=True):
        named = joined(ends.get(stretch) or ()) or name_of_weights(
            _weights(network, stretch, paths)
        )
        scoped = "/".join(scope[root:])
        name = scoped if scoped and is_place(named) else named or scoped or location
        if run is None:
            names.append([name])
        elif named and not network.parameters.isdisjoint(run.stacks):
            names.append([f"{name}[{row}]" for row in run.rows])
        else:
            names.append([name] * run.scan.k)
    unique = iter(numbered([name for of_stretch in names for name in of_stretch]))
    return [[next(unique) for _ in of_stretch] for of_stretch in names]


def _weights(network: TracedNetwork, stretch: Stretch, paths: Sequence[str]) -> list[Parts]:
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
            values_handed_over = [u] if u in raw else behind([u], network.before)[1]
            for path in (paths[raw[w]] for w in values_handed_over if w in raw):
                weights[parts_of(path + row)] = None
    return list(weights)


def _origin(
    network: TracedNetwork, stretch: Stretch, run: Scanned | None
) -> tuple[tuple[str, ...], str]:
    """Return the modules that all products of a layer are in, and the location of the last one."""
    products = network.products(*stretch)
    scope = common([step.scope for step in products])
    if run is None:
        return scope, products[-1].location
    body = Flat(run.scan.body).steps
    inside = [step for step in body if step.is_product] or products
    return scope + common([step.scope for step in body]), inside[-1].location


def _merged(
    network: TracedNetwork,
    places: Places,
    stretches: list[Stretch],
    cuts: tuple[str, ...],
    paths: Sequence[str],
) -> dict[Stretch, Parts | None]:
    """Return longer stretches, each with the module that it ends with, of those that cuts name."""
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
    network: TracedNetwork, stretches: Sequence[tuple[int, int]], runs: Sequence[Scanned | None]
) -> list[int]:
    """Return the riders: what layers above the first need of xs, or of what takes long to make."""
    needs: set[int] = set()
    for i, ((a, b), run) in enumerate(zip(stretches, runs, strict=True)):
        roots = network.entering(a, b)
        taken = {v for step in network.main[a:b] for v in step.inputs} - network.roots.keys()
        if i:
            taken.update(network.roots[v] for v in roots)
        elif run is not None:
            taken.difference_update(run.into)
        if i or run is not None or roots:
            needs |= taken
    if len(stretches) > 1 or needs:
        needs.update(network.flat.outputs)
    short = [step for step in network.prologue if not network.takes_long(step)]
    values = behind(needs, short)[1]
    rest = (v for step in network.prologue if network.takes_long(step) for v in step.outputs)
    return [v for v in (*network.xs, *rest) if v in values and v in network.dependent]

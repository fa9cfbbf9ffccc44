"""Cutting: a function f(params, xs) taken apart into layers, by the program that JAX traces of it.

    main        the steps that depend on xs, in their order
    prologue    the other steps: casts, masks, reshaped weights; a layer runs those that it needs
    product     a main step of a parameter and the state: a matrix product, a convolution, a look-up
                in a table, or a whole program (a scan, a custom rule) that takes a parameter
    place       a point between main steps where one array that depends on xs is alive, a float

A network is cut at places between two products:

    z = a @ θ      the first place after a product ends its layer,
    z = z + b      and a bias or a scale moves that end up;
    a = σ(z)       nothing else does, so that an activation belongs to the product above.

A scan over stacked parameters with one carry is no step but a run, with its body as the layer. It
needs a place at both ends. Layers are equal if their programs, traced once more each, print equal;
of stacked parameters that a Python loop takes apart, each layer has its own entry.

The axis of the examples is the one that grows in a second trace, with one example more. A state has
it first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..arrays.rows import is_float, is_narrow
from .handover import Made, Rows, Source
from .program import (
    Flat,
    Program,
    Scan,
    Step,
    behind,
    evaluated,
    function,
    resized,
    struct,
    typed,
)
from .stacks import ScanInputs, prepared

MOST_IN_A_ROW = 3  # products in a layer that holds more than half of the network's


class Piece(NamedTuple):
    """A layer, or a run of k layers.

    name: of its module, or the file and line of its last product.
    program: (arrays, state) -> state.
    own: the sources of its arrays; of a run (k, …), None where all layers share one.
    tied: of a run the sources of what all layers share, None elsewhere.
    trained: for each array whether it is a parameter.
    k: the length of a run; 0 for a layer.
    """

    name: str
    program: Program
    own: tuple[Source | None, ...]
    tied: tuple[Source | None, ...]
    trained: tuple[bool, ...]
    k: int


def cut(
    f: Callable[[list[Any], Any], Any], params: list[Any], xs: Any
) -> tuple[list[Piece], tuple[Made, ...]]:
    """Take a function apart.

    Args:
        f: (params, xs) -> floats, a pytree of arrays.
        params: types of arrays; those of a float type are its parameters.
        xs: types of an example batch, a pytree with the examples first.

    Returns:
        At least two layers, or a run; applied in turn they are f, for xs of these shapes. And what
        is made of params for them beforehand.

    Raises:
        ValueError: an f that cannot be cut, with what to hand over instead.
    """
    network = _network(f, params, xs)
    stretches = list(pairwise(_ends(network)))
    _check(network, stretches)
    origins = [_origin(network, a, b) for a, b in stretches]
    scopes = [scope for scope, _ in origins]
    shared = _common(scopes)
    root = max(0, len(shared) - all(scope == shared for scope in scopes))  # names all the same
    pieces = []
    for (a, b), (scope, location) in zip(stretches, origins, strict=True):
        piece = _layer if network.run(a, b) is None else _run
        pieces.append(piece(network, "/".join(scope[root:]) or location, a, b))
    return pieces, tuple(_made(network, v) for v in network.made)


def _origin(network: "_Network", a: int, b: int) -> tuple[tuple[str, ...], str]:
    """Return the modules that all products of a layer are in, and the location of the last one."""
    products, scan = network.products(a, b), network.run(a, b)
    scope = _common([step.scope for step in products])
    if scan is None:
        return scope, products[-1].location
    body = Flat(scan.body).steps
    inside = [step for step in body if step.is_product] or products
    return scope + _common([step.scope for step in body]), inside[-1].location


def _common(scopes: list[tuple[str, ...]]) -> tuple[str, ...]:
    """Return what scopes begin with in common."""
    equal = [len(set(names)) == 1 for names in zip(*scopes, strict=False)]
    return scopes[0][: [*equal, False].index(False)] if scopes else ()


# What may be cut


@dataclass
class _Network:
    """A flat program seen as a network.

    flat: the program, of params and xs.
    into, out: the structures of xs and of the output.
    xs: the values of xs.
    sources: those of params by their values, and of the entries of stacked ones.
    entries: the steps that take those entries.
    main, prologue: the steps that depend on xs, and the others.
    dependent: the values that depend on xs.
    parameters: those that depend on params of a float type, and not on xs.
    axes: the axis of the examples, of those that have one.
    alive: those values that are needed later, before each main step and after the last.
    places: the one value alive, by the number of the main step below which it is.
    made: values of the prologue that layers are handed over.
    """

    flat: Flat
    into: Any
    out: Any
    xs: list[int]
    sources: dict[int, Source]
    entries: dict[int, Step] = field(default_factory=dict)
    main: list[Step] = field(default_factory=list)
    prologue: list[Step] = field(default_factory=list)
    dependent: set[int] = field(default_factory=set)
    parameters: set[int] = field(default_factory=set)
    axes: dict[int, int] = field(default_factory=dict)
    alive: list[set[int]] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)
    made: list[int] = field(default_factory=list)

    def sort(self) -> None:
        """Tell main steps from the prologue, and entries of stacked parameters from both."""
        self.dependent.update(self.xs)
        self.parameters.update(v for v in self.sources if is_float(self.flat.types[v]))
        stacks, same = {*self.sources}, dict[int, int]()
        entries: dict[tuple[int, int], int] = {}
        for step in self.flat.steps:
            step = step._replace(inputs=tuple(same.get(v, v) for v in step.inputs))
            if not self.dependent.isdisjoint(step.inputs):
                self.main.append(step)
                self.dependent.update(step.outputs)
                continue
            if not self.parameters.isdisjoint(step.inputs):
                self.parameters.update(step.outputs)
            i = step.entry
            if i is None or step.inputs[0] not in stacks:
                self.prologue.append(step)
                continue
            (v,), stack = step.outputs, step.inputs[0]
            same[v] = entries.setdefault((stack, i), v)
            if same[v] == v:
                self.sources[v] = Source(self.sources[stack].value, (i,))
                self.entries[v] = step

    def find_places(self) -> None:
        """Walk over the main steps with the set of the values alive."""
        end = len(self.main)
        last = {v: i for i, step in enumerate(self.main) for v in step.inputs}
        last |= dict.fromkeys(self.flat.outputs, end)
        alive = {v for v in self.xs if v in last}
        self.alive.append(alive)
        for i, step in enumerate(self.main):
            alive = {v for v in alive.union(step.outputs) if last.get(v, -1) > i}
            self.alive.append(alive)
        for i, values in enumerate(self.alive):
            v = min(values)
            type_ = self.flat.types[v]
            if len(values) == 1 and v in self.axes and is_float(type_) and not is_narrow(type_):
                self.places[i] = v
        if self.out != jax.tree.structure(0) or self.axes.get(self.places.get(end, -1)) != 0:
            self.places.pop(end, None)  # the output is what f returns, and no state

    @property
    def raw(self) -> dict[int, int]:
        """The numbers of params by their values."""
        return {v: s.value for v, s in self.sources.items() if v not in self.entries}

    def is_of_params(self, v: int) -> bool:
        """Tell whether a value of the prologue depends on params, of a float type or not."""
        values = behind([v], [*self.entries.values(), *self.prologue])[1]
        return not values.isdisjoint(self.raw)

    def source(self, v: int, rows: Rows | None = None) -> Source:
        """Return where a value of the prologue comes from, or entries of it."""
        if v not in self.sources:
            if v not in self.made:
                self.made.append(v)
            source = Source(len(self.raw) + self.made.index(v))
        else:
            source = self.sources[v]
        if rows is None or rows == tuple(range(self.flat.types[v].shape[0])):
            return source
        return source._replace(
            rows=rows if source.rows is None else tuple(source.rows[i] for i in rows)
        )

    def is_product(self, step: Step) -> bool:
        """Tell products of a parameter and the state."""
        return step.is_product and not self.parameters.isdisjoint(step.inputs)

    def products(self, a: int, b: int) -> list[Step]:
        """The products among main steps a … b; without any, the last step."""
        return [step for step in self.main[a:b] if self.is_product(step)] or self.main[b - 1 : b]

    def is_bias(self, steps: list[Step]) -> bool:
        """Tell whether steps add a parameter to one value, or scale it."""
        return any(not self.parameters.isdisjoint(step.inputs) for step in steps) and all(
            step.is_affine and len(self.dependent.intersection(step.inputs)) == 1 for step in steps
        )

    def run(self, a: int, b: int) -> Scan | None:
        """Return the scan that main steps a … b are, if it can be a run."""
        step = self.main[a]
        scan = step.scan if b == a + 1 else None
        if scan is None or scan.carries != 1:
            return None
        carry = step.inputs[scan.consts]
        state = self.places.get(a) == carry and self.places.get(b) == step.outputs[0]
        return scan if state and self.dependent.intersection(step.inputs) == {carry} else None


def _network(f: Callable[..., Any], params: list[Any], xs: Any) -> _Network:
    """Trace a function twice, and find its places."""
    closed, shape = jax.make_jaxpr(f, return_shape=True)(params, xs)
    if not any(map(is_float, closed.out_avals)):
        raise ValueError(
            f"f: expected f(params, xs) to return floats, got {typed(closed.out_avals) or 'none'}"
        )
    flat, count = Flat(closed), len(params)
    sources = dict(zip(flat.inputs[:count], map(Source, range(count)), strict=True))
    structures = jax.tree.structure(xs), jax.tree.structure(shape)
    network = _Network(flat, *structures, flat.inputs[count:], sources)
    network.sort()
    if network.dependent.isdisjoint(flat.outputs):
        raise ValueError("f: expected an output that depends on xs, got one that does not")
    network.axes.update(_axes(f, params, xs, flat))
    network.find_places()
    return network


def _axes(f: Callable[..., Any], params: list[Any], xs: Any, flat: Flat) -> dict[int, int]:
    """Return the axis of the examples of each value that has one.

    Where f does not take one example more, or is another program then, it is the first axis, of
    the values for which that has the right length.
    """
    count = len(jax.tree.leaves(xs)[0])
    more = jax.tree.map(lambda v: resized(v, (count + 1, *v.shape[1:])), xs)
    shapes = [getattr(t, "shape", ()) for t in flat.types]
    try:
        grown = [getattr(t, "shape", ()) for t in Flat(jax.make_jaxpr(f)(params, more)).types]
        same = list(map(len, shapes)) == list(map(len, grown))
    except Exception:  # of a user's own function, which need not take it
        same = False
    if not same:
        return {v: 0 for v, shape in enumerate(shapes) if shape[:1] == (count,)}
    axes = {}
    for v, (shape, other) in enumerate(zip(shapes, grown, strict=True)):
        differing = [i for i, (m, n) in enumerate(zip(shape, other, strict=True)) if m != n]
        if [(shape[i], other[i]) for i in differing] == [(count, count + 1)]:
            axes[v] = differing[0]
    return axes


def _ends(network: _Network) -> list[int]:
    """Return where layers begin, in main steps, and where the last one ends."""
    runs = [i for i in range(len(network.main)) if network.run(i, i + 1)]
    bounds = sorted({0, len(network.main), *runs, *(i + 1 for i in runs)})
    ends = [*bounds]
    for a, b in pairwise(bounds):
        end = None  # of the layer of the last product
        for i in [*(i for i in sorted(network.places) if a < i < b), b]:
            between = network.main[end or a : i]
            if any(map(network.is_product, between)):
                ends += [] if end is None else [end]
                end = i
            elif end is not None and network.is_bias(between):
                end = i
    return sorted(ends)


# One layer


def _layer(network: _Network, name: str, a: int, b: int) -> Piece:
    """Return main steps a … b as a layer, which runs its prologue too."""
    flat, steps = network.flat, network.main[a:b]
    first, last = a == 0, b == len(network.main)
    into = network.xs if first else [network.places[a]]
    out = flat.outputs if last else [network.places[b]]
    needs = {v for step in steps for v in step.inputs}.union(out)
    prologue, values = behind(needs, network.prologue)
    used = [v for v in network.sources if v in values]

    def run(arrays: list[Array], state: Any) -> Any:
        given = jax.tree.leaves(state) if first else [_inside(network, into[0], state)]
        known = flat.constants | dict(zip((*used, *into), (*arrays, *given), strict=True))
        made = evaluated(out, [*prologue, *steps], known)
        return jax.tree.unflatten(network.out, made) if last else _state(network, *out, *made)

    own = tuple(map(network.source, used))
    if first:
        state = jax.tree.unflatten(network.into, [struct(flat.types[v]) for v in into])
    else:
        state = struct(flat.types[into[0]], network.axes[into[0]])
    program = Program.of(run, [struct(flat.types[v]) for v in used], state)
    trained = tuple(is_float(flat.types[v]) for v in used)
    return Piece(name, program, own, (None,) * len(own), trained, 0)


def _run(network: _Network, name: str, a: int, b: int) -> Piece:
    """Return the scan at main step a as a run of its body."""
    (step,), scan, carry = network.main[a:b], network.run(a, b), network.places[a]
    flat = network.flat
    assert scan is not None
    rows = tuple(range(scan.k))[:: -1 if scan.reverse else 1]
    inputs = ScanInputs(step.inputs[: scan.consts], step.inputs[scan.consts + 1 :], rows)
    needs, entry = prepared(
        network.flat,
        [*network.entries.values(), *network.prologue],
        network.parameters,
        {*network.raw},
        inputs,
    )

    # Of the size of the batch perhaps, such as a mask; a layer makes it again.
    free = [v for v, rows in needs if rows is None and not network.is_of_params(v)]
    steps, _ = behind(free, network.prologue)
    handed = [need for need in needs if need.value not in free or need.rows is not None]

    def run(arrays: list[Array], state: Any) -> Any:
        given = iter(arrays)
        made = iter(evaluated(free, steps, flat.constants))
        whole = [next(given) if need in handed else next(made) for need in needs]
        consts, entries = entry(whole)
        out, *_ = function(scan.body)(*consts, _inside(network, carry, state), *entries)
        return _state(network, carry, out)

    types = [
        struct(flat.types[v]) if rows is None else resized(flat.types[v], flat.types[v].shape[1:])
        for v, rows in handed
    ]
    own = tuple(None if rows is None else network.source(v, rows) for v, rows in handed)
    tied = tuple(network.source(v) if rows is None else None for v, rows in handed)
    state = struct(scan.body.in_avals[scan.consts], network.axes[carry])
    trained = tuple(
        v in network.parameters and is_float(t) for (v, _), t in zip(handed, types, strict=True)
    )
    return Piece(name, Program.of(run, types, state), own, tied, trained, scan.k)


def _inside(network: _Network, v: int, state: Any) -> Any:
    return jnp.moveaxis(state, 0, network.axes[v])


def _state(network: _Network, v: int, inside: Any) -> Any:
    return jnp.moveaxis(inside, network.axes[v], 0)


def _made(network: _Network, v: int) -> Made:
    """Return a value of the prologue as it is made of params."""
    flat, raw = network.flat, network.raw
    steps, values = behind([v], [*network.entries.values(), *network.prologue])
    used = [u for u in raw if u in values]

    def run(arrays: list[Array], _: Any) -> list[Any]:
        return evaluated([v], steps, flat.constants | dict(zip(used, arrays, strict=True)))

    program = Program.of(run, [struct(flat.types[u]) for u in used], ())
    return Made(program, tuple(raw[u] for u in used))


# What cannot be cut


def _check(network: _Network, stretches: Sequence[tuple[int, int]]) -> None:
    """Raise unless there are layers enough, none of them nearly the whole network."""
    if not any(map(network.is_product, network.main)):
        raise ValueError(
            "f: found no product of xs with params; hand over the network's weights in params, "
            "none of them closed over"
        )
    depths = [_in_a_row(network, a, b) for a, b in stretches]
    deepest = max(depths)
    a, b = stretches[depths.index(deepest)]
    if len(stretches) == 1:
        enough = network.run(a, b) is not None
    elif _nested(network, a, b):
        enough = 2 * deepest < sum(depths)
    else:
        enough = deepest <= MOST_IN_A_ROW or 2 * deepest <= sum(depths)
    if not enough:
        raise ValueError(f"f: {_obstacle(network, deepest, a, b)}")


def _obstacle(network: _Network, deepest: int, a: int, b: int) -> str:
    """Say why main steps a … b cannot be cut, and what to hand over instead."""
    products = network.products(a, b)
    first, last, scan = products[0], products[-1], products[0].scan
    if deepest > 1:
        between = network.alive[network.main.index(first) + 1 : network.main.index(last) + 1]
        fewest = min(between, key=len)
        types = typed([network.flat.types[v] for v in sorted(fewest)])
        several = "are alive together, as skips and masks are"
        why = several if len(fewest) > 1 else "has no examples along an axis"
        return (
            f"found no place to cut between {first.location} and {last.location}, {deepest} "
            f"products in a row, where {types} {why}; hand over a list of layers whose state holds "
            "what they need"
        )
    if scan is not None:
        return (
            f"found one layer, a scan of {scan.k} steps at {first.location} that carries "
            f"{scan.carries} arrays, or takes or returns some at each step; hand over a list with "
            "jaxnn.Run(body, params, k), whose state holds all that it carries"
        )
    return f"found one layer, at {first.location}; hand it over as a list, [(f, params)]"


def _in_a_row(network: _Network, a: int, b: int) -> int:
    """Return the length of the longest chain of products, each fed by the one before."""
    return max(_heights(network, a, b).values(), default=0)


def _heights(network: _Network, a: int, b: int) -> dict[int, int]:
    """Return, for each value computed in main steps a … b, the longest chain of products below."""
    heights: dict[int, int] = {}
    for step in network.main[a:b]:
        below = max(heights.get(v, 0) for v in step.inputs)
        heights |= dict.fromkeys(step.outputs, below + network.is_product(step))
    return heights


def _nested(network: _Network, a: int, b: int) -> bool:
    """Tell whether a skip over products lies within a longer one, as in a U-Net.

    A residual block, whatever is in its branch, has a skip from its first product to its last.
    """
    heights, skips = _heights(network, a, b), set[tuple[int, int]]()
    for step in network.main[a:b]:
        ends = [heights.get(v, 0) for v in network.dependent.intersection(step.inputs)]
        skips.add((min(ends), max(ends)))
    return any(low < i < j < high for low, high in skips for i, j in skips)

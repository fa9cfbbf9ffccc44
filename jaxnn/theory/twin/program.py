"""The program of a layer, evaluated for its wide twin: many replicas at once, products drawn.

    of constants alone          as it is
    of parameters alone         as it is, once for all replicas: a weight
    a product of weight, state  drawn (`draws.py`)
    all else with a state       as it is, for every replica: activations, norms, attention, biases

A state has its replicas in front. Calls, scans and conditionals are opened, and functions with a
rule of the user's own where a product is inside: of that the plain reverse rule is taken.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.extend.core import primitives
from jaxtyping import Array

from ...arrays.rows import is_float
from ...errors import NoTwinError
from ...jaxpr.interpreter import (
    CALLS,
    Equation,
    Jaxpr,
    bound,
    called_by,
    interpreted,
    scan_of,
    types_of,
)
from ...jaxpr.primitives import JOINED, RAGGED
from ...jaxpr.program import products_in
from .by_channel import by_channel, is_by_channel
from .draws import Operator, ProductAxes, WeightBlocks, fold_in, looked_up, product, shared_product
from .origins import (
    MOVED,
    OF_MANY,
    SCALES,
    SharedDraw,
    Uses,
    WeightOrigin,
    WeightUse,
    units,
)

# What a value is made of, the higher over the lower.
CONSTANT, WEIGHT, STATE = range(3)

ROOTS = 2**20  # added to the number of an array that products share, for its key
WITH_RULES = ("custom_jvp_call", "custom_vjp_call")


class Value(NamedTuple):
    """An array, and what it is made of; a state has its replicas in front."""

    array: Any
    kind: int
    # the scans in whose steps it differs, by how many are around it
    varies: frozenset[int] = frozenset()
    origin: WeightOrigin | None = None  # of a weight, where they are looked for


class ProductKeys:
    """The random keys of the products of a program, in their order."""

    def __init__(self, key: Array, replicas: int) -> None:
        self.key, self.replicas, self.count = key, replicas, 0
        self.shared_key = key  # of the weights that several products share
        # Where in the layer's program this one is, and which steps of scans.
        self.path: tuple[int, ...] = ()
        self.steps: tuple[Any, ...] = ()
        self.uses: Uses | None = None  # if they are looked for
        self.entries: dict[Any, SharedDraw] = {}  # of the products that share a weight

    def inside(
        self, key: Array, path: tuple[int, ...], steps: tuple[Any, ...] = ()
    ) -> "ProductKeys":
        """Return the draws of a program in this one."""
        draws = ProductKeys(key, self.replicas)
        draws.shared_key, draws.uses, draws.entries = self.shared_key, self.uses, self.entries
        draws.path, draws.steps = (*self.path, *path), (*self.steps, *steps)
        return draws

    def next(self) -> Array:
        """Return the next key."""
        self.count += 1
        return fold_in(self.key, self.count)

    def of_weight(
        self,
        weight: Value,
        below: Callable[[], np.ndarray],
        above: Callable[[], np.ndarray],
        *,
        alone: bool = False,
        is_look_up: bool = False,
    ) -> "tuple[Array, _Shared | None]":
        """Return the key of a product, and how it shares its weight with other products."""
        # below, above: make of each of its entries the unit there.
        key, place = self.next(), (*self.path, self.count)
        if self.uses is not None:
            origin = weight.origin or self.uses.root(weight.array.shape, weight.varies)
            repeated = len(weight.varies) < len(self.steps)
            use = WeightUse(origin, weight.varies, below, above, repeated, alone, is_look_up)
            self.uses.of_place[place] = use
        entries = self.entries.get(place)
        if entries is None:
            return key, None
        key = fold_in(self.shared_key, ROOTS + entries.root)
        for scan in sorted(entries.varies):
            key = fold_in(key, self.steps[scan - 1])
        places = _numbered(weight.array.shape, entries.places)
        for scan, shifts in entries.shifts:
            places = places + jnp.asarray(shifts, places.dtype)[self.steps[scan - 1]]
        return key, _Shared(places, WeightBlocks(entries.turned, entries.alone))

    def as_state(self, value: Value) -> Array:
        """Return an array for every replica."""
        array: Array = value.array
        if value.kind == STATE:
            return array
        return jnp.broadcast_to(array, (self.replicas, *array.shape))

    def of_kind(self, value: Value, kind: int) -> Value:
        """Return a value as one of a higher kind."""
        array = self.as_state(value) if kind == STATE else value.array
        return value._replace(array=array, kind=kind)


class _Shared(NamedTuple):
    """Arguments of `draws.shared_product`."""

    places: Array
    blocks: WeightBlocks


def _numbered(shape: tuple[int, ...], places: np.ndarray | None) -> Array:
    """Return the places of entries, or of all, in line along each axis, as no constant."""
    steps = np.array([prod(shape[i + 1 :]) for i in range(len(shape))], int)
    first = 0
    if places is not None:
        first = int(places[(0,) * len(shape)])
        next_ones = np.eye(len(shape), dtype=int) * (np.array(shape, int) > 1)
        steps = np.array([places[tuple(at)] - first for at in next_ones], int)
        ranges = np.ogrid[tuple(map(slice, shape))]
        in_line = sum((step * i for step, i in zip(steps, ranges, strict=True)), first)
        if not np.array_equal(np.broadcast_to(in_line, shape), places):
            return jnp.asarray(places, jnp.int32)
    numbers = jnp.full(shape, first, jnp.int32)
    for i, step in enumerate(steps):
        numbers = numbers + int(step) * jax.lax.broadcasted_iota(jnp.int32, shape, i)
    return numbers


def shared_weights(closed: Jaxpr, given: Sequence[Value], replicas: int) -> dict[Any, SharedDraw]:
    """Return what the products of a program share, as `ProductKeys.entries`."""
    if not any(products_in(eqn) for eqn in closed.jaxpr.eqns):
        return {}
    draws = ProductKeys(jnp.zeros(2, jnp.uint32), replicas)
    draws.uses = uses = Uses()
    given = [
        value._replace(origin=uses.root(value.array.shape)) if value.kind == WEIGHT else value
        for value in given
    ]
    look_for_uses(closed, given, draws)
    return uses.entries()


def look_for_uses(closed: Jaxpr, given: Sequence[Value], draws: ProductKeys) -> None:
    """Note the products of a program in `draws.uses`, without computing it."""

    def made(arrays: list[Any]) -> list[Any]:
        whole = [v._replace(array=a) for v, a in zip(given, arrays, strict=True)]
        return _arrays(evaluated(closed, whole, draws))

    jax.eval_shape(made, _arrays(given))


def evaluated(closed: Jaxpr, given: Sequence[Value], draws: ProductKeys) -> list[Value]:
    """Run a program for all replicas."""
    return interpreted(
        closed,
        given,
        lambda eqn, inputs: _made(eqn, inputs, draws),
        lambda _, number: Value(jnp.asarray(number), CONSTANT),
    )


def _made(eqn: Equation, given: list[Value], draws: ProductKeys) -> list[Value]:
    """Return what an equation makes."""
    kinds = [value.kind for value in given]
    kind = max(kinds, default=CONSTANT)
    if eqn.primitive in CALLS and kind > CONSTANT:
        return evaluated(called_by(eqn), given, draws)
    if kind < STATE:
        return _of_weights(eqn, given, kind, draws)
    made = _of_products(eqn, given, draws) if WEIGHT in kinds and products_in(eqn) else None
    return _of_replicas(eqn, given, draws) if made is None else made


def _of_weights(eqn: Equation, given: list[Value], kind: int, draws: ProductKeys) -> list[Value]:
    """Return what is made of constants and weights alone, once for all replicas."""
    varies = frozenset[int]().union(*(value.varies for value in given))
    made = [Value(v, kind, varies) for v in bound(eqn, _arrays(given))]
    return _with_origins(eqn, given, made, draws)


def _of_products(eqn: Equation, given: list[Value], draws: ProductKeys) -> list[Value] | None:
    """Return what a product of weights, or a program of some, makes; None of one without a draw."""
    if eqn.primitive is primitives.scan_p:
        return _scanned(eqn, given, draws)
    if eqn.primitive is primitives.cond_p:
        return _chosen(eqn, given, draws)
    if eqn.primitive.name in WITH_RULES:
        return evaluated(called_by(eqn), given, draws)
    drawn = _drawn(eqn, given, draws)
    return None if drawn is None else [Value(drawn, STATE)]


def _of_replicas(eqn: Equation, given: list[Value], draws: ProductKeys) -> list[Value]:
    """Return what is made of the state of each replica, as it is."""
    if draws.uses is not None:
        origins = (value.origin for value in given if value.kind == WEIGHT and value.array.size > 1)
        draws.uses.of_entries.extend(origin for origin in origins if origin is not None)
    axes = [0 if value.kind == STATE else None for value in given]

    def of_one(*arrays: Array) -> list[Array]:
        return bound(eqn, arrays)

    of_all: Callable[..., list[Array]] = jax.vmap(of_one, in_axes=axes, axis_size=draws.replicas)
    return [Value(v, STATE) for v in of_all(*_arrays(given))]


def _with_origins(
    eqn: Equation, given: list[Value], made: list[Value], draws: ProductKeys
) -> list[Value]:
    """Return what is made of weights alone with its origin, if that is looked for."""
    origins = [value.origin for value in given if value.origin is not None]
    if draws.uses is None or not origins:
        return made
    name = eqn.primitive.name
    if name in MOVED:
        return [v._replace(origin=origins[0].view(name, eqn.params, i)) for i, v in enumerate(made)]
    if name == JOINED[0] and len(origins) == len(given):
        joined = origins[0].joined(origins[1:], eqn.params["dimension"])
        if joined is not None:
            return [made[0]._replace(origin=joined)]
    if name in SCALES:
        sizes = [prod(origin.root.shape) for origin in origins]
        if sizes.count(max(sizes)) == 1:
            return [made[0]._replace(origin=origins[sizes.index(max(sizes))])]
    parts = () if name.startswith((*SCALES, *OF_MANY)) else tuple(origins)
    root = draws.uses.root
    return [
        v._replace(origin=root(v.array.shape, v.varies, parts, is_mixed=_is_mixed(origins, v)))
        for v in made
    ]


def _is_mixed(origins: Sequence[WeightOrigin], value: Value) -> bool:
    """Tell whether a value has other entries in some steps, though it is that of several steps."""
    return any(scan not in value.varies for origin in origins for scan, _ in origin.scans)


def _arrays(values: Sequence[Value]) -> list[Any]:
    return [value.array for value in values]


# Products


def _drawn(eqn: Equation, given: list[Value], draws: ProductKeys) -> Array | None:
    """Return a draw of a product; None if there is none to draw."""
    primitive, kinds = eqn.primitive, [value.kind for value in given]
    if any(True for _ in core.jaxprs_in_params(eqn.params)):
        raise NoTwinError(
            f"expected products in plain code, in lax.scan or in lax.cond, got some in "
            f"{primitive.name}, which has no wide twin; write it as one of these"
        )
    if primitive is primitives.gather_p:
        return _looked_up(eqn, given, draws)
    if {*kinds[:2]} != {WEIGHT, STATE}:
        return None
    if any(jnp.issubdtype(v.dtype, jnp.complexfloating) for v in _arrays(given)):
        raise NoTwinError(
            "expected products of real numbers, got complex ones, which have no wide twin"
        )
    if primitive is primitives.dot_general_p:
        return _matrix_product(eqn, given, draws)
    if primitive.name.startswith(RAGGED) and _is_plain_ragged(eqn, kinds):
        return _ragged_product(eqn, given, draws)
    if primitive is primitives.conv_general_dilated_p:
        at = kinds.index(WEIGHT)

        def operator(x: Array, w: Array) -> Array:
            if at == 1 and is_by_channel(eqn.params, x, w):
                return by_channel(eqn.params, x, w)
            return bound(eqn, (w, x) if at == 0 else (x, w))[0]  # type: ignore[no-any-return]

        x, w = given[1 - at].array, given[at].array
        # Of W the axis of the units above, that of those below in a group, and those of places.
        above, below = eqn.params["dimension_numbers"].rhs_spec[:2]
        groups = eqn.params["feature_group_count"]

        def of_group() -> np.ndarray:
            group = units(w.shape, (above,))() // (w.shape[above] // groups)
            return np.asarray(group * w.shape[below] + units(w.shape, (below,))())

        key, shared = draws.of_weight(given[at], of_group, units(w.shape, (above,)))
        return _product(key, shared, operator, x, w, None, loops=True)
    raise NoTwinError(
        f"expected products that are matrix products, convolutions, look-ups or "
        f"lax.ragged_dot(state, weights, sizes), got another {primitive.name}, which has no wide "
        "twin; write it as one of these"
    )


def _matrix_product(eqn: Equation, given: list[Value], draws: ProductKeys) -> Array | None:
    """Return a draw of a `dot_general`; None if it sums over nothing, as a scale does."""
    at = 0 if given[0].kind == WEIGHT else 1
    sums, slices = eqn.params["dimension_numbers"]
    axes = ProductAxes(*map(tuple, (sums[1 - at], sums[at], slices[1 - at], slices[at])))
    if not axes.w:
        return None
    x, w = given[1 - at].array, given[at].array
    count, of_x, of_w = len(axes.w_slices), x.ndim - 1, w.ndim
    free_x, free_w = len(axes.free(of_x, of_w=False)), len(axes.free(of_w, of_w=True))

    # A draw has the axes of x in front of the units of W; a product with W on the left has them
    # behind, so that its axes are moved there for the draw, and back.
    def x_first(y: Array, lead: int) -> Array:
        """Move the units of W behind those of x."""
        order = [*range(lead), *range(lead + free_w, y.ndim), *range(lead, lead + free_w)]
        return jnp.transpose(y, order) if at == 0 else y

    def operator(x: Array, w: Array) -> Array:
        return x_first(bound(eqn, (w, x) if at == 0 else (x, w))[0], count)

    below = units(w.shape, (*axes.w, *axes.w_slices))
    above = units(w.shape, (*axes.free(of_w, of_w=True), *axes.w_slices))
    key, shared = draws.of_weight(given[at], below, above)
    y = _product(key, shared, operator, x, w, axes)
    if at == 1:
        return y
    lead = 1 + count
    order = [*range(lead), *range(lead + free_x, y.ndim), *range(lead, lead + free_x)]
    return jnp.transpose(y, order)


def _product(
    key: Array,
    shared: _Shared | None,
    operator: Operator,
    x: Array,
    w: Array,
    axes: ProductAxes | None,
    loops: bool = False,
    alone: bool = False,
) -> Array:
    if shared is not None:
        return shared_product(key, shared.places, operator, x, w, loops, shared.blocks)
    return product(key, operator, x, w, axes, loops, alone)


def _is_plain_ragged(eqn: Equation, kinds: list[int]) -> bool:
    """Tell whether a product is `lax.ragged_dot` of a state, (M, K), and weights, (G, K, N)."""
    numbers = eqn.params.get("ragged_dot_dimension_numbers")
    plain = numbers is None or (
        numbers.dot_dimension_numbers == (((1,), (1,)), ((), ()))
        and numbers.lhs_ragged_dimensions == numbers.rhs_group_dimensions == (0,)
    )
    return plain and len(kinds) == 3 and kinds[:2] == [STATE, WEIGHT]


def _ragged_product(eqn: Equation, given: list[Value], draws: ProductKeys) -> Array:
    """Return a draw of a product of each row with the matrix of its group."""
    # Rows that a replica has sorted by itself stand elsewhere in others, so that it takes its own.
    x, w, sizes = given

    def by_group(x: Array, sizes: Array) -> Array:  # (M, G, K), 0 in other groups
        ends, sizes = jnp.cumsum(sizes)[None], sizes[None]
        row = jnp.arange(len(x), dtype=sizes.dtype)[:, None]
        return jnp.where(((row >= ends - sizes) & (row < ends))[..., None], x[:, None], 0)

    def operator(x: Array, w: Array) -> Array:
        return jnp.einsum("mgk,gkn->mn", x, w)

    alone = sizes.kind == STATE
    below, above = units(w.array.shape, (0, 1)), units(w.array.shape, (0, 2))
    key, shared = draws.of_weight(w, below, above, alone=alone)
    grouped = jax.vmap(by_group)(x.array, draws.as_state(sizes))
    axes = None if alone else ProductAxes((1, 2), (0, 1), (), ())
    y = _product(key, shared, operator, grouped, w.array, axes, alone=alone)
    return y.astype(types_of(eqn.outvars)[0].dtype)


def _looked_up(eqn: Equation, given: list[Value], draws: ProductKeys) -> Array | None:
    """Return a draw of a look-up in a table; None if the table is no weight."""
    table, places = given
    if table.kind != WEIGHT:
        return None

    # Numbers of entries are looked up too, integers, which nan would not fill.
    of_numbers = eqn.replace(params={**eqn.params, "fill_value": None})

    def gather(table: Array, places: Array) -> Array:
        look_up = eqn if is_float(table) else of_numbers
        return bound(look_up, (table, places))[0]  # type: ignore[no-any-return]

    indexed, shape = eqn.params["dimension_numbers"].start_index_map, table.array.shape
    above = units(shape, [i for i in range(len(shape)) if i not in indexed])
    key, shared = draws.of_weight(table, units(shape, indexed), above, is_look_up=True)
    return looked_up(key, gather, table.array, draws.as_state(places), *(shared or ()))


# Programs within a program


def _kinds_of(f: Callable[..., list[Value]], values: Sequence[Value]) -> list[int]:
    """Return the kinds of what a function makes, without computing it."""
    kinds: list[int] = []

    def arrays_of(arrays: list[Any]) -> list[Any]:
        made = f([value._replace(array=v) for v, value in zip(arrays, values, strict=True)])
        kinds[:] = [value.kind for value in made]
        return _arrays(made)

    jax.eval_shape(arrays_of, _arrays(values))
    return kinds


def _scanned(eqn: Equation, given: list[Value], draws: ProductKeys) -> list[Value]:
    """Return what a scan makes."""
    # Weights that are the same in all steps are drawn once for all of them, as those that several
    # products share; others are drawn anew in each step.
    scan, level = scan_of(eqn), len(draws.steps) + 1
    consts, carries = given[: scan.consts], given[scan.consts : scan.consts + scan.carries]
    key, count = draws.next(), scan.carries
    path = (draws.count,)
    around = frozenset[int]().union(*(value.varies for value in given))
    carries = [v._replace(varies=around | {level}, origin=None) for v in carries]
    # Of a step's entries the steps are in front, of a state the replicas behind them.
    stacks = [_of_step(_swapped(v), level) for v in given[scan.consts + count :]]

    def step(values: Sequence[Value], i: Array | int) -> list[Value]:
        return evaluated(scan.body, values, draws.inside(fold_in(key, i), path, (i,)))

    first = [v._replace(array=jax.eval_shape(lambda v: v[0], v.array)) for v in stacks]
    while True:  # until every carry is of the kind that it comes out as
        kinds = _kinds_of(lambda values: step(values, 0), [*consts, *carries, *first])
        raised = [max(value.kind, kind) for value, kind in zip(carries, kinds, strict=False)]
        if raised == [value.kind for value in carries]:
            break
        carries = [draws.of_kind(*pair) for pair in zip(carries, raised, strict=True)]
    kinds = [*raised, *kinds[count:]]

    def body(
        carry: list[Array], entry: tuple[Array, list[Array]]
    ) -> tuple[list[Array], list[Array]]:
        i, entries = entry
        whole = [*carries, *stacks]
        inside = [v._replace(array=a) for v, a in zip(whole, [*carry, *entries], strict=True)]
        made = step([*consts, *inside], i)
        arrays = _arrays([draws.of_kind(*pair) for pair in zip(made, kinds, strict=True)])
        return arrays[:count], arrays[count:]

    entries = jnp.arange(scan.k), _arrays(stacks)
    carry, out = jax.lax.scan(body, _arrays(carries), entries, scan.k, scan.reverse)
    ends = [Value(v, kind, around) for v, kind in zip(carry, raised, strict=True)]
    of_steps = [Value(v, kind, around) for v, kind in zip(out, kinds[count:], strict=True)]
    return ends + list(map(_swapped, of_steps))


def _of_step(value: Value, level: int) -> Value:
    """Return what is of several steps with the origin of one."""
    origin = None if value.origin is None else value.origin.at_step(level)
    return value._replace(varies=value.varies | {level}, origin=origin)


def _swapped(value: Value) -> Value:
    """Return what is of several steps with the steps in front of replicas, or behind them."""
    if value.kind != STATE:
        return value
    return value._replace(array=jnp.moveaxis(value.array, 1, 0))


def _chosen(eqn: Equation, given: list[Value], draws: ProductKeys) -> list[Value]:
    """Return what a conditional makes: of a state that chooses, all branches, and one of each."""
    index, *operands = given
    key = draws.next()
    branches = [
        partial(_branch, closed, draws, fold_in(key, i), (draws.count, i))
        for i, closed in enumerate(eqn.params["branches"])
    ]
    varies = frozenset[int]().union(*(value.varies for value in given))
    of_each = [_kinds_of(branch, operands) for branch in branches]
    kinds = [max(of_output) for of_output in zip(*of_each, strict=True)]
    kinds = [STATE if index.kind == STATE else kind for kind in kinds]

    def alike(branch: Callable[..., list[Value]], *arrays: Array) -> list[Array]:
        made = branch([v._replace(array=a) for v, a in zip(operands, arrays, strict=True)])
        return _arrays([draws.of_kind(*pair) for pair in zip(made, kinds, strict=True)])

    functions = [partial(alike, branch) for branch in branches]
    if index.kind != STATE:
        chosen = jax.lax.switch(index.array, functions, *_arrays(operands))
    else:
        several = [f(*_arrays(operands)) for f in functions]
        places = jnp.clip(index.array.astype(jnp.int32), 0, len(functions) - 1)
        chosen = [
            jax.vmap(jax.lax.select_n)(places, *cases) for cases in zip(*several, strict=True)
        ]
    return [Value(v, kind, varies) for v, kind in zip(chosen, kinds, strict=True)]


def _branch(
    closed: Jaxpr, draws: ProductKeys, key: Array, path: tuple[int, ...], values: Sequence[Value]
) -> list[Value]:
    return evaluated(closed, values, draws.inside(key, path))

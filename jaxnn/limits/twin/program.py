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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.extend.core import primitives
from jaxtyping import Array

from ...adapters.program import CALLS, Step, scan_of
from ...errors import NoTwinError
from .draws import Axes, looked_up, product
from .noise import fold_in

# What a value is made of, the higher over the lower.
CONSTANT, WEIGHT, STATE = range(3)

WITH_RULES = ("custom_jvp_call", "custom_vjp_call")


class Value(NamedTuple):
    """An array, and what it is made of; a state has its replicas in front.

    fixed: whether it is the same in all steps of the scan that it is in.
    """

    array: Any
    kind: int
    fixed: bool = True


class Draws:
    """The random keys of the products of a program, in their order.

    key: of `noise.py`.
    replicas: R.
    scan: in a step of a scan its own key, which all steps share.
    """

    def __init__(self, key: Array, replicas: int, scan: Array | None = None) -> None:
        self.key, self.replicas, self.scan, self.count = key, replicas, scan, 0

    def next(self) -> Array:
        """Return the next key."""
        self.count += 1
        return fold_in(self.key, self.count)

    def of_weight(self, weight: "Value") -> tuple[Array, bool]:
        """Return the key of a product with a weight, and whether the steps of a scan share it."""
        key = self.next()
        if self.scan is None or not weight.fixed:
            return key, False
        return fold_in(self.scan, self.count), True

    def as_state(self, value: Value) -> Array:
        """Return an array for every replica."""
        array, kind, _ = value
        return array if kind == STATE else jnp.broadcast_to(array, (self.replicas, *array.shape))

    def of_kind(self, value: Value, kind: int) -> Value:
        """Return a value as one of a higher kind."""
        return Value(self.as_state(value) if kind == STATE else value.array, kind, value.fixed)


def evaluated(closed: Any, given: Sequence[Value], draws: Draws) -> list[Value]:
    """Run a program.

    Args:
        closed: its jaxpr.
        given: what goes into it.
        draws: the keys.

    Raises:
        NoTwinError: a product that cannot be drawn.
    """
    jaxpr = getattr(closed, "jaxpr", closed)
    constants = [Value(v, CONSTANT) for v in getattr(closed, "consts", ())]
    values: dict[Any, Value] = dict(zip(jaxpr.constvars, constants, strict=True))
    values |= dict(zip(jaxpr.invars, given, strict=True))

    def read(v: Any) -> Value:
        if isinstance(v, core.Literal):
            aval: Any = v.aval
            return Value(jnp.asarray(v.val, aval.dtype), CONSTANT)
        return values[v]

    for eqn in jaxpr.eqns:
        values.update(zip(eqn.outvars, _made(eqn, list(map(read, eqn.invars)), draws), strict=True))
    return list(map(read, jaxpr.outvars))


def _made(eqn: Any, given: list[Value], draws: Draws) -> list[Value]:
    """Return what an equation makes."""
    kinds = [value.kind for value in given]
    if STATE not in kinds:
        kind, fixed = max(kinds, default=CONSTANT), all(value.fixed for value in given)
        return [Value(v, kind, fixed) for v in _bound(eqn, *_arrays(given))]
    name = eqn.primitive.name
    if eqn.primitive in CALLS:
        return evaluated(eqn.params.get("jaxpr", eqn.params.get("call_jaxpr")), given, draws)
    if WEIGHT in kinds and Step(eqn, (), (), ()).products:
        if eqn.primitive is primitives.scan_p:
            return _scanned(eqn, given, draws)
        if eqn.primitive is primitives.cond_p:
            return _chosen(eqn, given, draws)
        if name in WITH_RULES:
            inner = eqn.params.get("call_jaxpr", eqn.params.get("fun_jaxpr"))
            return evaluated(inner, given, draws)
        drawn = _drawn(eqn, given, draws)
        if drawn is not None:
            return [Value(drawn, STATE)]
    axes = [0 if kind == STATE else None for kind in kinds]
    each = jax.vmap(partial(_bound, eqn), in_axes=axes, axis_size=draws.replicas)
    return [Value(v, STATE) for v in each(*_arrays(given))]


def _arrays(values: Sequence[Value]) -> list[Any]:
    return [value.array for value in values]


def _bound(eqn: Any, *arrays: Any) -> list[Any]:
    """Return the results of an equation; see `jaxnn.adapters.program.evaluated`."""
    primitive = eqn.primitive
    with eqn.ctx.manager:
        out = primitive.bind(*arrays, **primitive.get_bind_params(eqn.params))
    return list(out) if primitive.multiple_results else [out]


# Products


def _drawn(eqn: Any, given: list[Value], draws: Draws) -> Array | None:
    """Return a draw of a product; None if there is none to draw.

    Raises:
        NoTwinError: one that cannot be drawn.
    """
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
    if primitive.name.startswith("ragged_dot") and _is_plain_ragged(eqn, kinds):
        return _ragged_product(eqn, given, draws)
    if primitive is primitives.conv_general_dilated_p:
        at = kinds.index(WEIGHT)

        def operator(x: Array, w: Array) -> Array:
            return _bound(eqn, *((w, x) if at == 0 else (x, w)))[0]  # type: ignore[no-any-return]

        x, w = given[1 - at].array, given[at].array
        key, _ = draws.of_weight(given[at])
        return product(key, operator, x, w, None, loops=True)
    raise NoTwinError(
        f"expected products that are matrix products, convolutions, look-ups or "
        f"lax.ragged_dot(state, weights, sizes), got another {primitive.name}, which has no wide "
        "twin; write it as one of these"
    )


def _matrix_product(eqn: Any, given: list[Value], draws: Draws) -> Array | None:
    """Return a draw of a `dot_general`; None if it sums over nothing, as a scale does."""
    at = 0 if given[0].kind == WEIGHT else 1
    sums, slices = eqn.params["dimension_numbers"]
    axes = Axes(*map(tuple, (sums[1 - at], sums[at], slices[1 - at], slices[at])))
    if not axes.w:
        return None
    x, w = given[1 - at].array, given[at].array
    count, of_x, of_w = len(axes.w_slices), x.ndim - 1, w.ndim
    free_x, free_w = len(axes.free(of_x, of_w=False)), len(axes.free(of_w, of_w=True))

    def x_first(y: Array, lead: int) -> Array:
        """Move the units of W behind those of x."""
        order = [*range(lead), *range(lead + free_w, y.ndim), *range(lead, lead + free_w)]
        return jnp.transpose(y, order) if at == 0 else y

    def operator(x: Array, w: Array) -> Array:
        return x_first(_bound(eqn, *((w, x) if at == 0 else (x, w)))[0], count)

    key, shared = draws.of_weight(given[at])
    y = product(key, operator, x, w, None if shared else axes, loops=False)
    if at == 1:
        return y
    lead = 1 + count
    order = [*range(lead), *range(lead + free_x, y.ndim), *range(lead, lead + free_x)]
    return jnp.transpose(y, order)


def _is_plain_ragged(eqn: Any, kinds: list[int]) -> bool:
    """Tell whether a product is `lax.ragged_dot` of a state, (M, K), and weights, (G, K, N)."""
    numbers = eqn.params.get("ragged_dot_dimension_numbers")
    plain = numbers is None or (
        numbers.dot_dimension_numbers == (((1,), (1,)), ((), ()))
        and numbers.lhs_ragged_dimensions == numbers.rhs_group_dimensions == (0,)
    )
    return plain and len(kinds) == 3 and kinds[:2] == [STATE, WEIGHT]


def _ragged_product(eqn: Any, given: list[Value], draws: Draws) -> Array:
    """Return a draw of a product of each row with the matrix of its group.

    Rows that a replica has sorted by itself stand elsewhere in others, so that it takes its own.
    """
    x, w, sizes = given

    def by_group(x: Array, sizes: Array) -> Array:  # (M, G, K), 0 in other groups
        ends, sizes = jnp.cumsum(sizes)[None], sizes[None]
        row = jnp.arange(len(x), dtype=sizes.dtype)[:, None]
        return jnp.where(((row >= ends - sizes) & (row < ends))[..., None], x[:, None], 0)

    def operator(x: Array, w: Array) -> Array:
        return jnp.einsum("mgk,gkn->mn", x, w)

    key, shared = draws.of_weight(w)
    grouped = jax.vmap(by_group)(x.array, draws.as_state(sizes))
    alone = sizes.kind == STATE
    axes = None if shared or alone else Axes((1, 2), (0, 1), (), ())
    y = product(key, operator, grouped, w.array, axes, loops=False, alone=alone)
    return y.astype(eqn.outvars[0].aval.dtype)


def _looked_up(eqn: Any, given: list[Value], draws: Draws) -> Array | None:
    """Return a draw of a look-up in a table; None if the table is no weight."""
    table, places = given
    if table.kind != WEIGHT:
        return None

    def gather(table: Array, places: Any) -> Array:
        return _bound(eqn, table, places)[0]  # type: ignore[no-any-return]

    key, _ = draws.of_weight(table)
    return looked_up(key, gather, table.array, draws.as_state(places))


# Programs within a program


def _kinds_of(f: Callable[..., list[Value]], values: Sequence[Value]) -> list[int]:
    """Return the kinds of what a function makes, without computing it."""
    kinds: list[int] = []

    def of(arrays: list[Any]) -> list[Any]:
        made = f([value._replace(array=v) for v, value in zip(arrays, values, strict=True)])
        kinds[:] = [value.kind for value in made]
        return _arrays(made)

    jax.eval_shape(of, _arrays(values))
    return kinds


def _scanned(eqn: Any, given: list[Value], draws: Draws) -> list[Value]:
    """Return what a scan makes.

    Weights that are the same in all steps are drawn once for all of them, by mixture, since inputs
    of several steps may be alike; others are drawn anew in each step.
    """
    scan = scan_of(eqn)
    given = [value._replace(fixed=i < scan.consts) for i, value in enumerate(given)]
    consts, carries = given[: scan.consts], given[scan.consts : scan.consts + scan.carries]
    key, count = draws.next(), scan.carries
    # Of a step's entries the steps are in front, of a state the replicas behind them.
    stacks = [_swapped(value) for value in given[scan.consts + count :]]

    def step(values: Sequence[Value], i: Any) -> list[Value]:
        of_step = Draws(fold_in(fold_in(key, 0), i), draws.replicas, fold_in(key, 1))
        return evaluated(scan.body, values, of_step)

    first = [v._replace(array=jax.eval_shape(lambda v: v[0], v.array)) for v in stacks]
    while True:  # until every carry is of the kind that it comes out as
        kinds = _kinds_of(lambda values: step(values, 0), [*consts, *carries, *first])
        raised = [max(value.kind, kind) for value, kind in zip(carries, kinds, strict=False)]
        if raised == [value.kind for value in carries]:
            break
        carries = [draws.of_kind(*pair) for pair in zip(carries, raised, strict=True)]
    kinds = [*raised, *kinds[count:]]

    def body(carry: list[Any], entry: Any) -> tuple[list[Any], list[Any]]:
        i, entries = entry
        whole = [*carries, *stacks]
        own = [v._replace(array=a) for v, a in zip(whole, [*carry, *entries], strict=True)]
        made = step([*consts, *own], i)
        arrays = _arrays([draws.of_kind(*pair) for pair in zip(made, kinds, strict=True)])
        return arrays[:count], arrays[count:]

    entries = jnp.arange(scan.k), _arrays(stacks)
    carry, out = jax.lax.scan(body, _arrays(carries), entries, scan.k, scan.reverse)
    ends = [Value(v, kind) for v, kind in zip(carry, raised, strict=True)]
    of_steps = [Value(v, kind) for v, kind in zip(out, kinds[count:], strict=True)]
    return ends + list(map(_swapped, of_steps))


def _swapped(value: Value) -> Value:
    """Return what is of several steps with the steps in front of replicas, or behind them."""
    if value.kind != STATE:
        return value
    return value._replace(array=jnp.moveaxis(value.array, 1, 0))


def _chosen(eqn: Any, given: list[Value], draws: Draws) -> list[Value]:
    """Return what a conditional makes: of a state that chooses, all branches, and one of each."""
    index, *operands = given
    key = draws.next()
    branches = [
        partial(_branch, closed, fold_in(key, i), draws.replicas)
        for i, closed in enumerate(eqn.params["branches"])
    ]
    of_each = [_kinds_of(branch, operands) for branch in branches]
    kinds = [max(of_output) for of_output in zip(*of_each, strict=True)]
    kinds = [STATE if index.kind == STATE else kind for kind in kinds]

    def alike(branch: Callable[..., list[Value]], *arrays: Any) -> list[Any]:
        made = branch([v._replace(array=a) for v, a in zip(operands, arrays, strict=True)])
        return _arrays([draws.of_kind(*pair) for pair in zip(made, kinds, strict=True)])

    functions = [partial(alike, branch) for branch in branches]
    if index.kind != STATE:
        chosen = jax.lax.switch(index.array, functions, *_arrays(operands))
    else:
        several = [f(*_arrays(operands)) for f in functions]
        places = jnp.clip(index.array.astype(jnp.int32), 0, len(functions) - 1)
        chosen = [jax.vmap(_picked)(places, *cases) for cases in zip(*several, strict=True)]
    return [Value(v, kind) for v, kind in zip(chosen, kinds, strict=True)]


def _picked(i: Array, *cases: Array) -> Array:
    return jax.lax.select_n(i, *cases)


def _branch(closed: Any, key: Array, replicas: int, values: Sequence[Value]) -> list[Value]:
    return evaluated(closed, values, Draws(key, replicas))

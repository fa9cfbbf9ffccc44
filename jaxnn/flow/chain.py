"""Flow of a chain: the size of a gradient, and what is left of its examples, layer by layer.

    up      state[l] = f[l](params[l], state[l-1])
    down    Δstate[l-1], Δparams[l] = vjp of f[l] at state[l-1], of Δstate[l]

A cotangent is a list of arrays, those of the state's float leaves, times 2^e with one exponent e
for each array and example. After every layer the largest entry of each is brought into [1, 2). So
an array that passes a layer unchanged, such as a skip, takes no part in its vjp, however far the
sizes are apart.

Δparams sums over examples: for that sum their rows are brought to one common exponent. So they are
for Δstate where a layer lets examples meet, such as batch norm in training, or where their sizes
are alike: then one vjp gives both. Whether examples meet is tried: the vjp of a cotangent that is
zero for every second example is not zero for those. And whether the rule is linear: twice the
cotangent gives twice the result, unless something in it clips gradients.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..adapters.handover import Weights
from ..adapters.layers import (
    Chain,
    Link,
    Lowered,
    Pattern,
    as_one_example,
    check_examples,
    decoded,
    encoded,
)
from ..adapters.program import typed
from ..adapters.states import counted, streams, with_main_first
from ..arrays.compiled import compiled
from ..arrays.rows import (
    ZERO_EXPONENT,
    ScaledRows,
    alignment,
    as_reals,
    at_least_float32,
    by_rows,
    floats,
    in_bfloat16,
    is_float,
    is_narrow,
    largest_of,
    log_size,
    log_size_of_rows,
    log_size_together,
    power_of_two,
    renormalised,
    with_floats,
    with_largest,
)
from ..errors import NoTangentError
from ..network.params import Stacked, is_run
from ..passes.walk import AnySaved, Keep, Saved, down, up
from ..texts import label
from .examples import log_spread_within, rows_of
from .flow import Flow, FlowOptions, Parameters, Streams
from .loss import Loss, delta_of_loss
from .record import DeltaRecord, StateRecord, flow_of, in_order, log_tangents

# Of a cotangent, to try whether it gives that part of the result; less has no room in float8.
PART = 2.0**-3
TOLERANCE = 0.05  # between the two: wide enough for 16-bit floats, far less than clipping makes


# What travels in a chain are ScaledRows to the walk: going up their m is a state, a pytree; going
# down a list of the float leaves' Δ, (B, …) each, with a list of exponents (B,).


def arrays_of(delta: ScaledRows) -> list[ScaledRows]:
    """Return the Δ of each array of a state."""
    return [ScaledRows(m, e) for m, e in zip(delta.m, delta.e, strict=True)]


def together(arrays: list[ScaledRows]) -> ScaledRows:
    """Undo `arrays_of`."""
    return ScaledRows([v.m for v in arrays], [v.e for v in arrays])


def added(v: ScaledRows, w: ScaledRows) -> ScaledRows:
    """Return the sum, each row on the larger of the two exponents."""
    common = jnp.maximum(v.e, w.e)
    left, right = (by_rows(u.m, power_of_two(u.e - common, u.m)) for u in (v, w))
    return ScaledRows(left + right, common)


# One layer


class ChainStep(NamedTuple):
    """One layer on the way down: Δ of what came out, renormalised, Δparams and what came out."""

    delta: ScaledRows
    largest: list[Float[Array, " B"]]
    theta: ScaledRows  # one exponent for the sum over examples, or one for each array
    out: Any  # the state
    mixes: Array


@dataclass(frozen=True)
class ChainOp:
    """An entry of a chain as the walk uses it: up by its links, down by their `jax.vjp`."""

    pattern: Pattern

    @property
    def is_layer(self) -> bool:
        """True if it is recorded; a conversion between two states is not."""
        return not self.pattern.between

    def forward(self, layer: Weights, z: Any) -> tuple[Any, None]:
        """Return the state that comes out, as ScaledRows; save nothing."""
        state = z.m
        for link, arrays in zip(self.pattern.links, layer.arrays, strict=True):
            state = applied(link, arrays, state)
        return ScaledRows(state), None

    def down(self, layer: Weights, saved: Saved, delta: Any, keep: Keep) -> tuple[Any, Any]:
        """Return Δ of the state that went in, and what is recorded of each link."""
        states = self.states(layer, saved.z.m)
        records = []
        upwards = list(zip(self.pattern.links, layer.arrays, layer.mixes, states, strict=True))
        for link, arrays, mixes, state in reversed(upwards):
            delta, step = _pulled(link, arrays, mixes, state, delta)
            records += [keep(step)] if self.is_layer else []
        return delta, tuple(records[::-1])

    def states(self, layer: Weights, state: Any) -> list[Any]:
        """Return the state that goes into each link."""
        states = [state]
        for link, arrays in zip(self.pattern.links[:-1], layer.arrays, strict=False):
            states.append(applied(link, arrays, states[-1]))
        return states


def applied(link: Link, arrays: Any, state: Any) -> Any:
    """Call a layer; what goes wrong in it carries its name."""
    try:
        return link(arrays, state)
    except Exception as error:
        error.add_note(f"This is in layer {link.label} of the chain.")
        raise


class _Vjp(NamedTuple):
    """The reverse rule of one layer, at one state.

    out: the state that comes out.
    passed: for each float of it the number of the float that goes in and is it, unchanged; else
        None.
    made: the other floats.
    pull: Δ of those -> Δ of the parameters, and of the floats that go in.
    """

    out: Any
    passed: list[int | None]
    made: list[Array]
    pull: Callable[[list[Array]], Any]


def _vjp(link: Link, arrays: Any, state: Any) -> _Vjp:
    trained = [
        [v for v, t in zip(vs, ts, strict=True) if t] for vs, ts in _with_flags(link, arrays)
    ]
    passed: list[int | None] = []

    def of(trained: list[list[Array]], entering: list[Array]) -> tuple[list[Array], Any]:
        given = [iter(vs) for vs in trained]
        whole = [
            [next(it) if t else v for v, t in zip(vs, ts, strict=True)]
            for it, (vs, ts) in zip(given, _with_flags(link, arrays), strict=True)
        ]
        out = applied(link, whole, with_floats(state, entering))
        numbers = {id(v): i for i, v in enumerate(entering)}
        passed[:] = [numbers.get(id(v)) for v in floats(out)]
        return [v for v, i in zip(floats(out), passed, strict=True) if i is None], out

    with _named(link):
        made, pull, out = jax.vjp(of, trained, floats(state), has_aux=True)

    def named(delta: list[Array]) -> Any:
        with _named(link):
            return pull(delta)

    return _Vjp(out, passed, made, named)


@contextmanager
def _named(link: Link) -> Iterator[None]:
    """Say which layer cannot be differentiated backwards."""
    try:
        yield
    except ValueError as error:
        if "while_loop" not in str(error):
            raise
        raise ValueError(
            f"layer {link.label}: expected something that JAX can differentiate backwards, got a "
            "lax.while_loop or a loop whose length is data; use lax.scan"
        ) from None


def _with_flags(link: Link, arrays: Any) -> list[tuple[Any, Any]]:
    return list(zip(arrays, link.trained, strict=True))


def _pulled(
    link: Link, arrays: Any, mixes: Array, state: Any, delta: ScaledRows
) -> tuple[ScaledRows, ChainStep]:
    """Go down one link; delta is Δ of what came out of it."""
    vjp = _vjp(link, arrays, state)
    of_arrays = [with_largest(v) for v in arrays_of(delta)]
    deltas, largest = [v for v, _ in of_arrays], [most for _, most in of_arrays]
    made = [i for i, at in enumerate(vjp.passed) if at is None]
    pull = _at_once if len(made) == 1 else _one_by_one if made else _of_none
    theta, below = pull(vjp, [deltas[i] for i in made], [largest[i] for i in made], mixes)
    if len(made) < len(deltas):
        below = list(map(renormalised, below))
        for i, v in zip(vjp.passed, deltas, strict=True):
            if i is not None:
                below[i] = added(below[i], v)
    return together(below), ChainStep(together(deltas), largest, theta, vjp.out, mixes)


_Pulled = tuple[ScaledRows, list[ScaledRows]]  # Δparams, and Δ of what goes in


def _at_once(vjp: _Vjp, deltas: list[ScaledRows], largest: list[Array], mixes: Array) -> _Pulled:
    """Pull arrays that share their exponents."""
    m, e, most = [v.m for v in deltas], deltas[0].e, _most(largest)
    scale, common = alignment(e, at_least_float32(most))
    theta, aligned = vjp.pull(by_rows(m, scale))
    # One vjp less where examples are alike: a tenth of the time of a flow.
    one = mixes | jnp.all((scale >= _room(m)) | (most == 0))
    below = jax.lax.cond(one, lambda: aligned, lambda: vjp.pull(m)[1])
    exponent = jnp.where(one, jnp.full_like(e, common), e)
    return ScaledRows(list(map(as_reals, jax.tree.leaves(theta))), common), [
        ScaledRows(v, exponent) for v in below
    ]


def _most(values: list[Array]) -> Array:
    dtype = reduce(jnp.promote_types, (v.dtype for v in values))
    return reduce(jnp.maximum, (v.astype(dtype) for v in values))


def _one_by_one(vjp: _Vjp, deltas: list[ScaledRows], largest: list[Array], mixes: Array) -> _Pulled:
    """Pull several arrays together where their sizes allow it, else each with the others zero."""
    count = len(deltas)
    exponents = jnp.stack([v.e for v in deltas])
    joint = jnp.max(exponents, axis=0)
    near = [
        jnp.all((power_of_two(v.e - joint, size) >= _room([v.m])) | (size == 0))
        for v, size in zip(deltas, largest, strict=True)
    ]
    alike = jnp.all(jnp.stack(near))

    def part(i: Array) -> _Pulled:
        chosen = [alike | (i == j) for j in range(count)]
        e = jnp.where(alike, joint, exponents[i])
        scales = [
            jnp.where(choice, power_of_two(v.e - e, at_least_float32(size)), 0)
            for v, size, choice in zip(deltas, largest, chosen, strict=True)
        ]
        rows = [ScaledRows(by_rows(v.m, scale), e) for v, scale in zip(deltas, scales, strict=True)]
        sizes = [jnp.where(scale > 0, size, 0) for size, scale in zip(largest, scales, strict=True)]
        theta, below = _at_once(vjp, rows, sizes, mixes)
        zero = [jnp.all(v == 0) for v in theta.m]
        of_arrays = [jnp.where(is_zero, ZERO_EXPONENT, theta.e) for is_zero in zero]
        return ScaledRows(theta.m, of_arrays), list(map(renormalised, below))

    def more(i: Array, total: _Pulled) -> _Pulled:
        theta, below = part(i)
        parameters = zip(arrays_of(total[0]), arrays_of(theta), strict=True)
        whole = together([added(v, w) for v, w in parameters])
        return whole, [added(v, w) for v, w in zip(total[1], below, strict=True)]

    first = part(jnp.zeros((), jnp.int32))
    pulled: _Pulled = jax.lax.fori_loop(1, jnp.where(alike, 1, count), more, first)
    return pulled


def _of_none(vjp: _Vjp, deltas: list[ScaledRows], largest: list[Array], mixes: Array) -> _Pulled:
    """Return the zeros of a layer in which everything passes."""
    del deltas, largest, mixes
    theta, below = vjp.pull([])
    zero = jnp.zeros((), jnp.int32)
    rows = [ScaledRows(v, jnp.zeros(len(v), jnp.int32)) for v in below]
    return ScaledRows(list(map(as_reals, jax.tree.leaves(theta))), zero), rows


def _room(delta: list[Array]) -> float:
    """Return how small a row may be, next to the largest, to share its exponent; float32: 2^-7."""
    infos = [jnp.finfo(v.dtype) for v in delta]  # type: ignore[no-untyped-call]
    return 2.0 ** int(max(int(info.minexp) for info in infos) / 16)


def tried(link: Link, arrays: Any, state: Any) -> tuple[Array, Array]:
    """Return whether examples meet in a link, and whether its reverse rule is linear."""
    entering = floats(state)
    if not entering:
        return jnp.array(False), jnp.array(True)
    vjp = _vjp(link, arrays, state)
    if not vjp.made:
        return jnp.array(False), jnp.array(True)
    half = half_of(len(entering[0]))
    probe = [
        jnp.cos(jnp.arange(v.size, dtype=jnp.float32)).reshape(v.shape).astype(v.dtype)
        for v in vjp.made
    ]

    def pulled(sizes: Array) -> list[Array]:
        of_rows = jnp.where(half, sizes[0], sizes[1])
        below: list[Array] = vjp.pull([by_rows(v, of_rows) for v in probe])[1]
        return below

    # A loop: compiled once. Examples may meet in one direction alone, as where a batch norm is in
    # a branch that is dropped for some of them.
    sizes = jnp.array([[1, 0], [PART, 0], [0, 1]], jnp.float32)
    several = jax.lax.map(pulled, sizes)
    whole, part, other = ([at_least_float32(v[i]) for v in several] for i in range(3))
    mixes = jnp.any(jnp.where(half, largest_of(other), largest_of(whole)) > 0)
    off = largest_of([p / PART - w for p, w in zip(part, whole, strict=True)])
    # nan is no number, which the flow says, and no sign of clipping.
    return mixes, ~(jnp.max(off) > TOLERANCE * jnp.max(largest_of(whole)))


def half_of(count: int) -> Any:
    """Return half of the examples: those with an even number of ones in their binary number.

    Unlike every second one, this half holds no example's neighbours at any fixed distance.
    """
    ones = [i.bit_count() for i in range(count)]
    return np.equal(np.array(ones) % 2, 0)


# What is recorded


class _Kept(NamedTuple):
    """The record of a layer, in one dtype for all layers.

    main: Δ of the main stream; None in a network whose states have one each.
    """

    delta: DeltaRecord
    main: DeltaRecord | None
    log_theta: Float[Array, ""]
    state: StateRecord
    mixes: Array


class _KeptOfLayer(NamedTuple):
    """The record of a layer, with ln ‖Δ‖ of each parameter array and Δ of each stream."""

    kept: _Kept
    parameters: Float[Array, " p"]
    streams: DeltaRecord | None  # (s, B)


def _keep(dtype: Any, options: FlowOptions, several: bool, step: ChainStep) -> _KeptOfLayer:
    """Return what is kept of a layer, of a network with several streams or without."""
    exponents = (
        step.theta.e if isinstance(step.theta.e, list) else [step.theta.e] * len(step.theta.m)
    )
    logs = _log_sizes(step.theta.m, exponents, dtype)
    each = [
        DeltaRecord.of(
            v._replace(m=at_least_float32(v.m).astype(dtype)),
            largest.astype(dtype),
            options.formats,
        )
        for v, largest, counts in zip(
            arrays_of(step.delta), step.largest, counted(step.out), strict=True
        )
        if counts
    ]
    whole = DeltaRecord.together(each)
    main = each[0] if with_main_first(step.out) else whole
    kept = _Kept(
        whole,
        main if several else None,
        log_size_together([*logs]) if len(logs) else jnp.array(-jnp.inf, dtype),
        _record_of(step.out, dtype, options.examples),
        step.mixes,
    )
    streams = jax.tree.map(lambda *v: jnp.stack(v), *each) if several else None
    return _KeptOfLayer(kept, logs, streams)


def _record_of(state: Any, dtype: Any, examples: bool) -> StateRecord:
    """Return what is recorded of a state; of its main stream what differs between examples."""
    out = floats(streams(state))
    if not (examples and with_main_first(state)):
        return state_record(out, dtype, examples)
    of_main = state_record(out[:1], dtype, examples)
    return state_record(out, dtype, examples=False)._replace(examples=of_main.examples)


def _log_sizes(arrays: list[Array], exponents: list[Array], dtype: Any) -> Float[Array, " p"]:
    """Return ln of the norm of each array times 2^exponent."""
    rows = [
        ScaledRows(at_least_float32(v).astype(dtype), e)
        for v, e in zip(arrays, exponents, strict=True)
    ]
    logs = [log_size(renormalised(v)) for v in rows]
    return jnp.stack(logs) if logs else jnp.zeros(0, dtype)


def state_record(out: list[Array], dtype: Any, examples: bool) -> StateRecord:
    """Return what is recorded of a state, given its floats, and between its examples if asked."""
    rows = rows_of(ScaledRows(out), dtype)
    eps = max(float(jnp.finfo(v.dtype).eps) for v in out)  # type: ignore[no-untyped-call]
    z = renormalised(ScaledRows(rows, jnp.zeros((), jnp.int32)))  # as one row
    record = StateRecord.of(z, eps if examples else None)
    if examples:
        record.examples["log_spread_within"] = log_spread_within(out, dtype)
    return record


# The whole flow


def chain_flow(
    net: Chain,
    params: Any,
    xs: Any,
    ys: Any,
    cotangent: Any,
    loss: Loss | None,
    options: FlowOptions,
) -> Flow:
    """Return the flow of a chain; see `jaxnn.gradient_flow`, which calls it."""
    if (loss is None) == (cotangent is None):
        raise ValueError(
            "loss, cotangent: expected one of them for a chain, loss(output, ys) -> (B,) or a "
            "cotangent like the output, got both or none"
        )
    if net.whole:
        xs, cotangent = map(as_one_example, (xs, cotangent))
        loss = None if loss is None else _OfWhole(loss)
    check_examples(xs)
    for v in filter(is_narrow, jax.tree.leaves(xs)):
        raise ValueError(f"xs: expected {in_bfloat16(v)}")
    try:
        flow = _flow(net.for_batch(xs), params, xs, ys, cotangent, loss, options)
    except TypeError as error:  # where the program is compiled, which knows no layers
        if not options.tangent or "custom_vjp" not in str(error):
            raise
        raise NoTangentError(
            "tangent: expected layers that JAX can differentiate forwards, got one with a function "
            "of jax.custom_vjp, which has a reverse rule alone; measure without tangent"
        ) from None
    if not isinstance(flow.log_delta, jax.core.Tracer):
        _check_values(flow)
    return flow


@dataclass(frozen=True)
class _OfWhole:
    """The loss of an output that has no examples; of several numbers the mean."""

    loss: Any

    def __call__(self, output: Any, ys: Any) -> Any:
        losses = self.loss(jax.tree.map(lambda v: v[0], output), ys)
        return jnp.mean(losses) if is_float(losses) else losses


def _check_values(flow: Flow) -> None:
    broken = np.flatnonzero(~np.asarray(flow.linear))
    if len(broken):
        raise ValueError(
            f"layer {label(int(broken[-1]) + 1, flow.names[broken[-1]])}: its reverse rule is not "
            "linear, half of a cotangent does not give half of the result, as where gradients are "
            "clipped; take that out to measure the flow"
        )


@compiled
def _flow(
    net: Lowered,
    params: Any,
    xs: Any,
    ys: Any,
    cotangent: Any,
    loss: Any,
    options: FlowOptions,
) -> Flow:
    x = encoded(jax.tree.map(jnp.asarray, xs))
    ways, layers, shapes = _unrolled(net, params, x)
    dtypes = [v.dtype for state in shapes for v in floats(state)]
    several = any(map(with_main_first, shapes))
    dtype = jnp.dtype(jnp.float64 if any(d.itemsize == 8 for d in dtypes) else jnp.float32)
    walked, entering = _Ops(tuple(ways)), ScaledRows(x)
    top, saved = up(walked, tuple(layers), entering, None, options.memory)
    tries = [_tried(w, p, z) for w, p, z in zip(ways, layers, saved, strict=True)]
    layers = [layer for layer, _ in tries]
    delta = _delta_of(top.m, ys, cotangent, loss)
    keep = partial(_keep, dtype, options, several)
    bottom, records = down(walked, tuple(layers), saved, delta, keep)
    kept: _Kept = in_order(layers, [[each.kept for each in record] for record in records])
    fields: dict[str, Any] = kept.delta.fields() | kept.state.fields()
    if kept.main is not None:
        of_main = kept.main.fields()
        fields["log_largest"] = of_main["log_largest"]
        fields["streams"] = _streams(layers, shapes, records)
    if options.tangent:
        fields["log_tangent"] = log_tangents(walked, layers, entering, _forwards, dtype)
    return flow_of(
        fields | {"log_theta": kept.log_theta},
        smallest_of(dtypes),
        log_main=None if kept.main is None else of_main["log_delta"],
        log_delta_input=_log_of_input(bottom, dtype),
        mixes=kept.mixes,
        linear=jnp.concatenate(
            [linear for way, (_, linear) in zip(ways, tries, strict=True) if way.is_layer]
        ),
        parameters=_parameters(net, ways, layers, records, dtype),
        names=net.names,
        closed=net.closed,
        sizes=tuple(sum(v.size // len(v) for v in floats(streams(s))) for s in shapes),
    )


def _streams(layers: list[Any], shapes: list[Any], records: list[Any]) -> Streams:
    """Return the sizes of Δ of all arrays that go from layer to layer."""
    by_layer: list[DeltaRecord] = []
    for layer, record in zip(layers, records, strict=True):
        each = [kept.streams for kept in record]
        for j in range(layer.k) if is_run(layer) else [None]:
            by_layer += each if j is None else [jax.tree.map(lambda v, j=j: v[j], s) for s in each]
    whole: DeltaRecord = jax.tree.map(lambda *v: jnp.concatenate(v), *by_layer)
    arrays = [floats(streams(state)) for state in shapes]
    return Streams(
        whole.fields()["log_delta"],
        tuple(f"{v.dtype}{list(v.shape[1:])}" for vs in arrays for v in vs),
        tuple(number for number, vs in enumerate(arrays, 1) for _ in vs),
    )


def _parameters(
    net: Lowered, ways: list[ChainOp], layers: list[Any], records: list[Any], dtype: Any
) -> Parameters:
    """Return the sizes of all parameter arrays and of their Δ, layer by layer."""
    logs, sizes = [], []
    shapes: list[list[Any]] = []  # of each layer; None of an array that is no parameter
    for way, layer, record in zip(ways, layers, records, strict=True):
        if not way.is_layer:
            continue
        links = way.pattern.links
        logs.append(jnp.concatenate([each.parameters for each in record], axis=-1).ravel())
        sizes.append(_log_norms(links, layer, dtype).ravel())
        one = layer.at(0) if is_run(layer) else layer
        of_links = [_shapes_of(*pair) for pair in zip(links, one.arrays, strict=True)]
        shapes += of_links * (layer.k if is_run(layer) else 1)
    arrays = [
        (number, path, shape)
        for number, (paths, of_layer) in enumerate(zip(net.paths, shapes, strict=True), 1)
        for path, shape in zip(paths, of_layer, strict=True)
        if shape is not None
    ]
    numbers, paths, kept = zip(*arrays, strict=True) if arrays else ((), (), ())
    return Parameters(jnp.concatenate(logs), jnp.concatenate(sizes), paths, numbers, kept)


def _shapes_of(link: Link, parts: Any) -> list[Any]:
    """Return the shapes of a layer's arrays, None of those that are no parameters."""
    return [
        v.shape if trained else None
        for part, flags in _with_flags(link, parts)
        for v, trained in zip(part, flags, strict=True)
    ]


def _log_norms(links: tuple[Link, ...], layer: Any, dtype: Any) -> Float[Array, "*k p"]:
    """Return ln of the norms of a layer's parameter arrays; of a run (k, p)."""

    def of(weights: Weights) -> Array:
        arrays = [
            as_reals(v)
            for link, parts in zip(links, weights.arrays, strict=True)
            for part, flags in _with_flags(link, parts)
            for v, trained in zip(part, flags, strict=True)
            if trained
        ]
        return _log_sizes(arrays, [jnp.zeros((), jnp.int32)] * len(arrays), dtype)

    if not is_run(layer):
        return of(layer)
    if not any(flag for link in links for part in link.trained for flag in part):
        return jnp.zeros((layer.k, 0), dtype)

    def each(own: Any) -> Array:
        return of(layer.rebuild(own, layer.shared))

    logs: Array = jax.vmap(each, axis_size=layer.k)(layer.per_layer)
    return logs


def _forwards(way: ChainOp, layer: Weights) -> list[Callable[[ScaledRows], ScaledRows]]:
    """Return the functions of the links."""

    def forward(link: Link, arrays: Any, z: ScaledRows) -> ScaledRows:
        return ScaledRows(applied(link, arrays, z.m))

    links = zip(way.pattern.links, layer.arrays, strict=True)
    return [partial(forward, link, arrays) for link, arrays in links]


class _Ops(NamedTuple):
    """A chain as the walk takes it."""

    kinds: tuple[ChainOp, ...]


def smallest_of(dtypes: list[Any]) -> Any:
    """Return the float type with the smallest range."""
    return min(dtypes, key=lambda d: float(jnp.finfo(d).maxexp))  # type: ignore[no-untyped-call]


def _log_of_input(delta: ScaledRows, dtype: Any) -> Float[Array, ""]:
    """Return ln of the norm of Δx; nan without floats."""
    logs = [log_size_of_rows(v).astype(dtype) for v in arrays_of(delta)]
    return log_size_together(logs) if logs else jnp.array(jnp.nan, dtype)


def _delta_of(state: Any, ys: Any, cotangent: Any, loss: Any) -> ScaledRows:
    """Return Δ of the output, of the mean loss or as it is given."""
    out = floats(state)
    count = len(out[0])
    if loss is None:
        given = floats(jax.tree.map(jnp.asarray, cotangent))
        if [v.shape for v in given] != [v.shape for v in out]:
            raise ValueError(
                f"cotangent: expected the shapes of the output, {typed(out)}, got {typed(given)}"
            )
        m = [v.astype(o.dtype) for v, o in zip(given, out, strict=True)]
        return ScaledRows(m, [jnp.zeros(count, jnp.int32)] * len(m))

    delta = delta_of_loss(loss, ys, lambda top: decoded(with_floats(state, top)), out)
    return ScaledRows(delta, [jnp.zeros(count, jnp.int32)] * len(delta))


def _unrolled(net: Lowered, params: Any, x: Any) -> tuple[list[ChainOp], list[Any], list[Any]]:
    """Return ways and parameters, with runs that change their shapes taken apart; and the states.

    Raises:
        ValueError: a state that does not fit, with the name of the layer.
    """
    ways: list[ChainOp] = []
    layers: list[Any] = []
    shapes: list[Any] = []
    state = jax.eval_shape(lambda x: x, x)
    count = len(jax.tree.leaves(state)[0])
    for kind, k, given, entry in zip(net.kinds, net.lengths, net.given, params, strict=True):
        way = ChainOp(kind)
        entries = [entry]
        if k:
            after = _states(way, entry.at(0), state, count)[-1]
            if _types(after) != _types(state):
                if given:
                    raise ValueError(
                        f"layer {kind.links[0].label}: expected a run to keep the shapes and "
                        f"dtypes of its state, got {typed(state)} -> {typed(after)}"
                    )
                entries = [entry.at(j) for j in range(k)]
        for part in entries:
            one = part.at(0) if is_run(part) else part
            after = _states(way, one, state, count)
            shapes += after * (k if is_run(part) else 1) if way.is_layer else []
            state = after[-1]
            ways.append(way)
            layers.append(part)
    return ways, layers, shapes


def _states(way: ChainOp, layer: Weights, state: Any, count: int) -> list[Any]:
    """Return the types of the states that come out of the links."""
    states = []
    for link, arrays in zip(way.pattern.links, layer.arrays, strict=True):
        for part, flags in _with_flags(link, arrays):
            for v, trained in zip(part, flags, strict=True):
                if trained and is_narrow(v):
                    raise ValueError(f"layer {link.label}: expected parameters of {in_bfloat16(v)}")
        state = jax.eval_shape(partial(applied, link), arrays, state)
        for v in jax.tree.leaves(state):
            if jnp.issubdtype(v.dtype, jnp.complexfloating):
                raise ValueError(
                    f"layer {link.label}: expected real numbers, got {v.dtype}; carry the real and "
                    "the imaginary part as two arrays"
                )
        for v in floats(state):
            if is_narrow(v):
                raise ValueError(
                    f"layer {link.label}: expected a state of {in_bfloat16(v)}, at the end of the "
                    "layer; inside of it such numbers are no matter"
                )
            if not v.ndim or v.shape[0] != count:
                raise ValueError(
                    f"layer {link.label}: expected every float array of its state to have the "
                    f"{count} examples first, got shape {v.shape}; hand over what examples share "
                    "as parameters"
                )
        if not floats(state):
            raise ValueError(f"layer {link.label}: expected a state with floats, got none")
        states.append(state)
    return states


def _types(state: Any) -> Any:
    return jax.tree.structure(state), [(v.shape, v.dtype) for v in jax.tree.leaves(state)]


def _tried(way: ChainOp, layer: Any, kept: AnySaved) -> tuple[Any, Array]:
    """Return a layer that knows where its examples meet, and whether its rules are linear."""
    z = kept.z if isinstance(kept, Saved) else kept.starts

    def of(one: Weights, state: Any) -> tuple[Array, Array]:
        links = zip(way.pattern.links, one.arrays, way.states(one, state), strict=True)
        mixes, linear = zip(*(tried(*link) for link in links), strict=True)
        return jnp.stack(mixes), jnp.stack(linear)

    if not is_run(layer):
        mixes, linear = of(layer, z.m)
        return Weights(layer.arrays, mixes), linear
    state = jax.tree.map(lambda v: v[0], z.m)
    if all(jnp.issubdtype(v.dtype, jnp.inexact) for v in jax.tree.leaves(layer.per_layer)):
        mixes, linear = of(_average(layer), state)
    else:  # integers, such as numbers of layers or keys, have no average: every layer is tried
        mixes, linear = jax.lax.map(lambda j: of(layer.at(j), state), jnp.arange(layer.k))
        mixes, linear = jnp.any(mixes, axis=0), jnp.all(linear, axis=0)
    known = Stacked(layer.per_layer, (layer.shared, mixes), partial(_known, layer.rebuild), layer.k)
    return known, jnp.tile(linear, layer.k)


def _average(run: Stacked) -> Any:
    """Return the parameters of a layer that does whatever some layer of a run does.

    In one of them alone a branch may count nothing, as behind a gate that is 0. The weights of the
    average differ, so that gates of 1 and -1 do not cancel; they are above 0, as variances are.
    """
    weights = 1 + 0.5 * np.cos(np.arange(run.k))
    weights /= weights.sum()

    def of(v: Array) -> Array:
        wide = v.dtype if v.dtype.itemsize >= 4 else jnp.dtype(jnp.float32)
        return jnp.tensordot(jnp.asarray(weights, wide), v.astype(wide), 1).astype(v.dtype)

    return run.rebuild(jax.tree.map(of, run.per_layer), run.shared)


def _known(rebuild: Callable[[Any, Any], Weights], per_layer: Any, shared: Any) -> Weights:
    rest, mixes = shared
    return rebuild(per_layer, rest)._replace(mixes=mixes)

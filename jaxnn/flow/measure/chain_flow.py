"""Flow of a chain: the size of a gradient, and what is left of its examples, layer by layer.

    up      state[l] = f[l](params[l], state[l-1])
    down    Δstate[l-1], Δparams[l] = vjp of f[l] at state[l-1], of Δstate[l]

How one layer goes up and down stands in `layer_vjp.py`; here is what is recorded of it, and the
Flow.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...arrays.compiled import compiled
from ...arrays.rows import (
    FEW,
    ScaledRows,
    at_least_float32,
    floats,
    in_bfloat16,
    is_float,
    is_narrow,
    log_size_of,
    log_size_of_rows,
    log_size_together,
    with_floats,
)
from ...chain.chain import (
    Chain,
    Link,
    Lowered,
    Pattern,
    as_one_example,
    check_examples,
    decoded,
    encoded,
)
from ...chain.parameter_handover import Weights
from ...chain.state import counted, streams, types_of, with_main_first
from ...errors import NoTangentError
from ...jaxpr.program import typed
from ...network.params import Stacked, is_run
from ...passes.walk import down, up
from ...recognition.anatomy import Anatomy
from ...recognition.skips import log_branch
from ...texts import label
from ..formats.entries import Entries, entries_of, sorted_entries
from ..record.flow import Flow, FlowOptions, Streams
from ..record.given import Given
from ..record.heads import OfEntry, Recognised, joined, recognised_of, unread_notes
from ..record.layer_record import DeltaRecord, StateRecord, flow_of, in_order, log_tangents
from ..record.loss import Loss, OfLoss, delta_of_loss
from ..record.positions import Positions, count_of
from ..record.rows import as_rows, rows_of_arrays
from ..record.state_record import (
    OfState,
    Small,
    are_together,
    is_small,
    record_of,
    records_of_small,
    rows_of_state,
)
from .layer_vjp import ChainOp, ChainStep, applied, arrays_of, with_flags, with_mixes
from .parameter_sizes import log_sizes_of, log_thetas, parameters_of

# What is recorded


class _Kept(NamedTuple):
    """The record of a layer, in one dtype for all layers.

    main: Δ of the main stream; None in a network whose states have one each.
    """

    delta: DeltaRecord
    main: DeltaRecord | None
    mixes: Array


class _KeptOfLayer(NamedTuple):
    """The record of a layer, with Δ of each parameter array and of each stream, and more.

    of_state: what is recorded of the state; the state itself of one that is left for the end.
    parameters: ln ‖Δ‖ of each array; Δ itself of one that is measured together with others.
    entries: of all arrays, see `_entries_of_step`, if asked for.
    log_branch: ln of what is added to a stream, relative to it; nan without a skip connection.
    """

    kept: _Kept
    of_state: OfState | Small
    parameters: list[Any]
    streams: DeltaRecord | None  # (s, B)
    recognised: Recognised
    entries: Entries | None
    log_branch: Array


def _keep(
    dtype: Any, options: FlowOptions, several: bool, together: bool, step: ChainStep
) -> _KeptOfLayer:
    """Return what is kept of a layer, of a network with several streams or without.

    Small states are left for the end if they are recorded together.
    """
    exponents = (
        step.theta.e if isinstance(step.theta.e, list) else [step.theta.e] * len(step.theta.m)
    )
    theta = as_rows(step.theta.m, exponents, dtype)
    logs = [log_size_of(v) if v.m.size > FEW or not step.is_alone else v for v in theta]
    deltas = [
        (v._replace(m=at_least_float32(v.m).astype(dtype)), largest.astype(dtype))
        for v, largest, counts in zip(
            arrays_of(step.delta), step.largest, counted(step.out), strict=True
        )
        if counts
    ]
    each = [DeltaRecord.of(v, largest) for v, largest in deltas]
    whole = DeltaRecord.together(each)
    main = each[0] if with_main_first(step.out) else whole
    kept = _Kept(
        whole,
        main if several else None,
        jnp.array(True) if step.mixes is None else step.mixes,
    )
    streams = jax.tree.map(lambda *v: jnp.stack(v), *each) if several else None
    recognised = Recognised.of(step.recognised, dtype)
    entries = None
    if options.formats:
        entries = _entries_of_step([v for v, _ in deltas], step, theta, dtype)
    delta = arrays_of(step.delta)[0]
    of_state: OfState | Small = (
        Small(step.out, delta)
        if together and step.is_alone and is_small(step.out)
        else record_of(step.out, delta, dtype, options)
    )
    branch = jnp.array(jnp.nan, dtype)
    if step.skip is not None:
        branch = log_branch(*step.skip, step.out, dtype)
    return _KeptOfLayer(kept, of_state, logs, streams, recognised, entries, branch)


def _entries_of_step(
    deltas: list[ScaledRows], step: ChainStep, theta: list[ScaledRows], dtype: Any
) -> Entries:
    """Return the entries of Δ of the arrays of a state, of these, of Δ of parameters and these."""
    states = rows_of_state(floats(streams(step.out)), dtype)
    return entries_of([*deltas, *states, *theta, *rows_of_arrays(step.trained, dtype)])


def _with_small(records: list[Any], dtype: Any, examples: bool) -> list[Any]:
    """Return the records of all entries, with those of the states that were left for the end."""
    small = [each.of_state for record in records for each in record]
    left = [of for of in small if isinstance(of, Small)]
    found = iter(records_of_small(left, dtype, examples))

    def recorded(each: _KeptOfLayer) -> _KeptOfLayer:
        of = next(found) if isinstance(each.of_state, Small) else each.of_state
        return each._replace(of_state=of)

    return [[recorded(each) for each in record] for record in records]


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
    _check_params(net, params)
    if net.whole:
        xs, cotangent = map(as_one_example, (xs, cotangent))
        loss = None if loss is None else _OfWhole(loss)
    check_examples(xs)
    for v in filter(is_narrow, jax.tree.leaves(xs)):
        raise ValueError(f"xs: expected {in_bfloat16(v)}")
    lowered = net.for_batch(xs)
    if net.replicas:
        options = options._replace(replicas=net.replicas)
        params, xs, cotangent = map(_without_derivative, (params, xs, cotangent))
        xs, cotangent = (_replicated(tree, net.replicas) for tree in (xs, cotangent))
        loss = None if loss is None else _OfReplicas(loss)
    try:
        flow = _flow(lowered, params, xs, ys, cotangent, loss, options)
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


def _check_params(net: Chain, params: Any) -> None:
    """Raise unless parameters are a chain's, not the user's pytree that they are made of."""
    kinds = [Stacked if k else Weights for k in net.lengths]
    if isinstance(params, tuple | list) and list(map(type, params)) == kinds:
        return
    raise ValueError(
        "params: expected the chain's parameters, as jaxnn.from_function, jaxnn.from_layers and "
        f"net.params return them, got {type(params).__name__} of something else; of the pytree "
        "that the chain was made of hand over net.params(pytree)"
    )


@dataclass(frozen=True)
class _OfWhole:
    """The loss of an output that has no examples; of several numbers the mean."""

    loss: Any

    def __call__(self, output: Any, ys: Any) -> Any:
        losses = self.loss(jax.tree.map(lambda v: v[0], output), ys)
        return jnp.mean(losses) if is_float(losses) else losses


@dataclass(frozen=True)
class _OfReplicas:
    """The loss of the outputs of a wide twin, (B, R, …): a sum, so that Δ of each is its own."""

    loss: Any

    def __call__(self, output: Any, ys: Any) -> Any:
        losses = jax.vmap(self.loss, in_axes=(1, None))(output, ys)
        return jnp.sum(losses, axis=0) if is_float(losses) else losses


def _without_derivative(tree: Any) -> Any:
    """Return what goes into a twin, with floats of which the flow is not differentiated."""
    return jax.tree.map(lambda v: _not_differentiated(v) if is_float(v) else v, tree)


@jax.custom_jvp
def _not_differentiated(v: Array) -> Array:
    return v


@_not_differentiated.defjvp
def _refuse(primals: Any, tangents: Any) -> Any:
    """Refuse to differentiate: the reverse rule of a draw is theory, not its derivative."""
    raise ValueError(
        "the flow of a wide twin, as theory=True measures it, has no derivative: its backward pass "
        "has draws of its own; with one key it is a smooth function of its parameters, so take "
        "finite differences, or differentiate a formula of jaxnn.theory.meanfield"
    )


def _replicated(tree: Any, count: int) -> Any:
    """Return arrays with their examples once for every replica, (B, R, …)."""

    def of(v: Any) -> Any:
        v = jnp.asarray(v)
        return jnp.broadcast_to(v[:, None], (len(v), count, *v.shape[1:]))

    return jax.tree.map(of, tree)


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
    handed = {"xs": xs, "ys": ys, "cotangent": cotangent}
    ways, layers, shapes = _unrolled(net, params, x)
    dtypes = [v.dtype for state in shapes for v in floats(state)]
    several = any(map(with_main_first, shapes))
    dtype = jnp.dtype(jnp.float64 if any(d.itemsize == 8 for d in dtypes) else jnp.float32)
    walked, entering = _Ops(tuple(ways)), ScaledRows(x)
    top, saved = up(walked, tuple(layers), entering, None, options.memory)
    if options.replicas:  # it is as in the real network, and not tried
        counts = [len(w.pattern.links) * _times(p) for w, p in zip(ways, layers, strict=True)]
        tries = [(p, jnp.ones(n, bool)) for p, n in zip(layers, counts, strict=True)]
    else:
        tries = [with_mixes(w, p, z) for w, p, z in zip(ways, layers, saved, strict=True)]
    layers = [layer for layer, _ in tries]
    of_loss, delta = _delta_of(top.m, ys, cotangent, loss)
    alone = [
        state for state, is_alone in zip(shapes, _are_alone(ways, layers), strict=True) if is_alone
    ]
    keep = partial(_keep, dtype, options, several, are_together(alone, options))
    bottom, records = down(walked, tuple(layers), saved, delta, keep)
    records = _with_small(records, dtype, options.examples)
    kept: _Kept = in_order(layers, [[each.kept for each in record] for record in records])
    state: StateRecord = in_order(
        layers, [[each.of_state.state for each in record] for record in records]
    )
    of_delta, of_values = log_sizes_of(ways, layers, records, dtype)
    log_theta = in_order(
        layers, [log_thetas(*of, dtype) for of in zip(layers, of_delta, strict=True)]
    )
    fields: dict[str, Any] = kept.delta.fields() | state.fields()
    if kept.main is not None:
        of_main = kept.main.fields()
        fields["log_largest"] = of_main["log_largest"]
        fields["streams"] = _streams(layers, shapes, records)
    fields |= recognised_of(
        [
            OfEntry(
                layer.k if is_run(layer) else 1,
                way.anatomies,
                [each.recognised for each in record],
            )
            for way, layer, record in zip(ways, layers, records, strict=True)
            if way.is_layer
        ],
        net.paths,
    )
    if any(anatomy.skip for way in ways if way.is_layer for anatomy in way.anatomies):
        fields["log_branch"] = in_order(
            layers, [[each.log_branch for each in record] for record in records]
        )
    by_position = joined(
        [[v for each in record for v in each.of_state.positions] for record in records]
    )
    if by_position is not None:
        fields["positions"] = Positions(
            **by_position._asdict(), counts=tuple(map(count_of, shapes))
        )
    parameters = parameters_of(net, ways, layers, of_delta, of_values, dtype)
    entries = None
    if options.formats:
        arrays = Counter(parameters.layers)
        entries = sorted_entries(
            layers,
            [[each.entries for each in record] for record in records],
            [len(floats(streams(state))) for state in shapes],
            [arrays[number] for number in range(1, len(shapes) + 1)],
        )
    if options.tangent:
        fields["log_tangent"] = log_tangents(walked, layers, entering, _forwards, dtype)
    anatomies = (
        anatomy
        for way, layer in zip(ways, layers, strict=True)
        if way.is_layer
        for anatomy in way.anatomies * _times(layer)
    )
    unread = [(i, name) for i, anatomy in enumerate(anatomies, 1) for name in anatomy.unread]
    flow = flow_of(
        fields | {"log_theta": log_theta},
        smallest_of(dtypes),
        log_main=None if kept.main is None else of_main["log_delta"],
        log_delta_input=_log_of_input(bottom, dtype),
        mixes=kept.mixes,
        linear=jnp.concatenate(
            [linear for way, (_, linear) in zip(ways, tries, strict=True) if way.is_layer]
        ),
        parameters=parameters,
        entries=entries,
        names=net.names,
        closed=net.closed,
        given=None if options.replicas else Given.of(handed, of_loss),
        notes=unread_notes(unread),
        sizes=tuple(sum(v.size // len(v) for v in floats(streams(s))) for s in shapes),
    )
    return _of_one_replica(flow, options.replicas) if options.replicas else flow


def _are_alone(ways: list[ChainOp], layers: list[Any]) -> list[bool]:
    """Return for each layer whether it is in no run."""
    return [
        not is_run(layer)
        for way, layer in zip(ways, layers, strict=True)
        for _ in range(way.is_layer * len(way.pattern.links) * _times(layer))
    ]


def _times(layer: Any) -> int:
    """Return how often the links of an entry are repeated."""
    return layer.k if is_run(layer) else 1


def _of_one_replica(flow: Flow, count: int) -> Flow:
    """Return the root mean square over replicas of what is summed over them."""

    def of(log: Any) -> Any:
        return log - 0.5 * np.log(count).astype(log.dtype)

    several = flow.streams
    return replace(
        flow,
        log_delta=of(flow.log_delta),
        log_delta_example=of(flow.log_delta_example),
        log_delta_input=of(flow.log_delta_input),
        log_theta=of(flow.log_theta),
        parameters=replace(flow.parameters, log_delta=of(flow.parameters.log_delta)),
        streams=None if several is None else replace(several, log_delta=of(several.log_delta)),
        sizes=tuple(size // count for size in flow.sizes),
        replicas=count,
    )


def _streams(layers: list[Any], shapes: list[Any], records: list[Any]) -> Streams:
    """Return the sizes of Δ of all arrays that go from layer to layer."""
    by_entry: list[DeltaRecord] = []
    for layer, record in zip(layers, records, strict=True):
        axis = 1 if is_run(layer) else 0  # behind that of the layers
        of_links = [kept.streams for kept in record]
        if of_links:  # of layers, not what is between them
            by_entry.append(jax.tree.map(lambda *v, axis=axis: _in_a_row(v, axis), *of_links))
    whole: DeltaRecord = jax.tree.map(lambda *v: jnp.concatenate(v), *by_entry)
    arrays = [floats(streams(state)) for state in shapes]
    return Streams(
        whole.fields()["log_delta"],
        tuple(f"{v.dtype}{list(v.shape[1:])}" for vs in arrays for v in vs),
        tuple(number for number, vs in enumerate(arrays, 1) for _ in vs),
    )


def _in_a_row(values: tuple[Array, ...], axis: int) -> Array:
    """Return the arrays of links one after the other, of a run those of its first layer first."""
    together = jnp.concatenate(values, axis)
    return together.reshape(-1, *together.shape[axis + 1 :])


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


def _delta_of(state: Any, ys: Any, cotangent: Any, loss: Any) -> tuple[OfLoss | None, ScaledRows]:
    """Return what is known of the loss and Δ of the output; None and a cotangent if it is given."""
    out = floats(state)
    count = len(out[0])
    if loss is None:
        given = floats(jax.tree.map(jnp.asarray, cotangent))
        if [v.shape for v in given] != [v.shape for v in out]:
            raise ValueError(
                f"cotangent: expected the shapes of the output, {typed(out)}, got {typed(given)}"
            )
        m = [v.astype(o.dtype) for v, o in zip(given, out, strict=True)]
        return None, ScaledRows(m, [jnp.zeros(count, jnp.int32)] * len(m))

    found = delta_of_loss(loss, ys, lambda top: decoded(with_floats(state, top)), out)
    return found, ScaledRows(found.delta, [jnp.zeros(count, jnp.int32)] * len(found.delta))


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
        entries = [entry]
        if k:
            after = _states(kind, entry.at(0), state, count)[-1].state
            if types_of(after) != types_of(state):
                if given:
                    raise ValueError(
                        f"layer {kind.links[0].label}: expected a run to keep the shapes and "
                        f"dtypes of its state, got {typed(state)} -> {typed(after)}"
                    )
                entries = [entry.at(j) for j in range(k)]
        for part in entries:
            one = part.at(0) if is_run(part) else part
            traced = _states(kind, one, state, count)
            after = [link.state for link in traced]
            anatomies = tuple(link.anatomy for link in traced)
            way = ChainOp(kind, anatomies, is_alone=not is_run(part))
            shapes += after * (k if is_run(part) else 1) if way.is_layer else []
            state = after[-1]
            ways.append(way)
            layers.append(part)
    ways[-1] = replace(ways[-1], is_top=True)
    return ways, layers, shapes


class _Traced(NamedTuple):
    """A link as it is traced: the type of the state that comes out, and its program."""

    state: Any
    anatomy: Anatomy


def _states(pattern: Pattern, layer: Weights, state: Any, count: int) -> list[_Traced]:
    """Return the links, with the types of the states that come out of them."""
    states = []
    for link, arrays in zip(pattern.links, layer.arrays, strict=True):
        for part, flags in with_flags(link, arrays):
            for v, trained in zip(part, flags, strict=True):
                if trained and is_narrow(v):
                    raise ValueError(f"layer {link.label}: expected parameters of {in_bfloat16(v)}")
        given = state
        closed, state = jax.make_jaxpr(partial(applied, link), return_shape=True)(arrays, given)
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
        anatomy = Anatomy.of(closed, given) if link.is_recognised else Anatomy()
        states.append(_Traced(state, anatomy))
    return states

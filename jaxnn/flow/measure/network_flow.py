"""What is recorded of a Network's layers on the way down, and its Flow.

The recursion of `backprop.py` in block floating point, summarised in a few numbers for each layer.
Δz is the primary record: in a bias-free ReLU network the norms of Δθ are equal in all layers while
those of Δz fall, because Δθ[i] = a[i]ᵀ Δz[i+1] and a grows as Δz shrinks.

In an exploding network the signal leaves a float's range too. If σ(cz) = c σ(z) for c > 0 (relu,
leaky_relu, identity), z has exponents as well; for every other σ it can leave the range.
"""

from collections.abc import Callable, Iterable
from functools import cache, partial
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ...arrays.compiled import computed
from ...arrays.rows import (
    ZERO_EXPONENT,
    ScaledRows,
    alignment,
    at_least_float32,
    in_range,
    log_size,
    log_size_of_rows,
    log_size_together,
    plus,
    renormalised,
    scaled,
    value_of,
    with_exponents,
)
from ...network.activations import Activation, apply_activation
from ...network.blocks import Residual, rows_meet
from ...network.checks import UsedDepth
from ...network.network import Network
from ...network.params import Layer, LazyRun, Params, is_run, layer_of, length
from ...passes.walk import BlockOp, Step, down, up, up_to
from ..formats.entries import Entries, entries_of
from ..record.flow import Flow, FlowOptions, Parameters, Units
from ..record.layer_record import DeltaRecord, Fields, StateRecord, flow_of, log_tangents

SATURATED_BELOW = 0.01  # as a fraction of the largest slope
_BELOW, _ABOVE = slice(None, -1), slice(1, None)


def flow_of_network(
    net: Network,
    layers: Params,
    xs: Array,
    delta_of: Callable[[ScaledRows], ScaledRows],
    depth: UsedDepth,
    options: FlowOptions,
) -> Flow:
    """Go up from the rows xs and down from Δz[L], which is delta_of(z[L]).

    For several depths once up, and down from each of them.
    """
    x = renormalised(with_exponents(ScaledRows(xs))) if net.homogeneous else ScaledRows(xs)

    def from_top(way_up: tuple[ScaledRows, list[Any]], used: UsedDepth) -> Flow:
        return _down_from(net, layers, x, way_up, delta_of, used, options)

    if depth is None or jnp.ndim(depth) == 0:
        return from_top(up(net, layers, x, depth, options.memory), depth)
    if options.memory == "sqrt":  # keeps no z at which a shallower network could end
        way_up_to = partial(up, net, layers, x, memory=options.memory)
    else:
        way_up_to = partial(up_to, net, layers, up(net, layers, x, jnp.max(depth))[1])
    flows: Flow = lax.map(lambda used: from_top(way_up_to(used), used), depth)
    return flows


def _down_from(
    net: Network,
    layers: Params,
    x: ScaledRows,
    way_up: tuple[ScaledRows, list[Any]],
    delta_of: Callable[[ScaledRows], ScaledRows],
    depth: UsedDepth,
    options: FlowOptions,
) -> Flow:
    """Go down from z[L], the top of a way up from the rows x."""
    top, below = way_up
    delta = delta_of(top)
    keep = partial(_kept, options)
    bottom, kept = down(net, layers, below, delta, keep, depth, of_segment=_fields)
    parts = [
        part if isinstance(part, _Done) else _summed(part if is_run(layer) else _one(part))
        for layer, part in zip(layers, kept, strict=True)
    ]
    deltas, signals = zip(*parts, strict=True)
    used, above = _places(layers, depth)
    # What is kept of z[l] is kept by the layer above.
    fields = _together([*signals[1:], _one(_signal_of_output(net, top, options))])
    if above is not None:
        fields = jax.tree.map(lambda v: v[above - 1], fields)
    fields |= _together(deltas)
    has_skips = any(isinstance(block, Residual) for block in net.blocks)
    if has_skips and options.examples and options.memory == "all" and depth is None:
        fields["log_branch"] = _log_branches(net, layers, below, top)
    if options.tangent:
        dtype = at_least_float32(x.m).dtype
        fields["log_tangent"] = log_tangents(net, layers, x, _forwards, dtype, depth)
    return _flow(net, layers, fields, log_size_of_rows(bottom), delta.m.dtype, used, above)


def _log_branches(
    net: Network, layers: Params, below: list[Any], top: ScaledRows
) -> Float[Array, " L"]:
    """Return ln ‖z[l+1] - z[l]‖ / ‖z[l]‖ of layers that are residual, nan of others."""

    def of(z: ScaledRows, above: ScaledRows) -> Array:
        z, above = with_exponents(z), with_exponents(above)
        stream, branch = map(log_size_of_rows, (z, plus(above, scaled(z, -1.0))))
        return jnp.where(stream > -jnp.inf, branch - stream, jnp.nan)

    dtype = at_least_float32(top.m).dtype
    pairs = zip(layers, below, strict=True)
    inputs = [saved.z if is_run(layer) else _one(saved.z) for layer, saved in pairs]
    outputs = [*(jax.tree.map(lambda v: v[:1], z) for z in inputs[1:]), _one(top)]
    logs, blocks = list[Array](), iter(net.blocks)
    for layer, z, above in zip(layers, inputs, outputs, strict=True):
        k = length(layer) if is_run(layer) else 1
        own = np.array([isinstance(next(blocks), Residual) for _ in range(k)])
        log = jnp.full(k, jnp.nan, dtype)
        if own.any():
            if is_run(layer):  # which has its last output behind its inputs
                z, above = (jax.tree.map(lambda v, at=at: v[at], z) for at in (_BELOW, _ABOVE))
            log = jnp.where(own, jax.vmap(of)(z, above).astype(dtype), log)
        logs.append(log)
    return jnp.concatenate(logs)


class _Delta(NamedTuple):
    """Numbers kept of a layer's Δz, Δθ, Δb and b; the last two of the units."""

    rows: DeltaRecord
    log_theta: Float[Array, "*k"]
    log_b: Any = None  # Float[Array, "*k"]
    mean_square_b: Any = None  # Float[Array, "*k"]
    entries: Entries | None = None  # (*k, 2), of Δθ and Δb, if asked for

    def fields(self) -> Fields:
        """Return the fields of a Flow, those of its units, and the entries of Δθ and Δb."""
        names = ("log_theta", "log_b", "mean_square_b", "entries")
        return self.rows.fields() | {name: getattr(self, name) for name in names}


class _Signal(NamedTuple):
    """Numbers kept of z[l], and of a[l] and σ′ as the layer above takes z[l] in."""

    state: StateRecord
    a_exponent: Int[Array, "*k B"]
    a_mean: Float[Array, "*k B"]
    a_spread: Float[Array, "*k B"]  # the mean of (a - a_mean)²
    saturated: Float[Array, "*k"]
    dead: Any = None  # Float[Array, "*k"] of the units; none of z[L]

    def fields(self) -> Fields:
        """Return the fields of a Flow, and those of its units."""
        scale, common = alignment(self.a_exponent, self.a_mean)
        a_mean = scale * self.a_mean
        mean_a = jnp.mean(a_mean, axis=1)
        # The variance over all entries: the rows' variances, averaged, plus that of their means.
        spread = jnp.square(scale) * self.a_spread + jnp.square(a_mean - mean_a[:, None])
        return self.state.fields() | {
            "mean_square_z": value_of(*self.state.mean_square()),
            "mean_a": value_of(mean_a, common),
            "var_a": value_of(jnp.mean(spread, axis=1), 2 * common),
            "saturated": self.saturated,
            "dead": self.dead,
        }


class _Units(NamedTuple):
    """Numbers kept of each unit of a layer, summed over for all layers of a run at once."""

    delta_b: ScaledRows
    b: Float[Array, "*k n"]
    steepest: Any  # Float[Array, "*k n"], the largest |σ′| over the batch; none of x


Kept = tuple[_Delta, Any, _Units]  # the signal is none of x


class _Done(NamedTuple):
    """The fields of the layers of a segment, of Δ and of the signal."""

    delta: Fields
    signal: Fields


def _kept(options: FlowOptions, step: Step) -> Kept:
    """Return the numbers to keep of a layer; none of x."""
    (theta, b, _), sigma = step.gradient, step.kind.sigma
    entries = None
    if options.formats:
        z = [] if step.kind.takes_x else [with_exponents(step.z)]
        entries = entries_of([step.delta, theta, b, *z])
    rows = DeltaRecord.of(step.delta, step.largest, entries and entries.at(0))
    delta = _Delta(rows, log_size(theta), entries=entries and entries.part(1, 3))
    if step.kind.takes_x:
        return delta, None, _Units(b, step.layer.b, None)
    preactivation = step.kind.block.preactivation(step.z)
    slope = sigma.prime(preactivation.m)
    size = slope if sigma.increasing else jnp.abs(slope)  # one pass over memory less
    flat = size < SATURATED_BELOW * _largest_slope(sigma)
    signal = _signal(
        step.z,
        apply_activation(sigma, preactivation),
        options.examples,
        entries and entries.at(3),
    )._replace(saturated=jnp.mean(at_least_float32(flat.astype(slope.dtype))))
    return delta, signal, _Units(b, step.layer.b, jnp.max(size, axis=0))


def _summed(kept: Kept) -> tuple[_Delta, Any]:
    """Sum over the units of k layers: then no shape depends on their width."""
    delta, signal, units = kept
    delta = delta._replace(
        log_b=log_size(units.delta_b),
        mean_square_b=jnp.mean(jnp.square(at_least_float32(units.b)), axis=-1),
    )
    if signal is None:
        return delta, None
    off = (units.steepest == 0).astype(delta.log_theta.dtype)
    return delta, signal._replace(dead=jnp.mean(off, axis=-1))


def _signal_of_output(net: Network, z: ScaledRows, options: FlowOptions) -> _Signal:
    """Return the numbers of z[L]; a[L] is ŷ, and without g′ in the recursion the slope is 1."""
    entries = entries_of([with_exponents(z)]).at(0) if options.formats else None
    signal = _signal(z, output_of(net, z), options.examples, entries)
    return signal._replace(dead=signal.saturated)


def _signal(z: ScaledRows, a: ScaledRows, examples: bool, entries: Entries | None) -> _Signal:
    z, a = with_exponents(z), with_exponents(a)
    rows = at_least_float32(a.m)
    mean = jnp.mean(rows, axis=-1)
    spread = jnp.mean(jnp.square(rows - mean[:, None]), axis=-1)
    eps = float(jnp.finfo(z.m.dtype).eps)  # type: ignore[no-untyped-call]
    return _Signal(
        state=StateRecord.of(z, eps if examples else None)._replace(entries=entries),
        # Examples without an active unit have no size, so that sums over examples ignore them.
        a_exponent=jnp.where((mean == 0) & (spread == 0), ZERO_EXPONENT, a.e),
        a_mean=mean,
        a_spread=spread,
        saturated=jnp.zeros((), rows.dtype),
    )


def _forwards(kind: BlockOp, layer: Layer) -> list[Callable[[ScaledRows], ScaledRows]]:
    """Return the function of the layer."""
    return [lambda z: kind.forward(layer, z)[0]]


def output_of(net: Network, z: ScaledRows) -> ScaledRows:
    """Return ŷ. Beyond the range only a linear ŷ needs exponents; others are 0 or 1 by then."""
    return z if net.task.name == "regression" else ScaledRows(net.task.output(in_range(z)))


def _together(parts: Iterable[Any]) -> Fields:
    """Return the fields of all Layers; those of segments are such already.

    The others become fields together: that is compiled once, not once a Layer.
    """
    fields = [
        part
        for done, stretch in groupby(parts, lambda part: isinstance(part, dict))
        for part in (stretch if done else [_joined(stretch).fields()])
    ]
    joined: Fields = _joined(fields)
    return joined


def _joined(trees: Iterable[Any]) -> Any:
    return jax.tree.map(lambda *v: jnp.concatenate(v), *trees)


def _one(kept: Any) -> Any:
    """Return what is kept of one layer like that of a run."""
    return jax.tree.map(lambda v: v[None], kept)


def _fields(kept: Kept) -> _Done:
    """Return the fields of the layers of a segment."""
    delta, signal = _summed(kept)
    return _Done(delta.fields(), signal.fields())


def _places(layers: Params, depth: UsedDepth) -> tuple[Any, Any]:
    """Return which layers are used, and the index of the one above each; None if all are used."""
    if depth is None:
        return None, None
    lengths = [length(layer) if is_run(layer) else 1 for layer in layers]
    places = jnp.arange(sum(lengths))
    run = next(i for i, layer in enumerate(layers) if is_run(layer))
    unused, end = sum(lengths[:run]) + depth, sum(lengths[: run + 1])
    return (places < unused) | (places >= end), jnp.where(places == unused - 1, end, places + 1)


def _flow(
    net: Network,
    layers: Params,
    fields: Fields,
    log_delta_input: Array,
    dtype: Any,
    used: Any,
    above: Any,
) -> Flow:
    """Sort the fields into a Flow and its units."""
    theta, b, entries = fields["log_theta"], fields.pop("log_b"), fields.pop("entries")
    units = Units(**{name: fields.pop(name) for name in Units.__annotations__})
    count = len(theta)
    logs, sizes = jnp.stack([theta, b], axis=1).ravel(), log_sizes_of_network(layers)
    of_parameters: Any = (None, None)
    if entries is not None:
        flat = jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:]), entries)
        of_parameters = (flat, _entries(layers))
    if used is not None:
        twice = jnp.repeat(used, 2)
        logs, sizes, of_parameters = jax.tree.map(
            lambda v: jnp.where(jnp.expand_dims(twice, range(1, v.ndim)), v, jnp.nan),
            (logs, sizes, of_parameters),
        )
    layer_numbers = tuple(1 + i // 2 for i in range(2 * count))
    return flow_of(
        fields | {"log_theta": log_size_together([theta, b]), "units": units},
        dtype,
        used,
        above,
        log_delta_input=log_delta_input,
        mixes=jnp.array([rows_meet(block) for block in net.blocks]),
        linear=jnp.ones(count, bool),
        parameters=Parameters(
            logs,
            sizes,
            _paths(layers),
            layer_numbers,
            tuple(shape for n, m in pairwise(net.sizes) for shape in ((n, m), (m,))),
        ),
        of_parameters=of_parameters,
        names=("",) * count,
        sizes=net.sizes[1:],
        net=net,
    )


def log_sizes_of_network(layers: Params) -> Float[Array, " P"]:
    """Return ln of the norms of θ[0], b[0], θ[1], …; nan of a run that is stored as a key."""

    def of(layer: Layer | LazyRun) -> Array:
        if isinstance(layer, LazyRun):
            return jnp.full(2 * layer.k, jnp.nan)
        run = layer if is_run(layer) else _one(layer)
        zero = jnp.zeros(len(run.b), jnp.int32)
        each = [log_size(renormalised(ScaledRows(v, zero))) for v in run]
        return jnp.stack(each, axis=1).ravel()

    return jnp.concatenate([of(layer) for layer in layers])


def _entries(layers: Params) -> Entries:
    """Return the entries of all arrays: θ[0], b[0], θ[1] and so on."""

    def of_one(layer: Any) -> Entries:
        zero = jnp.zeros((), jnp.int32)
        return entries_of([ScaledRows(v, zero) for v in layer])

    def of(layer: Layer | LazyRun) -> Any:
        if not is_run(layer):
            return _one(of_one(layer))
        return lax.map(lambda j: of_one(layer_of(layer, j)), jnp.arange(length(layer)))

    each = _joined(map(of, layers))
    entries: Entries = jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:]), each)
    return entries


def _paths(layers: Params) -> tuple[str, ...]:
    """Return the paths of θ[0], b[0], θ[1], … in the parameters."""
    return tuple(
        f"[{i}].{name}{f'[{j}]' if is_run(layer) else ''}"
        for i, layer in enumerate(layers)
        for j in range(length(layer) if is_run(layer) else 1)
        for name in ("theta", "b")
    )


@cache
def _largest_slope(activation: Activation) -> float:
    """The largest |σ′| on [-20, 20], on a grid."""
    z = np.linspace(-20, 20, 40_001, dtype=np.float32)
    return float(computed(lambda z: jnp.max(jnp.abs(activation.prime(z))), z))

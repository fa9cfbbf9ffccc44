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
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ...arrays.compiled import Numbers, compiled, computed
from ...arrays.rows import (
    ZERO_EXPONENT,
    ScaledRows,
    alignment,
    at_least_float32,
    exponent_of,
    in_range,
    log_size,
    log_size_of_rows,
    log_size_together,
    plus,
    power_of_two,
    renormalised,
    scaled,
    value_of,
    with_exponents,
)
from ...network.activations import Activation, apply_activation
from ...network.blocks import Residual, rows_meet
from ...network.checks import UsedDepth, as_rows, dtype_of
from ...network.network import Network
from ...network.params import Layer, LazyRun, Params, is_run, layer_of, length
from ...passes.walk import BlockOp, Step, down, up, up_to
from ..formats.entries import Entries, FlowEntries, entries_of
from ..record.assemble import assemble
from ..record.flow import Flow, FlowOptions, Parameters, Units
from ..record.given import Given
from ..record.layer_record import (
    DeltaRecord,
    DeltaSizes,
    LayerRecord,
    StateRecord,
    StateSizes,
    UsedLayers,
    log_tangents,
    masked,
)
from ..record.loss import Loss, delta_of_loss

SATURATED_BELOW = 0.01  # as a fraction of the largest slope
_BELOW, _ABOVE = slice(None, -1), slice(1, None)
T = TypeVar("T")


@compiled
def network_flow(
    net: Network,
    layers: Params,
    xs: Numbers,
    ys: Any,
    cotangent: Numbers | None,
    loss: Loss | None,
    depth: UsedDepth,
    options: FlowOptions,
) -> Flow:
    """Return the flow of a Network, whose arguments are checked; see `jaxnn.gradient_flow`.

    For several depths the way up is taken once, and a way down from each of them.
    """
    dtype = dtype_of(layers)
    rows = ScaledRows(jnp.asarray(xs, dtype))
    x = renormalised(with_exponents(rows)) if net.homogeneous else rows
    given = Given.of({"xs": rows.m, "ys": ys, "cotangent": cotangent})
    if loss is None and cotangent is None:
        ys = as_rows(net, layers, xs, ys)[1]

    def from_top(way_up: tuple[ScaledRows, list[Any]], used: UsedDepth) -> Flow:
        delta = _delta_of(net, way_up[0], ys, cotangent, loss)
        return _down_from(net, layers, x, way_up, delta, used, options, given)

    if depth is None or jnp.ndim(depth) == 0:
        return from_top(up(net, layers, x, depth, options.memory), depth)
    if options.memory == "sqrt":  # keeps no z at which a shallower network could end
        way_up_to = partial(up, net, layers, x, memory=options.memory)
    else:
        way_up_to = partial(up_to, net, layers, up(net, layers, x, jnp.max(depth))[1])
    flows: Flow = lax.map(lambda used: from_top(way_up_to(used), used), depth)
    return flows


def _delta_of(
    net: Network, z: ScaledRows, ys: Any, cotangent: Numbers | None, loss: Loss | None
) -> ScaledRows:
    """Return Δz[L] with exponents: the cotangent, or that of the user's own loss or of the task."""
    if cotangent is not None:
        return with_exponents(ScaledRows(jnp.asarray(cotangent, z.m.dtype)))
    if loss is None:
        return _delta_of_task(net, z, ys)
    # Beyond the range the output is inf, and so is what a loss makes of it.
    top = z.m if z.e is None else value_of(z.m, z.e[:, None])
    (delta,) = delta_of_loss(loss, ys, lambda top: net.task.output(top[0]), [top]).delta
    return with_exponents(ScaledRows(delta))


def _delta_of_task(net: Network, z: ScaledRows, ys: Float[Array, "B n"]) -> ScaledRows:
    """Return Δz[L] of the mean loss of the task, (ŷ - y) / B, with exponents."""
    if net.task.name == "regression" and z.e is not None:
        # ŷ - y on the larger of the two exponents: the smaller one may be far out of range.
        largest = jnp.max(jnp.abs(ys), axis=1)
        common = jnp.maximum(z.e, jnp.where(largest == 0, ZERO_EXPONENT, exponent_of(largest)))
        labels = ys * power_of_two(-common, ys)[:, None]
        z_hat = z.m * power_of_two(z.e - common, ys)[:, None]
        delta = ScaledRows(net.task.delta_z(z_hat, labels), common)
    else:
        delta = with_exponents(ScaledRows(net.task.delta_z(in_range(z), ys)))
    return delta._replace(m=delta.m / len(ys))


def _down_from(
    net: Network,
    layers: Params,
    x: ScaledRows,
    way_up: tuple[ScaledRows, list[Any]],
    delta: ScaledRows,
    depth: UsedDepth,
    options: FlowOptions,
    given: Given,
) -> Flow:
    """Go down from Δz[L], the top of a way up from the rows x."""
    top, below = way_up
    keep = partial(_kept, options)
    bottom, kept = down(net, layers, below, delta, keep, depth, of_segment=_sizes)
    parts = [
        part if is_run(layer) else _one(part) for layer, part in zip(layers, kept, strict=True)
    ]
    gradient = _together(map(_gradient, parts))
    # What is kept of z[l] is kept by the layer above.
    signal = _together([*map(_signal, parts[1:]), _one(_of_output(net, top, options))])
    used = _used(layers, depth)
    if used is not None:
        signal = jax.tree.map(lambda v: v[used.above - 1], signal)
    log_branch = log_tangent = None
    if options.examples and options.memory == "all" and depth is None:
        log_branch = _log_branches(net, layers, below, top)
    if options.tangent:
        dtype = at_least_float32(x.m).dtype
        log_tangent = log_tangents(net, layers, x, _forwards, dtype, depth)
    parameters = _parameters(net, layers, gradient)
    entries = _flow_entries(layers, gradient.entries, signal.entries)
    if used is not None:
        twice = jnp.repeat(used.are_used, 2)
        parameters = masked(parameters, twice)
        entries = entries and FlowEntries(
            *masked(entries[:2], used.are_used), *masked(entries[2:], twice)
        )
    return assemble(
        LayerRecord.of(
            gradient.delta,
            signal.state,
            log_size_together([gradient.log_theta, gradient.log_b]),
            mixes=jnp.array([rows_meet(block) for block in net.blocks]),
            linear=jnp.ones(len(net.blocks), bool),
            dtype=delta.m.dtype,
            log_branch=log_branch,
            log_tangent=log_tangent,
            units=Units(mean_square_b=gradient.mean_square_b, **signal.units()),
            used=used,
        ),
        parameters,
        names=("",) * len(net.blocks),
        sizes=net.sizes[1:],
        dtype=delta.m.dtype,
        log_delta_input=log_size_of_rows(bottom),
        entries=entries,
        net=net,
        given=given,
    )


def _log_branches(
    net: Network, layers: Params, below: list[Any], top: ScaledRows
) -> Float[Array, " L"] | None:
    """Return ln ‖z[l+1] - z[l]‖ / ‖z[l]‖ of residual layers, nan of others; None without any."""
    if not any(isinstance(block, Residual) for block in net.blocks):
        return None

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


class _Gradient(NamedTuple):
    """Δz[l], Δθ and Δb of a layer, with sums over its units.

    entries: of all three, if asked for, (*k, 3).
    """

    delta: DeltaRecord
    log_theta: Float[Array, "*k"]
    log_b: Float[Array, "*k"]
    mean_square_b: Float[Array, "*k"]  # of b
    entries: Entries | None

    def over_batch(self) -> "_GradientSizes":
        return _GradientSizes(self.delta.over_batch(), *self[1:])


class _GradientSizes(NamedTuple):
    """Like `_Gradient`, over the batch."""

    delta: DeltaSizes
    log_theta: Float[Array, "*k"]
    log_b: Float[Array, "*k"]
    mean_square_b: Float[Array, "*k"]
    entries: Entries | None

    def over_batch(self) -> "_GradientSizes":
        return self


class _Activations(NamedTuple):
    """Numbers of each example of a[l] = σ(z[l]) = m 2^e."""

    exponent: Int[Array, "*k B"]
    mean: Float[Array, "*k B"]
    spread: Float[Array, "*k B"]  # the mean of (m - mean)²

    @classmethod
    def of(cls, a: ScaledRows) -> "_Activations":
        a = with_exponents(a)
        rows = at_least_float32(a.m)
        mean = jnp.mean(rows, axis=-1)
        spread = jnp.mean(jnp.square(rows - mean[:, None]), axis=-1)
        # Examples without an active unit have no size, so that sums over examples ignore them.
        exponent = jnp.where((mean == 0) & (spread == 0), ZERO_EXPONENT, a.e)
        return cls(exponent, mean, spread)

    def over_batch(self) -> tuple[Float[Array, "*k"], Float[Array, "*k"]]:
        """Return mean and variance over all entries."""
        scale, common = alignment(self.exponent, self.mean)
        means = scale * self.mean
        mean = jnp.mean(means, axis=1)
        # The rows' variances, averaged, plus that of their means.
        spread = jnp.square(scale) * self.spread + jnp.square(means - mean[:, None])
        return value_of(mean, common), value_of(jnp.mean(spread, axis=1), 2 * common)


class _Signal(NamedTuple):
    """z[l], and a[l] and σ′ as the layer above takes z[l] in."""

    state: StateRecord
    a: _Activations
    saturated: Float[Array, "*k"]
    dead: Float[Array, "*k"]
    entries: Entries | None  # of z[l], if asked for

    def over_batch(self) -> "_SignalSizes":
        mean_square = value_of(*self.state.mean_square())
        units = (mean_square, *self.a.over_batch(), self.saturated, self.dead)
        return _SignalSizes(self.state.over_batch(), *units, self.entries)


class _SignalSizes(NamedTuple):
    """Like `_Signal`, over the batch."""

    state: StateSizes
    mean_square_z: Float[Array, "*k"]
    mean_a: Float[Array, "*k"]
    var_a: Float[Array, "*k"]
    saturated: Float[Array, "*k"]
    dead: Float[Array, "*k"]
    entries: Entries | None

    def over_batch(self) -> "_SignalSizes":
        return self

    def units(self) -> dict[str, Float[Array, "*k"]]:
        """Return the fields of `Units` by their names."""
        return {name: getattr(self, name) for name in self._fields[1:-1]}


_NONE: Any = None  # of x, which no layer takes in through a σ


class _Kept(NamedTuple):
    """A layer on the way down.

    entries: of Δz[l], Δθ, Δb and z[l-1], if asked for.
    state, a: of z[l-1]; none of x, as the next two.
    saturated: the share of units and examples with a small slope |σ′(z[l-1])|.
    steepest: the largest slope of each unit over the batch.
    """

    delta: DeltaRecord
    log_theta: Float[Array, "*k"]
    delta_b: ScaledRows
    b: Float[Array, "*k n"]
    entries: Entries | None
    state: StateRecord = _NONE
    a: _Activations = _NONE
    saturated: Float[Array, "*k"] = _NONE
    steepest: Float[Array, "*k n"] = _NONE


def _kept(options: FlowOptions, step: Step) -> _Kept:
    """Return the numbers to keep of a layer."""
    (theta, b, _), sigma = step.gradient, step.kind.sigma
    entries = None
    if options.formats:
        z = [] if step.kind.takes_x else [with_exponents(step.z)]
        entries = entries_of([step.delta, theta, b, *z])
    delta = DeltaRecord.of(step.delta, step.largest)
    of_gradient = (delta, log_size(theta), b, step.layer.b, entries)
    if step.kind.takes_x:
        return _Kept(*of_gradient)
    preactivation = step.kind.block.preactivation(step.z)
    slope = sigma.prime(preactivation.m)
    size = slope if sigma.increasing else jnp.abs(slope)  # one pass over memory less
    flat = size < SATURATED_BELOW * _largest_slope(sigma)
    return _Kept(
        *of_gradient,
        state=_state(step.z, options),
        a=_Activations.of(apply_activation(sigma, preactivation)),
        saturated=jnp.mean(at_least_float32(flat.astype(slope.dtype))),
        steepest=jnp.max(size, axis=0),
    )


def _state(z: ScaledRows, options: FlowOptions) -> StateRecord:
    eps = float(jnp.finfo(z.m.dtype).eps)  # type: ignore[no-untyped-call]
    return StateRecord.of(with_exponents(z), eps if options.examples else None)


class _Sizes(NamedTuple):
    """The layers of a segment, whose numbers of each example are dropped."""

    gradient: _GradientSizes
    signal: _SignalSizes


def _sizes(kept: _Kept) -> _Sizes:
    return _Sizes(_gradient(kept).over_batch(), _signal(kept).over_batch())


def _gradient(part: _Kept | _Sizes) -> _Gradient | _GradientSizes:
    """Return the gradients of k layers, summed over their units: of all of a run at once."""
    if isinstance(part, _Sizes):
        return part.gradient
    return _Gradient(
        part.delta,
        part.log_theta,
        log_size(part.delta_b),
        jnp.mean(jnp.square(at_least_float32(part.b)), axis=-1),
        _at(part.entries, slice(3)),
    )


def _signal(part: _Kept | _Sizes) -> _Signal | _SignalSizes:
    """Return what goes into k layers, likewise."""
    if isinstance(part, _Sizes):
        return part.signal
    dead = jnp.mean((part.steepest == 0).astype(part.log_theta.dtype), axis=-1)
    return _Signal(part.state, part.a, part.saturated, dead, _at(part.entries, 3))


def _at(entries: T, arrays: int | slice) -> T:
    """Return the histograms of some arrays of each layer, (k, arrays, …), if there are any."""
    at: T = jax.tree.map(lambda v: v[:, arrays], entries)
    return at


def _of_output(net: Network, z: ScaledRows, options: FlowOptions) -> _Signal:
    """Return the numbers of z[L]; a[L] is ŷ, and without g′ in the recursion the slope is 1."""
    entries = entries_of([with_exponents(z)]).at(0) if options.formats else None
    a = _Activations.of(output_of(net, z))
    none = jnp.zeros((), a.mean.dtype)
    return _Signal(_state(z, options), a, none, none, entries)


def _forwards(kind: BlockOp, layer: Layer) -> list[Callable[[ScaledRows], ScaledRows]]:
    """Return the function of the layer."""
    return [lambda z: kind.forward(layer, z)[0]]


def output_of(net: Network, z: ScaledRows) -> ScaledRows:
    """Return ŷ. Beyond the range only a linear ŷ needs exponents; others are 0 or 1 by then."""
    return z if net.task.name == "regression" else ScaledRows(net.task.output(in_range(z)))


def _together(parts: Iterable[Any]) -> Any:
    """Return the sizes of all Layers; those of segments are such already.

    The others are summed over the batch together: that is compiled once, not once a Layer.
    """
    return _joined([_joined(alike).over_batch() for _, alike in groupby(parts, type)])


def _joined(trees: Iterable[T]) -> T:
    joined: T = jax.tree.map(lambda *v: jnp.concatenate(v), *trees)
    return joined


def _one(kept: T) -> T:
    """Return what is kept of one layer like that of a run."""
    one: T = jax.tree.map(lambda v: v[None], kept)
    return one


def _used(layers: Params, depth: UsedDepth) -> UsedLayers | None:
    """Return which layers are used of the one run; None if all are."""
    if depth is None:
        return None
    lengths = [length(layer) if is_run(layer) else 1 for layer in layers]
    places = jnp.arange(sum(lengths))
    run = next(i for i, layer in enumerate(layers) if is_run(layer))
    unused, end = sum(lengths[:run]) + depth, sum(lengths[: run + 1])
    above = jnp.where(places == unused - 1, end, places + 1)
    return UsedLayers((places < unused) | (places >= end), above)


def _parameters(net: Network, layers: Params, gradient: _Gradient) -> Parameters:
    """Return the sizes of θ[0], b[0], θ[1], … and of their Δ."""
    return Parameters(
        jnp.stack([gradient.log_theta, gradient.log_b], axis=1).ravel(),
        log_sizes_of_network(layers),
        _paths(layers),
        tuple(np.repeat(np.arange(1, len(net.sizes)), 2).tolist()),
        tuple(shape for n, m in pairwise(net.sizes) for shape in ((n, m), (m,))),
    )


def _flow_entries(
    layers: Params, gradient: Entries | None, states: Entries | None
) -> FlowEntries | None:
    """Return the histograms of a flow, given those of Δz, Δθ and Δb, (L, 3), and of z."""
    if gradient is None or states is None:
        return None
    of_parameters = jax.tree.map(lambda v: v[:, 1:].reshape(-1, *v.shape[2:]), gradient)
    return FlowEntries(_at(gradient, 0), states, of_parameters, _entries(layers))


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

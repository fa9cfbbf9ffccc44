"""The Flow of a Network, and the records of its layers, made on the way down.

The recursion of `backprop.py` in block floating point, summarised in a few numbers for each layer.
Δz is the primary record: in a bias-free ReLU network the norms of Δθ are equal in all layers while
those of Δz fall, because Δθ[i] = a[i]ᵀ Δz[i+1] and a grows as Δz shrinks.

In an exploding network the signal leaves a float's range too. If σ(cz) = c σ(z) for c > 0 (relu,
leaky_relu, identity), z has exponents as well; for every other σ it can leave the range.
"""

from collections.abc import Iterable
from functools import cache, partial
from itertools import groupby, pairwise
from typing import Any, NamedTuple, TypeVar

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
    exponent_of,
    in_range,
    log_size,
    log_size_of_rows,
    log_size_together,
    log_sizes_of,
    plus,
    power_of_two,
    renormalised,
    scaled,
    value_of,
    with_exponents,
)
from ...jaxpr.numpy_programs import for_the_end, with_rest_by_numpy
from ...models import Program
from ...network.activations import Activation, apply_activation
from ...network.blocks import rows_meet
from ...network.checks import UsedDepth, as_rows, dtype_of
from ...network.network import Network
from ...network.params import Layer, LazyRun, Params, is_run, layer_of, length
from ...passes.walk import LayerStep, down, up, up_to
from ..formats.entries import Entries, FlowEntries, entries_of
from ..record.flow import Flow, FlowOptions, Parameters, Units
from ..record.given import Given
from ..record.layer_record import (
    DeltaRecord,
    LayerRecord,
    StateRecord,
    UsedLayers,
    assemble,
    called,
    masked,
    over_batch,
)
from ..record.loss import delta_of_loss

SATURATED_BELOW = 0.01  # as a fraction of the largest slope
_BELOW, _ABOVE = slice(None, -1), slice(1, None)
T = TypeVar("T")
Sizes = dict[str, Float[Array, "*k"]]


@with_rest_by_numpy
def network_flow(program: Program, depth: UsedDepth, options: FlowOptions) -> Flow:
    """Return the flow of a pair (Network, layers), whose arguments are checked."""
    net, layers = program.model
    rows = ScaledRows(jnp.asarray(program.xs, dtype_of(layers)))
    x = renormalised(with_exponents(rows)) if net.homogeneous else rows
    with for_the_end():
        given = Given.of(program.data | {"xs": rows.m})
    if program.loss is None and program.cotangent is None:
        program = program.but(ys=as_rows(net, layers, program.xs, program.ys)[1])

    def from_top(way_up: tuple[ScaledRows, list[Any]], used: UsedDepth) -> Flow:
        delta, keep = _delta_of(net, way_up[0], program), partial(_kept, options)
        way_down = down(net, layers, way_up[1], delta, keep, used, of_segment=_sizes)
        with for_the_end():
            return _flow_of(net, layers, way_up, way_down, used, options, given)

    if depth is None or jnp.ndim(depth) == 0:
        return from_top(up(net, layers, x, depth, options.memory), depth)
    if options.memory == "sqrt":  # keeps no z at which a shallower network could end
        way_up_to = partial(up, net, layers, x, memory=options.memory)
    else:
        way_up_to = partial(up_to, net, layers, up(net, layers, x, jnp.max(depth))[1])
    flows: Flow = lax.map(lambda used: from_top(way_up_to(used), used), depth)
    return flows


def _delta_of(net: Network, z: ScaledRows, program: Program) -> ScaledRows:
    """Return Δz[L] with exponents: the cotangent, or that of the user's own loss or of the task."""
    if program.cotangent is not None:
        return with_exponents(ScaledRows(jnp.asarray(program.cotangent, z.m.dtype)))
    if program.loss is None:
        return _delta_of_task(net, z, program.ys)
    # Beyond the range the output is inf, and so is what a loss makes of it.
    top = z.m if z.e is None else value_of(z.m, z.e[:, None])
    loss, ys = program.loss, program.ys
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


def _flow_of(
    net: Network,
    layers: Params,
    way_up: tuple[ScaledRows, list[Any]],
    way_down: tuple[ScaledRows, list[Any]],
    depth: UsedDepth,
    options: FlowOptions,
    given: Given,
) -> Flow:
    """Return the flow of what the ways up and down have left."""
    (top, below), (bottom, kept) = way_up, way_down
    float_type = bottom.m.dtype
    parts = [
        _over_units(part if is_run(layer) else _one(part))
        for layer, part in zip(layers, kept, strict=True)
    ]
    gradients, signals = zip(*parts, strict=True)
    gradient: _LayerGradient = _together(gradients)
    # What is kept of z[l] is kept by the layer above.
    signal: _Signal = _together([*signals[1:], _one(_of_output(net, top, options))])
    log_branch = None
    if options.examples and options.memory == "all" and depth is None:
        log_branch = _log_branches(net, layers, below, top)
    sizes = log_sizes_of_network(layers)
    entries = _entries(layers) if options.entries else None
    used = _used(layers, depth)
    if used is not None:
        signal = jax.tree.map(lambda v: v[used.above - 1], signal)
        gradient, signal = masked((gradient, signal), used.are_used)
        sizes, entries = masked((sizes, entries), jnp.repeat(used.are_used, 2))
    both = [gradient.log_theta, gradient.biases["log_delta"]]
    return assemble(
        LayerRecord.of(
            gradient.delta,
            signal.state,
            log_size_together(both),
            mixes=jnp.array([rows_meet(block) for block in net.blocks]),
            linear=jnp.ones(len(net.blocks), bool),
            dtype=float_type,
            log_branch=log_branch,
            units=Units(
                mean_square_z=signal.state.mean_square,
                mean_square_b=gradient.biases["mean_square"],
                **signal.activations,
                **signal.slopes,
            ),
            used=used,
        ),
        Parameters(
            jnp.stack(both, axis=1).ravel(),
            sizes,
            _paths(layers),
            tuple(np.repeat(np.arange(1, len(net.sizes)), 2).tolist()),
            tuple(shape for n, m in pairwise(net.sizes) for shape in ((n, m), (m,))),
            (np.dtype(float_type).name,) * (2 * len(net.blocks)),
        ),
        names=("",) * len(net.blocks),
        sizes=net.sizes[1:],
        dtype=float_type,
        log_delta_input=log_size_of_rows(bottom),
        entries=entries and _flow_entries(gradient.entries, signal.entries, entries),
        net=net,
        given=given,
    )


def _log_branches(
    net: Network, layers: Params, below: list[Any], top: ScaledRows
) -> Float[Array, " L"] | None:
    """Return ln ‖z[l+1] - z[l]‖ / ‖z[l]‖ of residual layers, nan of others; None without any."""
    are_skips = [getattr(block, "is_skip", False) for block in net.blocks]
    if not any(are_skips):
        return None

    def of(z: ScaledRows, above: ScaledRows) -> Array:
        z, above = with_exponents(z), with_exponents(above)
        stream, branch = map(log_size_of_rows, (z, plus(above, scaled(z, -1.0))))
        return jnp.where(stream > -jnp.inf, branch - stream, jnp.nan)

    dtype = at_least_float32(top.m).dtype
    pairs = zip(layers, below, strict=True)
    inputs = [saved.z if is_run(layer) else _one(saved.z) for layer, saved in pairs]
    outputs = [*(jax.tree.map(lambda v: v[:1], z) for z in inputs[1:]), _one(top)]
    logs, blocks = list[Array](), iter(are_skips)
    for layer, z, above in zip(layers, inputs, outputs, strict=True):
        k = length(layer) if is_run(layer) else 1
        is_residual = np.array([next(blocks) for _ in range(k)])
        log = jnp.full(k, jnp.nan, dtype)
        if is_residual.any():
            if is_run(layer):  # which has its last output after its inputs
                z, above = (jax.tree.map(lambda v, at=at: v[at], z) for at in (_BELOW, _ABOVE))
            log = jnp.where(is_residual, jax.vmap(of)(z, above).astype(dtype), log)
        logs.append(log)
    return jnp.concatenate(logs)


# What is kept of a layer. `over_units` makes one number of those of its units, for all layers of a
# run at once: then no shape depends on their width. `over_batch` does so for examples.


class _Biases(NamedTuple):
    """Δb and b of a layer, of each unit."""

    delta: ScaledRows
    b: Float[Array, "*k n"]

    def over_units(self) -> Sizes:
        square = jnp.square(at_least_float32(self.b))
        return {"log_delta": log_size(self.delta), "mean_square": jnp.mean(square, axis=-1)}


class _Slopes(NamedTuple):
    """|σ′(z)|: the share of units and examples with a small one, the largest of each unit."""

    small: Float[Array, "*k"]
    largest: Float[Array, "*k n"]

    def over_units(self) -> Sizes:
        none = at_least_float32((self.largest == 0).astype(self.largest.dtype))
        return {"saturated": self.small, "dead": jnp.mean(none, axis=-1)}


class _ActivationRecord(NamedTuple):
    """a = σ(z) = m 2^e, of each example."""

    exponent: Int[Array, "*k B"]
    mean: Float[Array, "*k B"]
    spread: Float[Array, "*k B"]  # the mean of (m - mean)²

    @classmethod
    def of(cls, a: ScaledRows) -> "_ActivationRecord":
        a = with_exponents(a)
        rows = at_least_float32(a.m)
        mean = jnp.mean(rows, axis=-1)
        spread = jnp.mean(jnp.square(rows - mean[:, None]), axis=-1)
        # Examples without an active unit have no size, so that sums over examples ignore them.
        exponent = jnp.where((mean == 0) & (spread == 0), ZERO_EXPONENT, a.e)
        return cls(exponent, mean, spread)

    def over_batch(self) -> Sizes:
        scale, common = alignment(self.exponent, self.mean)
        means = scale * self.mean
        mean = jnp.mean(means, axis=1)
        # The variance over all entries: the rows' variances, averaged, plus that of their means.
        spread = jnp.square(scale) * self.spread + jnp.square(means - mean[:, None])
        variance = value_of(jnp.mean(spread, axis=1), 2 * common)
        return {"mean_a": value_of(mean, common), "var_a": variance}


class _LayerGradient(NamedTuple):
    """Δz[l], Δθ and Δb of a layer, and entries of all three, (*k, 3), if asked for."""

    delta: Any  # DeltaRecord, or DeltaSizes
    log_theta: Float[Array, "*k"]
    biases: Any  # _Biases, or their sizes
    entries: Entries | None


class _Signal(NamedTuple):
    """z[l], with a[l] and σ′ as the layer above takes it in, and entries of z[l] likewise."""

    state: Any  # StateRecord, or StateSizes
    activations: Any  # _ActivationRecord, or its sizes
    slopes: Any  # _Slopes, or their sizes
    entries: Entries | None


def _kept(options: FlowOptions, step: LayerStep) -> tuple[_LayerGradient, _Signal | None]:
    """Return what is kept of Δ of what comes out of a layer, and of what goes in if it is no x."""
    (theta, b, _), sigma = step.gradient, step.kind.sigma
    entries = None
    if options.entries:
        z = [] if step.kind.takes_x else [with_exponents(step.z)]
        entries = entries_of([step.delta, theta, b, *z])
    delta, biases = DeltaRecord.of(step.delta, step.largest), _Biases(b, step.layer.b)
    gradient = _LayerGradient(delta, log_size(theta), biases, entries and entries.part(0, 3))
    if step.kind.takes_x:
        return gradient, None
    preactivation = step.kind.block.preactivation(step.z)
    slope = sigma.prime(preactivation.m)
    size = slope if sigma.increasing else jnp.abs(slope)  # one pass over memory less
    flat = size < SATURATED_BELOW * _largest_slope(sigma)
    share = jnp.mean(at_least_float32(flat.astype(slope.dtype)))
    return gradient, _Signal(
        _state(step.z, options),
        _ActivationRecord.of(apply_activation(sigma, preactivation)),
        _Slopes(share, jnp.max(size, axis=0)),
        entries and entries.at(3),
    )


def _state(z: ScaledRows, options: FlowOptions) -> StateRecord:
    eps = float(jnp.finfo(z.m.dtype).eps)  # type: ignore[no-untyped-call]
    return StateRecord.of(with_exponents(z), eps if options.examples else None)


def _of_output(net: Network, z: ScaledRows, options: FlowOptions) -> _Signal:
    """Return what is kept of z[L]; a[L] is ŷ, and without g′ in the recursion the slope is 1."""
    entries = entries_of([with_exponents(z)]).at(0) if options.entries else None
    activations = _ActivationRecord.of(output_of(net, z))
    none = jnp.zeros((), activations.mean.dtype)
    return _Signal(_state(z, options), activations, {"saturated": none, "dead": none}, entries)


def _sizes(kept: T) -> T:
    """Return sizes of a segment, without the numbers of each example."""
    return over_batch(_over_units(kept))


def _over_units(tree: T) -> T:
    """Return a tree with one number of each layer for those of its units."""
    return called("over_units", tree)


def output_of(net: Network, z: ScaledRows) -> ScaledRows:
    """Return ŷ. Beyond the range only a linear ŷ needs exponents; others are 0 or 1 by then."""
    return z if net.task.name == "regression" else ScaledRows(net.task.output(in_range(z)))


def _together(parts: Iterable[Any]) -> Any:
    """Return the sizes of all Layers; those of segments are such already."""
    alike = groupby(parts, jax.tree.structure)
    # Summed over the batch together: that is compiled once, not once a Layer.
    return _joined([over_batch(_joined(several)) for _, several in alike])


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


def _flow_entries(gradient: Any, states: Any, parameters: Entries) -> FlowEntries:
    """Return the histograms of a flow, given those of Δz, Δθ and Δb, (L, 3), of z, and of θ, b."""
    delta = jax.tree.map(lambda v: v[:, 0], gradient)
    of_theta_and_b = jax.tree.map(lambda v: v[:, 1:].reshape(-1, *v.shape[2:]), gradient)
    return FlowEntries(delta, states, of_theta_and_b, parameters)


def log_sizes_of_network(layers: Params) -> Float[Array, " P"]:
    """Return ln of the norms of θ[0], b[0], θ[1], …; nan of a run that is stored as a key."""

    def of(layer: Layer | LazyRun) -> Array:
        if isinstance(layer, LazyRun):
            return jnp.full(2 * layer.k, jnp.nan)
        run = layer if is_run(layer) else _one(layer)
        zero = jnp.zeros(len(run.b), jnp.int32)
        return jnp.stack(log_sizes_of([ScaledRows(v, zero) for v in run]), axis=1).ravel()

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

    by_run = _joined(map(of, layers))
    entries: Entries = jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:]), by_run)
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

"""What is recorded of a Network's layers on the way down, and its Flow.

The recursion of `backprop.py` in block floating point, summarised in a few numbers for each layer.
Δz is the primary record: in a bias-free ReLU network the norms of Δθ are equal in all layers while
those of Δz fall, because Δθ[i] = a[i]ᵀ Δz[i+1] and a grows as Δz shrinks.

In an exploding network the signal leaves a float's range too. If σ(cz) = c σ(z) for c > 0 (relu,
leaky_relu, identity), z has exponents as well; for every other σ it can leave the range.
"""

from collections.abc import Callable, Iterable
from functools import cache, partial
from itertools import groupby
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ..arrays.compiled import computed
from ..arrays.rows import (
    ZERO_EXPONENT,
    ScaledRows,
    alignment,
    at_least_float32,
    in_range,
    log_of,
    log_size,
    renormalised,
    value_of,
    with_exponents,
)
from ..network.activations import Activation, apply_activation
from ..network.blocks import rows_meet
from ..network.checks import UsedDepth
from ..network.network import Network
from ..network.params import Layer, LazyRun, Params, is_run, length
from ..passes.walk import BlockOp, Memory, Step, down, scan_up, up, up_to
from .examples import Pushed, at_start, examples_of, log_of_norm, log_tangent, pushed
from .flow import Flow, FlowOptions, Parameters, Units, gain_and_lost, sizes_of_delta

SATURATED_BELOW = 0.01  # as a fraction of the largest slope


def flow_of_network(
    net: Network,
    layers: Params,
    xs: Array,
    delta_of: Callable[[ScaledRows], ScaledRows],
    depth: UsedDepth,
    memory: Memory,
    options: FlowOptions,
) -> Flow:
    """Go up from the rows xs and down from Δz[L], which is delta_of(z[L]).

    For several depths once up, and down from each of them.
    """
    x = (
        renormalised(with_exponents(ScaledRows(xs)))
        if net.activation.homogeneous
        else ScaledRows(xs)
    )

    def from_top(way_up: tuple[ScaledRows, list[Any]], used: UsedDepth) -> Flow:
        return _down_from(net, layers, x, way_up, delta_of, used, options)

    if depth is None or jnp.ndim(depth) == 0:
        return from_top(up(net, layers, x, depth, memory), depth)
    if memory == "sqrt":  # keeps no z at which a shallower network could end
        way_up_to = partial(up, net, layers, x, memory=memory)
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
    keep = partial(_kept, options.examples)
    bottom, kept = down(net, layers, below, delta, keep, depth, of_segment=_records)
    parts = [
        part if isinstance(part, _Done) else _summed(part if is_run(layer) else _one(part))
        for layer, part in zip(layers, kept, strict=True)
    ]
    deltas, signals = zip(*parts, strict=True)
    used, above = _places(layers, depth)
    # What is kept of z[l] is kept by the layer above.
    records = _together(
        [*signals[1:], _one(_signal_of_output(net, top, options.examples))], _signal_records
    )
    if depth is not None:
        records = jax.tree.map(lambda v: v[above - 1], records)
    records |= _together(deltas, _delta_records)
    if options.tangent:
        records["log_tangent"] = _log_tangent(net, layers, x, depth)
    records["log_delta_input"] = _log_of_rows(bottom)
    return _flow(net, layers, records, delta.m.dtype, used, above)


class _Delta(NamedTuple):
    """Numbers kept of a layer's Δz, Δθ, Δb and b."""

    exponent: Int[Array, "*k B"]  # of Δz
    largest: Float[Array, "*k B"]  # the largest |m| of a row
    square: Float[Array, "*k B"]  # the sum of the squares of a row's m
    log_theta: Float[Array, "*k"]
    log_b: Any = None  # Float[Array, "*k"] of the units, and so is mean_square_b
    mean_square_b: Any = None


class _Signal(NamedTuple):
    """Numbers kept of z[l], and of a[l] and σ′ as the layer above takes z[l] in."""

    z_exponent: Int[Array, "*k B"]
    z_square: Float[Array, "*k B"]  # the mean over the units
    a_exponent: Int[Array, "*k B"]
    a_mean: Float[Array, "*k B"]
    a_spread: Float[Array, "*k B"]  # the mean of (a - a_mean)²
    saturated: Float[Array, "*k"]
    dead: Any = None  # Float[Array, "*k"] of the units; none of z[L]
    examples: Any = None  # of `examples_of`, if asked for


class _Units(NamedTuple):
    """Numbers kept of each unit of a layer, summed over for all layers of a run at once."""

    delta_b: ScaledRows
    b: Float[Array, "*k n"]
    steepest: Any  # Float[Array, "*k n"], the largest |σ′| over the batch; none of x


Kept = tuple[_Delta, Any, _Units]  # the signal is none of x
Records = dict[str, Array]  # fields of Flow


class _Done(NamedTuple):
    """The records of the layers of a segment, of Δ and of the signal."""

    delta: Records
    signal: Records


def _kept(examples: bool, step: Step) -> Kept:
    """Return the numbers to keep of a layer; none of x."""
    (theta, b, _), sigma = step.gradient, step.kind.sigma
    delta = _Delta(
        exponent=step.delta.e,
        largest=step.largest,
        square=jnp.sum(jnp.square(at_least_float32(step.delta.m)), axis=1),
        log_theta=log_size(theta),
    )
    if step.kind.takes_x:
        return delta, None, _Units(b, step.layer.b, None)
    argument = step.kind.block.preactivation(step.z)
    slope = sigma.prime(argument.m)
    size = slope if sigma.increasing else jnp.abs(slope)  # one pass over memory less
    flat = size < SATURATED_BELOW * _largest_slope(sigma)
    signal = _signal(step.z, apply_activation(sigma, argument), examples)._replace(
        saturated=jnp.mean(at_least_float32(flat.astype(slope.dtype)))
    )
    return delta, signal, _Units(b, step.layer.b, jnp.max(size, axis=0))


def _summed(kept: Kept) -> tuple[_Delta, Any]:
    """Sum over the units of k layers: then no shape depends on their width."""
    delta, signal, units = kept
    delta = delta._replace(
        log_b=log_size(units.delta_b, axis=-1),
        mean_square_b=jnp.mean(jnp.square(at_least_float32(units.b)), axis=-1),
    )
    if signal is None:
        return delta, None
    off = (units.steepest == 0).astype(delta.log_theta.dtype)
    return delta, signal._replace(dead=jnp.mean(off, axis=-1))


def _signal_of_output(net: Network, z: ScaledRows, examples: bool) -> _Signal:
    """Return the numbers of z[L]; a[L] is ŷ, and without g′ in the recursion the slope is 1."""
    signal = _signal(z, output_of(net, z), examples)
    return signal._replace(dead=signal.saturated)


def _signal(z: ScaledRows, a: ScaledRows, examples: bool) -> _Signal:
    z, a = with_exponents(z), with_exponents(a)
    rows = at_least_float32(a.m)
    mean = jnp.mean(rows, axis=-1)
    spread = jnp.mean(jnp.square(rows - mean[:, None]), axis=-1)
    return _Signal(
        z_exponent=z.e,
        z_square=jnp.mean(jnp.square(at_least_float32(z.m)), axis=-1),
        # Examples without an active unit have no size, so that sums over examples ignore them.
        a_exponent=jnp.where((mean == 0) & (spread == 0), ZERO_EXPONENT, a.e),
        a_mean=mean,
        a_spread=spread,
        saturated=jnp.zeros((), rows.dtype),
        examples=_examples(z) if examples else None,
    )


def _examples(z: ScaledRows) -> Records:
    m = at_least_float32(z.m)
    rows = m * alignment(z.e, m)[0][:, None]
    return examples_of(rows, float(jnp.finfo(z.m.dtype).eps))  # type: ignore[no-untyped-call]


def _log_tangent(
    net: Network, layers: Params, x: ScaledRows, depth: UsedDepth
) -> Float[Array, " L"]:
    dtype = at_least_float32(x.m).dtype

    def step(kind: BlockOp, layer: Layer, state: Pushed) -> tuple[Pushed, Array]:
        state = pushed(lambda z: kind.forward(layer, z)[0], state)
        return state, log_tangent(state, dtype)

    _, records = scan_up(net, layers, at_start(x), step, depth)
    parts = [v if is_run(layer) else v[None] for layer, v in zip(layers, records, strict=True)]
    return jnp.concatenate(parts)


def output_of(net: Network, z: ScaledRows) -> ScaledRows:
    """Return ŷ. Beyond the range only a linear ŷ needs exponents; others are 0 or 1 by then."""
    return z if net.task.name == "regression" else ScaledRows(net.task.output(in_range(z)))


def _together(parts: Iterable[Any], summary: Callable[[Any], Records]) -> Records:
    """Return the records of all Layers; those of segments are such already.

    The others become records together: that is compiled once, not once a Layer.
    """
    records = [
        part
        for done, stretch in groupby(parts, lambda part: isinstance(part, dict))
        for part in (stretch if done else [summary(_joined(stretch))])
    ]
    joined: Records = _joined(records)
    return joined


def _joined(trees: Iterable[Any]) -> Any:
    return jax.tree.map(lambda *v: jnp.concatenate(v), *trees)


def _one(kept: Any) -> Any:
    """Return what is kept of one layer like that of a run."""
    return jax.tree.map(lambda v: v[None], kept)


def _records(kept: Kept) -> _Done:
    """The records of the layers of a segment."""
    delta, signal = _summed(kept)
    return _Done(_delta_records(delta), _signal_records(signal))


def _delta_records(delta: _Delta) -> Records:
    return {
        **sizes_of_delta(delta.exponent, delta.largest, delta.square),
        "log_theta": delta.log_theta,
        "log_b": delta.log_b,
        "mean_square_b": delta.mean_square_b,
    }


def _signal_records(signal: _Signal) -> Records:
    z_scale, z_common = alignment(signal.z_exponent, signal.z_square)
    a_scale, a_common = alignment(signal.a_exponent, signal.a_mean)
    mean_square_z = jnp.mean(jnp.square(z_scale) * signal.z_square, axis=1)
    log_mean_square_z = log_of(mean_square_z, 2 * z_common)
    a_mean = a_scale * signal.a_mean
    mean_a = jnp.mean(a_mean, axis=1)
    # The variance over all entries: the rows' variances, averaged, plus that of their means.
    a_spread = jnp.square(a_scale) * signal.a_spread + jnp.square(a_mean - mean_a[:, None])
    return {
        "mean_square_z": value_of(mean_square_z, 2 * z_common),
        "log_mean_square": jnp.where(jnp.isnan(log_mean_square_z), jnp.inf, log_mean_square_z),
        "mean_a": value_of(mean_a, a_common),
        "var_a": value_of(jnp.mean(a_spread, axis=1), 2 * a_common),
        "saturated": signal.saturated,
        "dead": signal.dead,
        **(signal.examples or {}),
    }


def _places(layers: Params, depth: UsedDepth) -> tuple[Array, Array]:
    """For every layer whether it is used, and the index of the layer above it."""
    lengths = [length(layer) if is_run(layer) else 1 for layer in layers]
    places = jnp.arange(sum(lengths))
    if depth is None:
        return places >= 0, places + 1
    run = next(i for i, layer in enumerate(layers) if is_run(layer))
    unused, end = sum(lengths[:run]) + depth, sum(lengths[: run + 1])
    return (places < unused) | (places >= end), jnp.where(places == unused - 1, end, places + 1)


def _log_of_rows(delta: ScaledRows) -> Float[Array, ""]:
    """Return ln of the norm over all rows."""
    delta = renormalised(delta)
    scale, common = alignment(delta.e, delta.m)
    return log_size(ScaledRows(delta.m * scale[:, None], common))


def _flow(
    net: Network, layers: Params, records: Records, dtype: Any, used: Array, above: Array
) -> Flow:
    """Sort the records into a Flow, with gain and lost; mask unused layers with nan."""
    records = records | gain_and_lost(records, dtype, above, used)

    def masked(v: Array) -> Array:
        if v.dtype == bool or not v.ndim:
            return v
        return jnp.where(used.reshape(-1, *[1] * (v.ndim - 1)), v, jnp.nan)

    records = jax.tree.map(masked, records)
    theta, b = records.pop("log_theta"), records.pop("log_b")
    count = len(theta)
    return Flow(
        **{name: v for name, v in records.items() if name not in Units.__annotations__},
        log_theta=0.5 * jnp.logaddexp(2 * theta, 2 * b),
        mixes=jnp.full(count, rows_meet(net.hidden)).at[jnp.array([0, -1])].set(False),
        linear=jnp.ones(count, bool),
        parameters=Parameters(
            jnp.stack([theta, b], axis=1).ravel(),
            jnp.where(jnp.repeat(used, 2), _sizes(layers), jnp.nan),
            _paths(layers),
            tuple(1 + i // 2 for i in range(2 * count)),
        ),
        names=("",) * count,
        sizes=net.sizes[1:],
        dtype=dtype,
        units=Units(**{name: records[name] for name in Units.__annotations__}),
        net=net,
    )


def _sizes(layers: Params) -> Float[Array, " P"]:
    """Return ln of the norms of θ[0], b[0], θ[1], …; nan of a run that is stored as a key."""

    def of(layer: Layer | LazyRun) -> Array:
        if isinstance(layer, LazyRun):
            return jnp.full(2 * layer.k, jnp.nan)
        run = layer if is_run(layer) else Layer(layer.theta[None], layer.b[None])
        each = [jax.vmap(log_of_norm)(v.reshape(len(v), -1)) for v in run]
        return jnp.stack(each, axis=1).ravel()

    return jnp.concatenate([of(layer) for layer in layers])


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

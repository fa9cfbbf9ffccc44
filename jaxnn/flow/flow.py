"""Flow: the size of a gradient, layer by layer, on its way from the loss to the first layer.

The recursion of `backprop.py` in block floating point, summarised in a few numbers for each layer.
Δz is the primary record: in a bias-free ReLU network the norms of Δθ are equal in all layers while
those of Δz fall, because Δθ[i] = a[i]ᵀ Δz[i+1] and a grows as Δz shrinks.

In an exploding network the signal leaves a float's range too. If σ(cz) = c σ(z) for c > 0 (relu,
leaky_relu, identity), z has exponents as well; for every other σ it can leave the range.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import groupby
from typing import Any, NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from ..adapters.layers import Chain
from ..arrays.compiled import Numbers, as_array, compiled, computed
from ..arrays.rows import (
    ZERO_EXPONENT,
    ScaledRows,
    alignment,
    at_least_float32,
    exponent_of,
    in_range,
    log_of,
    log_size,
    lost_in_plain,
    power_of_two,
    renormalised,
    value_of,
    with_exponents,
)
from ..network.activations import Activation, apply_activation
from ..network.checks import (
    Depth,
    UsedDepth,
    as_rows,
    check_data,
    check_depth_as_data,
    check_params,
    check_x,
    dtype_of,
)
from ..network.network import Network
from ..network.params import Layer, Pairs, Params, is_run, length
from ..passes.backprop import Batch
from ..passes.walk import BlockOp, Memory, Step, check_memory, down, scan_up, up, up_to
from .chain import ChainFlow, chain_flow
from .examples import Pushed, at_start, examples_of, log_tangent, pushed
from .table import InWords

SATURATED_BELOW = 0.01  # as a fraction of the largest slope


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class Flow(InWords):
    """One entry for each layer of weights, entry l-1 for layer l = 1 … L; nan beyond `depth`.

    Arrays of `jax.vmap` have the axis of the networks in front, those of several depths theirs.
    Logarithms are natural, norms are Euclidean, and Δ belongs to the batch's mean loss, or to the
    given cotangent.

    log_delta: ln ‖Δz[l]‖ over the whole batch; -inf if it is zero.
    log_delta_example: ln of the norm of each example's row of Δz[l].
    log_largest: ln of the largest |entry| of Δz[l].
    log_theta: ln ‖Δθ[l-1]‖.
    log_b: ln ‖Δb[l-1]‖.
    mean_square_z, mean_a, var_a: of z[l] and a[l] over the batch and the units; inf and 0 beyond
        the range of the dtype.
    log_mean_square_z: ln of mean_square_z, also beyond that range.
    mean_square_b: of b[l-1] over the units.
    saturated: the fraction of units and examples with |σ′(z[l])| below 1 % of its largest value.
    dead: the fraction of units with σ′(z[l]) = 0 for the whole batch; both are 0 for the output.
    gain: ln ‖Δz[l]‖ - ln ‖Δz[l+1]‖, the effect of the factor of layer l; nan for the output.
    lost: whether plain backpropagation in this dtype has no number here: Δz has left the normal
        numbers at this layer or above, though in exact arithmetic it is neither zero nor inf. The
        largest entry decides; single entries of plain Δz may be lost a layer sooner or later.
    net: the network, with its activation and its kind of blocks; static.
    dtype: the float type of the parameters and the signal; static.
    log_spread: ln of the root mean square of what differs between examples, the deviation of z[l]
        from their mean, relative to that of z[l]. Below a few eps of the dtype it is rounding. This
        and what follows is None unless it was asked for; nan of a single example.
    cosine: the mean cosine between the z[l] of two examples.
    rank: the effective rank of the deviations, (tr C)² / tr C² of their Gram matrix C; nan where
        the spread is rounding. Of the first 64 examples.
    log_tangent: ln of the root mean square of a tangent relative to that of z[l], which starts as
        the way from each example to the next over √2: log_spread to first order, also where that
        is rounding.
    """

    log_delta: Float[Array, "*v L"]
    log_delta_example: Float[Array, "*v L B"]
    log_largest: Float[Array, "*v L"]
    log_theta: Float[Array, "*v L"]
    log_b: Float[Array, "*v L"]
    mean_square_z: Float[Array, "*v L"]
    log_mean_square_z: Float[Array, "*v L"]
    mean_a: Float[Array, "*v L"]
    var_a: Float[Array, "*v L"]
    mean_square_b: Float[Array, "*v L"]
    saturated: Float[Array, "*v L"]
    dead: Float[Array, "*v L"]
    gain: Float[Array, "*v L"]
    lost: Bool[Array, "*v L"]
    net: Network = field(metadata={"static": True})
    dtype: Any = field(metadata={"static": True})
    log_spread: Float[Array, "*v L"] | None = None
    cosine: Float[Array, "*v L"] | None = None
    rank: Float[Array, "*v L"] | None = None
    log_tangent: Float[Array, "*v L"] | None = None


@overload
def gradient_flow(
    net: Network,
    params: Pairs,
    xs: Batch,
    ys: ArrayLike | None = None,
    *,
    cotangent: Float[Array, "B n_out"] | None = None,
    depth: Depth = None,
    memory: Memory = "all",
    examples: bool = False,
    tangent: bool = False,
) -> Flow: ...
@overload
def gradient_flow(
    net: Chain,
    params: Any,
    xs: Any,
    ys: Any = None,
    *,
    loss: Callable[[Any, Any], Array] | None = None,
    cotangent: Any = None,
    memory: Memory = "all",
    examples: bool = True,
    tangent: bool = False,
) -> ChainFlow: ...


def gradient_flow(
    net: Network | Chain,
    params: Any,
    xs: Any,
    ys: Any = None,
    *,
    loss: Callable[[Any, Any], Array] | None = None,
    cotangent: Any = None,
    depth: Depth = None,
    memory: Memory = "all",
    examples: bool = False,
    tangent: bool = False,
) -> Flow | ChainFlow:
    """Measure the size of every Δ, layer by layer, also far beyond the range of the dtype.

    If σ is homogeneous (relu, leaky_relu, identity), the signal may leave the range too.

    Args:
        net: the network, or a chain of the user's own layers, `jaxnn.chain`.
        params: pairs (θ, b), single layers or runs, stored or as a random key; those of a chain.
        xs: B examples, (B, n[0]); of a chain a pytree of arrays with the examples first.
        ys: their labels, as for `jaxnn.backprop`: the pass starts at the loss. For a chain they are
            what `loss` takes, or None.
        loss: of a chain, (output, ys) -> a loss for each example, (B,), whose mean is
            differentiated. A function of its own each time compiles each time.
        cotangent: instead of ys, Δz[L] of the batch, (B, n[L]), where the pass starts. Laws of
            propagation hold cleanly only for one that does not depend on the forward pass. For a
            chain instead of loss, a pytree like the output.
        depth: the number of layers used of the one run in `params`, an integer or a traced
            integer; all of them by default. Or a list of k of them: a flow of each, with one way
            up for all where memory is "all", since a network is the start of a deeper one.
        memory: "all" stores z of every layer, 4 B n bytes in float32; "sqrt" stores, of a run of k
            layers, the input of every √k-th and computes those between a second time. The results
            are the same, up to the order in which the compiler adds.
        examples: whether log_spread, cosine and rank are measured as well; those of a chain always
            are.
        tangent: whether log_tangent is measured as well: a second way up, by `jax.jvp`.

    Returns:
        Flow, or ChainFlow for a chain. For k depths its arrays have an axis of k in front; that of
        depth i alone is `jax.tree.map(lambda v: v[i], flow)`.

    Raises:
        ValueError, TypeError: as `jaxnn.backprop`; also unless exactly one of ys (for a chain,
            loss) and cotangent is given, and, outside `jit`, if a z[l] has left the range of the
            dtype. Inside `jit` the results are nan from that layer on. For a layer of a chain that
            cannot be measured, with its name and the reason; for a tangent where one has a reverse
            rule alone.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, *[64] * 500, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0), stacked=True)
        >>> flow = jax.jit(jaxnn.gradient_flow)(net, params, jnp.ones((2, 3)), jnp.array([0, 1]))
        >>> round(float(flow.log_delta[0] / jnp.log(10)) / 10)  # 10^-316 or so, in float32
        -32
    """
    check_memory(memory)
    if isinstance(net, Chain):
        if depth is not None:
            raise ValueError("depth: expected none for a chain, whose layers are all used")
        return chain_flow(net, params, xs, ys, cotangent, loss, memory, tangent)
    if loss is not None:
        raise ValueError(
            "loss: expected none, since the loss of a Network is that of its task; it goes with "
            "jaxnn.chain"
        )
    layers = check_params(net, params)
    used = check_depth_as_data(layers, depth, several=True)
    if (ys is None) == (cotangent is None):
        raise ValueError("ys, cotangent: expected one of them, got both or none")
    dtype = dtype_of(layers)
    if ys is not None:
        xs, ys = check_data(net, xs, ys)
        flow = _flow_of_loss(net, layers, xs, ys, used, memory, FlowOptions(examples, tangent))
    else:
        xs = check_x(net, xs)
        top = _check_cotangent(cotangent, (len(xs), net.sizes[-1]), dtype)
        flow = _flow_of_cotangent(
            net, layers, xs, top, used, memory, FlowOptions(examples, tangent)
        )
    _check_range(flow, dtype)
    return flow


def _check_cotangent(
    cotangent: Any, shape: tuple[int, int], dtype: jnp.dtype
) -> Float[Numbers, "B n_out"]:
    values = as_array("cotangent", cotangent)
    if values.shape != shape:
        raise ValueError(f"cotangent: expected the shape of z[L], {shape}, got {values.shape}")
    if not isinstance(values, jax.core.Tracer):
        with np.errstate(over="ignore"):  # beyond the range of dtype is inf, and reported as that
            finite = np.isfinite(np.asarray(values).astype(dtype))
        if not finite.all():
            raise ValueError("cotangent: expected finite numbers, got some that are nan or inf")
    return values


def _check_range(flow: Flow, dtype: jnp.dtype) -> None:
    """Raise, outside `jit`, if the signal has left the range of its dtype."""
    if not isinstance(flow.log_mean_square_z, jax.core.Tracer):
        out = np.isposinf(flow.log_mean_square_z)
        if out.any():
            layer = int(np.argwhere(out)[0][-1]) + 1
            raise ValueError(
                f"z[{layer}]: expected numbers whose mean square is in the range of {dtype}, got "
                f"inf or nan; look for them in theta[{layer - 1}] and b[{layer - 1}], make the "
                "weights smaller or the float wider"
            )


@compiled
def _flow_of_loss(
    net: Network,
    layers: Params,
    xs: Numbers,
    ys: Numbers,
    depth: UsedDepth,
    memory: Memory,
    twin: "FlowOptions",
) -> Flow:
    rows, labels = as_rows(net, layers, xs, ys)
    return _measured(
        net, layers, rows, lambda z: delta_of_loss(net, z, labels), depth, memory, twin
    )


@compiled
def _flow_of_cotangent(
    net: Network,
    layers: Params,
    xs: Numbers,
    cotangent: Numbers,
    depth: UsedDepth,
    memory: Memory,
    twin: "FlowOptions",
) -> Flow:
    rows, delta = (jnp.asarray(values, dtype_of(layers)) for values in (xs, cotangent))
    return _measured(
        net, layers, rows, lambda z: with_exponents(ScaledRows(delta)), depth, memory, twin
    )


def _measured(
    net: Network,
    layers: Params,
    xs: Array,
    delta_of: Callable[[ScaledRows], ScaledRows],
    depth: UsedDepth,
    memory: Memory,
    twin: "FlowOptions",
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
        return _down_from(net, layers, x, way_up, delta_of, used, twin)

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
    twin: "FlowOptions",
) -> Flow:
    """Go down from z[L], the top of a way up from the rows x."""
    top, below = way_up
    delta = delta_of(top)
    keep = partial(_kept, twin.examples)
    _, kept = down(net, layers, below, delta, keep, depth, of_segment=_records)
    parts = [
        part if isinstance(part, _Done) else _summed(part if is_run(layer) else _one(part))
        for layer, part in zip(layers, kept, strict=True)
    ]
    deltas, signals = zip(*parts, strict=True)
    used, above = _places(layers, depth)
    # What is kept of z[l] is kept by the layer above.
    records = _together(
        [*signals[1:], _one(_signal_of_output(net, top, twin.examples))], _signal_records
    )
    if depth is not None:
        records = jax.tree.map(lambda v: v[above - 1], records)
    records |= _together(deltas, _delta_records)
    if twin.tangent:
        records["log_tangent"] = _log_tangent(net, layers, x, depth)
    return _flow(net, records, delta.m.dtype, used, above)


class FlowOptions(NamedTuple):
    """Options of a flow: measure what is left of the examples, and follow a tangent."""

    examples: bool
    tangent: bool


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


def delta_of_loss(net: Network, z: ScaledRows, ys: Float[Array, "B n"]) -> ScaledRows:
    """Return Δz[L] of a batch's mean loss, (ŷ - y) / B, with exponents."""
    if net.task.name == "regression" and z.e is not None:
        largest = jnp.max(jnp.abs(ys), axis=1)
        common = jnp.maximum(z.e, jnp.where(largest == 0, ZERO_EXPONENT, exponent_of(largest)))
        labels = ys * power_of_two(-common, ys)[:, None]
        z_hat = z.m * power_of_two(z.e - common, ys)[:, None]
        delta = ScaledRows(net.task.delta_z(z_hat, labels), common)
    else:
        delta = with_exponents(ScaledRows(net.task.delta_z(in_range(z), ys)))
    return delta._replace(m=delta.m / len(ys))


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
    scale, common = alignment(delta.exponent, delta.square)
    return {
        "log_delta": log_of(jnp.sqrt(jnp.sum(jnp.square(scale) * delta.square, axis=1)), common),
        "log_delta_example": log_of(jnp.sqrt(delta.square), delta.exponent),
        "log_largest": log_of(jnp.max(scale * at_least_float32(delta.largest), axis=1), common),
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
        "log_mean_square_z": jnp.where(jnp.isnan(log_mean_square_z), jnp.inf, log_mean_square_z),
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


def _flow(net: Network, records: Records, dtype: jnp.dtype, used: Array, above: Array) -> Flow:
    """Add gain and lost; mask unused layers with nan."""
    log_delta = records["log_delta"]
    records = records | {"gain": log_delta - jnp.append(log_delta, jnp.nan)[above]}

    def masked(v: Array) -> Array:
        return jnp.where(used.reshape(-1, *[1] * (v.ndim - 1)), v, jnp.nan)

    return Flow(
        **jax.tree.map(masked, records),
        lost=lost_in_plain(records["log_largest"], dtype, used),
        net=net,
        dtype=dtype,
    )


@cache
def _largest_slope(activation: Activation) -> float:
    """The largest |σ′| on [-20, 20], on a grid."""
    z = np.linspace(-20, 20, 40_001, dtype=np.float32)
    return float(computed(lambda z: jnp.max(jnp.abs(activation.prime(z))), z))


@compiled
def log_norm(v: Float[Array, "..."]) -> Float[Array, ""]:
    """Return ln ‖v‖₂ over all entries, ln m + ½ ln Σ (v/m)² with m = max |v|.

    In float32 the square of 1e-23 is already zero; scaled by m nothing is lost. -inf for zero, inf
    if an entry is infinite, nan if one is nan.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(log_norm(jnp.array([3e-30, 4e-30])) / jnp.log(10)), 2)  # log10 of 5e-30
        -29.3
    """
    v = at_least_float32(v)
    info = jnp.finfo(v.dtype)  # type: ignore[no-untyped-call]
    tiny = float(info.tiny)

    def scaled(v: Array) -> Array:
        # Clipped so that 1/m is a normal number too: XLA may divide by multiplying with it.
        m = jnp.clip(jnp.max(jnp.abs(v)), tiny, 1 / tiny)
        return jnp.log(m) + 0.5 * jnp.log(jnp.sum(jnp.square(v / m)))

    # One pass is enough unless a square that counts has left the range, which is rare.
    square = jnp.sum(jnp.square(v))
    in_range = (square > tiny / float(info.eps) ** 2) & jnp.isfinite(square)
    log: Array = lax.cond(in_range, lambda _: 0.5 * jnp.log(square), scaled, v)
    return log

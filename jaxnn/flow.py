"""Flow: the size of a gradient, layer by layer, on its way from the loss to the first layer.

The recursion of `backprop.py` in block floating point, summarised in a few numbers for each layer.
Δz is the primary record: in a bias-free ReLU network the norms of Δθ are equal in all layers while
those of Δz fall, because Δθ[i] = a[i]ᵀ Δz[i+1] and a grows as Δz shrinks.
"""

from collections.abc import Iterable
from functools import cache, partial
from itertools import groupby
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from .activations import Activation
from .backprop import Batch, delta_below, parameter_deltas, through_activation
from .blockfloat import (
    LN2,
    BlockFloat,
    alignment,
    as_block,
    as_plain,
    at_least_float32,
    log_of,
    value_of,
    with_largest,
)
from .compiled import Numbers, as_array, compiled
from .layers import Layer, Pairs, Params, Run, assert_single, biases, is_run, layer_of, length
from .loops import loop, product, zeros
from .network import (
    Depth,
    Network,
    UsedDepth,
    as_rows,
    check_data,
    check_depth_as_data,
    check_params,
    check_x,
    dtype_of,
)
from .signal import (
    Moments,
    Signal,
    delta_of_loss,
    output_signal,
    run_signal,
    segment_of,
    segment_size,
    segment_starts,
    signal_of,
)

SATURATED_BELOW = 0.01  # as a fraction of the largest slope

Memory = Literal["all", "sqrt"]


class Flow(NamedTuple):
    """One entry for each layer of weights, entry l-1 for layer l = 1 … L; nan beyond `depth`.

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
    activation: σ of the hidden layers; static.
    """

    log_delta: Float[Array, " L"]
    log_delta_example: Float[Array, "L B"]
    log_largest: Float[Array, " L"]
    log_theta: Float[Array, " L"]
    log_b: Float[Array, " L"]
    mean_square_z: Float[Array, " L"]
    log_mean_square_z: Float[Array, " L"]
    mean_a: Float[Array, " L"]
    var_a: Float[Array, " L"]
    mean_square_b: Float[Array, " L"]
    saturated: Float[Array, " L"]
    dead: Float[Array, " L"]
    gain: Float[Array, " L"]
    lost: Bool[Array, " L"]
    activation: Activation


def gradient_flow(
    net: Network,
    params: Pairs,
    xs: Batch,
    ys: ArrayLike | None = None,
    *,
    cotangent: Float[Array, "B n_out"] | None = None,
    depth: Depth = None,
    memory: Memory = "all",
) -> Flow:
    """Measure the size of every Δ, layer by layer, also far beyond the range of the dtype.

    If σ is homogeneous (relu, leaky_relu, identity), the signal may leave the range too.

    Args:
        net: the network.
        params: pairs (θ, b), single layers or runs, stored or as a random key.
        xs: B examples, (B, n[0]).
        ys: their labels, as for `jaxnn.backprop`: the pass starts at the loss.
        cotangent: instead of ys, Δz[L] of the batch, (B, n[L]), where the pass starts. Laws of
            propagation hold cleanly only for one that does not depend on the forward pass.
        depth: the number of layers used of the one run in `params`, an integer or a traced
            integer; all of them by default.
        memory: "all" stores z of every layer, 4 B n bytes in float32; "sqrt" stores, of a run of k
            layers, the input of every √k-th and computes those between a second time. The results
            are the same, up to the order in which the compiler adds.

    Returns:
        Flow.

    Raises:
        ValueError, TypeError: as `jaxnn.backprop`; also unless exactly one of ys and cotangent is
            given, and, outside `jit`, if a z[l] has left the range of the dtype. Inside `jit` the
            results are nan from that layer on.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, *[64] * 500, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0), stacked=True)
        >>> flow = jax.jit(jaxnn.gradient_flow)(net, params, jnp.ones((2, 3)), jnp.array([0, 1]))
        >>> round(float(flow.log_delta[0] / jnp.log(10)) / 10)  # 10^-316 or so, in float32
        -32
    """
    layers = check_params(net, params)
    used = check_depth_as_data(layers, depth)
    if (ys is None) == (cotangent is None):
        raise ValueError("ys, cotangent: expected one of them, got both or none")
    if memory not in ("all", "sqrt"):
        raise ValueError(f"memory: expected 'all' or 'sqrt', got {memory!r}")
    dtype = dtype_of(layers)
    if ys is not None:
        xs, ys = check_data(net, xs, ys)
        flow = _flow_of_loss(net, layers, xs, ys, used, memory)
    else:
        xs = check_x(net, xs)
        top = _check_cotangent(cotangent, (len(xs), net.sizes[-1]), dtype)
        flow = _flow_of_cotangent(net, layers, xs, top, used, memory)
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
            layer = int(np.argmax(out)) + 1
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
) -> Flow:
    rows, labels = as_rows(net, layers, xs, ys)
    top, below = _forward(net, layers, rows, depth, memory)
    return _backward(net, layers, top, below, delta_of_loss(net, top.z, labels), depth)


@compiled
def _flow_of_cotangent(
    net: Network,
    layers: Params,
    xs: Numbers,
    cotangent: Numbers,
    depth: UsedDepth,
    memory: Memory,
) -> Flow:
    rows, delta = (jnp.asarray(values, dtype_of(layers)) for values in (xs, cotangent))
    top, below = _forward(net, layers, rows, depth, memory)
    return _backward(net, layers, top, below, as_block(delta), depth)


Stored = Signal | BlockFloat  # the signal of a Layer, or the inputs of the segments of a run


def _forward(
    net: Network, layers: Params, xs: Array, depth: UsedDepth, memory: Memory
) -> tuple[Signal, list[Stored]]:
    """The signal of the last layer, and what is stored of the Layers below."""
    *hidden, last = layers
    a = as_block(xs) if net.activation.homogeneous else as_plain(xs)
    signals: list[Stored] = []
    for layer in hidden:
        signal: Stored
        if not is_run(layer):
            a, signal = signal_of(net, assert_single(layer), a)
        else:
            used = length(layer) if depth is None else depth
            go_up = segment_starts if memory == "sqrt" else run_signal
            a, signal = go_up(net, layer, a, used)
        signals.append(signal)
    return output_signal(net, assert_single(last), a), signals


class _Delta(NamedTuple):
    """Per-example results for Δz, and those of Δθ and σ′, of one layer or of each of k."""

    exponent: Int[Array, "*k B"]  # of Δz
    largest: Float[Array, "*k B"]  # the largest |mantissa| of a row
    square: Float[Array, "*k B"]  # sum of the squares of the mantissas of a row
    log_theta: Float[Array, "*k"]
    saturated: Float[Array, "*k"]


class _Units(NamedTuple):
    """Per-unit results of the pass backwards."""

    delta_b: Float[Array, "*k n"]  # up to the common exponent of Δz
    slope: Float[Array, "*k n"]  # the largest |σ′| over the batch


class _Rows(NamedTuple):
    """Results of k layers, in shapes that do not depend on their width."""

    z_exponent: Int[Array, "k B"]
    a_exponent: Int[Array, "k B"]
    moments: Moments
    sums: _Delta
    mean_square_b: Float[Array, " k"]
    log_b: Float[Array, " k"]  # up to the common exponent of Δz
    dead: Float[Array, " k"]


Records = dict[str, Array]  # fields of Flow


def _backward(
    net: Network,
    layers: Params,
    top: Signal,
    signals: list[Stored],
    delta: BlockFloat,
    depth: UsedDepth,
) -> Flow:
    """The pass down from Δz[L], with the records of all layers."""
    *hidden, last = layers
    one = assert_single(last)
    delta_a, sums, units = _output(net, one, top.a_in, top.z.mantissa, delta)
    parts: list[_Rows | Records] = [_rows_of_one(one, top, sums, units)]
    for layer, signal in zip(reversed(hidden), reversed(signals), strict=True):
        part: _Rows | Records
        if isinstance(signal, BlockFloat):
            part, delta_a = _run_by_segments(net, layer, signal, depth, delta_a)
        elif is_run(layer):
            used = length(layer) if depth is None else depth
            part, delta_a = _run(net, layer, signal, used, delta_a)
        else:
            one = assert_single(layer)
            delta_a, sums, units = _hidden(net, one, signal.a_in, signal.z.mantissa, delta_a)
            part = _rows_of_one(one, signal, sums, units)
        parts.append(part)
    # Rows of consecutive Layers become records together: that is compiled once, not once a Layer.
    records = [
        record
        for kind, stretch in groupby(reversed(parts), type)
        for record in ([_by_layer(_joined(stretch))] if kind is _Rows else stretch)
    ]
    return _flow(net, _joined(records), delta.mantissa.dtype, *_places(layers, depth))


def _joined(trees: Iterable[Any]) -> Any:
    """Concatenate arrays of consecutive layers."""
    return jax.tree.map(lambda *v: jnp.concatenate(v), *trees)


def _rows_of_one(layer: Layer, signal: Signal, sums: _Delta, units: _Units) -> _Rows:
    """The results of one layer, as k = 1."""
    return _rows(*jax.tree.map(lambda v: v[None], (layer.b, signal, sums, units)))


def _rows(b: Array, signal: Signal, sums: _Delta, units: _Units) -> _Rows:
    """The results of k layers of one width, with its units summed over."""
    dtype = sums.log_theta.dtype
    return _Rows(
        signal.z.exponent,
        signal.a_exponent,
        signal.moments,
        sums,
        mean_square_b=jnp.mean(jnp.square(at_least_float32(b)), axis=1),
        log_b=jax.vmap(log_norm)(units.delta_b),
        dead=jnp.mean((units.slope == 0).astype(dtype), axis=1),
    )


def _run(
    net: Network, run: Run, signal: Signal, depth: Array | int, delta_a: BlockFloat
) -> tuple[_Rows, BlockFloat]:
    """Go down a run from the last layer used, writing the results of layer j to row j."""

    def at(values: Array, j: Array) -> Any:
        return lax.dynamic_index_in_dim(values, j, keepdims=False)

    z = signal.z.mantissa

    def layer(j: Array, delta_a: BlockFloat) -> Below:
        below = jnp.maximum(j - 1, 0)
        # Only z is stored: σ(z) costs less to compute again than to read back.
        before = BlockFloat(net.activation.sigma(at(z, below)), at(signal.a_exponent, below))
        a_in = jax.tree.map(partial(jnp.where, j == 0), signal.a_in, before)
        return _hidden(net, layer_of(run, j), a_in, at(z, j), delta_a)

    def body(step: Array, state: Any) -> Any:
        delta_a, results = state
        j = depth - 1 - step
        delta_a, *result = layer(j, delta_a)
        put = partial(lax.dynamic_update_index_in_dim, index=j, axis=0)
        return delta_a, jax.tree.map(put, results, result)

    k = length(run)
    _, *shapes = jax.eval_shape(layer, 0, delta_a)
    empty = jax.tree.map(partial(zeros, k), shapes)
    delta_a, results = loop(0, depth, body, (delta_a, empty))
    return _rows(biases(run), signal, *results), delta_a


def _run_by_segments(
    net: Network,
    run: Run,
    starts: BlockFloat,
    depth: UsedDepth,
    delta_a: BlockFloat,
) -> tuple[Records, BlockFloat]:
    """Like `_run`, but from the input of each segment, whose signal is computed again."""
    k = length(run)
    size, depth = segment_size(k), k if depth is None else depth
    count = -(-depth // size)

    def segment(i: Array, delta_a: BlockFloat) -> tuple[Records, BlockFloat]:
        part, used = segment_of(run, i), jnp.minimum(depth - i * size, size)
        a = BlockFloat(*(lax.dynamic_index_in_dim(v, i, keepdims=False) for v in starts))
        _, signal = run_signal(net, part, a, used)
        rows, delta_a = _run(net, part, signal, used, delta_a)
        return _by_layer(rows), delta_a

    def body(step: Array, state: tuple[Records, BlockFloat]) -> tuple[Records, BlockFloat]:
        records, delta_a = state
        i = count - 1 - step
        record, delta_a = segment(i, delta_a)
        put = partial(lax.dynamic_update_index_in_dim, index=i, axis=0)
        return jax.tree.map(put, records, record), delta_a

    shapes, _ = jax.eval_shape(segment, 0, delta_a)
    empty = jax.tree.map(partial(zeros, len(starts.exponent)), shapes)
    records, delta_a = loop(0, count, body, (empty, delta_a))
    flat: Records = jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:])[:k], records)
    return flat, delta_a


Below = tuple[BlockFloat, _Delta, _Units]  # Δa below a layer, and the results of the layer


def _hidden(net: Network, layer: Layer, a_in: BlockFloat, z: Array, delta_a: BlockFloat) -> Below:
    """Go from Δa of a hidden layer to Δa below it."""
    slope = net.activation.prime(z)
    size = slope if net.activation.increasing else jnp.abs(slope)  # one pass over memory less
    delta = delta_a._replace(mantissa=through_activation(net, delta_a.mantissa, z))  # (4)
    return _below(net, layer, a_in, size, _largest_slope(net.activation), delta)


def _output(net: Network, layer: Layer, a_in: BlockFloat, z: Array, delta: BlockFloat) -> Below:
    """Go from Δz[L] to Δa[L-1]; g′ is not in the recursion, so the slope counts as 1."""
    return _below(net, layer, a_in, jnp.ones_like(z), 1.0, delta)


def _below(
    net: Network,
    layer: Layer,
    a_in: BlockFloat,
    slope: Array,
    largest_slope: float,
    delta: BlockFloat,
) -> Below:
    """Go from Δz of a layer to Δa below it; slope is |σ′|.

    Δθ and Δb are sums over examples of different exponents e. Each row is weighted by a power of
    two, Δθ = 2^common Σ 2^(e - common) aᵀ Δz.
    """
    delta, largest = with_largest(delta)
    scale, common = alignment(delta.exponent, delta.mantissa)
    theta_scale = scale
    if net.activation.homogeneous:  # only then the exponents of a are not 0
        theta_scale, common = alignment(delta.exponent + a_in.exponent, delta.mantissa)
    theta, _ = parameter_deltas(a_in.mantissa * theta_scale[:, None], delta.mantissa)  # (1)
    sums = _Delta(
        exponent=delta.exponent,
        largest=largest,
        square=jnp.sum(jnp.square(at_least_float32(delta.mantissa)), axis=1),
        log_theta=_shifted(log_norm(theta), common),
        saturated=jnp.mean(
            at_least_float32((slope < SATURATED_BELOW * largest_slope).astype(slope.dtype))
        ),
    )
    units = _Units(product(scale, delta.mantissa), jnp.max(slope, axis=0))  # (2)
    return delta._replace(mantissa=delta_below(layer, delta.mantissa)), sums, units


def _by_layer(rows: _Rows) -> Records:
    """The records of k layers from their per-example results."""
    moments, sums = rows.moments, rows.sums
    scale, common = alignment(sums.exponent, sums.square)
    z_scale, z_common = alignment(rows.z_exponent, moments.z_square)
    a_scale, a_common = alignment(rows.a_exponent, moments.a_mean)
    mean_square_z = jnp.mean(jnp.square(z_scale) * moments.z_square, axis=1)
    log_mean_square_z = log_of(mean_square_z, 2 * z_common)
    a_mean = a_scale * moments.a_mean
    mean_a = jnp.mean(a_mean, axis=1)
    # The variance over all entries: the rows' variances, averaged, plus that of their means.
    a_spread = jnp.square(a_scale) * moments.a_spread + jnp.square(a_mean - mean_a[:, None])
    return {
        "log_delta": log_of(jnp.sqrt(jnp.sum(jnp.square(scale) * sums.square, axis=1)), common),
        "log_delta_example": log_of(jnp.sqrt(sums.square), sums.exponent),
        "log_largest": log_of(jnp.max(scale * at_least_float32(sums.largest), axis=1), common),
        "log_theta": sums.log_theta,
        "log_b": _shifted(rows.log_b, common),
        "mean_square_z": value_of(mean_square_z, 2 * z_common),
        "log_mean_square_z": jnp.where(jnp.isnan(log_mean_square_z), jnp.inf, log_mean_square_z),
        "mean_a": value_of(mean_a, a_common),
        "var_a": value_of(jnp.mean(a_spread, axis=1), 2 * a_common),
        "mean_square_b": rows.mean_square_b,
        "saturated": sums.saturated,
        "dead": rows.dead,
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
    log_delta, log_largest = records["log_delta"], records["log_largest"]
    info = jnp.finfo(dtype)  # type: ignore[no-untyped-call]
    out_of_range = ~(log_largest <= float(np.log(info.max))) | (  # `not <=`, so that nan is out
        log_largest < float(np.log(info.tiny))
    )
    from_above = lax.cummax((out_of_range & used).astype(int), reverse=True) > 0
    records = records | {"gain": log_delta - jnp.append(log_delta, jnp.nan)[above]}

    def masked(v: Array) -> Array:
        return jnp.where(used.reshape(-1, *[1] * (v.ndim - 1)), v, jnp.nan)

    return Flow(
        **jax.tree.map(masked, records),
        lost=from_above & used & ~jnp.isneginf(log_largest),
        activation=net.activation,
    )


def _shifted(log: Array, exponent: Array) -> Array:
    """ln(2^exponent · x), given log = ln x."""
    return log + exponent.astype(log.dtype) * LN2


@cache
def _largest_slope(activation: Activation) -> float:
    """The largest |σ′| on [-20, 20], on a grid."""
    z = np.linspace(-20, 20, 40_001, dtype=np.float32)
    with jax.ensure_compile_time_eval():
        return float(jax.jit(lambda z: jnp.max(jnp.abs(activation.prime(z))))(z))


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

"""Flow: what happens to a gradient on its way from the loss to the first layer.

The recursion of `backprop.py` in block floating point, summed up as a few numbers a layer. Δz is
the primary record: in a bias-free ReLU network the norms of Δθ are flat across the layers while
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
    block,
    log_of,
    plain,
    value_of,
    wide,
    with_largest,
)
from .compiled import Numbers, as_array, compiled
from .layers import Layer, Pairs, Params, Run, biases, is_run, layer_of, length, single
from .network import (
    Depth,
    Network,
    as_rows,
    check_data,
    check_depth,
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

SATURATED_BELOW = 0.01  # of the largest slope

Memory = Literal["all", "sqrt"]


class Flow(NamedTuple):
    """One entry a layer of weights, entry l-1 for layer l = 1 … L; nan where `depth` leaves it out.

    Logarithms are natural, norms are Euclidean, and Δ is of the batch's mean loss (or as the given
    cotangent has it).

    log_delta: ln ‖Δz[l]‖ over the whole batch; -inf where it is zero.
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
    gain: ln ‖Δz[l]‖ - ln ‖Δz[l+1]‖, what the factor of layer l does; nan for the output.
    lost: plain backpropagation in this dtype has no number here: on the way down Δz has left the
        normal numbers at this layer or above it, in exact arithmetic being neither zero nor inf.
        It is told by the largest entry; entry by entry, plain Δz may go a layer sooner or later.
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
    """How large every Δ is, layer by layer, also far beyond the range of the dtype.

    Where σ is homogeneous (relu, leaky_relu, identity) the signal too may leave the range.

    Args:
        net: the network.
        params: pairs (θ, b), single layers or runs, stored or drawn where they are used.
        xs: B examples, (B, n[0]).
        ys: their labels, as for `jaxnn.backprop`: the pass starts at the loss.
        cotangent: instead of ys, Δz[L] of the batch, (B, n[L]): the pass starts there. Laws of
            propagation are clean only with one that does not depend on the forward pass.
        depth: how many layers of the one run in `params` are used, an integer or a traced integer;
            all of them where it is None.
        memory: "all" keeps z of every layer, 4 B n bytes in float32; "sqrt" keeps of a run of k
            layers the input of every √k-th and computes those between a second time. The numbers
            are the same, sums as far as the compiler keeps their order.

    Returns:
        Flow.

    Raises:
        ValueError, TypeError: as `jaxnn.backprop`; also unless one of ys and cotangent is given,
            and, outside `jit`, where a z[l] has left the range of the dtype. Inside it the results
            are nan from there on.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, *[64] * 500, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0), stacked=True)
        >>> flow = jax.jit(jaxnn.gradient_flow)(net, params, jnp.ones((2, 3)), jnp.array([0, 1]))
        >>> round(float(flow.log_delta[0] / jnp.log(10)) / 10)  # 10^-316 or so, in float32
        -32
    """
    layers = check_params(net, params)
    used = check_depth(layers, depth)
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
    values = as_array(cotangent)
    if values.shape != shape:
        raise ValueError(f"cotangent: expected the shape of z[L], {shape}, got {values.shape}")
    if not isinstance(values, jax.core.Tracer):
        with np.errstate(over="ignore"):  # a number beyond the range of dtype is found as inf
            finite = np.isfinite(np.asarray(values).astype(dtype))
        if not finite.all():
            raise ValueError("cotangent: expected finite numbers, got some that are nan or inf")
    return values


def _check_range(flow: Flow, dtype: jnp.dtype) -> None:
    """Raises, outside `jit`, where the signal has left the range of its dtype."""
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
    depth: Array | int | None,
    memory: Memory,
) -> Flow:
    rows, labels = as_rows(net, layers, xs, ys)
    top, kept = _forward(net, layers, rows, depth, memory)
    return _backward(net, layers, top, kept, delta_of_loss(net, top.z, labels), depth)


@compiled
def _flow_of_cotangent(
    net: Network,
    layers: Params,
    xs: Numbers,
    cotangent: Numbers,
    depth: Array | int | None,
    memory: Memory,
) -> Flow:
    rows, delta = (jnp.asarray(values, dtype_of(layers)) for values in (xs, cotangent))
    top, kept = _forward(net, layers, rows, depth, memory)
    return _backward(net, layers, top, kept, block(delta), depth)


Kept = Signal | BlockFloat  # of a Layer: its signal, or what goes into the segments of its run


def _forward(
    net: Network, layers: Params, xs: Array, depth: Array | int | None, memory: Memory
) -> tuple[Signal, list[Kept]]:
    """The signal of the last layer, and what is kept of the Layers below."""
    *hidden, last = layers
    a, kept = block(xs) if net.activation.homogeneous else plain(xs), list[Kept]()
    for layer in hidden:
        of_layer: Kept
        if not is_run(layer):
            a, of_layer = signal_of(net, single(layer), a)
        else:
            used = length(layer) if depth is None else depth
            of_run = segment_starts if memory == "sqrt" else run_signal
            a, of_layer = of_run(net, layer, a, used)
        kept.append(of_layer)
    return output_signal(net, single(last), a), kept


class _Passed(NamedTuple):
    """What the pass backwards keeps of a layer, or of each of k."""

    exponent: Int[Array, "*k B"]  # of Δz
    largest: Float[Array, "*k B"]  # mantissa of a row
    square: Float[Array, "*k B"]  # sum of the squares of the mantissas of a row
    log_theta: Float[Array, "*k"]
    saturated: Float[Array, "*k"]


class _Units(NamedTuple):
    """What it keeps of each unit."""

    delta_b: Float[Array, "*k n"]  # as far as the common exponent of Δz
    slope: Float[Array, "*k n"]  # the largest |σ′| over the batch


class _Rows(NamedTuple):
    """All that is kept of k layers, in shapes that do not depend on their width."""

    z_exponent: Int[Array, "k B"]
    a_exponent: Int[Array, "k B"]
    moments: Moments
    passed: _Passed
    mean_square_b: Float[Array, " k"]
    log_b: Float[Array, " k"]  # as far as the common exponent of Δz
    dead: Float[Array, " k"]


Records = dict[str, Array]  # fields of Flow


def _backward(
    net: Network,
    layers: Params,
    top: Signal,
    kept: list[Kept],
    delta: BlockFloat,
    depth: Array | int | None,
) -> Flow:
    """The records of all layers, from Δz[L] down."""
    *hidden, last = layers
    one = single(last)
    delta_a, passed, units = _output(net, one, top.a_in, top.z.mantissa, delta)
    parts: list[_Rows | Records] = [_of_one(one, top, passed, units)]
    for layer, signal in zip(reversed(hidden), reversed(kept), strict=True):
        part: _Rows | Records
        if isinstance(signal, BlockFloat):
            part, delta_a = _run_by_segments(net, layer, signal, depth, delta_a)
        elif is_run(layer):
            used = length(layer) if depth is None else depth
            part, delta_a = _run(net, layer, signal, used, delta_a)
        else:
            one = single(layer)
            delta_a, passed, units = _hidden(net, one, signal.a_in, signal.z.mantissa, delta_a)
            part = _of_one(one, signal, passed, units)
        parts.append(part)
    # One program makes the numbers of all layers whose rows are there.
    records = [
        record
        for kind, stretch in groupby(reversed(parts), type)
        for record in ([_by_layer(_joined(stretch))] if kind is _Rows else stretch)
    ]
    return _flow(net, _joined(records), delta.mantissa.dtype, *_places(layers, depth))


def _joined(trees: Iterable[Any]) -> Any:
    """Arrays of k layers, and of those above them, as arrays of them all."""
    return jax.tree.map(lambda *v: jnp.concatenate(v), *trees)


def _of_one(layer: Layer, signal: Signal, passed: _Passed, units: _Units) -> _Rows:
    """Of one layer as of k = 1."""
    return _rows(*jax.tree.map(lambda v: v[None], (layer.b, signal, passed, units)))


def _rows(b: Array, signal: Signal, passed: _Passed, units: _Units) -> _Rows:
    """With sums over the units, which may be of another number in other layers."""
    dtype = passed.log_theta.dtype
    return _Rows(
        signal.z.exponent,
        signal.a_exponent,
        signal.moments,
        passed,
        mean_square_b=jnp.mean(jnp.square(wide(b)), axis=1),
        log_b=jax.vmap(log_norm)(units.delta_b),
        dead=jnp.mean((units.slope == 0).astype(dtype), axis=1),
    )


def _run(
    net: Network, run: Run, signal: Signal, depth: Array | int, delta_a: BlockFloat
) -> tuple[_Rows, BlockFloat]:
    """The layers of a run from the last used one down; what is kept of each goes to its place."""

    def at(values: Array, j: Array) -> Any:
        return lax.dynamic_index_in_dim(values, j, keepdims=False)

    z = signal.z.mantissa

    def layer(j: Array, delta_a: BlockFloat) -> Below:
        below = jnp.maximum(j - 1, 0)
        before = BlockFloat(net.activation.sigma(at(z, below)), at(signal.a_exponent, below))
        a_in = jax.tree.map(partial(jnp.where, j == 0), signal.a_in, before)
        return _hidden(net, layer_of(run, j), a_in, at(z, j), delta_a)

    def body(step: Array, state: Any) -> Any:
        delta_a, kept = state
        j = depth - 1 - step
        delta_a, *of_layer = layer(j, delta_a)
        put = partial(lax.dynamic_update_index_in_dim, index=j, axis=0)
        return delta_a, jax.tree.map(put, kept, of_layer)

    k = length(run)
    _, *shapes = jax.eval_shape(layer, 0, delta_a)
    empty = jax.tree.map(lambda v: jnp.zeros((k, *v.shape), v.dtype), shapes)
    delta_a, of_run = lax.fori_loop(0, depth, body, (delta_a, empty))
    return _rows(biases(run), signal, *of_run), delta_a


def _run_by_segments(
    net: Network,
    run: Run,
    starts: BlockFloat,
    depth: Array | int | None,
    delta_a: BlockFloat,
) -> tuple[Records, BlockFloat]:
    """The same where only the input of each segment is kept: its signal is computed again."""
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
    empty = jax.tree.map(lambda v: jnp.zeros((len(starts.exponent), *v.shape), v.dtype), shapes)
    records, delta_a = lax.fori_loop(0, count, body, (empty, delta_a))
    flat: Records = jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:])[:k], records)
    return flat, delta_a


Below = tuple[BlockFloat, _Passed, _Units]  # Δa, and what is kept


def _hidden(net: Network, layer: Layer, a_in: BlockFloat, z: Array, delta_a: BlockFloat) -> Below:
    """A hidden layer, from Δa above it to Δa below."""
    slope = net.activation.prime(z)
    size = slope if net.activation.increasing else jnp.abs(slope)
    delta = delta_a._replace(mantissa=through_activation(net, delta_a.mantissa, z))  # (4)
    return _below(net, layer, a_in, size, _largest_slope(net.activation), delta)


def _output(net: Network, layer: Layer, a_in: BlockFloat, z: Array, delta: BlockFloat) -> Below:
    """The output layer, from Δz: its g′ is not in the recursion, so its slope counts as 1."""
    return _below(net, layer, a_in, jnp.ones_like(z), 1.0, delta)


def _below(
    net: Network,
    layer: Layer,
    a_in: BlockFloat,
    slope: Array,
    largest_slope: float,
    delta: BlockFloat,
) -> Below:
    """From Δz of a layer to Δa below it; slope is |σ′|.

    Δθ and Δb are sums over examples of different exponents: each row takes part by its own power of
    two, Δθ = Σ 2^(e - common) aᵀ Δz.
    """
    delta, largest = with_largest(delta)
    scale, common = alignment(delta.exponent, delta.mantissa)
    of_theta = scale
    if net.activation.homogeneous:  # else a has no exponents
        of_theta, common = alignment(delta.exponent + a_in.exponent, delta.mantissa)
    theta, _ = parameter_deltas(a_in.mantissa * of_theta[:, None], delta.mantissa)  # (1)
    passed = _Passed(
        exponent=delta.exponent,
        largest=largest,
        square=jnp.sum(jnp.square(wide(delta.mantissa)), axis=1),
        log_theta=_shifted(log_norm(theta), common),
        saturated=jnp.mean(wide((slope < SATURATED_BELOW * largest_slope).astype(slope.dtype))),
    )
    units = _Units(scale @ delta.mantissa, jnp.max(slope, axis=0))  # (2)
    return delta._replace(mantissa=delta_below(layer, delta.mantissa)), passed, units


def _by_layer(rows: _Rows) -> Records:
    """The numbers of each layer from those of its rows."""
    moments, passed = rows.moments, rows.passed
    scale, common = alignment(passed.exponent, passed.square)
    of_z, up_z = alignment(rows.z_exponent, moments.z_square)
    of_a, up_a = alignment(rows.a_exponent, moments.a_mean)
    mean_square_z = jnp.mean(jnp.square(of_z) * moments.z_square, axis=1)
    log_mean_square_z = log_of(mean_square_z, 2 * up_z)
    a_mean = of_a * moments.a_mean
    mean_a = jnp.mean(a_mean, axis=1)
    a_spread = jnp.square(of_a) * moments.a_spread + jnp.square(a_mean - mean_a[:, None])
    return {
        "log_delta": log_of(jnp.sqrt(jnp.sum(jnp.square(scale) * passed.square, axis=1)), common),
        "log_delta_example": log_of(jnp.sqrt(passed.square), passed.exponent),
        "log_largest": log_of(jnp.max(scale * wide(passed.largest), axis=1), common),
        "log_theta": passed.log_theta,
        "log_b": _shifted(rows.log_b, common),
        "mean_square_z": value_of(mean_square_z, 2 * up_z),
        "log_mean_square_z": jnp.where(jnp.isnan(log_mean_square_z), jnp.inf, log_mean_square_z),
        "mean_a": value_of(mean_a, up_a),
        "var_a": value_of(jnp.mean(a_spread, axis=1), 2 * up_a),
        "mean_square_b": rows.mean_square_b,
        "saturated": passed.saturated,
        "dead": rows.dead,
    }


def _places(layers: Params, depth: Array | int | None) -> tuple[Array, Array]:
    """Of every layer whether it is used, and the place of the one above it."""
    lengths = [length(layer) if is_run(layer) else 1 for layer in layers]
    places = jnp.arange(sum(lengths))
    if depth is None:
        return places >= 0, places + 1
    run = next(i for i, layer in enumerate(layers) if is_run(layer))
    unused, end = sum(lengths[:run]) + depth, sum(lengths[: run + 1])
    return (places < unused) | (places >= end), jnp.where(places == unused - 1, end, places + 1)


def _flow(net: Network, records: Records, dtype: jnp.dtype, used: Array, above: Array) -> Flow:
    """With what is said of layers together; nan in the places of those that are not used."""
    log_delta, log_largest = records["log_delta"], records["log_largest"]
    info = jnp.finfo(dtype)  # type: ignore[no-untyped-call]
    out_of_range = ~(log_largest <= float(np.log(info.max))) | (
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
    """Ln of 2^exponent times what `log` is the logarithm of."""
    return log + exponent.astype(log.dtype) * LN2


@cache
def _largest_slope(activation: Activation) -> float:
    """The largest |σ′| on [-20, 20]."""
    z = np.linspace(-20, 20, 40_001, dtype=np.float32)
    with jax.ensure_compile_time_eval():
        return float(jax.jit(lambda z: jnp.max(jnp.abs(activation.prime(z))))(z))


@compiled
def log_norm(v: Float[Array, "..."]) -> Float[Array, ""]:
    """The logarithm of ‖v‖₂ over all entries, ln m + ½ ln Σ (v/m)² with m = max |v|.

    The square of 1e-21 is already zero in float32; scaled by m nothing is lost. -inf for zero,
    inf where an entry is infinite, nan where one is nan.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(log_norm(jnp.array([3e-30, 4e-30])) / jnp.log(10)), 2)  # log10 of 5e-30
        -29.3
    """
    v = wide(v)
    info = jnp.finfo(v.dtype)  # type: ignore[no-untyped-call]
    tiny = float(info.tiny)

    def scaled(v: Array) -> Array:
        # Kept where its reciprocal is a normal number too: dividing may multiply by that instead.
        m = jnp.clip(jnp.max(jnp.abs(v)), tiny, 1 / tiny)
        return jnp.log(m) + 0.5 * jnp.log(jnp.sum(jnp.square(v / m)))

    # One pass where no square that counts has left the range, which is nearly always.
    square = jnp.sum(jnp.square(v))
    plain = (square > tiny / float(info.eps) ** 2) & jnp.isfinite(square)
    log: Array = lax.cond(plain, lambda _: 0.5 * jnp.log(square), scaled, v)
    return log

"""Flow: what happens to a gradient on its way from the loss to the first layer.

The recursion of `backprop.py` in block floating point, summed up as a few numbers a layer. Δz is
the primary record: in a bias-free ReLU network the norms of Δθ are flat across the layers while
those of Δz fall, because Δθ[i] = a[i]ᵀ Δz[i+1] and a grows as Δz shrinks.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from .activations import Activation
from .backprop import Batch, delta_below, parameter_deltas
from .blockfloat import LN2, BlockFloat, aligned, block, log_of, renormalised, value_of, wide
from .layers import Layer, Pairs, Params, Run, is_run, layer_of, length, single
from .network import Depth, Network, check_batch, check_depth, check_params, check_x
from .signal import (
    Signal,
    Square,
    delta_of_loss,
    hidden_signal,
    output_signal,
    run_signal,
    segment_of,
    segment_size,
    segment_starts,
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
        memory: "all" keeps a and σ′(z) of every layer, 8 B n bytes in float32 and as much again
            while they are made; "sqrt" keeps of a run of k layers the input of every √k-th and
            computes those between a second time. The numbers are the same.

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
    if ys is not None:
        xs, labels = check_batch(net, layers, xs, ys)
        z, top, kept = _forward(net, layers, xs, used, memory)
        delta = delta_of_loss(net, z, labels)
    else:
        xs = check_x(net, layers, xs, batch=True)
        z, top, kept = _forward(net, layers, xs, used, memory)
        delta = block(_check_cotangent(cotangent, z.mantissa))
    flow = _backward(net, layers, top, kept, delta, used)
    _check_range(flow, xs.dtype)
    return flow


def _check_cotangent(cotangent: ArrayLike | None, z: Array) -> Float[Array, "B n_out"]:
    values = jnp.asarray(cotangent).astype(z.dtype)
    if values.shape != z.shape:
        raise ValueError(f"cotangent: expected the shape of z[L], {z.shape}, got {values.shape}")
    if not isinstance(values, jax.core.Tracer) and not jnp.isfinite(values).all():
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


Kept = Signal | BlockFloat  # of a Layer: its signal, or what goes into the segments of its run


def _forward(
    net: Network, layers: Params, xs: Array, depth: Array | int | None, memory: Memory
) -> tuple[BlockFloat, Signal, list[Kept]]:
    """z[L], the signal of the last layer, and what is kept of the Layers below."""
    *hidden, last = layers
    plain = BlockFloat(xs, jnp.zeros(len(xs), jnp.int32))
    a, kept = block(xs) if net.activation.homogeneous else plain, list[Kept]()
    for layer in hidden:
        if not is_run(layer):
            of_layer = hidden_signal(net, single(layer), a)
            a = of_layer.a
            kept.append(of_layer)
        else:
            used = length(layer) if depth is None else depth
            of_run = segment_starts if memory == "sqrt" else run_signal
            a, of_used = of_run(net, layer, a, used)
            kept.append(of_used)
    return *output_signal(net, single(last), a), kept


class _OfDelta(NamedTuple):
    """The fields of Flow that the pass backwards gives."""

    log_delta: Array
    log_delta_example: Array
    log_largest: Array
    log_theta: Array
    log_b: Array
    mean_square_b: Array
    gain: Array
    lost: Array


class _OfSignal(NamedTuple):
    """The fields of Flow that the pass forwards gives."""

    mean_square_z: Array
    log_mean_square_z: Array
    mean_a: Array
    var_a: Array
    saturated: Array
    dead: Array


Records = tuple[_OfDelta, _OfSignal]


class _Carry(NamedTuple):
    """What goes down from layer to layer: Δ, and what was said of the layer above."""

    delta: BlockFloat
    log_delta: Float[Array, ""]
    lost: Bool[Array, ""]


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
    carry = _Carry(delta, jnp.full((), jnp.nan, wide(delta.mantissa).dtype), jnp.array(False))
    of_delta, carry = _step(net, single(last), top.a_in, carry)
    of_signal = _moments(1.0, top.a, top.slope, top.square)
    records: list[Records] = [jax.tree.map(lambda v: v[None], (of_delta, of_signal))]
    for layer, of_layer in zip(reversed(hidden), reversed(kept), strict=True):
        used = depth if depth is not None else length(layer) if is_run(layer) else 1
        if isinstance(of_layer, BlockFloat):
            record, carry = _run_by_segments(net, layer, of_layer, used, carry)
        elif is_run(layer):
            record, carry = _run(net, layer, of_layer, used, carry)
        else:
            record, carry = _single(net, single(layer), of_layer, carry)
        records.append(record)
    of_delta, of_signal = jax.tree.map(lambda *v: jnp.concatenate(v), *records[::-1])
    return Flow(**of_delta._asdict(), **of_signal._asdict(), activation=net.activation)


def _single(net: Network, layer: Layer, signal: Signal, carry: _Carry) -> tuple[Records, _Carry]:
    of_delta, carry = _hidden(net, layer, signal.a_in, signal.slope, carry)
    of_signal = _moments(_largest_slope(net.activation), *signal[1:])
    record: Records = jax.tree.map(lambda v: v[None], (of_delta, of_signal))
    return record, carry


def _run(
    net: Network, run: Run, signal: Signal, depth: Array | int, carry: _Carry
) -> tuple[Records, _Carry]:
    """The layers of a run from the last used one down; each record goes to its place."""

    def at(j: Array, values: BlockFloat) -> BlockFloat:
        return BlockFloat(*(lax.dynamic_index_in_dim(v, j, keepdims=False) for v in values))

    def hidden(j: Array, carry: _Carry) -> tuple[_OfDelta, _Carry]:
        before = at(jnp.maximum(j - 1, 0), signal.a)
        a_in = jax.tree.map(partial(jnp.where, j == 0), signal.a_in, before)
        slope = lax.dynamic_index_in_dim(signal.slope, j, keepdims=False)
        return _hidden(net, layer_of(run, j), a_in, slope, carry)

    def body(step: Array, state: tuple[_OfDelta, _Carry]) -> tuple[_OfDelta, _Carry]:
        records, carry = state
        j = depth - 1 - step
        record, carry = hidden(j, carry)
        put = partial(lax.dynamic_update_index_in_dim, index=j, axis=0)
        return jax.tree.map(put, records, record), carry

    k = length(run)
    shapes, _ = jax.eval_shape(hidden, 0, carry)
    of_delta, carry = lax.fori_loop(0, depth, body, (_unused(shapes, k), carry))
    # What needs no order of layers is taken of all at once: that fills the cores.
    of_signal = jax.vmap(partial(_moments, _largest_slope(net.activation)))(*signal[1:])
    used = jnp.arange(k) < depth
    of_signal = jax.tree.map(lambda v: jnp.where(used, v, jnp.nan), of_signal)
    return (of_delta, of_signal), carry


def _unused(shapes: Any, k: int) -> Any:
    """Records of k layers that no pass has reached."""
    return jax.tree.map(
        lambda v: jnp.full((k, *v.shape), False if v.dtype == bool else jnp.nan, v.dtype), shapes
    )


def _run_by_segments(
    net: Network, run: Run, starts: BlockFloat, depth: Array | int, carry: _Carry
) -> tuple[Records, _Carry]:
    """The same where only the input of each segment is kept: its signal is computed again."""
    size = segment_size(length(run))
    count = -(-depth // size)

    def segment(i: Array, carry: _Carry) -> tuple[Records, _Carry]:
        part, used = segment_of(run, i), jnp.minimum(depth - i * size, size)
        a = BlockFloat(*(lax.dynamic_index_in_dim(v, i, keepdims=False) for v in starts))
        _, signal = run_signal(net, part, a, used)
        return _run(net, part, signal, used, carry)

    def body(step: Array, state: tuple[Records, _Carry]) -> tuple[Records, _Carry]:
        records, carry = state
        i = count - 1 - step
        record, carry = segment(i, carry)
        put = partial(lax.dynamic_update_index_in_dim, index=i, axis=0)
        return jax.tree.map(put, records, record), carry

    shapes, _ = jax.eval_shape(segment, 0, carry)
    start = (_unused(shapes, len(starts.exponent)), carry)
    records, carry = lax.fori_loop(0, count, body, start)
    flat: Records = jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:])[: length(run)], records)
    return flat, carry


def _hidden(
    net: Network, layer: Layer, a_in: BlockFloat, slope: Array, carry: _Carry
) -> tuple[_OfDelta, _Carry]:
    """(4) of one hidden layer, renormalised; then its record and (3)."""
    delta = carry.delta._replace(mantissa=carry.delta.mantissa * slope)  # (4)
    return _step(net, layer, a_in, carry._replace(delta=renormalised(delta)))


def _step(net: Network, layer: Layer, a_in: BlockFloat, carry: _Carry) -> tuple[_OfDelta, _Carry]:
    """The record of the layer whose Δz is in the carry, and the carry for the one below."""
    delta = carry.delta
    log_example = log_of(
        jnp.sqrt(jnp.sum(jnp.square(wide(delta.mantissa)), axis=1)), delta.exponent
    )
    rows, common = aligned(delta)
    log_delta = log_of(jnp.sqrt(jnp.sum(jnp.square(wide(rows)))), common)
    log_largest = log_of(jnp.max(jnp.abs(rows)), common)
    info = jnp.finfo(delta.mantissa.dtype)  # type: ignore[no-untyped-call]
    out_of_range = ~(log_largest <= float(np.log(info.max))) | (
        log_largest < float(np.log(info.tiny))
    )
    lost = (carry.lost | out_of_range) & ~jnp.isneginf(log_largest)
    log_theta, log_b = _parameter_norms(net, a_in, delta)
    record = _OfDelta(
        log_delta=log_delta,
        log_delta_example=log_example,
        log_largest=log_largest,
        log_theta=log_theta,
        log_b=log_b,
        mean_square_b=jnp.mean(jnp.square(wide(layer.b))),
        gain=log_delta - carry.log_delta,
        lost=lost,
    )
    below = BlockFloat(delta_below(layer, delta.mantissa), delta.exponent)
    return record, _Carry(below, log_delta, lost)


def _parameter_norms(
    net: Network, a: BlockFloat, delta: BlockFloat
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Ln of the norms of (1) and (2): sums over examples of different exponents, aligned first."""

    def shifted(v: Array, exponent: Array) -> Array:
        log = log_norm(v)
        return log + exponent.astype(log.dtype) * LN2

    rows, common = aligned(delta)
    log_b = shifted(parameter_deltas(a.mantissa, rows).b, common)
    if net.activation.homogeneous:  # else a has no exponents
        rows, common = aligned(delta._replace(exponent=delta.exponent + a.exponent))
    return shifted(parameter_deltas(a.mantissa, rows).theta, common), log_b


def _moments(largest: float, a: BlockFloat, slope: Array, square: Square) -> _OfSignal:
    """Of a layer over the batch and the units; `largest` is the largest slope there is."""
    (rows, up), log = aligned(a), log_of(*square)
    return _OfSignal(
        mean_square_z=value_of(*square),
        log_mean_square_z=jnp.where(jnp.isnan(log), jnp.inf, log),
        mean_a=value_of(jnp.mean(wide(rows)), up),
        var_a=value_of(jnp.var(wide(rows)), 2 * up),
        saturated=jnp.mean((jnp.abs(slope) < SATURATED_BELOW * largest).astype(log.dtype)),
        dead=jnp.mean(jnp.all(slope == 0, axis=0).astype(log.dtype)),
    )


def _largest_slope(activation: Activation) -> float:
    """The largest |σ′| on [-20, 20]."""
    with jax.ensure_compile_time_eval():
        return float(jnp.max(jnp.abs(activation.prime(jnp.linspace(-20, 20, 40_001)))))


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

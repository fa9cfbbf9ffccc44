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
from jaxtyping import Array, Bool, Float, Int

from .activations import Activation
from .backprop import Batch, delta_below, parameter_deltas, through_activation
from .blockfloat import (
    LN2,
    BlockFloat,
    aligned,
    alignment,
    block,
    log_of,
    plain,
    value_of,
    wide,
    with_largest,
)
from .layers import Layer, Pairs, Params, Run, is_run, layer_of, length, single
from .network import Depth, Network, check_batch, check_depth, check_params, check_x
from .signal import (
    Signal,
    activation_of,
    delta_of_loss,
    output_of,
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
    if ys is not None:
        xs, labels = check_batch(net, layers, xs, ys)
        top, kept = _forward(net, layers, xs, used, memory)
        delta = delta_of_loss(net, top.z, labels)
    else:
        xs = check_x(net, layers, xs, batch=True)
        top, kept = _forward(net, layers, xs, used, memory)
        delta = block(_check_cotangent(cotangent, top.z.mantissa))
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
) -> tuple[Signal, list[Kept]]:
    """The signal of the last layer, and what is kept of the Layers below."""
    *hidden, last = layers
    a, kept = block(xs) if net.activation.homogeneous else plain(xs), list[Kept]()
    for layer in hidden:
        if not is_run(layer):
            of_layer = signal_of(net, single(layer), a)
            a = activation_of(net, of_layer.z)
            kept.append(of_layer)
        else:
            used = length(layer) if depth is None else depth
            of_run = segment_starts if memory == "sqrt" else run_signal
            a, of_used = of_run(net, layer, a, used)
            kept.append(of_used)
    return signal_of(net, single(last), a), kept


class _Passed(NamedTuple):
    """What the pass backwards keeps of a layer, or of each of k: no more than a number a row."""

    exponent: Int[Array, "*k B"]  # of Δz
    largest: Float[Array, "*k B"]  # of the mantissas of each row
    square: Float[Array, "*k B"]  # the sum of their squares
    b: Float[Array, "*k n"]  # Δb, as far as the rows' common exponent
    log_theta: Float[Array, "*k"]
    mean_square_b: Float[Array, "*k"]


class _Above(NamedTuple):
    """What was said of the layer above."""

    log_delta: Float[Array, ""]
    lost: Bool[Array, ""]


class _Carry(NamedTuple):
    """What goes down from Layer to Layer."""

    delta_a: BlockFloat
    a: BlockFloat  # of the Layer that it goes to
    above: _Above


Records = dict[str, Array]  # the fields of Flow that are arrays


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
    above = _Above(jnp.full((), jnp.nan, wide(delta.mantissa).dtype), jnp.array(False))
    delta_a, passed = _step(net, single(last), top.a_in, delta)
    record, above = _of_delta(_of_one(passed), 1, above)
    # The output's g′ is not in the recursion: its slope counts as 1.
    moments = _moments(net, top.z, output_of(net, top.z), jnp.ones_like(top.z.mantissa), 1.0)
    records, carry = [record | _of_one(moments)], _Carry(delta_a, top.a_in, above)
    for layer, of_layer in zip(reversed(hidden), reversed(kept), strict=True):
        used = depth if depth is not None else length(layer) if is_run(layer) else 1
        if isinstance(of_layer, BlockFloat):
            record, carry = _run_by_segments(net, layer, of_layer, used, carry)
        elif is_run(layer):
            record, carry = _run(net, layer, of_layer, used, carry)
        else:
            record, carry = _single(net, single(layer), of_layer, carry)
        records.append(record)
    merged = jax.tree.map(lambda *v: jnp.concatenate(v), *records[::-1])
    return Flow(**merged, activation=net.activation)


def _of_one(tree: Any) -> Any:
    """The arrays of one layer as those of k = 1."""
    return jax.tree.map(lambda v: v[None], tree)


def _single(net: Network, layer: Layer, signal: Signal, carry: _Carry) -> tuple[Records, _Carry]:
    delta_a, passed = _step(net, layer, signal.a_in, _through(net, carry.delta_a, signal.z))
    record, above = _of_delta(_of_one(passed), 1, carry.above)
    moments = _hidden_moments(net, signal.z, carry.a)
    return record | _of_one(moments), _Carry(delta_a, signal.a_in, above)


def _run(
    net: Network, run: Run, signal: Signal, depth: Array | int, carry: _Carry
) -> tuple[Records, _Carry]:
    """The layers of a run from the last used one down; what is kept of each goes to its place."""

    def at(j: Array) -> BlockFloat:
        return BlockFloat(*(lax.dynamic_index_in_dim(v, j, keepdims=False) for v in signal.z))

    def layer(j: Array, delta_a: BlockFloat, a: BlockFloat) -> tuple[BlockFloat, BlockFloat, Any]:
        before = activation_of(net, at(jnp.maximum(j - 1, 0)))
        a_in = jax.tree.map(partial(jnp.where, j == 0), signal.a_in, before)
        z = at(j)
        delta_a, passed = _step(net, layer_of(run, j), a_in, _through(net, delta_a, z))
        return delta_a, a_in, (passed, _hidden_moments(net, z, a))

    def body(step: Array, state: Any) -> Any:
        delta_a, a, kept = state
        j = depth - 1 - step
        delta_a, a, of_layer = layer(j, delta_a, a)
        put = partial(lax.dynamic_update_index_in_dim, index=j, axis=0)
        return delta_a, a, jax.tree.map(put, kept, of_layer)

    k = length(run)
    *_, shapes = jax.eval_shape(layer, 0, carry.delta_a, carry.a)
    empty = jax.tree.map(lambda v: jnp.zeros((k, *v.shape), v.dtype), shapes)
    delta_a, a, (passed, moments) = lax.fori_loop(0, depth, body, (carry.delta_a, carry.a, empty))
    record, above = _of_delta(passed, depth, carry.above)
    return record | _where_used(moments, depth), _Carry(delta_a, a, above)


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
    unused = jax.tree.map(
        lambda v: jnp.full(
            (len(starts.exponent), *v.shape), False if v.dtype == bool else jnp.nan, v.dtype
        ),
        shapes,
    )
    records, carry = lax.fori_loop(0, count, body, (unused, carry))
    flat: Records = jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:])[: length(run)], records)
    return flat, carry


def _through(net: Network, delta_a: BlockFloat, z: BlockFloat) -> BlockFloat:
    """From Δa to Δz of a hidden layer."""
    return delta_a._replace(mantissa=through_activation(net, delta_a.mantissa, z.mantissa))  # (4)


def _step(
    net: Network, layer: Layer, a_in: BlockFloat, delta: BlockFloat
) -> tuple[BlockFloat, _Passed]:
    """From Δz of a layer to Δa below it, and what is kept of the layer.

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
        b=scale @ delta.mantissa,  # (2)
        log_theta=_shifted(log_norm(theta), common),
        mean_square_b=jnp.mean(jnp.square(wide(layer.b))),
    )
    return delta._replace(mantissa=delta_below(layer, delta.mantissa)), passed


def _of_delta(passed: _Passed, used: Array | int, above: _Above) -> tuple[Records, _Above]:
    """The fields of k layers that the pass backwards gives, and what is said of the lowest."""
    scale, common = alignment(passed.exponent, passed.square)
    log_delta = log_of(jnp.sqrt(jnp.sum(jnp.square(scale) * passed.square, axis=1)), common)
    log_largest = log_of(
        jnp.max(scale.astype(passed.largest.dtype) * passed.largest, axis=1), common
    )
    info = jnp.finfo(passed.largest.dtype)  # type: ignore[no-untyped-call]
    out_of_range = ~(log_largest <= float(np.log(info.max))) | (
        log_largest < float(np.log(info.tiny))
    )
    places = jnp.arange(len(common))
    from_above = lax.cummax((out_of_range & (places < used)).astype(int), reverse=True) > 0
    lost = (above.lost | from_above) & ~jnp.isneginf(log_largest) & (places < used)
    log_above = jnp.where(places == used - 1, above.log_delta, jnp.roll(log_delta, -1))
    records = {
        "log_delta": log_delta,
        "log_delta_example": log_of(jnp.sqrt(passed.square), passed.exponent),
        "log_largest": log_largest,
        "log_theta": passed.log_theta,
        "log_b": _shifted(jax.vmap(log_norm)(passed.b), common),
        "mean_square_b": passed.mean_square_b,
        "gain": log_delta - log_above,
    }
    lowest = _Above(log_delta[0], lost[0])
    below = jax.tree.map(partial(jnp.where, jnp.asarray(used) > 0), lowest, above)
    return _where_used(records, used) | {"lost": lost}, below


def _where_used(records: Records, used: Array | int) -> Records:
    """Without the layers of a run that are not used: nan in their places."""

    def masked(v: Array) -> Array:
        places = jnp.arange(len(v)).reshape(-1, *[1] * (v.ndim - 1))
        return jnp.where(places < used, v, jnp.nan)

    return {name: masked(v) for name, v in records.items()}


def _shifted(log: Array, exponent: Array) -> Array:
    """Ln of 2^exponent times what `log` is the logarithm of."""
    return log + exponent.astype(log.dtype) * LN2


def _hidden_moments(net: Network, z: BlockFloat, a: BlockFloat) -> Records:
    slope = net.activation.prime(z.mantissa)
    return _moments(net, z, a, slope, _largest_slope(net.activation))


def _moments(net: Network, z: BlockFloat, a: BlockFloat, slope: Array, largest: float) -> Records:
    """Of a layer over the batch and the units; `largest` is the largest slope there is."""
    of_z, up_z = _on_one_exponent(net, z)
    of_a, up_a = _on_one_exponent(net, a)
    square = jnp.mean(jnp.square(wide(of_z)))
    log = log_of(square, 2 * up_z)
    saturated = jnp.abs(slope) < SATURATED_BELOW * largest
    dead = jnp.max(jnp.abs(slope), axis=0) == 0
    return {
        "mean_square_z": value_of(square, 2 * up_z),
        "log_mean_square_z": jnp.where(jnp.isnan(log), jnp.inf, log),
        "mean_a": value_of(jnp.mean(wide(of_a)), up_a),
        "var_a": value_of(jnp.var(wide(of_a)), 2 * up_a),
        "saturated": jnp.mean(saturated.astype(log.dtype)),
        "dead": jnp.mean(dead.astype(log.dtype)),
    }


def _on_one_exponent(net: Network, v: BlockFloat) -> tuple[Array, Array]:
    """`aligned`, where the signal of this network has exponents at all."""
    return aligned(v) if net.activation.homogeneous else (v.mantissa, jnp.zeros((), jnp.int32))


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

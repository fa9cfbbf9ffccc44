"""Flow: what happens to a gradient on its way from the loss to the first layer.

The recursion of `backprop.py` in block floating point, summed up as a few numbers a layer. Δz is
the primary record: in a bias-free ReLU network the norms of Δθ are flat across the layers while
those of Δz fall, because Δθ[i] = a[i]ᵀ Δz[i+1] and a grows as Δz shrinks.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from .activations import Activation
from .backprop import Batch, delta_below, mean_delta_z, parameter_deltas, through_activation
from .blockfloat import LN2, BlockFloat, aligned, block, log_of, renormalised, wide
from .network import (
    Depth,
    Forward,
    Layer,
    Network,
    Pairs,
    check_batch,
    check_depth,
    check_params,
    check_x,
    forward_rows,
    is_run,
    layer_of,
    run_input,
    run_z,
)

SATURATED_BELOW = 0.01  # of the largest slope


class Flow(NamedTuple):
    """One entry a layer of weights, entry l-1 for layer l = 1 … L; nan where `depth` leaves it out.

    Logarithms are natural, norms are Euclidean, and Δ is of the batch's mean loss (or as the given
    cotangent has it).

    log_delta: ln ‖Δz[l]‖ over the whole batch; -inf where it is zero.
    log_delta_example: ln of the norm of each example's row of Δz[l].
    log_theta: ln ‖Δθ[l-1]‖.
    log_b: ln ‖Δb[l-1]‖.
    mean_square_z, mean_a, var_a: of z[l] and a[l] over the batch and the units.
    saturated: the fraction of units and examples with |σ′(z[l])| below 1 % of its largest value.
    dead: the fraction of units with σ′(z[l]) = 0 for the whole batch; both are 0 for the output.
    gain: ln ‖Δz[l]‖ - ln ‖Δz[l+1]‖, what the factor of layer l does; nan for the output.
    lost: plain backpropagation in this dtype has no number here: on the way down Δz has left the
        normal numbers at this layer or above it, in exact arithmetic being neither zero nor inf.
        It is told by the largest entry; entry by entry, plain Δz may go a layer sooner or later.
    """

    log_delta: Float[Array, " L"]
    log_delta_example: Float[Array, "L B"]
    log_theta: Float[Array, " L"]
    log_b: Float[Array, " L"]
    mean_square_z: Float[Array, " L"]
    mean_a: Float[Array, " L"]
    var_a: Float[Array, " L"]
    saturated: Float[Array, " L"]
    dead: Float[Array, " L"]
    gain: Float[Array, " L"]
    lost: Bool[Array, " L"]


def gradient_flow(
    net: Network,
    params: Pairs,
    xs: Batch,
    ys: ArrayLike | None = None,
    *,
    cotangent: Float[Array, "B n_out"] | None = None,
    depth: Depth = None,
) -> Flow:
    """How large every Δ is, layer by layer, also far beyond the range of the dtype.

    Args:
        net: the network.
        params: pairs (θ, b), single layers or runs.
        xs: B examples, (B, n[0]).
        ys: their labels, as for `jaxnn.backprop`: the pass starts at the loss.
        cotangent: instead of ys, Δz[L] of the batch, (B, n[L]): the pass starts there. Laws of
            propagation are clean only with one that does not depend on the forward pass.
        depth: how many layers of the one run in `params` are used, an integer or a traced integer;
            all of them where it is None.

    Returns:
        Flow.

    Raises:
        ValueError, TypeError: as `jaxnn.backprop`; also unless one of ys and cotangent is given.

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
    if ys is not None:
        xs, labels = check_batch(net, layers, xs, ys)
        rows = forward_rows(net, layers, xs, used)
        top = mean_delta_z(net, rows, labels)
    else:
        xs = check_x(net, layers, xs, batch=True)
        rows = forward_rows(net, layers, xs, used)
        top = jnp.asarray(cotangent).astype(xs.dtype)
        if top.shape != rows.z[-1].shape:
            raise ValueError(
                f"cotangent: expected the shape of z[L], {rows.z[-1].shape}, got {top.shape}"
            )
    *hidden, last = layers
    steep = jnp.ones_like(top)  # σ′ of the output is not in the recursion: no unit saturates there
    start = _Carry(block(top), jnp.full((), jnp.nan, wide(top).dtype), jnp.array(False))
    record, carry = _step(last, rows.inputs[-1], rows.z[-1], rows.a[-1], steep, 1.0, start)
    records = [jax.tree.map(lambda values: values[None], record)]
    for i in reversed(range(len(hidden))):
        record, carry = (_run if is_run(layers[i]) else _single)(
            net, layers[i], rows, i, carry, used
        )
        records.append(record)
    flow: Flow = jax.tree.map(lambda *entries: jnp.concatenate(entries), *records[::-1])
    return flow


class _Carry(NamedTuple):
    """What goes down from layer to layer: Δ, and what was said of the layer above."""

    delta: BlockFloat
    log_delta: Float[Array, ""]
    lost: Bool[Array, ""]


def _single(
    net: Network, layer: Layer, rows: Forward, i: int, carry: _Carry, depth: Array | int | None
) -> tuple[Flow, _Carry]:
    record, carry = _hidden(net, layer, rows.inputs[i], rows.z[i], rows.a[i], carry)
    return jax.tree.map(lambda values: values[None], record), carry


def _run(
    net: Network, run: Layer, rows: Forward, i: int, carry: _Carry, depth: Array | int | None
) -> tuple[Flow, _Carry]:
    """The layers of a run from the last used one down; each record goes to its place."""
    k = len(run.b)
    used = k if depth is None else depth

    def hidden(j: Array, carry: _Carry) -> tuple[Flow, _Carry]:
        a = lax.dynamic_index_in_dim(rows.a[i], j, keepdims=False)
        return _hidden(net, layer_of(run, j), run_input(rows, i, j), run_z(rows, i, j), a, carry)

    def body(step: Array, state: tuple[Flow, _Carry]) -> tuple[Flow, _Carry]:
        records, carry = state
        j = used - 1 - step
        record, carry = hidden(j, carry)
        put = partial(lax.dynamic_update_index_in_dim, index=j, axis=0)
        return jax.tree.map(put, records, record), carry

    shapes, _ = jax.eval_shape(hidden, 0, carry)
    unused = jax.tree.map(
        lambda v: jnp.full((k, *v.shape), False if v.dtype == bool else jnp.nan, v.dtype), shapes
    )
    looped: tuple[Flow, _Carry] = lax.fori_loop(0, used, body, (unused, carry))
    return looped


def _hidden(
    net: Network, layer: Layer, a_in: Array, z: Array, a: Array, carry: _Carry
) -> tuple[Flow, _Carry]:
    """(4) of one hidden layer, renormalised; then its record and (3)."""
    slope = net.activation.prime(z)
    mantissa = through_activation(net, carry.delta.mantissa, z)
    carry = carry._replace(delta=renormalised(BlockFloat(mantissa, carry.delta.exponent)))
    return _step(layer, a_in, z, a, slope, _largest_slope(net.activation), carry)


def _step(
    layer: Layer, a_in: Array, z: Array, a: Array, slope: Array, largest: float, carry: _Carry
) -> tuple[Flow, _Carry]:
    """The record of the layer whose Δz is in the carry, and the carry for the one below."""
    delta = carry.delta
    log_example = log_of(
        jnp.sqrt(jnp.sum(jnp.square(wide(delta.mantissa)), axis=1)), delta.exponent
    )
    log_delta = 0.5 * jax.nn.logsumexp(2 * log_example)
    log_largest = jnp.max(log_of(jnp.max(jnp.abs(delta.mantissa), axis=1), delta.exponent))
    info = jnp.finfo(z.dtype)  # type: ignore[no-untyped-call]
    out_of_range = ~(log_largest <= float(np.log(info.max))) | (
        log_largest < float(np.log(info.tiny))
    )
    lost = (carry.lost | out_of_range) & ~jnp.isneginf(log_largest)
    rows, common = aligned(delta)
    gradient = parameter_deltas(a_in, rows)
    shift = common.astype(log_delta.dtype) * LN2
    record = Flow(
        log_delta=log_delta,
        log_delta_example=log_example,
        log_theta=log_norm(gradient.theta) + shift,
        log_b=log_norm(gradient.b) + shift,
        mean_square_z=jnp.mean(jnp.square(wide(z))),
        mean_a=jnp.mean(wide(a)),
        var_a=jnp.var(wide(a)),
        saturated=jnp.mean((jnp.abs(slope) < SATURATED_BELOW * largest).astype(log_delta.dtype)),
        dead=jnp.mean(jnp.all(slope == 0, axis=0).astype(log_delta.dtype)),
        gain=log_delta - carry.log_delta,
        lost=lost,
    )
    below = BlockFloat(delta_below(layer, delta.mantissa), delta.exponent)
    return record, _Carry(below, log_delta, lost)


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
    # Kept where its reciprocal is a normal number too: dividing may multiply by that instead.
    tiny = float(jnp.finfo(v.dtype).tiny)  # type: ignore[no-untyped-call]
    m = jnp.clip(jnp.max(jnp.abs(v)), tiny, 1 / tiny)
    return jnp.log(m) + 0.5 * jnp.log(jnp.sum(jnp.square(v / m)))

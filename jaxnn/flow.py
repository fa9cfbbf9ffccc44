"""Flow: what happens to a gradient on its way from the loss to the first layer.

The recursion of `backprop.py`, summed up as a few numbers a layer. Δz is the primary record: in a
bias-free ReLU network the norms of Δθ are flat across the layers while those of Δz fall, because
Δθ[i] = a[i]ᵀ Δz[i+1] and a grows as Δz shrinks.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from .backprop import Batch, backward_rows, mean_delta_z
from .network import Network, Pairs, Params, Trace, check_batch, check_params, trace_rows


class Flow(NamedTuple):
    """One entry a layer of weights, entry l-1 for layer l = 1 … L.

    log_delta: ln ‖Δz[l]‖, the Frobenius norm over the batch; -inf where Δz[l] is all zero.
    log_theta: ln ‖Δθ[l-1]‖.
    log_b: ln ‖Δb[l-1]‖.
    mean_square_a: the mean of a[l]² over the batch and the units.
    lost: Δz[l] is not what exact arithmetic would give: all of it has underflowed to zero although
        a path of nonzero factors leads there from the loss, or some of it is inf or nan. A zero
        that is not lost is a true one: every path holds a factor that is itself zero.
    """

    log_delta: Float[Array, " L"]
    log_theta: Float[Array, " L"]
    log_b: Float[Array, " L"]
    mean_square_a: Float[Array, " L"]
    lost: Bool[Array, " L"]


def gradient_flow(net: Network, params: Pairs, xs: Batch, ys: ArrayLike) -> Flow:
    """How large every Δ of a batch's mean loss is, layer by layer, in the dtype of `params`.

    Args:
        net: the network.
        params: L pairs (θ, b).
        xs: B examples, (B, n[0]).
        ys: their labels, as for `jaxnn.backprop`.

    Returns:
        Flow, natural logarithms of norms in the loss's unit over z's, θ's or b's.

    Raises:
        ValueError, TypeError: as `jaxnn.backprop`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, *[64] * 8, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0))
        >>> flow = jax.jit(jaxnn.gradient_flow)(net, params, jnp.ones((2, 3)), jnp.array([0, 1]))
        >>> bool(flow.log_delta[0] < flow.log_delta[6] - 6)  # e^6 smaller, 6 layers further down
        True
    """
    layers = check_params(net, params)
    xs, ys = check_batch(net, layers, xs, ys)
    t = trace_rows(net, layers, xs)
    top = mean_delta_z(net, t, ys)
    back = backward_rows(net, layers, t, top)
    finite = jnp.stack([jnp.all(jnp.isfinite(delta_z)) for delta_z in back.z])
    zero = jnp.stack([jnp.all(delta_z == 0) for delta_z in back.z])
    return Flow(
        log_delta=jnp.stack([log_norm(delta_z) for delta_z in back.z]),
        log_theta=jnp.stack([log_norm(layer.theta) for layer in back.layers]),
        log_b=jnp.stack([log_norm(layer.b) for layer in back.layers]),
        mean_square_a=jnp.stack([jnp.mean(jnp.square(_wide(a))) for a in t.a[1:]]),
        lost=~finite | (zero & _reached(net, layers, t, top)),
    )


def log_norm(v: Float[Array, "..."]) -> Float[Array, ""]:
    """The logarithm of ‖v‖₂ over all entries, ln m + ½ ln Σ (v/m)² with m = max |v|.

    The square of 1e-21 is already zero in float32; scaled by m nothing is lost. -inf for zero,
    inf where an entry is infinite, nan where one is nan.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(log_norm(jnp.array([3e-30, 4e-30])) / jnp.log(10)), 2)  # log10 of 5e-30
        -29.3
    """
    v = _wide(v)
    # Kept where its reciprocal is a normal number too: dividing may multiply by that instead.
    tiny = float(jnp.finfo(v.dtype).tiny)  # type: ignore[no-untyped-call]
    m = jnp.clip(jnp.max(jnp.abs(v)), tiny, 1 / tiny)
    return jnp.log(m) + 0.5 * jnp.log(jnp.sum(jnp.square(v / m)))


def _wide(v: Array) -> Array:
    """Goes to at least float32: sums of squares of a 16-bit float leave its range."""
    return v if v.dtype.itemsize >= 4 else v.astype(jnp.float32)


def _reached(
    net: Network, params: Params, trace: Trace, top: Float[Array, "B n"]
) -> Bool[Array, " L"]:
    """Whether a path of nonzero factors leads from Δz[L] to some unit of layer l.

    The recursion (3) and (4) on what is nonzero instead of on numbers: counts of paths from one
    layer to the next, which neither underflow nor cancel.
    """
    alive = [top != 0]
    for i in reversed(range(1, len(params))):
        paths = alive[-1].astype(jnp.float32) @ (params[i].theta.T != 0).astype(jnp.float32)
        alive.append((paths > 0) & (net.activation.prime(trace.z[i - 1]) != 0))
    return jnp.stack([jnp.any(units) for units in alive[::-1]])

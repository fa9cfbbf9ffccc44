"""Measuring: up through the layers of any network, down again, and one record of it.

A Network and a chain of the user's own layers take the same walk; what is recorded of their layers
on the way stands in `network_flow.py` and `chain_flow.py`. Torch fills the same record,
`torch_flow.py`.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ...arrays.compiled import Numbers, as_array, measuring
from ...chain.chain import Chain
from ...network.checks import (
    Depth,
    check_data,
    check_depth_as_data,
    check_loss,
    check_params,
    check_x,
    dtype_of,
)
from ...network.network import Network
from ...passes.walk import Memory, check_memory
from ...theory.twin.wide import Wide
from ..record.flow import Flow, FlowOptions
from ..record.loss import Loss
from .chain_flow import chain_flow
from .network_flow import network_flow
from .theory_flow import GOAL, theory_of


@measuring
def gradient_flow(
    net: Network | Chain,
    params: Any,
    xs: Any,
    ys: Any = None,
    *,
    loss: Loss | None = None,
    cotangent: Any = None,
    depth: Depth = None,
    memory: Memory = "all",
    examples: bool = True,
    tangent: bool = False,
    formats: bool = False,
    theory: bool | float = False,
) -> Flow:
    """Measure the size of every Δ, layer by layer, even far outside the range of the dtype.

    If σ is homogeneous (relu, leaky_relu, identity), the signal may leave the range too.

    Args:
        net: the network, or a chain of the user's own layers, made by `jaxnn.from_layers`.
        params: pairs (θ, b), single layers or runs, stored or as a random key; those of a chain.
        xs: B examples, (B, n[0]); of a chain a pytree of arrays with the examples first.
        ys: their labels, as for `jaxnn.backprop`: the pass starts at the loss of the task. With a
            loss of your own they are what that takes, any pytree or None.
        loss: (output, ys) -> a loss for each example, (B,), or several, (B, …), whose mean is
            differentiated, or one number; without ys also of the output alone. A chain needs one;
            for a Network it takes the place of the task's, and the output is ŷ. A function of its
            own each time compiles each time.
        cotangent: instead of ys, Δz[L] of the batch, (B, n[L]), where the pass starts. Laws of
            propagation hold cleanly only for one that does not depend on the forward pass. For a
            chain instead of loss, a pytree like the output.
        depth: the number of hidden layers used, an integer or a traced integer; the last layers of
            the one run in `params` are left out. All are used by default. Or a list of k of them:
            a flow of each, with one forward pass for all if memory is "all", since each network is
            the start of a deeper one.
        memory: "all" stores z of every layer, 4 B n bytes in float32; "sqrt" stores, of a run of k
            layers, the input of every √k-th and computes those between a second time. The results
            are the same, up to the order in which the compiler adds.
        examples: whether log_spread, cosine and rank are measured as well.
        tangent: whether log_tangent is measured as well: a second forward pass, by `jax.jvp`.
        formats: whether the exponents of all entries of Δ, states, parameters and their Δ are
            counted as well, for `flow.formats()`, `jaxnn.plan` and the verdict.
        theory: whether `flow.theory` is measured as well, the flow of the network's wide twin for
            the same cotangent or loss, see `jaxnn.theory.wide`. Its draws are repeated until the
            gradient over the whole network is known to .02 decades, or to the number given here.

    Returns:
        Flow. For k depths its arrays have an axis of k in front; `flow[i]` is that of depth i.

    Raises:
        ValueError, TypeError: as `jaxnn.backprop`; also unless exactly one of ys or loss (for a
            chain, loss) and cotangent is given, and, outside `jit`, if a state has left the range
            of the dtype; inside `jit` the size of every Δ is nan then. For a layer of a
            chain that cannot be measured, with its name and the reason; for a tangent where one has
            a reverse rule alone.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, *[64] * 500, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0), stacked=True)
        >>> flow = jax.jit(jaxnn.gradient_flow)(net, params, jnp.ones((2, 3)), jnp.array([0, 1]))
        >>> round(float(flow.log_delta[0] / jnp.log(10)) / 10)  # 10^-316 or so, in float32
        -32
    """
    loss = check_loss(loss)
    options = FlowOptions(examples, tangent, check_memory(memory), formats)
    goal = _check_theory(theory, net, depth)
    if isinstance(net, Chain):
        if depth is not None:
            raise ValueError("depth: expected none for a chain, whose layers are all used")
        flow = chain_flow(net, params, xs, ys, cotangent, loss, options)
        return _with_theory(flow, goal, net, params, xs, ys, cotangent, loss, options)
    layers = check_params(net, params)
    used = check_depth_as_data(layers, depth, several=True)
    if (ys is None and loss is None) == (cotangent is None):
        raise ValueError("ys, cotangent: expected one of them, got both or none")
    xs, ys = check_data(net, xs, ys) if loss is cotangent is None else (check_x(net, xs), ys)
    dtype = dtype_of(layers)
    if cotangent is not None:
        cotangent = _check_cotangent(cotangent, (len(xs), net.sizes[-1]), dtype)
    flow = network_flow(net, layers, xs, ys, cotangent, loss, used, options)
    _check_range(flow, dtype)
    return _with_theory(flow, goal, net, layers, xs, ys, cotangent, loss, options)


def _check_theory(theory: bool | float, net: Network | Chain, depth: Depth) -> float | None:
    """Return the error that theory may have, in decades; None if it is not asked for."""
    if isinstance(theory, bool):
        goal = GOAL if theory else None
    else:
        goal = float(theory)
        if not goal > 0:
            raise ValueError(f"theory: expected True, or an error above 0 in decades, got {theory}")
    if goal is not None and depth is not None:
        raise ValueError("theory: expected none with a depth; hand over the network of that depth")
    if goal is not None and isinstance(net, Wide):
        raise ValueError("theory: expected none of a wide twin, whose flow is theory itself")
    return goal


def _with_theory(flow: Flow, goal: float | None, *given: Any) -> Flow:
    """Return a flow with theory beside it, if that is asked for."""
    if goal is None:
        return flow
    theory = replace(theory_of(goal, *given), names=flow.names, mixes=flow.mixes)
    return replace(flow, theory=theory)


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
    if not isinstance(flow.log_mean_square, jax.core.Tracer):
        out = np.isposinf(flow.log_mean_square)
        if out.any():
            given = flow.given if flow.log_delta.ndim == 1 else flow[0].given
            if given is not None and (data := given.broken_data(True, with_masks=True)):
                raise ValueError(data.text)
            layer = int(np.argwhere(out)[0][-1]) + 1
            raise ValueError(
                f"z[{layer}]: expected numbers whose mean square is in the range of {dtype}, got "
                f"inf or nan; look for them in theta[{layer - 1}] and b[{layer - 1}], make the "
                "weights smaller or the float wider"
            )

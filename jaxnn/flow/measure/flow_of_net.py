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

from ...arrays.compiled import Numbers, as_array, many_runs, typed
from ...arrays.spread import are_spread
from ...chain.apply import through
from ...chain.chain import Chain, Lowered
from ...jaxpr.program import TracedFunction
from ...models import Program
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
from ..record.given import MEND
from ..record.loss import Loss
from .chain_flow import chain_flow
from .network_flow import network_flow
from .theory_flow import GOAL, theory_of


def flow_of_net(
    net: Network | Chain,
    params: Any,
    xs: Any,
    ys: Any = None,
    *,
    loss: Loss | None = None,
    cotangent: Any = None,
    **options: Any,
) -> Flow:
    """Return the flow of a network with its parameters; for options see `flow_of_program`."""
    program = Program((net, params), xs, ys, check_loss(loss), cotangent)
    return flow_of_program(program, **options)


def flow_of_program(
    program: Program,
    *,
    depth: Depth = None,
    memory: Memory = "all",
    examples: bool = True,
    entries: bool = False,
    theory: bool = False,
    theory_error: float = GOAL,
    at_end: bool = False,
) -> Flow:
    """Return the flow of a network of JAX; see `jaxnn.gradient_flow`."""
    net, params = program.network
    xs, ys, loss, cotangent = program.xs, program.ys, program.loss, program.cotangent
    options = FlowOptions(examples, check_memory(memory), entries, at_end=at_end)
    goal = _check_theory(theory, theory_error, net, depth)
    if isinstance(net, Chain):
        if depth is not None:
            raise ValueError("depth: expected none for a chain, whose layers are all used")
        program = Program((net, params), xs, ys, known_loss(program), cotangent)
        return _with_theory(chain_flow(program, options), goal, program, options)
    layers = check_params(net, params)
    used = check_depth_as_data(layers, depth, several=True)
    if (ys is None and loss is None) == (cotangent is None):
        raise ValueError("ys, cotangent: expected one of them, got both or none")
    xs, ys = check_data(net, xs, ys) if loss is cotangent is None else (check_x(net, xs), ys)
    dtype = dtype_of(layers)
    if cotangent is not None:
        cotangent = _check_cotangent(cotangent, (len(xs), net.sizes[-1]), dtype)
    program = Program((net, layers), xs, ys, loss, cotangent)
    program = program.but(loss=known_loss(program))
    flow = network_flow(program, used, options)
    _check_range(flow, dtype)
    return _with_theory(flow, goal, program, options)


def known_loss(program: Program) -> Loss | None:
    """Return a loss as its program, so that an equal one is not compiled again."""
    (net, params), xs, ys = program.network, program.xs, program.ys
    loss: Loss | None = program.loss
    arrays, whole = jax.tree.leaves((params, xs, ys)), isinstance(net, Chain) and net.whole
    if loss is None or any(isinstance(v, jax.core.Tracer) for v in arrays) or are_spread(arrays):
        return loss
    try:
        state = net.state(xs) if isinstance(net, Chain) else xs
        lowered = net.for_batch(state) if isinstance(net, Chain) else net
        output = _output(lowered, params, state, whole)
    except Exception:  # which is said where it is measured
        return loss
    known: Loss = TracedFunction.of(loss, output, ys)
    return known


@typed
def _output(net: Network | Lowered, params: Any, xs: Any, whole: bool) -> Any:
    """Return what a loss takes, from which its type is seen."""
    if isinstance(net, Network):
        top = jnp.zeros((len(xs), net.sizes[-1]), dtype_of(params))
        return net.task.output(top)
    output = through(net, params, xs)[0]
    return jax.tree.map(lambda v: v[0], output) if whole else output


def _check_theory(
    theory: bool, theory_error: float, net: Network | Chain, depth: Depth
) -> float | None:
    """Return the error that theory may have, in decades; None if it is not asked for."""
    goal = theory_error if theory else None
    if goal is not None and depth is not None:
        raise ValueError("theory: expected none with a depth; hand over the network of that depth")
    if goal is not None and isinstance(net, Wide):
        raise ValueError("theory: expected none of a wide twin, whose flow is theory itself")
    return goal


def _with_theory(flow: Flow, goal: float | None, program: Program, options: FlowOptions) -> Flow:
    """Return a flow with theory beside it, if that is asked for."""
    if goal is None:
        return flow
    with many_runs():
        theory = theory_of(goal, program, options)
    return replace(flow, theory=replace(theory, names=flow.names, mixes=flow.mixes))


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
                raise ValueError(f"{data.text}; {MEND}.")
            layer = int(np.argwhere(out)[0][-1]) + 1
            raise ValueError(
                f"z[{layer}]: expected numbers whose mean square is in the range of {dtype}, got "
                f"inf or nan; look for them in theta[{layer - 1}] and b[{layer - 1}], make the "
                "weights smaller or the float wider"
            )

"""Flow of a chain: the size of a gradient, and what is left of its examples, layer by layer.

    up      state[l] = f[l](params[l], state[l-1])
    down    Δstate[l-1], Δparams[l] = vjp of f[l] at state[l-1], of Δstate[l]

`unrolled.py` makes a chain what the walk takes, `layer_vjp.py` goes up and down one layer,
`chain_record.py` says what is recorded there and makes a Flow of it.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from ...arrays.compiled import is_light
from ...arrays.rows import ScaledRows, floats, in_bfloat16, is_float, is_narrow, with_floats
from ...chain.chain import Chain, check_examples, decoded, encoded
from ...chain.parameter_handover import LayerWeights
from ...jaxpr.numpy_programs import for_the_end, with_rest_by_numpy
from ...jaxpr.program import typed
from ...models import Program
from ...network.params import Stacked
from ...passes.walk import down, up
from ...texts import label
from ..record.flow import Flow, FlowOptions
from ..record.given import Given
from ..record.loss import OfLoss, delta_of_loss
from .chain_record import ChainRecorder
from .unrolled import unrolled


def chain_flow(program: Program, options: FlowOptions) -> Flow:
    """Return the flow of a pair (chain, params); see `jaxnn.gradient_flow`, which calls it."""
    (net, params), loss = program.model, program.loss
    if (loss is None) == (program.cotangent is None):
        raise ValueError(
            "loss, cotangent: expected one of them for a chain, loss(output, ys) -> (B,) or a "
            "cotangent like the output, got both or none"
        )
    check_params(net, params)
    xs, cotangent = map(net.state, (program.xs, program.cotangent))
    if net.whole:
        loss = None if loss is None else OfWhole(loss)
    check_examples(xs)
    for v in filter(is_narrow, jax.tree.leaves(xs)):
        raise ValueError(f"xs: expected {in_bfloat16(v)}")
    lowered = net.for_batch(xs)
    if net.replicas:
        options = options._replace(replicas=net.replicas)
        params, xs, cotangent = map(_without_derivative, (params, xs, cotangent))
        xs, cotangent = (_replicated(tree, net.replicas) for tree in (xs, cotangent))
        loss = None if loss is None else _OfReplicas(loss)
    given = Program((lowered, params), xs, program.ys, loss, cotangent)
    arrays = jax.tree.leaves((params, xs, program.ys, cotangent))
    flow = _flow(given, options._replace(at_end=options.at_end or is_light(arrays)))
    if not isinstance(flow.log_delta, jax.core.Tracer):
        _check_values(flow)
    return flow


def check_params(net: Chain, params: PyTree) -> None:
    """Raise unless parameters are a chain's, not the user's pytree that they are made of."""
    kinds = [Stacked if k else LayerWeights for k in net.lengths]
    if isinstance(params, tuple | list) and list(map(type, params)) == kinds:
        return
    raise ValueError(
        "params: expected the chain's parameters, as jaxnn.as_network and "
        f"net.params return them, got {type(params).__name__} of something else; of the pytree "
        "that the chain was made of hand over net.params(pytree)"
    )


@dataclass(frozen=True)
class OfWhole:
    """The loss of an output that has no examples; of several numbers the mean."""

    loss: Any

    def __call__(self, output: PyTree, ys: PyTree) -> Any:
        losses = self.loss(jax.tree.map(lambda v: v[0], output), ys)
        return jnp.mean(losses) if is_float(losses) else losses


@dataclass(frozen=True)
class _OfReplicas:
    """The loss of the outputs of a wide twin, (B, R, …): a sum, so that Δ of each is its own."""

    loss: Any

    def __call__(self, output: PyTree, ys: PyTree) -> Any:
        losses = jax.vmap(self.loss, in_axes=(1, None))(output, ys)
        return jnp.sum(losses, axis=0) if is_float(losses) else losses


def _without_derivative(tree: PyTree) -> Any:
    """Return what goes into a twin, with floats of which the flow is not differentiated."""
    return jax.tree.map(lambda v: _not_differentiated(v) if is_float(v) else v, tree)


@jax.custom_jvp
def _not_differentiated(v: Array) -> Array:
    return v


@_not_differentiated.defjvp
def _refuse(primals: Any, tangents: Any) -> Any:
    """Refuse to differentiate: the reverse rule of a draw is theory, not its derivative."""
    raise ValueError(
        "the flow of a wide twin, as theory=True measures it, has no derivative: its backward pass "
        "has draws of its own; with one key it is a smooth function of its parameters, so take "
        "finite differences, or differentiate a formula of jaxnn.theory.meanfield"
    )


def _replicated(tree: PyTree, count: int) -> Any:
    """Return arrays with their examples once for every replica, (B, R, …)."""

    def of(v: Any) -> Any:
        v = jnp.asarray(v)
        return jnp.broadcast_to(v[:, None], (len(v), count, *v.shape[1:]))

    return jax.tree.map(of, tree)


def _check_values(flow: Flow) -> None:
    broken = np.flatnonzero(~np.asarray(flow.linear))
    if len(broken):
        raise ValueError(
            f"layer {label(int(broken[-1]) + 1, flow.names)}: its reverse rule is not "
            "linear, half of a cotangent does not give half of the result, as where gradients are "
            "clipped; take that out to measure the flow"
        )


@with_rest_by_numpy
def _flow(program: Program, options: FlowOptions) -> Flow:
    net, params = program.model
    x = ScaledRows(encoded(jax.tree.map(jnp.asarray, program.xs)))
    chain = unrolled(net, params, x.m, options.replicas or 1)
    top, saved = up(chain, chain.weights, x, None, options.memory)
    if not options.replicas:  # of a wide twin it is as in the real network, and not tried
        chain = chain.tried(saved)
    of_loss, delta = _delta_of(top.m, program)
    recorder = ChainRecorder.of(chain, options)
    bottom, records = down(chain, chain.weights, saved, delta, recorder.keep)
    with for_the_end():
        given = None if options.replicas else Given.of(program.data, of_loss)
        return recorder.flow(net, records, bottom, given)


def _delta_of(state: PyTree[Array], program: Program) -> tuple[OfLoss | None, ScaledRows]:
    """Return what is known of the loss and Δ of the output; None and a cotangent if it is given."""
    out = floats(state)
    count = len(out[0])
    if program.loss is None:
        given = floats(jax.tree.map(jnp.asarray, program.cotangent))
        if [v.shape for v in given] != [v.shape for v in out]:
            raise ValueError(
                f"cotangent: expected the shapes of the output, {typed(out)}, got {typed(given)}"
            )
        m = [v.astype(o.dtype) for v, o in zip(given, out, strict=True)]
        return None, ScaledRows(m, [jnp.zeros(count, jnp.int32)] * len(m))

    def output_of(top: list[Array]) -> PyTree:
        return decoded(with_floats(state, top))

    found = delta_of_loss(program.loss, program.ys, output_of, out)
    return found, ScaledRows(found.delta, [jnp.zeros(count, jnp.int32)] * len(found.delta))

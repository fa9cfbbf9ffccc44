"""Divergence: where the numbers of a step leave the range of their dtype first, and what to try.

A step computes z[1] … z[L], the loss, Δz[L] … Δz[1] with the Δ(θ, b) beside them, and new
parameters, in this order. Of finite parameters the first of these that is nan or inf is the origin;
how large it is, or would be in a wider float, is told by `gradient_flow`.

Index legend: z[l] and Δz[l] are (B, n[l]), l = 1 … L; θ[l-1] and b[l-1] are those of layer l.
"""

import bisect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .backprop import backward_rows, mean_delta_z
from .flow import Flow, gradient_flow
from .layers import Layer
from .network import Network, forward_rows
from .verdict import verdict

Params = tuple[Layer, ...]
Where = Literal["signal", "loss", "gradient", "update"]


class NonFiniteError(FloatingPointError):
    """The loss, or a parameter, is no longer finite; the message says where it began.

    Nothing that was computed is lost: `state` and `history` have it.

    Attributes:
        step: how many steps had been done, `State.step`, when the loss became nan or inf, or a
            parameter did before any loss was.
        where: what left the range first: the signal z, the loss itself, the gradient Δ or, all
            three being finite, the update that the optimiser made of it.
        layer: the layer l = 1 … L where it did: z[l], Δz[l] or Δ(θ, b)[l-1], or (θ, b)[l-1].
        state: the last good State, of finite parameters and before a step whose loss was finite
            (unless there was none): training may go on from it, with a smaller step size.
        losses: of the steps of the epochs since the last State that was handed out, (epochs, S).
        history: from `jaxnn.fit`, everything up to that epoch.
    """

    def __init__(self, sentence: str, step: int, origin: "Origin", state: Any, losses: np.ndarray):
        super().__init__(sentence)
        self.step = step
        self.where, self.layer = origin.where, origin.layer
        self.state = state
        self.losses = losses
        self.history: Any = None


class Origin(NamedTuple):
    """Where the numbers of a step leave the range first, and a sentence on it."""

    where: Where
    layer: int
    sentence: str


class _Finite(NamedTuple):
    """What is finite of a step, an entry a layer of weights, and the flow of its gradient."""

    z: Bool[Array, " L"]
    loss: Bool[Array, ""]
    delta_z: Bool[Array, " L"]
    delta: Bool[Array, " L"]
    flow: Flow


@jax.jit
def _finite(
    net: Network, params: Params, xs: Array, ys: Array, depth: Array | int | None
) -> _Finite:
    rows = forward_rows(net, params, xs, depth)
    back = backward_rows(net, params, rows, mean_delta_z(net, rows, ys), depth)
    return _Finite(
        z=_each(params, rows.z),
        loss=jnp.isfinite(jnp.mean(net.task.loss(rows.z[-1], ys))),
        delta_z=_each(params, back.delta_z),
        delta=finite_layers(back.layers),
        flow=gradient_flow(net, params, xs, ys, depth=depth),
    )


def _each(params: Params, values: tuple[Array, ...]) -> Bool[Array, " L"]:
    """Whether all entries of each layer are finite; of a run there are k."""
    flags = [
        jnp.isfinite(v).reshape(len(layer.b) if layer.b.ndim == 2 else 1, -1).all(axis=1)
        for layer, v in zip(params, values, strict=True)
    ]
    return jnp.concatenate(flags)


def finite_layers(params: Params) -> Bool[Array, " L"]:
    """Whether θ and b of each layer of weights are finite."""
    thetas, biases = zip(*params, strict=True)
    return _each(params, thetas) & _each(params, biases)


def check_finite(params: Params) -> None:
    """Raises where a parameter is nan or inf."""
    finite = np.asarray(finite_layers(params))
    if not finite.all():
        i = int(np.argmin(finite))
        raise ValueError(f"theta[{i}], b[{i}]: expected finite numbers, got some nan or inf")


def diagnosis(
    net: Network,
    after: Callable[[int], tuple[Any, Array, Array]],
    batch_of: Callable[[int], tuple[Array, Array]],
    losses: np.ndarray,
    depth: Array | int | None,
) -> NonFiniteError:
    """What to raise for epochs whose losses or last parameters are not finite.

    `after(k)` repeats k steps from their beginning, with the State as its first result and whether
    the parameters are finite as its last, and for k = -1 goes one step further back where there is
    one; step k goes over batch_of(k). A parameter that is nan or inf stays so: the first step after
    which one is can be found by bisection.
    """
    bad = np.flatnonzero(~np.isfinite(losses))
    reached = int(bad[0]) if len(bad) else losses.size
    broken = not after(reached)[-1]  # parameters went first, at the end of an earlier step
    failed = reached
    if broken:
        failed = bisect.bisect_left(range(reached), True, key=lambda k: not after(k)[-1]) - 1
    begin = after(failed)[0]
    of_step = (net, begin.params, *batch_of(failed), depth)
    begun = origin(*of_step, after=after(failed + 1)[0].params)
    at = int(begin.step) + reached - failed
    value = f"the loss is {losses.flat[reached]}" if len(bad) else "parameters are not finite"
    since = f", at step {int(begin.step)}" if broken else ""
    return NonFiniteError(
        f"step {at}, counted from 0: {value}; {begun.sentence}{since}. {advice(*of_step)}",
        at,
        begun,
        begin if broken else after(failed - 1)[0],
        losses[: reached // losses.shape[1] + 1],
    )


def origin(
    net: Network,
    params: Params,
    xs: Float[Array, "B n_in"],
    ys: Float[Array, "B n_out"],
    depth: Array | int | None,
    after: Params,
) -> Origin:
    """Where the numbers of one step, from `params` to `after`, leave the range first."""
    step = jax.tree.map(np.asarray, _finite(net, params, xs, ys, depth))
    flow, count, dtype = step.flow, len(step.z), params[0].b.dtype
    if not step.z.all():
        layer = int(np.argmin(step.z)) + 1
        size = _power("root mean square", flow.log_mean_square_z[layer - 1] / 2)
        what = f"the signal left the range of {dtype} first, at z[{layer}] of {count} layers{size}"
        return Origin("signal", layer, what)
    if not step.loss:
        size = _power("root mean square", flow.log_mean_square_z[-1] / 2)
        what = f"the loss itself left the range of {dtype}, at z[{count}], the last{size}"
        return Origin("loss", count, f"{what}; look at the scale of the labels")
    for name, finite in (("Δz[{}]", step.delta_z), ("Δθ of layer {}", step.delta)):
        if not finite.all():
            layer = count - int(np.argmin(finite[::-1]))
            size = _power("largest |Δz|", flow.log_largest[layer - 1])
            what = f"the gradient left the range of {dtype} first, at {name.format(layer)}"
            return Origin("gradient", layer, f"{what} of {count} layers{size}")
    layer = count - int(np.argmin(np.asarray(finite_layers(after))[::-1]))
    what = f"the update of theta[{layer - 1}] and b[{layer - 1}] left the range of {dtype} first"
    return Origin("update", layer, f"{what}, signal and gradient being finite")


def _power(what: str, log: Any) -> str:
    """A size by its natural logarithm, where that is a number."""
    return f" ({what} 10^{float(log) / np.log(10):.1f})" if np.isfinite(log) else ""


def advice(
    net: Network,
    params: Params,
    xs: Float[Array, "B n_in"],
    ys: Float[Array, "B n_out"],
    depth: Array | int | None,
) -> str:
    """What to try, by the flow of finite parameters."""
    said = verdict(_finite(net, params, xs, ys, depth).flow)
    try_ = "Try a smaller step size, or optax.clip_by_global_norm(1.0) before the optimiser"
    critical = said.critical_sigma_w or said.unbiased_sigma_w
    if critical is None:
        return f"{try_}."
    now = f"; they act like σ_w = {said.sigma_w:.3g}" if np.isfinite(said.sigma_w) else ""
    return (
        f"{try_}, or weights drawn with σ_w = {critical:.4g}, at which gradients of "
        f"{net.activation.name} neither vanish nor explode{now}."
    )

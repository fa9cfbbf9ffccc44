"""Divergence: the first number of a step that leaves the range of its dtype, and a remedy.

A step computes z[1] … z[L], the loss, Δz[L] … Δz[1] together with the Δ(θ, b), and new parameters,
in this order. If its parameters are finite, the first of these that is nan or inf is the origin.
`gradient_flow` measures its size, or the size that it would have in a wider float.

Index legend: z[l] and Δz[l] are (B, n[l]), l = 1 … L; θ[l-1] and b[l-1] are those of layer l.
"""

import bisect
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..arrays.compiled import compiled, transferring
from ..arrays.rows import ScaledRows
from ..errors import NonFiniteError, Where
from ..flow.measure.flow_of_net import flow_of_net
from ..flow.record.flow import Flow
from ..flow.verdict.verdict import verdict
from ..network.network import Network
from ..network.params import Layers
from ..passes.backprop import mean_delta_z
from ..passes.walk import LayerStep, at_outputs, down, up
from ..texts import counted, power_of_ten


@transferring
@jax.jit
def _finite(net: Network, params: Layers, xs: Array, ys: Array) -> tuple[list[Array], Flow]:
    """Return whether z, the loss, Δz and Δ(θ, b) are finite, by layer, and the gradient's flow."""
    top, saved = up(net, params, ScaledRows(xs))
    delta = ScaledRows(mean_delta_z(net, top.m, ys))
    _, flags = down(net, params, saved, delta, _bad_numbers)
    bad_z, bad_delta_z, bad_delta = zip(*flags, strict=True)
    z = at_outputs(params, list(bad_z), _bad(top.m))
    loss = jnp.isfinite(jnp.mean(net.task.loss(top.m, ys)))
    finite = [~_by_layer(z), loss, ~_by_layer(bad_delta_z), ~_by_layer(bad_delta)]
    return finite, flow_of_net(net, params, xs, ys, examples=False)


def _bad_numbers(step: LayerStep) -> tuple[Array, Array, Array]:
    """Tell whether a number of z is nan or inf, one of Δz, and one of Δθ or Δb."""
    theta, b, _ = step.gradient
    return _bad(step.z.m), _bad(step.delta.m), _bad(theta.m) | _bad(b.m[None])


def _bad(values: Float[Array, "*k n m"]) -> Bool[Array, "*k"]:
    """Tell whether a number is nan or inf; what no layer has filled is zero, and good."""
    return ~jnp.isfinite(values).all(axis=(-2, -1))


def _by_layer(flags: Iterable[Array]) -> Bool[Array, " L"]:
    return jnp.concatenate([jnp.atleast_1d(flag) for flag in flags])


@compiled
def finite_layers(params: Layers) -> Bool[Array, " L"]:
    """Return for each layer of weights whether θ and b are finite."""
    return ~_by_layer([_bad(theta) | _bad(b[..., None]) for theta, b in params])


def check_finite(params: Layers) -> None:
    """Raise if a parameter is nan or inf."""
    finite = np.asarray(finite_layers(params))
    if not finite.all():
        i = int(np.argmin(finite))
        raise ValueError(f"theta[{i}], b[{i}]: expected finite numbers, got some nan or inf")


def diagnosis(
    net: Network,
    after: Callable[[int], tuple[Any, Array, Array]],
    batch_of: Callable[[int], tuple[Array, Array]],
    losses: np.ndarray,
) -> NonFiniteError:
    """Return the error to raise for an epoch whose losses or last parameters are not finite.

    `after(k)` repeats the first k steps; its first result is the State, its last one whether the
    parameters are finite. k = -1 is one step before the epoch, if there is one. Step k uses
    batch_of(k). A parameter that is nan or inf stays so, so that bisection finds the first step
    after which one is.
    """
    bad = np.flatnonzero(~np.isfinite(losses))
    reached = int(bad[0]) if len(bad) else losses.size
    broken = not after(reached)[-1]  # then a parameter left the range in an earlier step
    failed = reached
    if broken:
        failed = bisect.bisect_left(range(reached), True, key=lambda k: not after(k)[-1]) - 1
    before = after(failed)[0]
    finite, flow = _finite(net, before.params, *batch_of(failed))
    where, layer, clause = _origin(finite, flow, before.params, after(failed + 1)[0].params)
    count = int(before.step) + reached - failed
    value = f"the loss is {losses.flat[reached]}" if len(bad) else "parameters are not finite"
    since = f", at step {int(before.step)}" if broken else ""
    return NonFiniteError(
        f"step {count}, counted from 0: {value}; {clause}{since}. {_advice(net, flow)}",
        count,
        where,
        layer,
        before if broken else after(failed - 1)[0],
        losses,
    )


def _origin(
    finite: list[Array], flow: Flow, params: Layers, after: Layers
) -> tuple[Where, int, str]:
    """Find the first numbers of a step to `after` that leave the range, with a clause on them."""
    z, loss, delta_z, delta = map(np.asarray, finite)
    signal, largest = map(np.asarray, (flow.log_mean_square, flow.log_largest))
    count, dtype = len(z), params[0].b.dtype
    layers = counted(count, "layer")
    if not z.all():
        layer = int(np.argmin(z)) + 1
        size = _power("root mean square", signal[layer - 1] / 2)
        what = f"the signal left the range of {dtype} first, at z[{layer}] of {layers}{size}"
        return "signal", layer, what
    if not loss:
        size = _power("root mean square", signal[-1] / 2)
        what = f"the loss itself left the range of {dtype}, at z[{count}], the last{size}"
        return "loss", count, f"{what}; look at the scale of the labels"
    for name, flags in (("Δz[{}]", delta_z), ("Δθ of layer {}", delta)):
        if not flags.all():
            layer = count - int(np.argmin(flags[::-1]))
            size = _power("largest |Δz|", largest[layer - 1])
            what = f"the gradient left the range of {dtype} first, at {name.format(layer)}"
            return "gradient", layer, f"{what} of {layers}{size}"
    layer = count - int(np.argmin(np.asarray(finite_layers(after))[::-1]))
    what = f"the update of theta[{layer - 1}] and b[{layer - 1}] left the range of {dtype} first"
    return "update", layer, f"{what}, signal and gradient being finite"


def _power(what: str, log: Any) -> str:
    """A size, given its natural logarithm; nothing if that is not finite."""
    return f" ({what} {power_of_ten(float(log) / np.log(10))})" if np.isfinite(log) else ""


def _advice(net: Network, flow: Flow) -> str:
    """Return advice for a step from finite parameters, by its flow."""
    weights = verdict(flow).network
    assert weights is not None  # of a Network it is known
    remedy = "Try a smaller step size, or optax.clip_by_global_norm(1.0) before the optimiser"
    critical = weights.critical_sigma_w or weights.unbiased_sigma_w
    if critical is None:
        return f"{remedy}."
    now = f"; they act like σ_w = {weights.sigma_w:.3g}" if np.isfinite(weights.sigma_w) else ""
    biases = "" if weights.critical_sigma_w else " and biases of zero"
    return (
        f"{remedy}, or weights drawn with σ_w = {critical:.4g}{biases}, at which gradients of "
        f"{net.activation_name} neither vanish nor explode{now}."
    )

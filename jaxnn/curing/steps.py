"""Steps: how large the first step of a training may be.

    θ -> θ - η sign Δθ      Adam's first step: η of every number, against the sign of its Δ

A network whose gradient has the right size in every layer may still be one that changes too much
at once: tailored units make what comes out depend on all layers alike, and want smaller steps.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..arrays.compiled import compiled
from ..chain.apply import applied
from ..chain.chain import Chain
from ..chain.parameter_places import Place, changed
from ..flow.record.loss import Loss
from ..network.checks import check_loss

ETAS = 0.1 * 0.5 ** np.arange(9, -1, -1)  # from 0.0002 to 0.1


def largest(net: Chain, params: PyTree, xs: PyTree, ys: PyTree, loss: Loss) -> float:
    """Return the smallest step size of `ETAS` with which the loss does not fall; inf if none.

    Source: the step, Kingma & Ba 2015, arXiv:1412.6980, whose first one is η Δ / (|Δ| + ε).
    """
    before, after = _losses(net, params, xs, ys, check_loss(loss), ETAS)
    too_large = ~(np.asarray(after) < float(before))  # nan too
    return float(ETAS[np.argmax(too_large)]) if too_large.any() else np.inf


@compiled
def _losses(
    net: Chain,
    params: PyTree,
    xs: PyTree,
    ys: PyTree,
    loss: Loss,
    etas: Float[np.ndarray, " k"],
) -> tuple[Float[Array, ""], Float[Array, " k"]]:
    """Return the loss as it is, and after a step of each size."""

    def mean(arrays: list[Array]) -> Array:
        return jnp.mean(loss(applied(net, _with(net, params, arrays), xs)[0], ys))

    arrays = _trained(net, params)
    before, gradient = jax.value_and_grad(mean)(arrays)

    def after(eta: Array) -> Array:
        pairs = zip(arrays, gradient, strict=True)
        return mean([v - (eta * jnp.sign(g)).astype(v.dtype) for v, g in pairs])

    return before, jax.lax.map(after, jnp.asarray(etas, before.dtype))


def _trained(net: Chain, params: PyTree) -> list[Array]:
    """Return the arrays that are trained, in the order in which `changed` comes to them."""
    arrays: list[Array] = []

    def noted(v: Array, _: Place) -> Array:
        arrays.append(jnp.asarray(v))
        return v

    changed(net, params, noted, 0)
    return arrays


def _with(net: Chain, params: PyTree, arrays: list[Array]) -> PyTree:
    """Return parameters with other arrays that are trained."""
    given = iter(arrays)
    return changed(net, params, lambda *_: next(given), 0)

"""Δ of the output, by the user's own loss: the start of the backward pass.

loss(output, ys) -> a loss of each example, (B,), whose mean is differentiated, or one number. Of
several for each example, (B, …), such as one for each token, the mean over all is taken.

Δ of exactly zero has one of three reasons: the loss does not depend on the output, its derivative
is zero there, or that is below the range of a 16-bit float, in which case it is a number if all is
computed in float32 with a loss of 2^64 times the size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Var
from jaxtyping import Array, PyTree

from ...arrays.rows import at_least_float32, floats, is_float
from ...chain.label_pairs import refuse_pairs
from ...jaxpr.program import resized
from ...network.checks import calling_loss
from ...network.network import Network
from ...network.tasks import label_rows

Loss = Callable[[Any, Any], Array]
LARGER = 2.0**64


@dataclass(frozen=True)
class LossOfTop:
    """The loss of z[L] of a Network: a loss of ŷ, or its task's, whose labels have any form."""

    net: Network
    loss: Loss | None

    def __call__(self, z: Array, ys: PyTree) -> Array:
        task, n = self.net.task, self.net.sizes[-1]
        if self.loss is not None:
            return self.loss(task.output(z), ys)
        return task.loss(z, label_rows(task, ys, z.shape[:1], n, z.dtype))


def delta_of_loss(
    loss: Loss, ys: PyTree, output_of: Callable[[list[Array]], Any], top: list[Array]
) -> "OfLoss":
    """Return the mean loss, and Δ of the arrays that an output is made of, by `jax.vjp`."""

    def mean(values: list[Array]) -> Array:
        return mean_of(loss, output_of(values), ys, len(top[0]))

    value, pull = jax.vjp(mean, top)
    (delta,) = pull(jnp.ones_like(value))
    underflows = None
    if any(v.dtype.itemsize < 4 for v in top):
        wide = partial(mean_of, loss, ys=_in_float32(ys), count=len(top[0]))
        underflows = _is_a_number_in_float32(lambda v: wide(output_of(v)), top, delta)
    return OfLoss(value, delta, _depends(mean, top), underflows)


class OfLoss(NamedTuple):
    """A loss: its value, its Δ, and the reason if that Δ is zero."""

    value: Array | np.ndarray  # its mean
    delta: list[Array]  # of the arrays that the output is made of
    depends: bool  # the program of the loss leads from them to its value
    # Δ is zero only for the range of their 16-bit float; None of wider ones.
    underflows: Array | None


def _depends(mean: Callable[..., Array], top: list[Array]) -> bool:
    """Tell whether a function leads from its argument to its value, whatever the derivative."""
    jaxpr = jax.make_jaxpr(mean)(top).jaxpr
    reached = set(jaxpr.invars)
    for eqn in jaxpr.eqns:
        if any(isinstance(v, Var) and v in reached for v in eqn.invars):
            reached.update(eqn.outvars)
    return any(isinstance(v, Var) and v in reached for v in jaxpr.outvars)


def _is_a_number_in_float32(
    mean: Callable[..., Array], top: list[Array], delta: list[Array]
) -> Array | None:
    """Tell whether Δ is zero, and is not in float32 of a larger loss; None if that fails."""

    def in_float32(top: list[Array]) -> Array:
        value, pull = jax.vjp(mean, top)
        (wide,) = pull(jnp.full_like(value, LARGER))
        return jnp.any(jnp.array([jnp.any(v != 0) for v in wide]))

    wide = _in_float32(top)
    try:
        jax.eval_shape(in_float32, wide)
    except Exception:  # of the user's function, such as one that wants its own dtype
        return None
    zero = jnp.all(jnp.array([jnp.all(v == 0) for v in delta]))
    found: Array = lax.cond(zero, in_float32, lambda _: jnp.array(False), wide)
    return found


def _in_float32(tree: PyTree) -> Any:
    """Return a tree whose 16-bit floats are float32."""
    return jax.tree.map(lambda v: at_least_float32(v) if is_float(v) else v, tree)


def mean_of(loss: Loss, output: PyTree, ys: PyTree, count: int) -> Array:
    """Return the mean loss of a batch; ValueError for a loss of another shape or dtype."""

    def tried(shape: tuple[int, ...]) -> Any:
        return jax.eval_shape(loss, output, resized(ys, shape))

    with calling_loss(ys, count, output, tried):
        losses = loss(output, ys)
    if not is_float(losses) or losses.shape[:1] not in ((), (count,)):
        is_array = hasattr(losses, "shape")
        got = f"{losses.dtype} of shape {losses.shape}" if is_array else type(losses).__name__
        raise ValueError(
            f"loss: expected loss(output, ys) to return one float, or for each example one, "
            f"({count},), or several, ({count}, …), got {got}"
        )
    refuse_pairs(loss, output, ys)
    return jnp.mean(losses)


def random_loss(output: PyTree, key: jax.Array) -> jax.Array:
    """Return ⟨c, output⟩ for each example, (B,), with c normal."""
    rows = [
        jnp.sum((jax.random.normal(k, v.shape).astype(v.dtype) * v).reshape(len(v), -1), axis=1)
        for v, k in zip(floats(output), jax.random.split(key, len(floats(output))), strict=True)
    ]
    return sum(rows[1:], start=rows[0])

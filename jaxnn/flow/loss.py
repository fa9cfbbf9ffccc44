"""Where the way down begins: Δ of the output, of a loss of the user's own.

loss(output, ys) -> a loss of each example, (B,), whose mean is differentiated, or one number.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..arrays.rows import floats, is_float

Loss = Callable[[Any, Any], Array]


def delta_of_loss(
    loss: Loss, ys: Any, output_of: Callable[[list[Array]], Any], top: list[Array]
) -> tuple[Array, list[Array]]:
    """Return the mean loss, and Δ of the arrays that an output is made of, by its `jax.vjp` alone.

    Args:
        loss: the user's function.
        ys: what it takes next to the output.
        output_of: returns the output.
        top: the arrays, the examples first.

    Raises:
        ValueError: as `mean_of`.
    """

    def mean(values: list[Array]) -> Array:
        return mean_of(loss, output_of(values), ys, len(top[0]))

    value, pull = jax.vjp(mean, top)
    return value, pull(jnp.ones_like(value))[0]


def mean_of(loss: Loss, output: Any, ys: Any, count: int) -> Array:
    """Return the mean loss of a batch.

    Args:
        loss: the user's function.
        output: of the network.
        ys: what the loss takes next to it.
        count: the number of examples.

    Raises:
        ValueError: a loss of another shape or dtype.
    """
    losses = loss(output, ys)
    if jnp.shape(losses) not in ((), (count,)) or not is_float(losses):
        raise ValueError(
            f"loss: expected loss(output, ys) to return one float, or one for each example, "
            f"({count},), got {getattr(losses, 'dtype', type(losses).__name__)} of shape "
            f"{jnp.shape(losses)}"
        )
    return jnp.mean(losses)


def random_loss(output: Any, key: jax.Array) -> jax.Array:
    """Return ⟨c, output⟩ for each example, (B,), with c normal."""
    rows = [
        jnp.sum((jax.random.normal(k, v.shape).astype(v.dtype) * v).reshape(len(v), -1), axis=1)
        for v, k in zip(floats(output), jax.random.split(key, len(floats(output))), strict=True)
    ]
    return sum(rows[1:], start=rows[0])

"""Positions of a flow: Δ, and what differs between examples, at each token or pixel of a state.

‖Δ at position t‖ = root of the sum over examples and features of Δ[b, t, i]²
spread[t]² = mean (z[b, t] - mean over examples of z[b, t])² / mean z[b, t]²
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ...arrays.rows import ScaledRows, alignment, at_least_float32, floats, largest_of, log_of
from ...chain.state import streams, with_main_first

MOST = 4096  # positions; states with more, such as large images, have no record of them


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Positions:
    """Numbers of the positions of states (B, …, channels), those of layer 1 first.

    Of several axes of positions the last one counts fastest.

    log_delta: ln of the norm of Δ at each position, over the batch.
    log_spread: ln of the root mean square of what differs between examples there, the deviation
        from their mean, relative to that of the state there. Below a few eps of the dtype it is
        rounding; nan of a single example, and where the state is zero.
    counts: of each layer the positions of its state; 0 without any, or with more than 4096; static.
    """

    log_delta: Float[Array, "*v T"]
    log_spread: Float[Array, "*v T"]
    counts: tuple[int, ...] = field(metadata={"static": True})

    def of(self, layer: int) -> "Positions":
        """Return the positions of one layer, counted from 1.

        Example:
            >>> import jax.numpy as jnp, jaxnn
            >>> net, params = jaxnn.as_network([lambda z: 2 * z])
            >>> xs = jnp.ones((1, 2, 3))
            >>> flow = jaxnn.gradient_flow((net, params), xs, cotangent=xs.at[:, 0].set(0))
            >>> print(flow.positions.of(1).log_delta.round(2))
            [-inf 0.55]
        """
        start, count = sum(self.counts[: layer - 1]), self.counts[layer - 1]
        inside = slice(start, start + count)
        return Positions(self.log_delta[..., inside], self.log_spread[..., inside], (count,))


def main_of(state: PyTree) -> list[Any]:
    """Return the float arrays of a state that its positions are those of."""
    out = floats(streams(state))
    return out[:1] if with_main_first(state) else out


def has_positions(arrays: Sequence[Any]) -> bool:
    """Tell a state of one array with positions: axes between the examples and the channels."""
    return len(arrays) == 1 and arrays[0].ndim > 2 and max(arrays[0].shape[1:-1]) > 1


def count_of(state: PyTree) -> int:
    """Return the number of positions of a state that are recorded."""
    main = main_of(state)
    count = prod(main[0].shape[1:-1]) if has_positions(main) else 0
    return count if count <= MOST else 0


def log_delta_by_position(delta: ScaledRows, dtype: jnp.dtype) -> Float[Array, " t"]:
    """Return ln of the norm of Δ, (B, …, channels), at each position."""
    m = at_least_float32(delta.m).astype(dtype)
    # Each example on one exponent and each position next to its largest number, in one factor.
    scale, common = alignment(delta.e, m)
    scale = jnp.expand_dims(scale, range(1, m.ndim - 1))
    largest = jnp.max(scale * largest_of([m], m.ndim - 1), axis=0)
    unit = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    factor = jnp.expand_dims(scale / unit[None], -1)
    norm = jnp.sqrt(jnp.sum(jnp.square(m * factor), axis=(0, m.ndim - 1)))
    log = log_of(norm, jnp.broadcast_to(common, norm.shape)) + jnp.log(unit)
    return log.ravel()

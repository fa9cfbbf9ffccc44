"""Updates: the change of each parameter array in a step, in the order of `flow.parameters`.

    update = θ after the step - θ before it

It is the update as it arrives in the parameters: what the optimiser computed, less what rounding to
their dtype takes off. The difference is taken in float32 or wider.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ...arrays.rows import at_least_float32, can_be_learned, is_float
from ...chain.chain import Chain
from ...network.checks import check_params
from ...network.network import Network
from .network_flow import log_sizes_of_network
from .parameter_sizes import log_sizes_of_chain

PerArray = Float[Any, " P"]  # of JAX or NumPy


class Update(NamedTuple):
    """Changes of each parameter array by one step; None if no array's is known."""

    log_size: PerArray  # ln of the norm of the update; -inf of an array that stays
    log_after: PerArray  # ln of the norm of the array after the step
    # The share of entries that differ after the step, in those rows in which any does; known of
    # parameters in 16 bits, which rounding may hold back.
    moved: PerArray | None = None
    log_gradient: PerArray | None = None  # of the gradient that the optimiser was handed
    # 1.0 of an array that an optimiser holds, 0.0 of one that none does.
    held: PerArray | None = None
    rate: PerArray | None = None  # the step size of the optimiser that holds the array


def update_of(net: Network | Chain, before: PyTree, after: PyTree, dtype: jnp.dtype) -> Update:
    """Return what a step has done to each parameter array, in a dtype for the record of a chain."""
    if isinstance(net, Network):
        before, after = check_params(net, before), check_params(net, after)

    def log_sizes(tree: PyTree) -> Float[Array, " P"]:
        if isinstance(net, Chain):
            return log_sizes_of_chain(net, tree, dtype)
        return log_sizes_of_network(tree)

    change, moved = _change(before, after), None
    if any(is_float(v) and v.dtype.itemsize < 4 for v in jax.tree.leaves(after)):
        entries, rows = (_counts(change, whole_rows=whole) for whole in (False, True))
        moved = jnp.exp(2 * (log_sizes(entries) - log_sizes(rows)))  # of norms of zeros and ones
    return Update(log_sizes(change), log_sizes(after), moved)


def _change(before: PyTree, after: PyTree) -> Any:
    """Return after - before; what is not learned, such as a key, is left as it is."""

    def change(before: PyTree, after: PyTree) -> Any:
        if not can_be_learned(after):
            return after
        if is_float(after):
            before, after = at_least_float32(before), at_least_float32(after)
        return after - before

    return jax.tree.map(change, before, after)


def _counts(change: PyTree, *, whole_rows: bool) -> Any:
    """Return 1 for each entry that changes, or for each in a row in which any does; else 0."""

    def count(change: Array) -> Any:
        if not can_be_learned(change):
            return change
        differs = change != 0
        if whole_rows and differs.ndim:
            differs = jnp.broadcast_to(jnp.any(differs, axis=-1, keepdims=True), differs.shape)
        return differs.astype(change.dtype)

    return jax.tree.map(count, change)

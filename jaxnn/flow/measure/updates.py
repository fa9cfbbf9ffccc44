"""Updates: the change of each parameter array in a step, in the order of `flow.parameters`.

    ‖update‖ = ‖θ after the step - θ before it‖

It is the update as it arrives in the parameters: what the optimiser computed, less what rounding to
their dtype takes off. The difference is taken in float32 or wider.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ...arrays.rows import at_least_float32, can_be_learned, is_float
from ...chain.chain import Chain
from ...network.checks import check_params
from ...network.network import Network
from .network_flow import log_sizes_of_network
from .parameter_sizes import log_sizes_of_chain


def log_updates(
    net: Network | Chain, before: PyTree, after: PyTree, dtype: jnp.dtype
) -> Float[Array, " P"]:
    """Return ln of the norm of the change of each parameter array; -inf of one that stays.

    Args:
        before: its parameters before the step, as `jaxnn.gradient_flow` takes them.
        after: those after it.
        dtype: of the record of a chain, float32 or float64.
    """
    if isinstance(net, Chain):
        return log_sizes_of_chain(net, _change(before, after), dtype)
    pairs = check_params(net, before), check_params(net, after)
    return log_sizes_of_network(_change(*pairs))


def _change(before: PyTree, after: PyTree) -> Any:
    """Return after - before; what is not learned, such as a key, is left as it is."""

    def change(before: PyTree, after: PyTree) -> Any:
        if not can_be_learned(after):
            return after
        if is_float(after):
            before, after = at_least_float32(before), at_least_float32(after)
        return after - before

    return jax.tree.map(change, before, after)

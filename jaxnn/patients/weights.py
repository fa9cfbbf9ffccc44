"""Arrays of a network of JAX, multiplied by a number for each layer, or replaced one by one."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..chain.chain import Chain
from ..chain.parameter_places import ArrayPlace, Uses, changed
from ..network.network import Network
from .patient import At, Params, PerLayer, Places


def multiplied(net: Network | Chain, params: Params, factors: PerLayer, meant: Places) -> Params:
    """Return parameters some of whose arrays are multiplied by a number for each layer."""

    def factor(uses: Uses) -> float:
        # Weights that layers share: the geometric mean of the factors that are not 1.
        of_layers = [factors[at[0]] for at in uses if at in meant]
        with np.errstate(divide="ignore"):  # of a factor of zero
            return float(np.exp(np.mean(np.log([v for v in of_layers if v != 1] or [1.0]))))

    def change(v: ArrayLike, place: ArrayPlace) -> ArrayLike:
        by_entry = np.array(list(map(factor, place.uses)))
        if np.all(by_entry == 1):
            return v
        by = by_entry.reshape(-1, *[1] * (jnp.ndim(v) - 1)) if place.of_run else by_entry[0]
        v = jnp.asarray(v)
        return (v * jnp.asarray(by, v.dtype)).astype(v.dtype)

    return changed(net, params, change, 0)


def redrawn(
    net: Network | Chain,
    params: Params,
    meant: Places,
    draw: Callable[[np.ndarray, At], np.ndarray],
) -> Params:
    """Return parameters some of whose arrays, in float64, are drawn again; shared ones once."""
    drawn: dict[Uses, np.ndarray] = {}

    def is_meant(uses: Uses) -> bool:
        return any(at in meant for at in uses)

    def change(v: ArrayLike, place: ArrayPlace) -> ArrayLike:
        if not any(map(is_meant, place.uses)):
            return v
        values, entries = np.asarray(v, np.float64), []
        for one, uses in zip(values if place.of_run else [values], place.uses, strict=True):
            if is_meant(uses) and uses not in drawn:
                drawn[uses] = draw(one, next(at for at in uses if at in meant))
            entries.append(drawn.get(uses, one))
        made = np.stack(entries) if place.of_run else entries[0]
        return jnp.asarray(made, jnp.asarray(v).dtype)

    return changed(net, params, change, 0)

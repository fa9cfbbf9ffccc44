"""Weights multiplied by a number for each layer, or drawn again as orthogonal matrices."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from ..adapters.layers import Chain
from ..adapters.weights import Place, changed
from ..network.network import Network


def multiplied(net: Network | Chain, params: Any, factors: np.ndarray, only: Any = None) -> Any:
    """Return parameters whose weights are multiplied by a number for each layer.

    Args:
        net: the network.
        params: its parameters.
        factors: one for each layer, (L,); 1 leaves it as it is. Weights that layers share are
            multiplied by the geometric mean of theirs.
        only: (layer, number) of the arrays that are meant; None for all weights.
    """

    def change(v: Any, place: Place) -> Any:
        of_layers = np.array(
            [
                factors[layer] if only is None or (int(layer), place.number) in only else 1.0
                for layer in place.layers
            ]
        )
        if np.all(of_layers == 1):
            return v
        if place.of_run:
            of_layers = of_layers.reshape(-1, *[1] * (jnp.ndim(v) - 1))
        else:
            with np.errstate(divide="ignore"):  # of a factor of zero
                of_layers = np.exp(np.mean(np.log(of_layers)))
        return (jnp.asarray(v) * jnp.asarray(of_layers, v.dtype)).astype(v.dtype)

    # An array named in `only` may be a bias, which is no weight.
    return changed(net, params, change, 2 if only is None else 0)


def orthogonal(net: Network | Chain, params: Any, layers: np.ndarray, seed: int) -> Any:
    """Return parameters with orthogonal matrices of the same mean square in some layers, or None.

    Matrices alone are drawn again, from the QR decomposition of Gaussian ones; of a matrix with
    more rows than columns the columns are orthogonal, else the rows. Kernels of more axes stay.
    None if there are no matrices.

    Args:
        net: the network.
        params: its parameters.
        layers: whose weights are drawn again, a truth value for each, (L,).
        seed: of the draws.
    """
    rng, count = np.random.default_rng(seed), 0

    def change(v: Any, place: Place) -> Any:
        nonlocal count
        is_matrix = jnp.ndim(v) - place.of_run == 2 and not jnp.iscomplexobj(v)
        if not is_matrix or not layers[place.layers].any():
            return v
        count += 1
        values = np.asarray(v, np.float64)
        if place.of_run:
            pairs = zip(values, layers[place.layers], strict=True)
            values = np.stack([orthogonal_like(rng, one) if meant else one for one, meant in pairs])
        else:
            values = orthogonal_like(rng, values)
        return jnp.asarray(values, v.dtype)

    drawn_again = changed(net, params, change)
    return drawn_again if count else None


def orthogonal_like(rng: np.random.Generator, v: np.ndarray) -> np.ndarray:
    """Return a random matrix with orthogonal columns, or rows, of the same mean square."""
    n, m = v.shape
    q, r = np.linalg.qr(rng.normal(size=(max(n, m), min(n, m))))
    q = q * np.sign(np.diag(r))
    q = q if n >= m else q.T
    drawn: np.ndarray = q * np.sqrt(np.sum(np.square(v)) / np.sum(np.square(q)))
    return drawn

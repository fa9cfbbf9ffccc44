"""Weights multiplied by a number for each layer, or drawn again as orthogonal matrices."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..adapters.layers import Chain
from ..adapters.weights import Place, changed
from ..network.network import Network

Axes = tuple[int, int]  # of a kernel: that of its inputs and that of its outputs


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


def orthogonal(
    net: Network | Chain,
    params: Any,
    layers: np.ndarray,
    seed: int,
    kernels: Mapping[tuple[int, int], Axes] = MappingProxyType({}),
) -> Any:
    """Return parameters with orthogonal matrices of the same mean square in some layers, or None.

    Matrices are drawn again, from the QR decomposition of Gaussian ones; of a matrix with more rows
    than columns the columns are orthogonal, else the rows. A kernel of a convolution becomes
    delta-orthogonal: such a matrix in its centre, 0 elsewhere. None if there is neither.

    Args:
        net: the network.
        params: its parameters.
        layers: whose weights are drawn again, a truth value for each, (L,).
        seed: of the draws.
        kernels: the axes of inputs and of outputs of each kernel, by layer and number.

    Source: delta-orthogonal kernels, Xiao et al. 2018, arXiv:1806.05393.
    """
    rng, count = np.random.default_rng(seed), 0

    def change(v: Any, place: Place) -> Any:
        nonlocal count
        axes = kernels.get((int(place.layers[0]), place.number))
        is_matrix = jnp.ndim(v) - place.of_run == 2 or axes is not None
        if not is_matrix or jnp.iscomplexobj(v) or not layers[place.layers].any():
            return v
        count += 1

        def drawn(one: np.ndarray) -> np.ndarray:
            return orthogonal_like(rng, one) if axes is None else delta_like(rng, one, axes)

        values = np.asarray(v, np.float64)
        if place.of_run:
            pairs = zip(values, layers[place.layers], strict=True)
            values = np.stack([drawn(one) if meant else one for one, meant in pairs])
        else:
            values = drawn(values)
        return jnp.asarray(values, v.dtype)

    drawn_again = changed(net, params, change)
    return drawn_again if count else None


def looks_linear(net: Network | Chain, params: Any, layers: np.ndarray, seed: int) -> Any:
    """Return parameters with mirrored orthogonal matrices in some layers, [[W, -W], [-W, W]].

    Then relu(z) - relu(-z) = z makes the layers linear; their vectors are mirrored likewise. None
    if a matrix has an odd side.

    Args:
        net: the network.
        params: its parameters.
        layers: whose arrays are changed, a truth value for each, (L,).
        seed: of the draws.

    Source: Balduzzi et al. 2017, arXiv:1702.08591.
    """
    rng, odd = np.random.default_rng(seed), False

    def change(v: Any, place: Place) -> Any:
        nonlocal odd
        if not layers[place.layers].any():
            return v
        values = np.asarray(v, np.float64)
        each = values if place.of_run else values[None]
        meant = layers[place.layers] if place.of_run else [True]
        odd = odd or any(n % 2 for n in each.shape[1:])
        if odd:
            return v
        made = [mirrored(rng, one) if m else one for one, m in zip(each, meant, strict=True)]
        return jnp.asarray(np.stack(made) if place.of_run else made[0], v.dtype)

    made = changed(net, params, change, 1)
    return None if odd else made


def mirrored(rng: np.random.Generator, v: np.ndarray) -> np.ndarray:
    """Return a mirrored orthogonal matrix, or the first half of a vector and its opposite."""
    half = v[tuple(slice(n // 2) for n in v.shape)]
    if v.ndim == 1:
        return np.concatenate([half, -half])
    w = orthogonal_like(rng, half)
    w = w / np.sqrt(np.sum(np.square(w)) / min(w.shape))  # all singular values are 1
    return np.block([[w, -w], [-w, w]])


def delta_like(rng: np.random.Generator, v: np.ndarray, axes: Axes) -> np.ndarray:
    """Return a kernel with an orthogonal matrix in its centre, 0 elsewhere, of the same square."""
    at = tuple(slice(None) if i in axes else (n - 1) // 2 for i, n in enumerate(v.shape))
    centre = orthogonal_like(rng, v[at])
    drawn = np.zeros_like(v)
    drawn[at] = centre * np.sqrt(np.sum(np.square(v)) / np.sum(np.square(centre)))
    return drawn


def orthogonal_like(rng: np.random.Generator, v: np.ndarray) -> np.ndarray:
    """Return a random matrix with orthogonal columns, or rows, of the same mean square."""
    n, m = v.shape
    q, r = np.linalg.qr(rng.normal(size=(max(n, m), min(n, m))))
    q = q * np.sign(np.diag(r))
    q = q if n >= m else q.T
    drawn: np.ndarray = q * np.sqrt(np.sum(np.square(v)) / np.sum(np.square(q)))
    return drawn

"""Weights multiplied by a number for each layer, or drawn again as orthogonal matrices."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..adapters.layers import Chain
from ..adapters.weights import Place, changed
from ..network.network import Network

Axes = tuple[int, int]  # of a kernel: that of its inputs and that of its outputs
MATRIX: Axes = (0, 1)
Kernels = Mapping[tuple[int, int], Axes]  # by layer, counted from 0, and number
NONE: Kernels = MappingProxyType({})


class OddError(ValueError):
    """Widths that are odd, of which there are no pairs."""


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
    kernels: Kernels = NONE,
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

        return _each(v, place, layers, lambda one: delta_like(rng, one, axes or MATRIX))

    drawn_again = changed(net, params, change)
    return drawn_again if count else None


def _each(v: Any, place: Place, layers: np.ndarray, drawn: Callable[[np.ndarray], Any]) -> Any:
    """Return an array drawn again, of a run those of the layers that are meant."""
    values = np.asarray(v, np.float64)
    if place.of_run:
        pairs = zip(values, layers[place.layers], strict=True)
        values = np.stack([drawn(one) if meant else one for one, meant in pairs])
    else:
        values = drawn(values)
    return jnp.asarray(values, v.dtype)


def looks_linear(
    net: Network | Chain,
    params: Any,
    layers: np.ndarray,
    seed: int,
    kernels: Kernels = NONE,
) -> Any:
    """Return parameters with mirrored orthogonal matrices in some layers, [[W, -W], [-W, W]].

    Then relu(z) - relu(-z) = z makes the layers linear; their vectors are mirrored likewise, and
    kernels of convolutions in their centre.

    Args:
        net: the network.
        params: its parameters.
        layers: whose arrays are changed, a truth value for each, (L,).
        seed: of the draws.
        kernels: the axes of inputs and of outputs of each kernel.

    Raises:
        OddError: a width is odd.

    Source: Balduzzi et al. 2017, arXiv:1702.08591.
    """
    rng = np.random.default_rng(seed)

    def change(v: Any, place: Place) -> Any:
        axes = kernels.get((int(place.layers[0]), place.number), MATRIX)
        if not layers[place.layers].any():
            return v
        return _each(v, place, layers, lambda one: mirrored(rng, one, axes))

    return changed(net, params, change, 1)


def mirrored(rng: np.random.Generator, v: np.ndarray, axes: Axes = MATRIX) -> np.ndarray:
    """Return a mirrored orthogonal matrix or kernel, or half of a vector and its opposite.

    Raises:
        OddError: a width is odd.
    """
    along = (0,) if v.ndim == 1 else axes
    if any(v.shape[i] % 2 for i in along):
        raise OddError
    if not v.any():
        return v
    half = v[tuple(slice(n // 2) if i in along else slice(n) for i, n in enumerate(v.shape))]
    if v.ndim == 1:
        return np.concatenate([half, -half])
    w = delta_like(rng, half, axes)
    w = w / np.sqrt(np.sum(np.square(w)) / min(half.shape[i] for i in axes))  # singular values 1
    into, out = axes
    rows = np.concatenate([w, -w], out)
    return np.concatenate([rows, -rows], into)


def delta_like(rng: np.random.Generator, v: np.ndarray, axes: Axes = MATRIX) -> np.ndarray:
    """Return a kernel with an orthogonal matrix in its centre, 0 elsewhere, of the same square.

    Of a matrix, an orthogonal one; what is 0, as biases of several heads are drawn, stays 0.
    """
    if not v.any():
        return v
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

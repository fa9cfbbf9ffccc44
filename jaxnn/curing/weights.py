"""Weights multiplied by a number for each layer, or drawn again as orthogonal matrices."""

from collections.abc import Callable, Container, Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..chain.chain import Chain
from ..chain.parameter_places import Place, Uses, changed
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
            multiplied by the geometric mean of theirs that are not 1.
        only: (layer, number) of the arrays that are meant; None for all weights.
    """

    def factor(uses: Uses) -> float:
        each = [factors[at[0]] for at in uses if only is None or at in only]
        with np.errstate(divide="ignore"):  # of a factor of zero
            return float(np.exp(np.mean(np.log([v for v in each if v != 1] or [1.0]))))

    def change(v: Any, place: Place) -> Any:
        each = np.array(list(map(factor, place.uses)))
        if np.all(each == 1):
            return v
        each = each.reshape(-1, *[1] * (jnp.ndim(v) - 1)) if place.of_run else each[0]
        return (jnp.asarray(v) * jnp.asarray(each, v.dtype)).astype(v.dtype)

    # An array named in `only` may be a bias, which is no weight.
    return changed(net, params, change, 2 if only is None else 0)


def arrays(net: Network | Chain, params: Any) -> dict[tuple[int, int], np.ndarray]:
    """Return each weight by its layer, counted from 0, and its number there."""
    found: dict[tuple[int, int], np.ndarray] = {}

    def note(v: Any, place: Place) -> Any:
        of_layers = np.asarray(v) if place.of_run else [np.asarray(v)] * len(place.layers)
        found.update(
            ((int(layer), place.number), one)
            for layer, one in zip(place.layers, of_layers, strict=True)
        )
        return v

    changed(net, params, note)
    return found


def orthogonal(
    net: Network | Chain,
    params: Any,
    meant: Container[tuple[int, int]],
    seed: int,
    kernels: Kernels = NONE,
    gain: float | None = None,
) -> Any:
    """Return parameters some of whose matrices are drawn again as orthogonal ones.

    They come from the QR decomposition of Gaussian ones; of a matrix with more rows than columns
    the columns are orthogonal, else the rows. A kernel of a convolution becomes delta-orthogonal:
    such a matrix in its centre, 0 elsewhere.

    Args:
        net: the network.
        params: its parameters.
        meant: (layer, number) of the arrays that are drawn again.
        seed: of the draws.
        kernels: the axes of inputs and of outputs of each kernel, by layer and number.
        gain: the singular values; None for those that keep the mean square of each array.

    Source: delta-orthogonal kernels, Xiao et al. 2018, arXiv:1806.05393.
    """
    rng, drawn = np.random.default_rng(seed), Drawn()

    def is_meant(uses: Uses) -> bool:
        return any(at in meant for at in uses)

    def change(v: Any, place: Place) -> Any:
        axes = kernels.get((int(place.layers[0]), place.number), MATRIX)
        return _each(v, place, is_meant, drawn, lambda one: delta_like(rng, one, axes, gain))

    return changed(net, params, change)


Drawn = dict[Uses, np.ndarray]  # arrays that were drawn again, once each


def _each(
    v: Any,
    place: Place,
    is_meant: Callable[[Uses], bool],
    drawn: Drawn,
    draw: Callable[[np.ndarray], np.ndarray],
) -> Any:
    """Return an array drawn again, of a run those of the layers that are meant."""
    if not any(map(is_meant, place.uses)):
        return v
    values, new = np.asarray(v, np.float64), []
    for one, uses in zip(values if place.of_run else [values], place.uses, strict=True):
        if is_meant(uses) and uses not in drawn:
            drawn[uses] = draw(one)
        new.append(drawn.get(uses, one))
    return jnp.asarray(np.stack(new) if place.of_run else new[0], v.dtype)


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
    rng, drawn = np.random.default_rng(seed), Drawn()

    def is_meant(uses: Uses) -> bool:
        return any(layers[layer] for layer, _ in uses)

    def change(v: Any, place: Place) -> Any:
        axes = kernels.get((int(place.layers[0]), place.number), MATRIX)
        return _each(v, place, is_meant, drawn, lambda one: mirrored(rng, one, axes))

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


def delta_like(
    rng: np.random.Generator, v: np.ndarray, axes: Axes = MATRIX, gain: float | None = None
) -> np.ndarray:
    """Return a kernel with an orthogonal matrix in its centre, 0 elsewhere; a matrix is all centre.

    Its singular values are the gain; without one it has the square norm of v. What is 0, as biases
    of several heads are drawn, stays 0.
    """
    if not v.any():
        return v
    at = tuple(slice(None) if i in axes else (n - 1) // 2 for i, n in enumerate(v.shape))
    centre = orthogonal_like(rng, np.ones_like(v[at]))
    square = np.sum(np.square(v)) if gain is None else gain**2 * min(centre.shape)
    drawn = np.zeros_like(v)
    drawn[at] = centre * np.sqrt(square / np.sum(np.square(centre)))
    return drawn


def std(v: np.ndarray, axes: Axes = MATRIX) -> float:
    """Return √fan_in times the root mean square of an array, of orthogonal ones the gain.

    nan of an array with other numbers of inputs and of outputs, which has two such numbers.
    """
    into, out = axes
    if v.shape[into] != v.shape[out]:
        return np.nan
    return float(np.sqrt(np.sum(np.square(np.asarray(v, np.float64))) / v.shape[out]))


def orthogonal_like(rng: np.random.Generator, v: np.ndarray) -> np.ndarray:
    """Return a random matrix with orthogonal columns, or rows, of the same mean square."""
    n, m = v.shape
    q, r = np.linalg.qr(rng.normal(size=(max(n, m), min(n, m))))
    q = q * np.sign(np.diag(r))
    q = q if n >= m else q.T
    drawn: np.ndarray = q * np.sqrt(np.sum(np.square(v)) / np.sum(np.square(q)))
    return drawn

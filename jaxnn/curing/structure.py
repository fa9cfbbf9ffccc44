"""Structure: the equal layers of a chain with a skip around each, or a norm in front.

state + f(state) / √L          f(state / rms)
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..arrays.rows import is_float
from ..chain.chain import Chain, Link, from_layers
from ..network.params import is_run

EPS = 1e-6


@dataclass(frozen=True)
class Plain:
    """A layer as it is, of its arrays."""

    link: Link

    def __call__(self, arrays: Any, state: Any) -> Any:
        for part, own in zip(self.link.parts, arrays, strict=True):
            state = part(own, state)
        return state


@dataclass(frozen=True)
class WithSkip(Plain):
    """A layer with a skip around it: state + scale · f(state)."""

    scale: float = 1.0

    def __call__(self, arrays: Any, state: Any) -> Any:
        return state + jnp.asarray(self.scale, state.dtype) * super().__call__(arrays, state)


@dataclass(frozen=True)
class WithNorm(Plain):
    """A layer with a norm in front of it: f(state / rms), over all axes but that of examples."""

    def __call__(self, arrays: Any, state: Any) -> Any:
        return super().__call__(arrays, rms_normed(state))


def rms_normed(state: Array) -> Array:
    """Return each example divided by its root mean square, (B, …)."""
    square = jnp.mean(jnp.square(state), axis=tuple(range(1, state.ndim)), keepdims=True)
    return state * jax.lax.rsqrt(square + jnp.asarray(EPS, state.dtype))


def keep_their_shape(net: Chain, params: Any, xs: Any) -> np.ndarray:
    """Tell of each layer whether its state is one float array, which it returns in its shape."""
    state, kept = jax.eval_shape(lambda xs: xs, jax.tree.map(jnp.asarray, xs)), []
    for link, arrays, is_layer in _each(net, params, xs):
        above = jax.eval_shape(Plain(link), arrays, state)
        if is_layer:
            kept.append(_is_one_array(state) and _type(state) == _type(above))
        state = above
    return np.array(kept)


def rebuilt(
    net: Chain, params: Any, xs: Any, meant: np.ndarray, form: Callable[[Link], Plain]
) -> tuple[Chain, Any, np.ndarray]:
    """Return (net, params, layers) with some layers of a chain in another form.

    Args:
        net: the chain.
        params: its parameters.
        xs: a batch.
        meant: the layers that are changed, truth values, (L,).
        form: of a layer, what takes its place.

    Returns:
        The last are the numbers, from 0, that the layers had; -1 of what was none.
    """
    layers, numbers, number = [], [], 0
    for link, arrays, is_layer in _each(net, params, xs):
        layers.append((form(link) if is_layer and meant[number] else Plain(link), arrays))
        numbers.append(number if is_layer else -1)
        number += is_layer
    return *from_layers(layers), np.array(numbers)


def _each(net: Chain, params: Any, xs: Any) -> Iterator[tuple[Link, Any, bool]]:
    """Yield each link of a chain, its arrays, and whether it is a layer."""
    lowered = net.for_batch(xs)
    for pattern, k, entry in zip(lowered.kinds, lowered.lengths, params, strict=True):
        for i in range(max(k, 1)):
            one = jax.tree.map(jnp.asarray, entry).at(i) if is_run(entry) else entry
            for link, arrays in zip(pattern.links, one.arrays, strict=True):
                yield link, arrays, not pattern.between


def _is_one_array(state: Any) -> bool:
    return hasattr(state, "shape") and is_float(state)


def _type(state: Any) -> Any:
    return (state.shape, state.dtype) if _is_one_array(state) else None

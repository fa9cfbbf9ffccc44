"""Expectations over the rows of a normalised unit: uniform on a sphere.

Of z₁ … z_B independent Gaussians, (z - mean) / s is uniform on Σ z = 0, Σ z² = B. Of two rows

    z₁ = √(B-1) sin(t/√(B-1))                                  density ~ cos^(B-3)(t/√(B-1))
    z₂ = -z₁/(B-1) + √((B - z₁²B/(B-1)) (B-2)/(B-1)) sin(v/√(B-2))      ~ cos^(B-4)(v/√(B-2))

t and v tend to independent standard Gaussians as B grows. Gauss-Legendre panels are cut where z₁ or
z₂ is at a kink; in t they shrink towards the ends of the z₁ that leave such a z₂ room, where the
integral over v has a root. Source: Yang et al. 2019, arXiv:1902.08129.

Nodes depend on B and the kinks alone, which are static. So are the moments: they are computed while
a formula is traced, once, and not again in each layer.
"""

import math
from functools import lru_cache, partial

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray

from ..arrays.compiled import computed
from ..network.activations import Activation
from ..network.blocks import Moments
from .quadrature import expectation, panels

END = 12.0  # of the range of t and v
PANELS = 20
HALVINGS = 26  # of panels towards a root
LEAST = 4  # rows: of three, the mean of 1/s² is infinite

Nodes = NDArray[np.float64]


def moments(activation: Activation, batch: int | None) -> Moments:
    """Return the moments of σ over a normalised unit of B = batch >= 4 rows, None for many."""
    if batch is None:
        mean, square, kappa = (
            expectation(activation, 1.0, function)
            for function in (
                lambda f, z, g: f.sigma(z),
                lambda f, z, g: f.sigma(z) ** 2,
                lambda f, z, g: f.prime(z) ** 2,
            )
        )
        return Moments(square, mean**2, kappa)
    return _moments(activation, batch, jnp.result_type(float).name)


@lru_cache(256)
def _moments(activation: Activation, batch: int, dtype: str) -> Moments:
    nodes = [v.astype(dtype) for v in _nodes(batch, activation.kinks)]
    return Moments(*map(float, computed(partial(_sums, activation, batch), *nodes)))


def _sums(
    activation: Activation, batch: int, z1: Array, w1: Array, z2: Array, w2: Array
) -> tuple[Array, ...]:
    f, slope = activation.sigma(z1), activation.prime(z1)
    other, slopes = activation.sigma(z2), activation.prime(z2)
    product = f * jnp.sum(w2 * other, axis=1)
    both = slope * jnp.sum(w2 * slopes, axis=1) + z1 * slope * jnp.sum(w2 * z2 * slopes, axis=1)
    kappa = (batch - 1 - jnp.square(z1)) * jnp.square(slope) + both
    return tuple(jnp.sum(w1 * v) for v in (jnp.square(f), product, kappa / (batch - 3)))


def _normalised(weights: Nodes) -> Nodes:
    return weights / weights.sum(axis=-1, keepdims=True)


def _angle(sine: Nodes) -> Nodes:
    return np.arcsin(np.clip(sine, -1, 1))


def _nodes(batch: int, kinks: tuple[float, ...]) -> tuple[Nodes, Nodes, Nodes, Nodes]:
    """z₁ (n,) and z₂ (n, m), with weights that sum to 1."""
    places, radius_of_one, others = np.array(sorted({0.0, *kinks})), math.sqrt(batch - 1), batch - 2
    even = np.linspace(-1, 1, PANELS + 1)
    fine = 2 * END / PANELS * 0.5 ** np.arange(HALVINGS)
    # The z₁ that leave z₂ = k no choice of the other rows: z₁² + k² + (z₁ + k)²/(B - 2) = B.
    room = (
        np.sqrt(np.maximum((batch - places**2 * batch / radius_of_one**2) * others, 0))
        / radius_of_one
    )
    roots = np.concatenate([-places / radius_of_one**2 + room, -places / radius_of_one**2 - room])
    end = min(END, radius_of_one * math.pi / 2)
    corners = radius_of_one * _angle(roots / radius_of_one)[:, None] + np.concatenate(
        [-fine, [0.0], fine]
    )
    cuts = [even * end, radius_of_one * _angle(places / radius_of_one), corners.ravel()]
    t, w1 = panels(np.concatenate(cuts), end)
    z1 = radius_of_one * np.sin(t / radius_of_one)
    w1 = _normalised(w1 * np.cos(t / radius_of_one) ** (batch - 3))

    scale, end = math.sqrt(others), min(END, math.sqrt(others) * math.pi / 2)
    middle = -z1[:, None] / radius_of_one**2
    radius = (
        math.sqrt(batch * others / radius_of_one**2) * np.abs(np.cos(t / radius_of_one))[:, None]
    )
    cut = scale * _angle((places - middle) / np.maximum(radius, 1e-300))
    v, w2 = panels(np.concatenate([np.tile(even * end, (len(z1), 1)), cut], axis=1), end)
    z2 = middle + radius * np.sin(v / scale)
    return z1, w1, z2, _normalised(w2 * np.cos(v / scale) ** (batch - 4))

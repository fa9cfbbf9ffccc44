"""Finite width: how far ln of a gradient's square varies from draw to draw, to first order in 1/n.

A derivation, in no paper for a block of one matrix. z′ = z + α σ(z) θ takes Δ to Δ + α D θᵀΔ with
D = σ′(z) a unit. Of θ ~ N(0, σ_w²/n), with s = α²σ_w², w = s μ₁ and μ_k = E[D^2k], the square
‖Δ‖² is multiplied by 1 + w on average, and the logarithm of that factor has n times the variance

    (4 s ρ + 2 s² μ₂) / (1+w)²      ρ = Σ Δ² D² / Σ Δ²

Units keep their z, and so their D, from layer to layer. So ρ > μ₁: the skip brings what came in
through the same units above, by P[l,m] = E[D²[l] D²[m]], and first through the output layer. And
the mean of D² over n units is off to the same side in all layers, which adds the sum over l and m

    s² (P[l,m] - μ₁[l] μ₁[m]) / ((1+w[l]) (1+w[m]))

z[l] and z[m] have the correlation √(q[l]/q[m]). If units forgot their z, relu would have 4w + 5w² a
layer. A plain layer has 3 μ₂/μ₁² - 1, as in Hanin & Nica 2018, arXiv:1812.05994; relu 5.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.activations import Activation, find_activation

RANGE, STEPS, COARSE = 6.0, 161, 41  # of the Gaussians in P: ends, points of z[l], of z[m] - z[l]


def log_variance(
    activation: str | Activation,
    s: np.ndarray | float,
    q: np.ndarray,
    n: int,
    *,
    normed: bool = False,
) -> float:
    """Return the variance of ln ‖Δz[1]‖²/‖Δz[L+1]‖² over L residual blocks of one matrix.

    Args:
        activation: σ; "relu" has a closed form.
        s: α²σ_w² of each block, or of all; with a norm in front of σ over q.
        q: q[1] … q[L+1], the mean square of z in each hidden layer.
        n: the width.
        normed: whether σ takes z / √q.
    """
    blocks, root = len(q) - 1, jnp.asarray(np.sqrt(q))
    moments = _moments(activation, root, 0 * root + 1 if normed else root)
    mu1, together = (np.asarray(v, np.float64) for v in moments)
    s = np.broadcast_to(s, blocks)
    w = s * mu1[:-1]
    above = np.append(np.cumprod((1 + w)[::-1])[::-1], 1.0)  # E‖Δz[l]‖² for one of 1 at the top
    brought = s * above[1:] * together[:blocks, :blocks]  # by block m to block l, for m > l
    first = together[:blocks, blocks] / mu1[blocks]
    shares = (first + np.triu(brought, 1).sum(axis=1)) / above[1:]
    own = (4 * s * shares + 2 * s**2 * np.diag(together)[:-1]) / (1 + w) ** 2
    inside = together[:blocks, :blocks] - np.outer(mu1[:-1], mu1[:-1])
    shared = inside * np.outer(s / (1 + w), s / (1 + w))
    return float(own.sum() + shared.sum()) / n


@partial(jax.jit, static_argnames="activation")
def _moments(
    activation: str | Activation, root: jax.Array, size: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return μ₁ in every layer, and P; root is √q, and size that of what σ takes.

    In closed form for relu, E[σ′(z)² σ′(z̃)²] = ¼ + arcsin(c)/2π.
    """
    c = jnp.minimum(root, root[:, None]) / jnp.maximum(root, root[:, None])
    if activation == "relu":
        return 0 * root + 0.5, 0.25 + jnp.arcsin(c) / (2 * jnp.pi)
    prime = find_activation(activation).prime
    (g, of_g), (h, of_h) = _gaussian(STEPS), _gaussian(COARSE)
    square = jnp.square(prime(size[:, None] * g))

    def up_to(above: tuple[jax.Array, jax.Array]) -> jax.Array:  # P[l,m] for l <= m
        c_m, size_m = above[0][:, None, None], above[1]
        z = size_m * (c_m * g[:, None] + jnp.sqrt(1 - c_m**2) * h)
        return (square * (jnp.square(prime(z)) @ of_h)) @ of_g

    below = jnp.tril(lax.map(up_to, (c, size)))
    return square @ of_g, below + jnp.tril(below, -1).T


def _gaussian(points: int) -> tuple[jax.Array, jax.Array]:
    g = np.linspace(-RANGE, RANGE, points)
    weights = np.exp(-(g**2) / 2)
    return jnp.asarray(g), jnp.asarray(weights / weights.sum())

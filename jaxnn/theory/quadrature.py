"""Quadrature: expectations over a Gaussian, and roots and fixed points of functions of them.

Gauss-Legendre panels on [-10, 10], cut at the kinks and ever finer towards z = 0, where saturating
units change fast once q is large. In two dimensions z = √q (√|c| s + √(1-|c|) t), and z̃ has ±s and
another t: independent given s, so E[σ(z) σ(z̃)] = E[m(s) m(±s)] with m(s) = E[σ(z) | s].

Relative errors, measured in float64 over the library's activations and q from 1e-6 to 1e4: at most
1e-14 in one dimension; at most 4e-14 in two, except for sin with q > 100.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ..arrays.compiled import Number, Numbers, Scalar
from ..network.activations import Activation, Elementwise, find_activation

Bracket = tuple[Array, Array, Array, Array, Array, Array, Array]

END = 10.0  # of the range: P(|g| > 10) = 2e-23
ORDER = 16  # nodes of each panel


def eps() -> float:
    """The rounding of JAX's default float."""
    return float(jnp.finfo(jnp.result_type(float)).eps)  # type: ignore[no-untyped-call]


def tiny() -> float:
    """The smallest normal number of JAX's default float."""
    return float(jnp.finfo(jnp.result_type(float)).tiny)  # type: ignore[no-untyped-call]


def panels(edges: Numbers, end: float) -> tuple[Any, Any]:
    """Nodes and weights of Gauss-Legendre panels between edges, (…, p), within ±end."""
    # Edges that are known are NumPy's, and so are nodes and weights: there is nothing to compile.
    xp: Any = np if isinstance(edges, np.ndarray) else jnp
    edges = xp.sort(xp.clip(edges, -end, end), axis=-1)
    x, w = (np.asarray(v, edges.dtype) for v in np.polynomial.legendre.leggauss(ORDER))
    middle, half = (edges[..., 1:] + edges[..., :-1]) / 2, (edges[..., 1:] - edges[..., :-1]) / 2
    shape = (*edges.shape[:-1], -1)
    nodes = middle[..., None] + xp.multiply.outer(half, x)
    return nodes.reshape(shape), xp.multiply.outer(half, w).reshape(shape)


def _gaussian(edges: Numbers) -> tuple[Any, Any]:
    """Nodes g and weights w such that Σ w f(g) = E[f(g)] for f smooth between the edges."""
    g, w = panels(edges, END)
    xp: Any = np if isinstance(g, np.ndarray) else jnp
    return g, w * (xp.exp(-xp.square(g) / 2) / math.sqrt(2 * math.pi))


def _edges(panels: int, halvings: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges of even panels, and offsets of both signs that shrink from a panel's width to 0."""
    steps = 2 * END / panels * 0.5 ** np.arange(halvings + 1)
    return np.linspace(-END, END, panels + 1), np.concatenate([-steps, [0.0], steps])


def _joined(known: list[np.ndarray], others: list[Array]) -> Any:
    """Return all edges as one array, NumPy's if all of them are known."""
    if not others:
        return np.concatenate(known)
    return jnp.concatenate([*(jnp.asarray(edges, float) for edges in known), *others])


def root_of(q: Number) -> Scalar:
    """√q, at least a tiny number instead of 0, so that slopes and quotients have their limits."""
    return jnp.maximum(jnp.sqrt(q), tiny() ** 0.8)


def expectation(
    activation: str | Activation, q: Number, f: Callable[[Activation, Array, Array], Array]
) -> Scalar:
    """E[f(σ, z, g)] for z = √q g."""
    return expectations(activation, q, f)


def expectations(
    activation: str | Activation, q: Number, f: Callable[[Activation, Array, Array], Array]
) -> Array:
    """E[f(σ, z, g)] for z = √q g, of f that returns several numbers at each node, (…, nodes)."""
    activation, root = find_activation(activation), root_of(q)
    kinks = np.asarray([kink for kink in activation.kinks if kink])  # at 0 there is an edge
    edges = _joined([*_edges(160, 18)], [jnp.asarray(kinks, float) / root] if kinks.size else [])
    g, w = (jnp.asarray(v, float) for v in _gaussian(edges))
    # Panels between equal edges have weight 0, and 0 · inf must not count.
    values = f(activation, root * g, g)
    w = jnp.broadcast_to(w, values.shape)
    return jnp.sum(jnp.where(w > 0, w * values, 0), axis=-1)


def expectation_of_two(f: Elementwise, kinks: tuple[float, ...], q: Number, c: Number) -> Scalar:
    """E[f(z) f(z̃)] for z and z̃ of correlation c and mean square q > 0."""
    shared = jnp.sqrt(jnp.maximum(jnp.abs(c), tiny()))
    alone = jnp.sqrt(jnp.maximum(1 - jnp.abs(c), tiny()))
    (even, fine), (_, coarse) = _edges(20, 20), _edges(20, 10)
    root = jnp.sqrt(q)
    places = sorted({*kinks, *(-kink for kink in kinks)} - {0.0})
    inner = [place / root / shared + fine for place in places]
    edges = _joined([even, fine], inner)
    s, w = (jnp.asarray(v, float) for v in _gaussian(edges))

    def mean(s: Scalar) -> Scalar:
        zero = -shared * s / alone  # the t of z = 0
        cuts = jnp.asarray(kinks, float) / root
        t, v = _gaussian(_joined([even], [zero + coarse, zero + cuts / alone]))
        return jnp.sum(v * f(root * (shared * s + alone * t)))

    m = jax.vmap(mean)(s)
    # The nodes are symmetric about 0, so reversed they are those of -s.
    return jnp.sum(w * m * jnp.where(c < 0, m[::-1], m))


def solve(f: Callable[[Scalar], Scalar], low: Scalar, high: Scalar) -> Scalar:
    """A root between two points at which f differs in sign; differentiated as implicit function."""
    return implicit(f, lambda f: _root_between(f, low, high))


def implicit(
    f: Callable[[Scalar], Scalar], root: Callable[[Callable[[Scalar], Scalar]], Scalar]
) -> Scalar:
    """Return the root of f that `root` finds, with dx = -df/f′(x) for what f depends on."""
    x: Scalar = lax.custom_root(
        f, jnp.ones((), float), lambda f, _: root(f), lambda slope, y: y / slope(jnp.ones_like(y))
    )
    return x


def _root_between(f: Callable[[Scalar], Scalar], low: Scalar, high: Scalar) -> Scalar:
    """A root by Chandrupatla's method of 1997: inverse quadratic interpolation, else bisection."""

    def unfinished(state: Bracket) -> Array:
        a, b, _, fa, *_ = state
        return (jnp.abs(b - a) > 4 * eps() * jnp.maximum(jnp.abs(a), jnp.abs(b))) & (fa != 0)

    def step(state: Bracket) -> Bracket:
        a, b, _, fa, fb, _, part = state
        x = a + part * (b - a)
        fx = f(x)
        same = (fx > 0) == (fa > 0)
        c, fc = jnp.where(same, a, b), jnp.where(same, fa, fb)
        b, fb = jnp.where(same, b, a), jnp.where(same, fb, fa)
        x_part, f_part = (x - b) / (c - b), (fx - fb) / (fc - fb)
        smooth = (f_part**2 < x_part) & ((1 - f_part) ** 2 < 1 - x_part)
        inverse = fx / (fb - fx) * fc / (fb - fc)
        inverse += (c - x) / (b - x) * fx / (fc - fx) * fb / (fc - fb)
        shortest = 2 * eps() * jnp.abs(x) / jnp.abs(b - x)  # a shorter step would not change x
        part = jnp.clip(jnp.where(smooth, inverse, 0.5), shortest, 1 - shortest)
        return x, b, c, fx, fb, fc, part

    f_high = f(high)
    ends = (low, high, high, f(low), f_high, f_high, jnp.full_like(low, 0.5))
    return lax.while_loop(unfinished, step, ends)[0]


def attracting_fixed_point(advance: Callable[[Scalar], Scalar]) -> Scalar:
    """The fixed point that q tends to from 1: 0 if q dies out, inf if it grows for ever."""
    # Bracketed by factors of 4, then solved for; 1 if q stays the same up to rounding.
    return implicit(lambda q: advance(q) - q, lambda excess: _settled(advance, excess))


def _settled(advance: Callable[[Scalar], Scalar], excess: Callable[[Scalar], Scalar]) -> Scalar:
    def gain(q: Scalar) -> Scalar:
        rate = advance(q) / q - 1
        return jnp.where(jnp.abs(rate) > 32 * eps(), jnp.sign(rate), 0)

    one, smallest = jnp.ones((), float), eps()
    start = gain(one)
    factor = jnp.where(start > 0, 4.0, 0.25)
    q = lax.while_loop(
        lambda q: (gain(q) != -start) & (q > smallest) & (q < smallest**-2),
        lambda q: q * factor,
        one * factor,
    )
    ends = jnp.where(q > smallest, q, 0), jnp.where(q > smallest, q / factor, 1)
    inside = _root_between(excess, *ends)
    return jnp.where(start == 0, 1, jnp.where(q < smallest**-2, inside, jnp.inf))

"""Lanczos: the ends of a spectrum from products alone, for states of too many numbers.

    J v[i] = β[i-1] u[i-1] + α[i] u[i],    u[i] J = α[i] v[i] + β[i] v[i+1]

with orthonormal u and v, from a random v[0] (Golub & Kahan 1965). The singular values θ of the
bidiagonal matrix of α and β tend to those of J, the largest first: within β[k] |p[k]| of each is
one of J, p its left vector. Moments are means over random signs z, of |J z|² and |Jᵀ J z|²
(Hutchinson 1990). A product is taken in units of 2^e, as large as that of one random vector.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ...arrays.rows import LN2, ScaledRows, by_rows, value_of

PROBES = 16
CONVERGED = 0.5  # of a singular value: an error above that says nothing of it

Product = Callable[[Array], ScaledRows]  # (B, n) -> (B, m), with exponents


def ends(
    there: Product, back: Product, like: Float[Array, "B n"], steps: int, key: Array
) -> dict[str, Float[Array, " B"]]:
    """Return the ends of the spectrum of J, given v -> J v of the smaller space, and u -> u J.

    By the names in `Spectrum`: logarithms, their errors, and the variance.
    """
    for_signs, for_start = jax.random.split(key)
    n = like.shape[1]
    signs = jax.random.rademacher(for_signs, (PROBES, *like.shape), like.dtype)
    e = there(signs[0]).e

    def in_units(product: Product, v: Array) -> Array:
        rows = product(v)
        scaled: Array = by_rows(rows.m, value_of(jnp.ones((), like.dtype), rows.e - e))
        return scaled

    there_, back_ = partial(in_units, there), partial(in_units, back)

    def moments(z: Array) -> tuple[Array, Array]:
        once = there_(z)
        return jnp.sum(jnp.square(once), axis=1) / n, jnp.sum(jnp.square(back_(once)), axis=1) / n

    squares, fourths = lax.map(moments, signs)
    mean = jnp.mean(squares, axis=0)
    error = jnp.std(squares, axis=0, ddof=1) / PROBES**0.5
    values, residuals = _bidiagonal(there_, back_, like, min(steps, n), for_start)
    rounding = 8 * float(jnp.finfo(like.dtype).eps)  # type: ignore[no-untyped-call]
    residuals = (0 if steps >= n else residuals) + rounding * values[:, :1]
    relative = residuals / jnp.where(values > 0, values, jnp.maximum(residuals, 1))
    known = relative[:, -1] < CONVERGED
    unit = LN2 * e.astype(like.dtype)
    positive = jnp.where(mean > 0, mean, 1)
    return {
        "log_largest": jnp.log(values[:, 0]) + unit,
        "log_largest_error": relative[:, 0],
        "log_smallest": jnp.where(known, jnp.log(values[:, -1]) + unit, jnp.nan),
        "log_smallest_error": jnp.where(known, relative[:, -1], jnp.nan),
        "log_mean": jnp.log(mean) + 2 * unit,
        "log_mean_error": error / positive,
        "variance": jnp.maximum(jnp.mean(fourths, axis=0) / positive**2 - 1, 0),
    }


def _bidiagonal(
    there: Callable[[Array], Array],
    back: Callable[[Array], Array],
    like: Array,
    steps: int,
    key: Array,
) -> tuple[Array, Array]:
    """Return the singular values of the matrix of α and β, descending, and their residuals."""
    made = jax.eval_shape(there, like)
    keys = jax.random.split(key, (steps + 1, 2))
    first, _ = _next(jnp.zeros_like(like), jnp.zeros((0, *like.shape), like.dtype), keys[steps, 0])

    def step(i: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        us, vs, alpha, beta = carry
        u, size = _next(there(vs[i]), us, keys[i, 0])
        us = us.at[i].set(u)
        v, rest = _next(back(u), vs, keys[i, 1])
        return us, vs.at[i + 1].set(v), alpha.at[:, i].set(size), beta.at[:, i].set(rest)

    us = jnp.zeros((steps, *made.shape), like.dtype)
    vs = jnp.zeros((steps + 1, *like.shape), like.dtype).at[0].set(first)
    sizes = jnp.zeros((len(like), steps), like.dtype)
    _, _, alpha, beta = lax.fori_loop(0, steps, step, (us, vs, sizes, sizes))
    one = jnp.eye(steps, dtype=alpha.dtype)[None]
    above = beta[:, :-1, None] * one[:, 1:]
    left, values, _ = jnp.linalg.svd((alpha[:, :, None] * one).at[:, :-1].add(above))
    return values, beta[:, -1:] * jnp.abs(left[:, -1])


def _next(w: Array, basis: Array, key: Array) -> tuple[Array, Array]:
    """Return what is new in a vector, of norm one, and its size; if that is none, 0 and any."""
    eps = float(jnp.finfo(w.dtype).eps)  # type: ignore[no-untyped-call]
    whole = jnp.linalg.norm(w, axis=1)

    def apart(w: Array) -> Array:
        for _ in range(2):  # once leaves a part as large as the rounding of w
            w = w - jnp.einsum("kb,kbn->bn", jnp.einsum("kbn,bn->kb", basis, w), basis)
        return w

    w, other = apart(w), apart(jax.random.normal(key, w.shape, w.dtype))
    size = jnp.linalg.norm(w, axis=1)
    is_new = size > 8 * eps * jnp.maximum(whole, eps)
    chosen = jnp.where(is_new[:, None], w, other)
    norm = jnp.linalg.norm(chosen, axis=1, keepdims=True)
    unit = chosen / jnp.where(norm > 0, norm, 1)
    return unit, jnp.where(is_new, size, jnp.where(jnp.isnan(whole), jnp.nan, 0))

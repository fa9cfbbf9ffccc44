"""Singular values of a product of many matrices, each known by what it does to columns.

    J = F[1] F[2] ⋯ F[L],   F[l] W for any W

J is never formed: it leaves a float's range, and long before that its small singular values drown
in the rounding of the large ones. Instead its columns are separated by size, each a column of
numbers near 1 times a power of two of its own. From the right, dropping orthogonal P and V, which
change no singular value,

    F[l+1] ⋯ F[L] = W 2^e P,    e integers, one a column, 2^e short for diag(2^e)

    F[l] W 2^e = Q R 2^e            QR, columns sorted by size: R is upper triangular            (1)
        R 2^e  = 2^f U,  U = M V    rows scaled, then QR of Uᵀ: M is lower triangular            (2)
        2^f M  = N 2^e′             columns scaled: N is near the identity where sizes differ    (3)
            W′ = Q N                and F[l] ⋯ F[L] = W′ 2^e′ V P                                (4)

Scaling by powers of two is exact, so (1), (2) and (4) round numbers near 1 only. At the end W is
made orthogonal by one-sided Jacobi rotations of pairs of columns, which depend on e only through
differences; then the norms of the columns times 2^e are the singular values of J.

Index legend: n rows, p columns of W (the fewest rows of any W so far).
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from .loops import loop, match_carry_type
from .rows import LN2

ZERO = -(2**28)  # the exponent of a column of zeros: below every other
SWEEPS = 40  # upper bound of sweeps over all pairs of columns; 6 to 10 are enough


class Columns(NamedTuple):
    """The matrix w diag(2^e); the largest entry of each column of w is in [½, 1), or 0."""

    w: Float[Array, "n p"]
    e: Int[Array, " p"]


def identity(n: int, dtype: jnp.dtype) -> Columns:
    """Return the columns of the product of no matrix."""
    return Columns(jnp.eye(n, dtype=dtype), jnp.zeros(n, jnp.int32))


def multiplied(made: Float[Array, "n p"], e: Int[Array, " p"]) -> Columns:
    """Return the columns that a matrix F makes of columns W 2^e, given F W: (1) to (4)."""
    c, k = _by_column(made)
    e = jnp.maximum(e + k, ZERO)
    order = jnp.argsort(e, descending=True)
    # Rows from large to small: then small ones stay accurate, and zeros zero.
    rows = jnp.argsort(jnp.max(jnp.abs(c), axis=1), descending=True)
    q, r = jnp.linalg.qr(c[rows][:, order])  # (1)
    u, e = _by_column(r.T, e[order])
    m = jnp.linalg.qr(u, mode="r").T  # (2)
    n, e = _by_column(m, e)  # (3)
    return Columns((q @ n)[jnp.argsort(rows)], e)  # (4)


def log_singular_values(columns: Columns, n: int) -> tuple[Array, Array, Array]:
    """Return ln s, n of them, descending, and moments of s² over these.

    The moments are ln of the mean of s², and the variance over the square of the mean.
    """
    s, e = _orthogonal_norms(columns)
    s, e = jnp.pad(s, (0, n - len(s))), jnp.pad(e, (0, n - len(e)), constant_values=ZERO)
    logs = jnp.log(s) + LN2 * e.astype(s.dtype)
    square = jnp.ldexp(jnp.square(s), 2 * (e - e[0]))
    mean = jnp.mean(square)
    return (
        jnp.sort(logs, descending=True),
        jnp.log(mean) + 2 * LN2 * e[0].astype(s.dtype),
        jnp.where(mean == 0, 0, jnp.var(_ratio(square, mean))),
    )


def _by_column(a: Array, e: Array | None = None) -> Columns:
    """Write diag(2^e) a, or a itself, as columns of numbers near 1 times powers of two."""
    e = jnp.zeros(len(a), jnp.int32) if e is None else e
    mantissa, k = jnp.frexp(a)
    top = jnp.max(jnp.where(mantissa == 0, ZERO, k + e[:, None]), axis=0)
    return Columns(jnp.ldexp(a, e[:, None] - top[None, :]), top)


def _orthogonal_norms(columns: Columns) -> Columns:
    """Make the columns orthogonal by rotations; return their norms as w (p,) times 2^e."""
    n, p = columns.w.shape
    pad = max(4, p + p % 2) - p  # the tournament needs an even number of columns, at least four
    eps = float(jnp.finfo(columns.w.dtype).eps)  # type: ignore[no-untyped-call]

    def unfinished(state: tuple[Columns, Array, Array]) -> Array:
        return (state[1] > 4 * math.sqrt(n) * eps) & (state[2] < SWEEPS)

    def sweep(state: tuple[Columns, Array, Array]) -> tuple[Columns, Array, Array]:
        (w, e), _, count = state
        order = jnp.argsort(e, descending=True)
        table = (w.T[order], e[order], jnp.zeros((), w.dtype))
        rows, e, cosine = loop(0, p + pad - 1, _round, table)
        w, k = _by_column(rows.T)
        return Columns(w, jnp.maximum(e + k, ZERO)), cosine, count + 1

    padded = Columns(
        jnp.pad(columns.w, ((0, 0), (0, pad))), jnp.pad(columns.e, (0, pad), constant_values=ZERO)
    )
    start = (padded, jnp.ones((), columns.w.dtype), jnp.zeros((), jnp.int32))
    start = match_carry_type(lambda _, state: sweep(state), 0, start)
    (w, e), _, _ = lax.while_loop(unfinished, sweep, start)
    order = jnp.argsort(e, descending=True)[:p]
    return Columns(jnp.sqrt(jnp.sum(jnp.square(w), axis=0))[order], e[order])


def _round(_: Array, table: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    """One round of a tournament: make rows i and i + p/2 orthogonal, then move all one seat.

    For a pair a, b 2^-d, d ≥ 0, write t = 2^-d, α = a·a, β = b·b, γ = a·b, δ = βt² - α. The
    rotation by arctan κt, κ = 2γ / (δ ± √(δ² + 4γ²t²)) with the sign of δ, takes a to
    (a - κt² b) / √(1 + κ²t²) and b to (b + κ a) / √(1 + κ²t²), still times 2^-d. For d < 0 swap a
    and b and change the sign of κ, as below.
    """
    rows, e, largest = table
    half = len(e) // 2
    a, b, d = rows[:half], rows[half:], e[:half] - e[half:]
    alpha, beta, gamma = (jnp.sum(v * w, axis=1) for v, w in ((a, a), (b, b), (a, b)))
    cosines = _ratio(jnp.abs(gamma), jnp.sqrt(alpha * beta))
    t = jnp.ldexp(jnp.ones_like(alpha), -jnp.abs(d))
    delta = jnp.where(d < 0, alpha * t**2 - beta, beta * t**2 - alpha)
    root = jnp.hypot(delta, 2 * gamma * t)
    kappa = _ratio(2 * gamma, delta + jnp.where(delta > 0, root, -root))
    b_in_a = jnp.where(d < 0, -kappa, kappa * t**2)[:, None]
    a_in_b = jnp.where(d < 0, -kappa * t**2, kappa)[:, None]
    cos = 1 / jnp.sqrt(1 + jnp.square(kappa * t))[:, None]
    a, b = cos * (a - b_in_a * b), cos * (b + a_in_b * a)

    def seats(a: Array, b: Array) -> Array:  # the first stays, the others rotate
        return jnp.concatenate([a[:1], b[:1], a[1:-1], b[1:], a[-1:]])

    return seats(a, b), seats(e[:half], e[half:]), jnp.maximum(largest, jnp.max(cosines))


def _ratio(a: Array, b: Array) -> Array:
    """A / b, and 0 for b = 0; no division by 0 is evaluated."""
    return jnp.where(b == 0, 0, a / jnp.where(b == 0, 1, b))

"""Draws: what a product with random weights is at infinite width.

    y = A(x; W)       the mean over W of y y' is that of the product, averaged over replicas of x
    Δx = Aᵀ(Δy; W)    the same on the way down, with draws of its own (gradient independence)

Two ways to draw. From the root of the covariance, for matrix products of few rows:

    y[r, f, o] = √b[o] Σ_g L[f, g] ε[r, g, o]
    (L Lᵀ)[f, g] = mean over r of Σ_i a[i] x[r, f, i] x[r, g, i]

with rows f, g of examples and positions, and a[i] b[o] the mean square of W along each of its axes.
L is triangular with a positive diagonal, from a QR decomposition: so it is unique, as precise for
rows that are nearly equal as the rows are, and a row that is scaled gives a row that is scaled. Or
by mixture, right for any operator that is linear in x and in W: fresh signs for the entries of W,
over the states of other replicas π,

    y[r] = S^-½ Σ_s A(x[π_s(r)]; W ∘ ±[s, r]).

Where rows are chosen in each replica, such as tokens sorted by their expert, those of another one
stand elsewhere: there π is the replica itself, and S = 1.

Index legend: R replicas, F rows, C and O units below and above, N slices along batch axes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ...arrays.rows import at_least_float32
from .noise import bits, fold_in, hashed, normal, signs

MIXED = 4  # S
SMALL = 8192  # entries of a matrix, below which LAPACK's QR decomposition takes one thread
ROOT_COST = 4  # of a product and addition in a QR decomposition, next to one in a matrix product

Operator = Callable[[Array, Array], Array]  # (x, W) -> A(x; W), of one replica


@dataclass(frozen=True)
class Axes:
    """Axes of the operands of a matrix product: those summed over, and those of slices.

    x, w: the axes of x, and of W, of which sums are taken.
    x_slices, w_slices: the axes that go along with each other.
    """

    x: tuple[int, ...]
    w: tuple[int, ...]
    x_slices: tuple[int, ...]
    w_slices: tuple[int, ...]

    def free(self, ndim: int, *, of_w: bool) -> tuple[int, ...]:
        """Return the other axes of an operand."""
        taken = (*self.w, *self.w_slices) if of_w else (*self.x, *self.x_slices)
        return tuple(i for i in range(ndim) if i not in taken)


def product(
    key: Array,
    operator: Operator,
    x: Array,
    w: Array,
    axes: Axes | None,
    loops: bool,
    alone: bool = False,
) -> Array:
    """Return a draw of A(x; W) for every replica, whose reverse rule is a draw too.

    Args:
        key: a key of `noise.py`, from which those for the way up and the way down are made.
        operator: A.
        x: of every replica, (R, …).
        w: W, of which the sizes count; its Δ is that of the product, summed over the replicas.
        axes: of a matrix product; None of another operator.
        loops: whether replicas are taken one after the other, as is quick for convolutions.
        alone: whether no replica takes what is of others, by mixture.
    """
    each = _in_turn if loops else jax.vmap

    def along(w: Array, x: Array, key: Array) -> Array:
        if axes is not None and _root_is_quick(axes, x, w):
            made = jax.eval_shape(operator, x[0], w)
            return _by_root(key, axes, x, w, down=False).astype(made.dtype)
        return _by_mixture(key, operator, x, w, each, alone)

    @jax.custom_vjp
    def drawn(key: Array, x: Array, w: Array) -> Array:
        return along(w, x, fold_in(key, 0))

    def up(key: Array, x: Array, w: Array) -> tuple[Array, Any]:
        return drawn(key, x, w), (key, x, w)

    def down(saved: Any, delta: Array) -> tuple[Any, Array, Array]:
        key, x, w = saved
        if axes is not None and _root_is_quick(axes, x, w):
            below = _by_root(fold_in(key, 1), axes, delta, w, down=True, like=x)
        else:
            one = jax.ShapeDtypeStruct(x.shape[1:], x.dtype)  # type: ignore[no-untyped-call]

            def transposed(delta: Array, w: Array) -> Array:
                (result,) = jax.linear_transpose(lambda x: operator(x, w), one)(delta)
                return result  # type: ignore[no-any-return]

            below = _by_mixture(fold_in(key, 1), transposed, delta, w, each, alone)
        of_w = jax.linear_transpose(lambda w: each(lambda x: operator(x, w))(x), w)
        return np.zeros(key.shape, jax.dtypes.float0), below, of_w(delta)[0]

    drawn.defvjp(up, down)
    return drawn(key, x, w)


def _in_turn(f: Callable[..., Array]) -> Callable[..., Array]:
    """Return `jax.vmap(f)` as a loop."""
    return lambda *values: jax.lax.map(lambda each: f(*each), values)


# By the root of the covariance


def _root_is_quick(axes: Axes, x: Array, w: Array) -> bool:
    """Compare the costs of the two ways, in multiplications, up and down together."""
    slices = prod(w.shape[i] for i in axes.w_slices)
    below = prod(w.shape[i] for i in axes.w)
    above = w.size // (slices * below)
    rows = x[0].size // (slices * below)
    root, mixture = 0, 2 * MIXED * len(x) * slices * (rows + 1) * below * above
    for taken, drawn in ((below, above), (above, below)):
        rank = min(rows, len(x) * taken)
        root += slices * len(x) * rows * (ROOT_COST * taken * rank + drawn * rank)
    return root <= mixture


def _by_root(
    key: Array, axes: Axes, x: Array, w: Array, *, down: bool, like: Array | None = None
) -> Array:
    """Return a draw of the product, or on the way down of its transpose."""
    below, above, size = _mean_squares(axes, w)
    taken, drawn = (above, below) if down else (below, above)
    rows = _rows_above(axes, x, w) if down else _rows_below(axes, x)
    shape = rows.shape  # (N, R, *F, *units)
    flat = rows.reshape(*shape[:2], -1, taken.shape[1]).astype(taken.dtype)
    flat = flat * jnp.sqrt(taken / jnp.where(size > 0, size, 1))[:, None, None]
    n, r, f, c = flat.shape
    tall = jnp.moveaxis(flat, 2, 3).reshape(n, r * c, f) * r**-0.5
    root = triangular(tall)  # (N, k, F)
    diagonal = jnp.diagonal(root, axis1=1, axis2=2)
    root = root * jnp.where(diagonal < 0, -1, 1)[:, :, None].astype(root.dtype)
    noise = normal(key, (n, r, root.shape[1], drawn.shape[1]), root.dtype)
    y = jnp.einsum("nkf,nrko->nrfo", root, noise) * jnp.sqrt(drawn)[:, None, None]
    if like is not None:
        return _restored(axes, y, like).astype(like.dtype)
    slices = [w.shape[i] for i in axes.w_slices]
    free = [x.shape[1 + i] for i in axes.free(x.ndim - 1, of_w=False)]
    units = [w.shape[i] for i in axes.free(w.ndim, of_w=True)]
    return jnp.moveaxis(y, 1, 0).reshape(r, *slices, *free, *units)


def triangular(tall: Array) -> Array:
    """Return the triangular factor of a QR decomposition of matrices (N, m, F), (N, k, F).

    Matrices that are tall are cut into small ones, whose factors are stacked and decomposed again:
    as precise, and LAPACK, whose threads wait for each other, takes a hundred times as long for a
    matrix of 288 rows and 32 columns as for the two halves of it one after the other.
    """
    n, m, f = tall.shape
    if m * f > SMALL and 2 * f * f <= SMALL:
        parts = -(-m // (SMALL // f))
        rows = -(-m // parts)
        filled = jnp.pad(tall, ((0, 0), (0, parts * rows - m), (0, 0)))
        halves = jnp.linalg.qr(filled.reshape(n * parts, rows, f), mode="r")
        return triangular(halves.reshape(n, -1, f))
    factor: Array = jnp.linalg.qr(tall, mode="r")
    return factor


def _mean_squares(axes: Axes, w: Array) -> tuple[Array, Array, Array]:
    """Return the mean squares of W for each unit below, each unit above, and of all, by slices.

    Their product a[i] b[o] / mean is as large as W², however the sizes differ along the axes.
    """
    order = (*axes.w_slices, *axes.w, *axes.free(w.ndim, of_w=True))
    slices = prod(w.shape[i] for i in axes.w_slices)
    below = prod(w.shape[i] for i in axes.w)
    wide = jnp.transpose(w, order).reshape(slices, below, -1)
    squares = jnp.square(at_least_float32(wide))
    mean = jnp.mean(squares, axis=(1, 2))[:, None]
    return jnp.mean(squares, axis=2), jnp.mean(squares, axis=1), mean


def _rows_below(axes: Axes, x: Array) -> Array:
    """Return x as (N, R, *F, *C)."""
    order = [i + 1 for i in (*axes.free(x.ndim - 1, of_w=False), *axes.x)]
    slices = [i + 1 for i in axes.x_slices]
    moved = jnp.transpose(x, (*slices, 0, *order))
    return moved.reshape(prod(x.shape[i] for i in slices), *moved.shape[len(slices) :])


def _rows_above(axes: Axes, delta: Array, w: Array) -> Array:
    """Return Δ of the product, (R, *slices, *F, *O), as (N, R, *F, *O)."""
    count = len(axes.w_slices)
    n = prod(delta.shape[1 : 1 + count])
    return jnp.moveaxis(delta.reshape(len(delta), n, *delta.shape[1 + count :]), 0, 1)


def _restored(axes: Axes, y: Array, like: Array) -> Array:
    """Undo `_rows_below` for rows that are flat, (N, R, F, C)."""
    order = (*axes.x_slices, *axes.free(like.ndim - 1, of_w=False), *axes.x)
    shape = [like.shape[1 + i] for i in order]
    moved = jnp.moveaxis(y, 1, 0).reshape(len(like), *shape)
    return jnp.transpose(moved, (0, *(1 + i for i in np.argsort(order))))


# By mixture


def _by_mixture(
    key: Array, operator: Operator, x: Array, w: Array, each: Callable[..., Any], alone: bool
) -> Array:
    """Return the sum of the operator over other replicas, with fresh signs of W each time."""

    def one(i: Array | int) -> Array:
        own = fold_in(key, i)
        fresh = signs(bits(fold_in(own, 1), (len(x), *w.shape)), w.dtype) * w[None]
        if alone:
            return each(operator)(x, fresh)  # type: ignore[no-any-return]
        start = bits(fold_in(own, 0), (1,)) % len(x)
        others = (jnp.arange(len(x), dtype=jnp.uint32) + start) % len(x)
        return each(operator)(x[others], fresh)  # type: ignore[no-any-return]

    if alone:
        return one(0)

    total: Array = jax.lax.fori_loop(1, MIXED, lambda i, total: total + one(i), one(0))
    return total * jnp.asarray(MIXED**-0.5, total.dtype)


# Tables


def looked_up(
    key: Array, gather: Callable[[Array, Any], Array], table: Array, places: Any
) -> Array:
    """Return entries of a table of random numbers for every replica: its own with fresh signs.

    An entry has one sign in a replica, wherever it is looked up.

    Args:
        key: of `noise.py`.
        gather: (table, places) -> entries, of one replica.
        table: the entries.
        places: of every replica, (R, …).
    """
    numbers = jnp.arange(table.size, dtype=jnp.int32).reshape(table.shape)
    replicas = jnp.arange(len(places), dtype=jnp.uint32)

    def one(replica: Array, places: Any) -> Array:
        return signs(hashed(fold_in(key, replica), gather(numbers, places)), table.dtype)

    return jax.vmap(one)(replicas, places) * jax.vmap(lambda places: gather(table, places))(places)

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

A weight that several products share (`origins.py`) is one random matrix of R times as many units,
with a block W ∘ ±[s, r] from replica π_s(r) to replica r, whose signs are those of the entries of
the parameter. A product with Wᵀ has its transpose, and so has the way down: where W and Wᵀ are both
on the way up, what comes down is not independent of it.

Index legend: R replicas, F rows, C and O units below and above, N slices along batch axes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, UInt32

from ...arrays.rows import at_least_float32

MIXED = 4  # S
SHARED = 16  # S of a weight that several products share, at most R
SMALL = 8192  # entries of a matrix, below which LAPACK's QR decomposition takes one thread
ROOT_COST = 4  # of a product and addition in a QR decomposition, next to one in a matrix product

Key = UInt32[Array, "2"]
Operator = Callable[[Array, Array], Array]  # (x, W) -> A(x; W), of one replica


@dataclass(frozen=True)
class ProductAxes:
    """Axes of the operands of a matrix product: those summed over, and those of slices."""

    x: tuple[int, ...]  # of which sums are taken
    w: tuple[int, ...]  # likewise
    x_slices: tuple[int, ...]  # which go along with each other
    w_slices: tuple[int, ...]  # likewise

    def free(self, ndim: int, *, of_w: bool) -> tuple[int, ...]:
        """Return the other axes of an operand."""
        taken = (*self.w, *self.w_slices) if of_w else (*self.x, *self.x_slices)
        return tuple(i for i in range(ndim) if i not in taken)


@dataclass(frozen=True)
class WeightBlocks:
    """The blocks of a weight that several products share."""

    turned: bool  # this product has their transpose
    alone: bool  # each replica has one block, to itself

    def at(self, key: Array, s: Array | int, replicas: int) -> tuple[Array, Array, Array]:
        """Return the s-th source of each replica, the block's own number, and its key."""
        here = jnp.arange(replicas, dtype=jnp.uint32)
        shift = jnp.uint32(s) if self.alone else (bits(fold_in(key, 0), (1,)) + jnp.uint32(s))
        shift = shift % replicas
        source = (here + (replicas - shift if self.turned else shift)) % replicas
        block = source if self.turned else here
        return source, block, fold_in(key, 1 + jnp.asarray(s, jnp.uint32))

    def count(self, replicas: int) -> int:
        """Return S."""
        return 1 if self.alone else min(SHARED, replicas)


def product(
    key: Array,
    operator: Operator,
    x: Array,
    w: Array,
    axes: ProductAxes | None,
    loops: bool,
    alone: bool = False,
) -> Array:
    """Return a draw of A(x; W) for every replica, x (R, …), whose reverse rule is a draw too."""
    # axes: of a matrix product; loops: replicas one after the other, as is quick for convolutions;
    # alone: by mixture, no replica takes what is of others. Δ of W is the product's, over all
    # replicas.
    over_replicas = _in_turn if loops else jax.vmap

    def up(key: Array, x: Array, w: Array) -> Array:
        if axes is not None and _root_is_quick(axes, x, w):
            made = jax.eval_shape(operator, x[0], w)
            return _by_root(fold_in(key, 0), axes, x, w, down=False).astype(made.dtype)
        return _by_mixture(fold_in(key, 0), operator, x, w, over_replicas, alone)

    def down(key: Array, x: Array, w: Array, delta: Array) -> Array:
        if axes is not None and _root_is_quick(axes, x, w):
            return _by_root(fold_in(key, 1), axes, delta, w, down=True, like=x)
        return _by_mixture(
            fold_in(key, 1), _transposed(operator, x), delta, w, over_replicas, alone
        )

    return _with_rule(operator, over_replicas, up, down)(key, x, w)


def shared_product(
    key: Array,
    places: Array,
    operator: Operator,
    x: Array,
    w: Array,
    loops: bool,
    blocks: WeightBlocks,
) -> Array:
    """Return a draw of A(x; W), given that other products have entries of W too."""
    # key: of the array that W is a view of; places: of the entries of W in that array.
    over_replicas = _in_turn if loops else jax.vmap

    def summed(
        random: tuple[Array, Array], f: Operator, x: Array, w: Array, layout: WeightBlocks
    ) -> Array:
        def one(s: Array | int) -> Array:
            source, block, of_block = layout.at(random[0], s, len(x))

            def signed(r: Array) -> Array:
                return signs(hashed(fold_in(of_block, r), random[1]), w.dtype) * w

            return over_replicas(f)(x[source], jax.vmap(signed)(block))

        return _mean_of_blocks(one, layout.count(len(x)))

    def up(random: tuple[Array, Array], x: Array, w: Array) -> Array:
        return summed(random, operator, x, w, blocks)

    def down(random: tuple[Array, Array], x: Array, w: Array, delta: Array) -> Array:
        layout = replace(blocks, turned=not blocks.turned)
        return summed(random, _transposed(operator, x), delta, w, layout)

    return _with_rule(operator, over_replicas, up, down)((key, places), x, w)


def _mean_of_blocks(one: Callable[[Any], Array], count: int) -> Array:
    """Return S^-½ Σ_s of what a function of s makes."""
    total: Array = jax.lax.fori_loop(1, count, lambda s, total: total + one(s), one(0))
    return total * jnp.asarray(count**-0.5, total.dtype)


def _transposed(operator: Operator, x: Array) -> Operator:
    """Return (Δy, W) -> Δx of an operator, of one replica."""
    one = jax.ShapeDtypeStruct(x.shape[1:], x.dtype)  # type: ignore[no-untyped-call]

    def transposed(delta: Array, w: Array) -> Array:
        (result,) = jax.linear_transpose(lambda x: operator(x, w), one)(delta)
        return result  # type: ignore[no-any-return]

    return transposed


def _with_rule(
    operator: Operator,
    over_replicas: Callable[..., Any],
    up: Callable[[Any, Array, Array], Array],
    down: Callable[[Any, Array, Array, Array], Array],
) -> Callable[[Any, Array, Array], Array]:
    """Return a draw, (what is random, x, W) -> y, with its reverse rule."""

    @jax.custom_vjp
    def drawn(random: PyTree, x: Array, w: Array) -> Array:
        return up(random, x, w)

    def forward(random: PyTree, x: Array, w: Array) -> tuple[Array, Any]:
        return drawn(random, x, w), (random, x, w)

    def backward(saved: tuple[PyTree, Array, Array], delta: Array) -> tuple[Any, Array, Array]:
        random, x, w = saved
        of_w = jax.linear_transpose(lambda w: over_replicas(lambda x: operator(x, w))(x), w)
        without = jax.tree.map(lambda v: np.zeros(v.shape, jax.dtypes.float0), random)
        return without, down(random, x, w, delta), of_w(delta)[0]

    drawn.defvjp(forward, backward)
    return drawn


def _in_turn(f: Callable[..., Array]) -> Callable[..., Array]:
    """Return `jax.vmap(f)` as a loop."""
    return lambda *values: jax.lax.map(lambda entries: f(*entries), values)


# By the root of the covariance


def _root_is_quick(axes: ProductAxes, x: Array, w: Array) -> bool:
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
    key: Array, axes: ProductAxes, x: Array, w: Array, *, down: bool, like: Array | None = None
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
    """Return the triangular factor of a QR decomposition of matrices (N, m, F), (N, k, F)."""
    # Tall matrices are cut into small ones, whose factors are stacked and decomposed again: as
    # precise, and LAPACK's threads, which wait for each other, take a hundred times as long for 288
    # x 32.
    n, m, f = tall.shape
    if m * f > SMALL and 2 * f * f <= SMALL:
        parts = -(-m // (SMALL // f))
        rows = -(-m // parts)
        filled = jnp.pad(tall, ((0, 0), (0, parts * rows - m), (0, 0)))
        halves = jnp.linalg.qr(filled.reshape(n * parts, rows, f), mode="r")
        return triangular(halves.reshape(n, -1, f))
    factor: Array = jnp.linalg.qr(tall, mode="r")
    return factor


def _mean_squares(axes: ProductAxes, w: Array) -> tuple[Array, Array, Array]:
    """Return the mean squares of W for each unit below, each unit above, and of all, by slices."""
    # Their product a[i] b[o] / mean is as large as W², however the sizes differ along the axes.
    order = (*axes.w_slices, *axes.w, *axes.free(w.ndim, of_w=True))
    slices = prod(w.shape[i] for i in axes.w_slices)
    below = prod(w.shape[i] for i in axes.w)
    wide = jnp.transpose(w, order).reshape(slices, below, -1)
    squares = jnp.square(at_least_float32(wide))
    mean = jnp.mean(squares, axis=(1, 2))[:, None]
    return jnp.mean(squares, axis=2), jnp.mean(squares, axis=1), mean


def _rows_below(axes: ProductAxes, x: Array) -> Array:
    """Return x as (N, R, *F, *C)."""
    order = [i + 1 for i in (*axes.free(x.ndim - 1, of_w=False), *axes.x)]
    slices = [i + 1 for i in axes.x_slices]
    moved = jnp.transpose(x, (*slices, 0, *order))
    return moved.reshape(prod(x.shape[i] for i in slices), *moved.shape[len(slices) :])


def _rows_above(axes: ProductAxes, delta: Array, w: Array) -> Array:
    """Return Δ of the product, (R, *slices, *F, *O), as (N, R, *F, *O)."""
    count = len(axes.w_slices)
    n = prod(delta.shape[1 : 1 + count])
    return jnp.moveaxis(delta.reshape(len(delta), n, *delta.shape[1 + count :]), 0, 1)


def _restored(axes: ProductAxes, y: Array, like: Array) -> Array:
    """Undo `_rows_below` for rows that are flat, (N, R, F, C)."""
    order = (*axes.x_slices, *axes.free(like.ndim - 1, of_w=False), *axes.x)
    shape = [like.shape[1 + i] for i in order]
    moved = jnp.moveaxis(y, 1, 0).reshape(len(like), *shape)
    return jnp.transpose(moved, (0, *(1 + i for i in np.argsort(order))))


# By mixture


def _by_mixture(
    key: Array,
    operator: Operator,
    x: Array,
    w: Array,
    over_replicas: Callable[..., Any],
    alone: bool,
) -> Array:
    """Return the sum of the operator over other replicas, with fresh signs of W each time."""

    def one(i: Array | int) -> Array:
        key_of_draw = fold_in(key, i)
        fresh = signs(bits(fold_in(key_of_draw, 1), (len(x), *w.shape)), w.dtype) * w[None]
        if alone:
            return over_replicas(operator)(x, fresh)  # type: ignore[no-any-return]
        start = bits(fold_in(key_of_draw, 0), (1,)) % len(x)
        others = (jnp.arange(len(x), dtype=jnp.uint32) + start) % len(x)
        return over_replicas(operator)(x[others], fresh)  # type: ignore[no-any-return]

    if alone:
        return one(0)

    return _mean_of_blocks(one, MIXED)


# Tables


def looked_up(
    key: Array,
    gather: Callable[[Array, Any], Array],
    table: Array,
    places: Array,
    numbers: Array | None = None,
    blocks: WeightBlocks | None = None,
) -> Array:
    """Return entries of a table of random numbers for every replica: its own with fresh signs."""
    # An entry has one sign in a replica, wherever it is looked up. places: (R, …); numbers: of the
    # entries, from 0 on; blocks: of a table that products share, a mean of several in place of one.
    replicas = len(places)
    blocks = WeightBlocks(turned=False, alone=True) if blocks is None else blocks
    if numbers is None:
        numbers = jnp.arange(table.size, dtype=jnp.int32).reshape(table.shape)

    def one(s: Array | int) -> Array:
        _, block, of_block = blocks.at(key, s, replicas)

        def signed(r: Array, places: Array) -> Array:
            return signs(hashed(fold_in(of_block, r), gather(numbers, places)), table.dtype)

        return jax.vmap(signed)(block, places)

    entries: Array = jax.vmap(lambda places: gather(table, places))(places)
    return entries * _mean_of_blocks(one, blocks.count(replicas))


# Random numbers: a hash of a counter, the same on every device.
#
#     bits[i] = mix(mix(i c + key[0]) + key[1]),     c odd
#
# JAX's own generator takes a third of a second of compilation for each array that is drawn, and a
# layer of a twin draws a dozen. So the key of a layer, here two numbers, comes from it, and the
# rest from this hash, two rounds of the mixer of Wellons (`lowbias32`), whose bias is below .2 of
# that of murmur3's.


def _mix(x: UInt32[Array, "*s"]) -> UInt32[Array, "*s"]:
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def hashed(key: Key, numbers: Array) -> UInt32[Array, "*s"]:
    """Return random bits for numbers: equal for equal ones."""
    counters = numbers.astype(jnp.uint32) * jnp.uint32(0x9E3779B9)
    return _mix(_mix(counters + key[0]) + key[1])


def fold_in(key: Key, i: Array | int) -> Key:
    """Return the i-th key of a key."""
    return hashed(
        key ^ jnp.uint32(0x5BD1E995),
        2 * jnp.asarray(i, jnp.uint32) + jnp.arange(2, dtype=jnp.uint32),
    )


def bits(key: Key, shape: tuple[int, ...]) -> UInt32[Array, "*s"]:
    """Return random bits."""
    size = 1
    for n in shape:
        size *= n
    return hashed(key, jnp.arange(size, dtype=jnp.uint32)).reshape(shape)


def signs(words: UInt32[Array, "*s"], dtype: jnp.dtype) -> Array:
    """Return 1 or -1 for random bits."""
    return 1 - 2 * (words >> 31).astype(dtype)


def normal(key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Float[Array, "*s"]:
    """Return numbers of mean 0 and variance 1, Gaussian."""
    uniform = ((bits(key, shape) >> 9).astype(jnp.float32) + 0.5) * 2.0**-22 - 1
    return (jax.lax.erf_inv(uniform) * 2**0.5).astype(dtype)

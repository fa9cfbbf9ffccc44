"""Loops and products whose types fit on a mesh: inside `jax.shard_map` and with explicit axes.

There the type of an array says over which axes of the mesh it differs between devices, or how it is
spread over them. A loop's carry must have one type from the first step to the last, but zeros, and
what is the same on every device, become like the data in the first step. So a loop begins with the
type that its steps return. Without a mesh nothing is added.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from .spread import names, pcast_like, sharding_of, spec_of, spread, without

C = TypeVar("C")

SMALL_PRODUCT = 2**20  # multiplications


def loop(start: Array | int, stop: Array | int, body: Callable[[Any, C], C], carry: C) -> C:
    """`jax.lax.fori_loop`, from a carry with the types that `body` returns."""
    looped: C = lax.fori_loop(start, stop, body, match_carry_type(body, start, carry))
    return looped


def match_carry_type(body: Callable[[Any, C], C], start: PyTree, carry: C) -> C:
    """Return the carry with the types that `body` returns, from the first step to the last."""
    if jax.sharding.get_abstract_mesh().empty:
        return carry
    before = None
    while (types := [jax.typeof(leaf) for leaf in jax.tree.leaves(carry)]) != before:
        before = types
        carry = jax.tree.map(pcast_like, carry, jax.eval_shape(body, start, carry))
    return carry


def entry(tree: PyTree, j: Array | int) -> Any:
    """Return entry j >= 0 of each array of a tree."""

    def one(values: Array) -> Array:
        # A negative j would count from the end, which takes a comparison more in every loop.
        there: Array = lax.dynamic_index_in_dim(
            values, j, keepdims=False, allow_negative_indices=False
        )
        return there

    return jax.tree.map(one, tree)


def with_entry(values: Array, j: Array | int, value: Array) -> Array:
    """Return values with entry j >= 0 replaced, spread over the mesh as the entry is."""
    values = spread(values, (None, *spec_of(value)), value)
    changed: Array = lax.dynamic_update_index_in_dim(
        values, value, j, 0, allow_negative_indices=False
    )
    return changed


def barrier(tree: C) -> C:
    """Make XLA compute values in kernels of their own, before the kernels that use them."""
    # Of small kernels of a loop that are ready at the same time XLA hands some to another thread on
    # a CPU, which takes as long as ten of them.
    same: C = lax.optimization_barrier(tree)  # type: ignore[no-untyped-call]
    return same


def product(
    left: Float[Array, "*n k"], right: Float[Array, "k m"], *, keep_right: bool = False
) -> Float[Array, "*n m"]:
    """Return left @ right, where axes of both may be spread over devices."""
    (*n, of_left), (of_right, *m) = map(spec_of, (left, right))
    if of_left is of_right is None and not names(n) & names(m):
        return left @ right
    # Along k both are spread alike, since each device multiplies what it has; and no two axes of
    # the result are spread over the same: then the other one is whole.
    n, m = (without(n, m), m) if keep_right else (n, without(m, n))
    free = (axis for axis in (of_right, of_left) if axis and not names([axis]) & names([*n, *m]))
    k, like = next(free, None), left if any(spec_of(left)) else right
    factors = spread(left, (*n, k), like), spread(right, (k, *m), like)
    return jnp.matmul(*factors, out_sharding=sharding_of((*n, *m), like))


def transposed_matmul(a: Float[Array, "B n"], delta: Float[Array, "B m"]) -> Float[Array, "n m"]:
    """Return aᵀ @ delta, where the rows, the examples, may be spread over devices."""
    # On a CPU XLA multiplies small matrices faster where aᵀ is an array of its own, row by row, and
    # divides large ones among threads where it is not: docs/speed.md has the rates.
    if a.size * delta.shape[1] > SMALL_PRODUCT or any(spec_of(a)):
        return product(a.T, delta, keep_right=True)
    transposed: Array = lax.platform_dependent(a, cpu=_by_rows, default=jnp.transpose)
    return transposed @ delta


def _by_rows(a: Float[Array, "B n"]) -> Float[Array, "n B"]:
    """Return aᵀ, stored row by row: in one dimension there is no other order."""
    # In a kernel with what a is computed from, XLA would transpose entry by entry, in eight times
    # the time.
    flat = barrier(barrier(a).T.reshape(-1))
    return flat.reshape(a.shape[::-1])

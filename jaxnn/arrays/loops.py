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
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float

C = TypeVar("C")

SMALL_PRODUCT = 2**20  # multiplications


def loop(start: Any, stop: Any, body: Callable[[Any, C], C], carry: C) -> C:
    """`jax.lax.fori_loop`, from a carry with the types that `body` returns."""
    looped: C = lax.fori_loop(start, stop, body, match_carry_type(body, start, carry))
    return looped


def match_carry_type(body: Callable[[Any, C], C], start: Any, carry: C) -> C:
    """Return the carry with the types that `body` returns, from the first step to the last."""
    if jax.sharding.get_abstract_mesh().empty:
        return carry
    before = None
    while (types := [jax.typeof(leaf) for leaf in jax.tree.leaves(carry)]) != before:
        before = types
        carry = jax.tree.map(pcast_like, carry, jax.eval_shape(body, start, carry))
    return carry


def entry(tree: Any, j: Array | int) -> Any:
    """Return entry j >= 0 of each array of a tree."""

    def one(values: Array) -> Array:
        # A negative j would count from the end, which takes a comparison more in every loop.
        there: Array = lax.dynamic_index_in_dim(
            values, j, keepdims=False, allow_negative_indices=False
        )
        return there

    return jax.tree.map(one, tree)


def with_entry(values: Array, j: Array | int, value: Array) -> Array:
    """Return values with entry j >= 0 replaced."""
    changed: Array = lax.dynamic_update_index_in_dim(
        values, value, j, 0, allow_negative_indices=False
    )
    return changed


def barrier(tree: C) -> C:
    """Make XLA compute values in kernels of their own, before the kernels that use them.

    This speeds up loops of small kernels on a CPU: of those that are ready at the same time XLA
    hands some to another thread, which takes as long as ten of them.
    """
    same: C = lax.optimization_barrier(tree)  # type: ignore[no-untyped-call]
    return same


def pcast_like(value: Any, like: Any) -> Any:
    """Return a value that varies and is spread over the mesh as `like` is, and at least as before.

    Args:
        value: an array.
        like: an array or `jax.ShapeDtypeStruct` of the same shape.
    """
    apart = varying(like) - varying(value)
    return lax.pcast(value, tuple(sorted(apart)), to="varying") if apart else value


def varying(value: Any) -> frozenset[Any]:
    """The axes of the mesh over which a value differs between devices, inside `jax.shard_map`."""
    kind = value if isinstance(value, jax.ShapeDtypeStruct) else jax.typeof(value)
    axes = kind.manual_axis_type
    return frozenset() if axes is None else axes.varying


def zeros(k: int, like: Any) -> Array:
    """Return k times zeros like an array or a `jax.ShapeDtypeStruct`, spread as it is."""
    of_one = _sharding(like)
    shape, spec = (k, *like.shape), () if of_one is None else of_one.spec
    if not any(spec):
        return jnp.zeros(shape, like.dtype)
    return jnp.zeros(shape, like.dtype, out_sharding=_spread(of_one.mesh, None, *spec))


def product(left: Float[Array, "*n k"], right: Float[Array, "k m"]) -> Float[Array, "*n m"]:
    """Return left @ right, where k may be spread over devices, as examples are."""
    of_left, of_right = map(_sharding, (left, right))
    if not (of_left.spec[-1] or of_right.spec[0]):
        return left @ right
    spread = _spread(of_left.mesh, *of_left.spec[:-1], *of_right.spec[1:])
    return jnp.matmul(left, right, out_sharding=spread)


def gathered(value: Array) -> Array:
    """Return an array that is whole on every device, where it may be spread over explicit axes."""
    sharding = _sharding(value)
    if not any(sharding.spec):
        return value
    spread = _spread(sharding.mesh, *[None] * value.ndim)
    whole: Array = jax.sharding.reshard(value, spread)  # type: ignore[no-untyped-call]
    return whole


def transposed_matmul(a: Float[Array, "B n"], delta: Float[Array, "B m"]) -> Float[Array, "n m"]:
    """Return aᵀ @ delta, where the rows, the examples, may be spread over devices.

    On a CPU XLA multiplies small matrices faster where aᵀ is an array of its own, row by row, and
    divides large ones among threads where it is not: docs/speed.md has the rates.
    """
    if a.size * delta.shape[1] > SMALL_PRODUCT or any(_sharding(a).spec):
        return product(a.T, delta)
    transposed: Array = lax.platform_dependent(a, cpu=_by_rows, default=jnp.transpose)
    return transposed @ delta


def _by_rows(a: Float[Array, "B n"]) -> Float[Array, "n B"]:
    """Return aᵀ, stored row by row: in one dimension there is no other order.

    In a kernel with what a is computed from, XLA would transpose entry by entry, in eight times the
    time.
    """
    flat = barrier(barrier(a).T.reshape(-1))
    return flat.reshape(a.shape[::-1])


def _sharding(value: Any) -> Any:
    return (value if isinstance(value, jax.ShapeDtypeStruct) else jax.typeof(value)).sharding


def _spread(mesh: Any, *axes: Any) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(*axes))  # type: ignore[no-untyped-call]

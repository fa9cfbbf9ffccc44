"""Arrays on a mesh: over which of its axes they are spread, or differ between devices.

explicit axes       the type of an array says which axis of the mesh each of its own is spread
                    over: float32[8@data, 16]
`jax.shard_map`     it says over which axes the devices hold different numbers
"""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec, use_abstract_mesh
from jaxtyping import Array, PyTree

T = TypeVar("T")
Spec = tuple[Any, ...]  # for each axis of an array what it is spread over: a name, several, or None
ArrayOrType = Array | jax.ShapeDtypeStruct | ShapedArray


# Types


def names(spec: Iterable[Any]) -> set[str]:
    """Return the axes of the mesh in a spec."""
    return {n for axis in spec if axis for n in (axis if isinstance(axis, tuple) else (axis,))}


def without(spec: Iterable[Any], other: Iterable[Any]) -> list[Any]:
    """Return a spec without the axes of the mesh that are in another."""
    return [None if names([axis]) & names(other) else axis for axis in spec]


def sharding_of(spec: Iterable[Any], like: ArrayOrType) -> NamedSharding:
    """Return a spec over the mesh that an array is spread over."""
    mesh = type_of(like).sharding.mesh
    return NamedSharding(mesh, PartitionSpec(*spec))  # type: ignore[no-untyped-call]


def type_of(value: ArrayOrType) -> Any:
    """Return the type of an array; that of a type is itself."""
    is_type = isinstance(value, jax.ShapeDtypeStruct | ShapedArray)
    return value if is_type else jax.typeof(value)


def spec_of(value: ArrayOrType) -> Spec:
    """Return what each axis of an array is spread over."""
    sharding = getattr(type_of(value), "sharding", None)
    spec = () if sharding is None else tuple(sharding.spec)
    return (*spec, *[None] * (len(value.shape) - len(spec)))


def are_spread(*leaves: Iterable[Any]) -> bool:
    """Tell whether an axis of an array is spread over a mesh, as its type says; NumPy's is not."""
    arrays = (v for several in leaves for v in several if hasattr(v, "shape"))
    return any(any(spec_of(v)) for v in arrays if not isinstance(v, np.ndarray))


def varying(value: ArrayOrType) -> frozenset[Any]:
    """The axes of the mesh over which a value differs between devices, inside `jax.shard_map`."""
    axes = getattr(type_of(value), "manual_axis_type", None)
    return frozenset() if axes is None else axes.varying


def spread_type(shape: Sequence[int], like: ArrayOrType, spec: Spec) -> jax.ShapeDtypeStruct:
    """Return a type of another shape, spread as a spec says, that varies as `like` does."""
    axes = type_of(like).manual_axis_type if varying(like) else None
    sharding = sharding_of(spec, like) if any(spec) or axes is not None else None
    return jax.ShapeDtypeStruct(  # type: ignore[no-untyped-call]
        tuple(shape), like.dtype, sharding=sharding, manual_axis_type=axes
    )


def types_over(types: Sequence[Any], axes: frozenset[Any]) -> list[Any]:
    """Return types of arrays that vary over axes of the mesh, too."""
    if not axes:
        return list(types)
    varied: list[Any] = jax.eval_shape(lambda vs: [vary_over(v, axes) for v in vs], list(types))
    return varied


def on_mesh_of(tree: PyTree) -> AbstractContextManager[Any]:
    """Set the mesh that arrays of a tree are spread over, so that zeros made there know it too."""
    if jax.sharding.get_abstract_mesh().empty:
        for v in jax.tree.leaves(tree):
            if hasattr(v, "shape") and any(spec_of(v)):
                mesh = type_of(v).sharding.mesh
                return use_abstract_mesh(getattr(mesh, "abstract_mesh", mesh))
    return nullcontext()


def is_on_mesh(kind: ArrayOrType) -> bool:
    """Tell types of the mesh that is set from those within `jax.sharding.auto_axes`."""
    mesh, sharding = jax.sharding.get_abstract_mesh(), getattr(kind, "sharding", None)
    return (
        mesh.empty
        or sharding is None
        or sharding.mesh.empty
        or sharding.mesh.axis_types == mesh.axis_types
    )


def on_no_mesh() -> AbstractContextManager[Any]:
    """Set no mesh, while numbers are computed that are of none."""
    return use_abstract_mesh(AbstractMesh((), ()))


def count_of_devices() -> int:
    """Return the number of devices of the mesh that is set; 1 without one."""
    return int(jax.sharding.get_abstract_mesh().size) or 1


# Arrays


def spread(value: Array, spec: Spec, like: ArrayOrType) -> Array:
    """Return an array spread as a spec says, over the mesh that `like` or itself is spread over."""
    if spec_of(value) == spec:
        return value
    over = sharding_of(spec, like if any(spec_of(like)) else value)
    moved: Array = jax.sharding.reshard(value, over)
    return moved


def pcast_like(value: Array, like: ArrayOrType) -> Any:
    """Return a value spread over the mesh as `like` is, that varies as that does, and as before."""
    return spread(vary_over(value, varying(like)), spec_of(like), like)


def vary_over(value: Array, axes: frozenset[Any]) -> Any:
    """Return a value that varies over axes of the mesh, and over those that it varied over."""
    apart = axes - varying(value)
    return lax.pcast(value, tuple(sorted(apart)), to="varying") if apart else value


def zeros(k: int, like: ArrayOrType) -> Array:
    """Return k times zeros like an array or a type, spread as it is."""
    spec = (None, *spec_of(like))
    if not any(spec):
        return jnp.zeros((k, *like.shape), like.dtype)
    return jnp.zeros((k, *like.shape), like.dtype, out_sharding=sharding_of(spec, like))


def iota(like: Array, axis: int) -> Array:
    """Return 0, 1, … along an axis, for each entry of an array, spread as it is."""
    spec = spec_of(like)
    over = sharding_of(spec, like) if any(spec) else None
    index: Array = lax.broadcasted_iota(jnp.float32, like.shape, axis, out_sharding=over)
    return index


def whole(value: Array, *axes: int) -> Array:
    """Return an array of which every device has all along some axes, or along every one."""
    spec = spec_of(value)
    at = axes or range(value.ndim)
    return spread(value, tuple(None if i in at else v for i, v in enumerate(spec)), value)


def merged(value: Array, a: int, b: int) -> Array:
    """Return an array with axes a … b - 1 as one; those that are spread should be the first."""
    spec = spec_of(value)
    first = next((i for i in range(a, b) if not spec[i]), b)
    value = whole(value, *range(first, b)) if any(spec[first:b]) else value
    return value.reshape(*value.shape[:a], math.prod(value.shape[a:b]), *value.shape[b:])


def rows_at(value: Array | np.ndarray, places: Array | np.ndarray) -> Any:
    """Return value[places], spread as it is where so many rows can be."""
    if isinstance(value, np.ndarray) or not any(spec := spec_of(value)):
        return value[places]
    shape = type_of(value).sharding.mesh.shape
    if len(places) % math.prod(shape[name] for name in names(spec[:1])):
        spec = (None, *spec[1:])
    return value.at[places].get(out_sharding=sharding_of(spec, value))


def first_rows(value: Array, most: int) -> Array:
    """Return at most so many rows of (B, n), spread along n instead of B."""
    rows, columns = spec_of(value)
    if rows is not None:
        across = sorted(names([columns])) + sorted(names([rows]))
        mesh = type_of(value).sharding.mesh.shape
        # Each device then has as many numbers as before; where n cannot be divided, all have all
        # rows.
        even = value.shape[1] % math.prod(mesh[name] for name in across) == 0
        value = spread(value, (None, tuple(across) if even else columns), value)
    return value[:most]


def as_rows(value: Array) -> Array:
    """Return an array (B, …) as (B, n), in an order for which nothing has to be exchanged."""
    spec = spec_of(value)
    apart = [i for i in range(1, value.ndim) if spec[i]]
    # Axes that are spread over devices come first, and each device keeps what it has.
    if apart != [*range(1, len(apart) + 1)]:
        value = jnp.moveaxis(value, apart, range(1, len(apart) + 1))
    return merged(value, 1, value.ndim)


def beside(arrays: Sequence[Array]) -> Array:
    """Return arrays (B, n) as one, beside each other."""
    if len(arrays) == 1:
        return arrays[0]
    if len({spec_of(v)[1] for v in arrays}) > 1:
        arrays = [whole(v, 1) for v in arrays]
    return jnp.concatenate(arrays, axis=1)


def automatically(f: Callable[[Any], T], tree: PyTree) -> T:
    """Return f(tree), which every device has; how it is computed is left to XLA."""
    for v in jax.tree.leaves(tree):
        if any(spec_of(v)):
            over = sharding_of((), v)
            result: T = jax.sharding.auto_axes(f, out_sharding=over)(tree)
            return result
    return f(tree)


# Of what devices hold inside `jax.shard_map`


def everywhere(flag: Array) -> Array:
    """Tell whether a flag is true on all devices, which take the same branch then."""
    return highest((~flag).astype(jnp.int32)) == 0


def highest(number: Array) -> Array:
    """Return the largest that any device has of a number."""
    axes = varying(number)
    if not axes:
        return number
    most: Array = lax.pmax(number, tuple(sorted(axes)))  # type: ignore[no-untyped-call]
    return most

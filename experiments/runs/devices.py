"""Many measurements of one kind, such as one a seed, spread over the devices."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.runs.ahead import Ahead

AXIS = "seeds"  # of the mesh
SPREAD, SHARED = PartitionSpec(AXIS), PartitionSpec()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class SideBySide:
    """`count` measurements side by side: `put` arrays over the devices, `map` them, `get` results.

    A result does not depend on how many devices there are. Hashable, so that compiled programs can
    be cached by it.
    """

    count: int
    mesh: Mesh

    @classmethod
    def over_devices(cls, count: int) -> "SideBySide":
        """Return the measurements on up to `count` devices; on all if processes share them."""
        devices = jax.devices()
        used = len(devices) if jax.process_count() > 1 else min(count, len(devices))
        return cls(count, Mesh(np.asarray(devices[:used]), (AXIS,)))

    def put(self, values: np.ndarray) -> jax.Array:
        """Spread values, an entry a measurement, over the devices.

        Entries are repeated from the first until every device has as many.
        """
        devices = self.mesh.devices.size
        padded = values[np.arange(-(-len(values) // devices) * devices) % len(values)]
        sharding = NamedSharding(self.mesh, SPREAD)
        return jax.make_array_from_callback(padded.shape, sharding, lambda index: padded[index])

    def like(self, shape: Any, spread: bool = True) -> jax.ShapeDtypeStruct:
        """Return what an argument of `map` is like, before there is one.

        Args:
            shape: of one measurement, with a shape and a dtype.
            spread: whether it has an entry a measurement.
        """
        dtype = jax.dtypes.canonicalize_dtype(shape.dtype)
        if not spread:
            return jax.ShapeDtypeStruct(shape.shape, dtype)  # type: ignore[no-untyped-call]
        devices = self.mesh.devices.size
        entries = -(-self.count // devices) * devices
        sharding = NamedSharding(self.mesh, SPREAD)
        whole = (entries, *shape.shape)
        return jax.ShapeDtypeStruct(whole, dtype, sharding=sharding)  # type: ignore[no-untyped-call]

    def map(self, f: Callable[..., Any], spread: int, shared: int) -> Ahead:
        """Compile f for each entry of its first arguments.

        A device takes its entries one after the other: for small layers on a CPU that is faster
        than all of them as one batch.

        Args:
            f: a function of spread + shared arguments.
            spread: how many arguments have an entry a measurement.
            shared: how many are the same for all.
        """

        def on_device(*arguments: Any) -> Any:
            same = arguments[spread:]
            return lax.map(lambda each: f(*each, *same), arguments[:spread])

        on_device.__name__ = f.__name__  # the name of the compiled program
        specs = (*[SPREAD] * spread, *[SHARED] * shared)
        mapped = jax.shard_map(
            on_device, mesh=self.mesh, in_specs=specs, out_specs=SPREAD, check_vma=False
        )
        return Ahead(jax.jit(mapped))

    def get(self, values: Any) -> Any:
        """Return a pytree of results as NumPy arrays, an entry a measurement, in all processes."""

        def gathered(spread: jax.Array) -> np.ndarray:
            if jax.process_count() > 1:
                return np.asarray(multihost_utils.process_allgather(spread, tiled=True))
            return np.asarray(spread)

        return jax.tree.map(lambda spread: gathered(spread)[: self.count], values)

"""Work side by side: many measurements of one kind in a row over the devices."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

ALONG, EVERYWHERE = PartitionSpec("seeds"), PartitionSpec()  # type: ignore[no-untyped-call]


def side_by_side(mesh: Mesh, f: Callable[..., Any], spread: int, shared: int) -> Callable[..., Any]:
    """Applies f to each entry of its first arguments, spread over devices; the rest is shared.

    A device takes its entries one after the other: for small layers on a CPU that is faster than
    all of them as one batch.
    """

    def on_device(*arguments: Any) -> Any:
        of_all = arguments[spread:]
        return lax.map(lambda each: f(*each, *of_all), arguments[:spread])

    on_device.__name__ = f.__name__  # by which compiled programs are known
    specs = (*[ALONG] * spread, *[EVERYWHERE] * shared)
    mapped = jax.shard_map(on_device, mesh=mesh, in_specs=specs, out_specs=ALONG, check_vma=False)
    return jax.jit(mapped)


def in_a_row(mesh: Mesh, values: np.ndarray) -> jax.Array:
    """The values over the devices, the first of them again where they do not fill the row."""
    count = mesh.devices.size
    padded = values[np.arange(-(-len(values) // count) * count) % len(values)]
    return jax.make_array_from_callback(
        padded.shape, NamedSharding(mesh, ALONG), lambda index: padded[index]
    )


def gathered(values: jax.Array) -> np.ndarray:
    """All of an array that lies over the devices of all processes."""
    if jax.process_count() > 1:
        return np.asarray(multihost_utils.process_allgather(values, tiled=True))
    return np.asarray(values)

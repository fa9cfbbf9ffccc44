"""Many measurements of one kind, such as one a seed, spread over the devices.

    values -> put -> rounds of arguments -> a mapped function -> rounds of results -> get

On two cores that took .44 to .85 of the time of one device that uses both.

A round is what one call of a program measures: pytrees of arrays with an axis of measurements in
front. A device takes its own one after the other: for small layers on a CPU that is faster than all
of them as one batch. It does so in a loop inside the program, which copies the arguments of each;
where these are large, each is a round of its own, at whose end the devices wait for one another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from experiments.runs.ahead import Ahead

Rounds = tuple[Any, ...]

AXIS = "seeds"  # of the mesh
SPREAD, SHARED = PartitionSpec(AXIS), PartitionSpec()  # type: ignore[no-untyped-call]


class Mapped:
    """A function compiled for the measurements of a round."""

    def __init__(self, program: Ahead, spread: int) -> None:
        self.program, self._spread = program, spread

    def prepare(self, *arguments: PyTree) -> None:
        """Begin to compile, as `Ahead.prepare`, for arguments like those of one round."""
        self.program.prepare(*arguments)

    def __call__(self, *arguments: PyTree) -> Rounds:
        """Return the results of each round, which a device may still be computing."""
        rounds, shared = arguments[: self._spread], arguments[self._spread :]
        return tuple(self.program(*each, *shared) for each in zip(*rounds, strict=True))


@dataclass(frozen=True)
class SideBySide:
    """Measurements side by side: `put` arrays over the devices, `map` them, `get` results.

    A result does not depend on how many devices there are.
    """

    count: int
    mesh: Mesh
    apart: bool = False  # a round has one a device; otherwise all are one round

    @classmethod
    def over_devices(cls, count: int, apart: bool = False) -> "SideBySide":
        """Return the measurements on up to `count` devices."""
        return cls(count, Mesh(np.asarray(jax.devices()[:count]), (AXIS,)), apart)

    @property
    def entries(self) -> np.ndarray:
        """The measurement that each entry is of, round by round, as many entries a device."""
        devices = np.arange(self.mesh.devices.size)
        each, left = divmod(self.count, len(devices))
        # In the last round the measurements left over are dealt out evenly, each to neighbours.
        rounds = [first + devices for first in range(0, each * len(devices), len(devices))]
        if left:
            rounds.append(each * len(devices) + devices * left // len(devices))
        by_device = np.stack(rounds)
        return by_device.ravel() if self.apart else by_device.T.ravel()

    def put(self, values: np.ndarray) -> Rounds:
        """Spread values, one a measurement, over the devices, round by round."""
        return self.put_entries(values[self.entries])

    def put_entries(self, values: np.ndarray) -> Rounds:
        """Spread values, one for each of the `entries`, over the devices, round by round."""
        sharding, size = NamedSharding(self.mesh, SPREAD), self._a_round

        def of_round(first: int) -> jax.Array:
            chosen = values[first : first + size]
            return jax.make_array_from_callback(chosen.shape, sharding, lambda i: chosen[i])

        return tuple(of_round(first) for first in range(0, len(values), size))

    @property
    def _a_round(self) -> int:
        """The entries of a round."""
        return self.mesh.devices.size if self.apart else len(self.entries)

    def like(
        self, shape: jax.ShapeDtypeStruct | np.ndarray, spread: bool = True
    ) -> jax.ShapeDtypeStruct:
        """Return what an argument of a round is like, before there is one."""
        dtype = jax.dtypes.canonicalize_dtype(shape.dtype)
        if not spread:
            return jax.ShapeDtypeStruct(shape.shape, dtype)  # type: ignore[no-untyped-call]
        sharding = NamedSharding(self.mesh, SPREAD)
        whole = (self._a_round, *shape.shape)
        return jax.ShapeDtypeStruct(whole, dtype, sharding=sharding)  # type: ignore[no-untyped-call]

    def map(self, f: Callable[..., Any], spread: int, shared: int) -> Mapped:
        """Compile f for each entry of its first `spread` arguments; others are the same for all."""

        def on_device(*arguments: PyTree) -> Any:
            own, same = arguments[:spread], arguments[spread:]
            if not self.apart:
                return lax.map(lambda each: f(*each, *same), own)
            only = jax.tree.map(lambda v: v[0], own)
            return jax.tree.map(lambda v: v[None], f(*only, *same))

        on_device.__name__ = f.__name__  # the name of the compiled program
        specs = (*[SPREAD] * spread, *[SHARED] * shared)
        mapped = jax.shard_map(
            on_device, mesh=self.mesh, in_specs=specs, out_specs=SPREAD, check_vma=False
        )
        return Mapped(Ahead(jax.jit(mapped)), spread)

    def get(self, rounds: Rounds) -> Any:
        """Return results as a pytree of NumPy arrays, one a measurement."""
        first = np.unique(self.entries, return_index=True)[1]
        return jax.tree.map(lambda values: values[first], self.get_entries(rounds))

    def get_entries(self, rounds: Rounds) -> Any:
        """Return results as a pytree of NumPy arrays, one for each of the `entries`."""

        def gathered(*of_rounds: jax.Array) -> np.ndarray:
            return np.concatenate(jax.device_get(list(of_rounds)))

        return jax.tree.map(gathered, *rounds)

"""Types of a decoder's arrays on many devices, none of which is real."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from experiments.bench import transformer

AXES = ("data", "model")
SPREAD = {"qkv": AXES, "up": AXES, "out": AXES[::-1], "down": AXES[::-1]}


def types(
    devices: int, layers: int, width: int, tokens: int, batch: int
) -> tuple[dict[str, jax.ShapeDtypeStruct], jax.ShapeDtypeStruct]:
    """Return the types of weights and of a batch, spread over a square of devices."""
    if devices > 1:  # before JAX is first used
        jax.config.update("jax_num_cpu_devices", devices)  # type: ignore[no-untyped-call]
    side = int(devices**0.5)
    mesh = jax.make_mesh((side, side), AXES, axis_types=(jax.sharding.AxisType.Auto,) * 2)

    def of(shape: tuple[int, ...], *spec: str | None) -> jax.ShapeDtypeStruct:
        sharding = NamedSharding(mesh, PartitionSpec(*spec))  # type: ignore[no-untyped-call]
        return jax.ShapeDtypeStruct(  # type: ignore[no-untyped-call]
            shape, jnp.bfloat16, sharding=sharding
        )

    weights = transformer.shapes(width).items()
    stack = {name: of((layers, *shape), None, *SPREAD[name]) for name, shape in weights}
    return stack, of((batch, tokens, width), "data")


def size(stack: dict[str, jax.ShapeDtypeStruct], _: Path) -> list[float]:
    """Return ln of the number of parameters, in which both sides must agree."""
    return [float(np.log(sum(v.size for v in stack.values())))]

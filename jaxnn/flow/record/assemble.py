"""The Flow of what is recorded of all layers: one way for a Network, a chain and a module of torch.

LayerRecord, Parameters, names   ->   Flow
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..formats.entries import FlowEntries
from .flow import Flow, Parameters
from .layer_record import LayerRecord


def assemble(
    layers: LayerRecord,
    parameters: Parameters,
    *,
    names: Sequence[str],
    sizes: Sequence[int],
    dtype: jnp.dtype,
    log_delta_input: Float[Array, ""],
    entries: FlowEntries | None = None,
    **notes: Any,
) -> Flow:
    """Return a Flow; notes are further fields of it."""
    spread = layers.state.spread
    return Flow(
        **layers.delta._asdict(),
        **({} if spread is None else spread._asdict()),
        log_mean_square=layers.state.log_mean_square,
        **{name: getattr(layers, name) for name in LayerRecord._fields[2:]},
        log_delta_input=log_delta_input,
        parameters=parameters,
        names=tuple(names),
        sizes=tuple(sizes),
        dtype=dtype,
        entries=entries,
        **notes,
    )


def smallest_of(dtypes: Sequence[jnp.dtype]) -> jnp.dtype:
    """Return the float type with the smallest range."""
    return min(dtypes, key=lambda d: float(jnp.finfo(d).maxexp))  # type: ignore[no-untyped-call]

"""A chain of equal transformer blocks: `jaxnn.gradient_flow`, with the size of every Δθ."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

import jaxnn
from experiments.bench import inputs, transformer
from experiments.bench.waiting import repeated
from experiments.bench.workload import Workload, bytes_of
from jaxnn.passes.walk import Memory


def workload(
    layers: int,
    width: int,
    tokens: int,
    batch: int,
    calls: int,
    memory: Memory = "all",
    theory: bool | None = None,
) -> Workload:
    """Return the flow from a cotangent of the output, with that memory ("all", "sqrt").

    It is one compiled program, or, with or without `theory`, as a user calls it.
    """
    drawn = transformer.draw(layers, width, tokens, batch)
    weights, x, c = transformer.parted(jax.tree.map(jax.numpy.asarray, drawn))
    net, params = jaxnn.as_network([jaxnn.Run(transformer.block, weights, layers)])

    def flow(params: PyTree, x: jax.Array, c: jax.Array, theory: bool = False) -> Any:
        of = (net, params)
        return jaxnn.gradient_flow(of, x, cotangent=c, memory=memory, theory=theory)

    def numbers(folder: Path) -> np.ndarray:
        inputs.write(folder, [], **drawn)
        return np.asarray(once().log_theta)

    if theory is not None:
        once = partial(flow, params, x, c, theory)
        return Workload(partial(repeated, once, calls), numbers)
    program = jax.jit(flow).lower(params, x, c).compile()
    once = partial(program, params, x, c)
    return Workload(partial(repeated, once, calls), numbers, memory=lambda: bytes_of(program))

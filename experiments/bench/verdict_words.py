"""From a function of JAX to a verdict in words, of a transformer over words."""

from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

import jaxnn
from experiments.bench import transformer
from experiments.bench.workload import Workload, bytes_of


def workload(
    blocks: int,
    width: int,
    tokens: int,
    batch: int,
    words: int,
    stacked: bool,
    tangent: bool = False,
) -> Workload:
    """Return flow and verdict; the first repetition cuts the function into layers too.

    Blocks that are `stacked` are in a `lax.scan`, instead of a loop of Python.
    """
    params, xs, ys = transformer.draw_over_words(blocks, width, tokens, batch, words, stacked)

    @cache
    def net() -> tuple[Any, Any]:
        return jaxnn.as_network((transformer.logits, params), xs)

    def flow(params: PyTree, xs: jax.Array, ys: jax.Array) -> Any:
        return jaxnn.gradient_flow(
            (net()[0], params), xs, ys, loss=transformer.loss, tangent=tangent
        )

    def run() -> str:
        return str(jaxnn.verdict(flow(net()[1], xs, ys)))

    def numbers(_: Path) -> list[float]:
        of = flow(net()[1], xs, ys).parameters
        norms = dict(zip(of.paths, np.asarray(of.log_delta), strict=True))
        return [float(norms[path]) for path in sorted(norms)]

    def memory() -> float:
        return bytes_of(jax.jit(flow).lower(net()[1], xs, ys).compile())

    return Workload(run, numbers, memory=memory)

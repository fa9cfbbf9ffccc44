"""Transformer blocks as a JAX user writes them: `jax.vjp` of a `lax.scan` over stacked weights."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from experiments.bench import inputs, transformer
from experiments.bench.waiting import repeated
from experiments.bench.workload import Workload, bytes_of


def workload(layers: int, width: int, tokens: int, batch: int, calls: int, memory: str) -> Workload:
    """Return the peer of `chain.py`: every Δθ and Δx; it has one way to keep its memory."""
    del memory

    def gradient(weights: PyTree, x: jax.Array, c: jax.Array) -> Any:
        def forward(weights: PyTree, x: jax.Array) -> Any:
            return jax.lax.scan(lambda z, p: (transformer.block(p, z), None), x, weights)[0]

        return jax.vjp(forward, weights, x)[1](c)

    own = transformer.parted(
        jax.tree.map(jax.numpy.asarray, transformer.draw(layers, width, tokens, batch))
    )
    program = jax.jit(gradient).lower(*own).compile()

    def numbers(folder: Path) -> list[float]:
        weights, _ = program(*transformer.parted(inputs.read(folder)[1]))
        squares = [
            np.square(np.asarray(v, np.float64)).reshape(layers, -1).sum(axis=1)
            for v in weights.values()
        ]
        return [float(v) for v in 0.5 * np.log(np.sum(squares, axis=0))]

    return Workload(
        partial(repeated, partial(program, *own), calls), numbers, memory=lambda: bytes_of(program)
    )
